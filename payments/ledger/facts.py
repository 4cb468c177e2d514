"""What happens to accounts, as others hear it."""

from dataclasses import dataclass

from config.core import money
from config.core.facts import FactData, fact
from payments.ledger.models import Account


@fact("account.changed")
class AccountChanged(FactData):
    """A customer's balance changed; versions between `from_version` and `version` are in this one fact."""

    account: int
    book: str
    kind: str
    currency: str
    balance: str
    version: int
    from_version: int


def account_changed(account: Account, *, from_version: int) -> AccountChanged:
    """Write the account's present state as a fact; its book must be loaded."""
    book = account.book
    return AccountChanged(
        account=account.pk,
        book=book.code,
        kind=book.kind,
        currency=book.currency,
        balance=money.text(account.balance or money.ZERO, book.scale),
        version=account.version or 0,
        from_version=from_version,
    )


@dataclass(frozen=True, slots=True)
class Difference:
    """Something the ledger's check expected and did not find."""

    what: str
    book: str
    account: int | None
    expected: str
    found: str


@fact("ledger.differed")
class LedgerDiffered(FactData):
    """The ledger's check named differences that its run before did not."""

    check: int
    differences: list[Difference]
