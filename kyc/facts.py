"""What happens to people, told to everybody above."""

from datetime import datetime

from config.core.facts import FactData, fact


@fact("customer.registered")
class CustomerRegistered(FactData):
    """A customer exists; `real_allowed` says whether the law of the country lets money be staked."""

    customer: int
    country: str
    real_allowed: bool


@fact("customer.signed_out")
class CustomerSignedOut(FactData):
    """Sessions of a customer ended. `sign_in` names the one that ended; None means all."""

    customer: int
    sign_in: str | None
    reason: str


@fact("customer.restricted")
class CustomerRestricted(FactData):
    """An operator forbids a customer something from now on, until `ends_at` or until lifted."""

    customer: int
    restriction: int
    scope: str
    ends_at: datetime | None


@fact("customer.restriction_lifted")
class CustomerRestrictionLifted(FactData):
    """An operator allows again what a restriction forbade."""

    customer: int
    restriction: int
    scope: str
