"""What the ledger's check asks about orders."""

from collections.abc import Iterator

from django.db import connection
from payments.ledger.checks import Difference
from payments.ledger.checks import register as register_check


def register() -> None:
    """Hand the checks of orders to the ledger."""
    register_check(escrow_holds_open_stakes)


# One statement, so that both sums are of one moment.
_ESCROW = """
SELECT b.code, a.id, coalesce(stakes.sum, 0), coalesce(held.sum, 0)
FROM ledger_book b
JOIN ledger_account a ON a.book_id = b.id AND a.code = 'escrow' AND a.owner_id IS NULL
LEFT JOIN LATERAL (
    SELECT sum(o.stake) FROM trading_order o JOIN ledger_account c ON c.id = o.account_id
    WHERE o.status = 'open' AND c.book_id = b.id) stakes ON true
LEFT JOIN LATERAL (
    SELECT sum(CASE WHEN t.destination_id = a.id THEN t.amount ELSE -t.amount END) FROM ledger_transfer t
    WHERE t.book_id = b.id AND (t.destination_id = a.id OR t.source_id = a.id)) held ON true
WHERE coalesce(stakes.sum, 0) <> coalesce(held.sum, 0)
"""


def escrow_holds_open_stakes() -> Iterator[Difference]:
    """Name every book whose escrow is not the sum of the stakes of its open orders."""
    with connection.cursor() as cursor:
        cursor.execute(_ESCROW)
        for book, account, expected, found in cursor.fetchall():
            yield Difference("escrow", book, account, f"{expected:f}", f"{found:f}")
