"""What operators forbid customers."""

from datetime import datetime

from django.db import transaction

from config.core import audit, clock, outbox
from kyc.errors import RestrictionInvalid, RestrictionLifted
from kyc.facts import CustomerRestricted, CustomerRestrictionLifted
from kyc.models import Restriction, User
from kyc.services.sessions import sign_out_everywhere


@transaction.atomic
def restrict(
    *, customer: User, scope: str, reason: str, actor: User, ends_at: datetime | None = None
) -> Restriction:
    """Forbid a customer something from the next request on; of sign-in, all his sessions end.

    Raises RestrictionInvalid without a known scope, a reason, or an end that lies ahead.
    """
    now = clock.now()
    if scope not in Restriction.Scope.values or not reason.strip() or (ends_at and ends_at <= now):
        raise RestrictionInvalid
    made = Restriction.objects.create(
        customer=customer, scope=scope, reason=reason.strip(), starts_at=now, ends_at=ends_at, made_by=actor
    )
    outbox.publish(
        outbox.customer_topic(customer.pk),
        CustomerRestricted(customer=customer.pk, restriction=made.pk, scope=scope, ends_at=ends_at),
    )
    if scope == Restriction.Scope.SIGN_IN:
        sign_out_everywhere(user=customer, reason="restricted")
    audit.record(
        actor=actor,
        action="customer.restricted",
        target=customer,
        after={"scope": scope, "ends_at": clock.iso(ends_at) if ends_at else None},
        reason=reason,
    )
    return made


@transaction.atomic
def lift_restriction(*, restriction: Restriction, reason: str, actor: User) -> None:
    """Allow again what a restriction forbade; raise RestrictionLifted when somebody did before."""
    standing = Restriction.objects.filter(pk=restriction.pk, lifted_at=None)
    if not standing.update(lifted_at=clock.now()):
        raise RestrictionLifted
    customer = restriction.customer
    outbox.publish(
        outbox.customer_topic(customer.pk),
        CustomerRestrictionLifted(customer=customer.pk, restriction=restriction.pk, scope=restriction.scope),
    )
    audit.record(
        actor=actor,
        action="customer.restriction_lifted",
        target=customer,
        before={"scope": restriction.scope, "reason": restriction.reason},
        reason=reason,
    )
