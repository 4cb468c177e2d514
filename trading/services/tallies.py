"""What closed orders take out of the house's exposure and add to their customers' statistics."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.db import connection

from config.core import money
from config.core.errors import Broken
from config.core.sql import array
from trading.services.claims import Due

# The rows are locked ascending first: settlers of different shards meet on them.
REDUCE = """
WITH closed AS (
    SELECT e.id, v.orders, v.stakes, v.profit
    FROM unnest(%s::bigint[], %s::bigint[], %s::text[], %s::int[], %s::numeric[], %s::numeric[])
        AS v (book, instrument, side, orders, stakes, profit)
    JOIN trading_exposure e ON e.book_id = v.book AND e.instrument_id = v.instrument AND e.side = v.side
    ORDER BY e.id FOR NO KEY UPDATE OF e
)
UPDATE trading_exposure e SET
    open_orders = e.open_orders - c.orders, stakes = e.stakes - c.stakes, profit = e.profit - c.profit
FROM closed c WHERE e.id = c.id
"""

ADD = """
INSERT INTO trading_tally AS t
    (account_id, instrument_id, day, orders, won, lost, refunded, sold, turnover, profit)
SELECT account, instrument, %s, orders, won, lost, refunded, sold, turnover, profit
FROM unnest(%s::bigint[], %s::bigint[], %s::int[], %s::int[], %s::int[], %s::int[], %s::int[], %s::numeric[],
            %s::numeric[])
    AS v (account, instrument, orders, won, lost, refunded, sold, turnover, profit)
ORDER BY account, instrument
ON CONFLICT (account_id, day, instrument_id) DO UPDATE SET
    orders = t.orders + excluded.orders, won = t.won + excluded.won, lost = t.lost + excluded.lost,
    refunded = t.refunded + excluded.refunded, sold = t.sold + excluded.sold,
    turnover = t.turnover + excluded.turnover, profit = t.profit + excluded.profit
"""
ENDS = ("won", "lost", "refunded", "sold")


@dataclass(slots=True)
class _Open:
    orders: int = 0
    stakes: Decimal = money.ZERO
    profit: Decimal = money.ZERO


@dataclass(slots=True)
class _Day:
    ends: list[int]
    turnover: Decimal = money.ZERO
    profit: Decimal = money.ZERO


def reduce_exposure(batch: Sequence[Due]) -> None:
    """Take closed orders out of the exposure of their sides.

    The last thing a transaction does: settlers of all shards share these rows, and wait for them until its
    commit.
    """
    sums: dict[tuple[int, int, str], _Open] = {}
    for due in batch:
        key = (due.book, due.instrument, due.side)
        found = sums.get(key)
        if found is None:
            found = sums[key] = _Open()
        found.orders += 1
        found.stakes += due.stake
        found.profit += money.profit(due.stake, due.payout_rate, due.scale)
    columns: tuple[list[Any], ...] = (
        [book for book, _, _ in sums],
        [instrument for _, instrument, _ in sums],
        [side for _, _, side in sums],
        [each.orders for each in sums.values()],
        [each.stakes for each in sums.values()],
        [each.profit for each in sums.values()],
    )
    with connection.cursor() as cursor:
        cursor.execute(REDUCE, tuple(map(array, columns)))
        if cursor.rowcount != len(sums):
            raise Broken(f"{len(sums)} exposures were to fall and {cursor.rowcount} did")


def add_to_tallies(closed: Sequence[tuple[Due, str, Decimal]], now: datetime) -> None:
    """Count orders, each (order, status, payout), in the transaction that closes them."""
    sums: dict[tuple[int, int], _Day] = {}
    for due, status, payout in closed:
        key = (due.account, due.instrument)
        found = sums.get(key)
        if found is None:
            found = sums[key] = _Day([0, 0, 0, 0])
        found.ends[ENDS.index(status)] += 1
        if status != "refunded":
            found.turnover += due.stake
            found.profit += payout - due.stake
    columns: tuple[list[Any], ...] = (
        [account for account, _ in sums],
        [instrument for _, instrument in sums],
        [sum(each.ends) for each in sums.values()],
        *([each.ends[place] for each in sums.values()] for place in range(len(ENDS))),
        [each.turnover for each in sums.values()],
        [each.profit for each in sums.values()],
    )
    with connection.cursor() as cursor:
        cursor.execute(ADD, (now.astimezone(UTC).date(), *map(array, columns)))


def correct_tally(*, account: int, instrument: int, amount: Decimal, at: datetime) -> None:
    """Add what a correction moves to what the account gained on a day, in the transaction that moves it."""
    counts = ([0] for _ in range(1 + len(ENDS)))
    columns: tuple[list[Any], ...] = ([account], [instrument], *counts, [money.ZERO], [amount])
    with connection.cursor() as cursor:
        cursor.execute(ADD, (at.astimezone(UTC).date(), *map(array, columns)))
