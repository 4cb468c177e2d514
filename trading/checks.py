"""What the ledger's check asks about orders."""

from collections.abc import Iterator

from django.db import connection

from config.core import money
from payments.ledger.checks import Difference
from payments.ledger.checks import register as register_check
from payments.ledger.models import Account
from payments.ledger.selectors import escrow_balances


def register() -> None:
    """Hand the checks of orders to the ledger."""
    register_check(escrow_holds_open_stakes)


_OPEN_STAKES = """
SELECT c.book_id, sum(o.stake) FROM trading_order o JOIN ledger_account c ON c.id = o.account_id
WHERE o.status = 'open' GROUP BY c.book_id
"""


def escrow_holds_open_stakes() -> Iterator[Difference]:
    """Name every book whose escrow is not the sum of the stakes of its open orders."""
    with connection.cursor() as cursor:
        cursor.execute(_OPEN_STAKES)
        stakes = dict(cursor.fetchall())
    held = escrow_balances()
    for escrow in Account.objects.filter(code=Account.Code.ESCROW, owner=None).select_related("book"):
        expected, found = stakes.get(escrow.book_id, money.ZERO), held[escrow.pk]
        if expected != found:
            yield Difference("escrow", escrow.book.code, escrow.pk, f"{expected:f}", f"{found:f}")
