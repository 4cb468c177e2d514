"""What the ledger's check asks about orders."""

from collections.abc import Iterator

from django.db import connection

from config.core import money
from payments.ledger.checks import Difference
from payments.ledger.checks import register as register_check
from payments.ledger.models import Account, Book
from payments.ledger.selectors import escrow_balances


def register() -> None:
    """Hand the checks of orders to the ledger."""
    register_check(escrow_holds_open_stakes)
    register_check(exposure_is_that_of_open_orders)


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


_EXPOSURE = """
SELECT coalesce(e.book_id, o.book_id), coalesce(e.instrument_id, o.instrument_id), coalesce(e.side, o.side),
       coalesce(o.n, 0), coalesce(o.stakes, 0), coalesce(o.profit, 0),
       coalesce(e.open_orders, 0), coalesce(e.stakes, 0), coalesce(e.profit, 0)
FROM trading_exposure e FULL JOIN (
    SELECT a.book_id, o.instrument_id, o.side, count(*) AS n, sum(o.stake) AS stakes,
           sum(trunc(o.stake * o.payout_rate, b.scale)) AS profit
    FROM trading_order o JOIN ledger_account a ON a.id = o.account_id JOIN ledger_book b ON b.id = a.book_id
    WHERE o.status = 'open' GROUP BY a.book_id, o.instrument_id, o.side
) o ON o.book_id = e.book_id AND o.instrument_id = e.instrument_id AND o.side = e.side
WHERE (coalesce(e.open_orders, 0), coalesce(e.stakes, 0), coalesce(e.profit, 0))
   <> (coalesce(o.n, 0), coalesce(o.stakes, 0), coalesce(o.profit, 0))
"""


def exposure_is_that_of_open_orders() -> Iterator[Difference]:
    """Name every side of an instrument whose exposure is not the sum over its open orders."""
    with connection.cursor() as cursor:
        cursor.execute(_EXPOSURE)
        rows = cursor.fetchall()
    books = Book.objects.in_bulk({row[0] for row in rows})
    for book_id, instrument_id, side, *sums in rows:
        book = books[book_id]
        opened, counted = (
            f"{count} orders, stakes {stakes:.{book.scale}f}, profit {profit:.{book.scale}f}"
            for count, stakes, profit in (sums[:3], sums[3:])
        )
        yield Difference(
            f"exposure of {side} of instrument {instrument_id}", book.code, None, opened, counted
        )
