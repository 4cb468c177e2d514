"""Deciding a day's orders again from what is stored, to see that nothing else can come out."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from uuid import UUID

from django.db import connection
from psycopg.types.datetime import TimestamptzLoader

from quotes.services.partitions import day_bounds
from trading.models import Order
from trading.rules import Outcome, Price, decide
from trading.services.claims import COLUMNS, JOINS, Due
from trading.services.histories import ALL_TICKS, histories

PAGE = 2_000

CLOSED = f"""
SELECT {COLUMNS}, o.closed_at, o.status, o.refund_reason, o.payout, o.exit_at, o.exit_seq, o.exit_price
FROM trading_order o JOIN quotes_watermark w ON w.instrument_id = o.instrument_id {JOINS}
WHERE o.accepted_at >= %s AND o.accepted_at < %s AND (o.accepted_at, o.id) > (%s, %s)
  AND o.status NOT IN ('open', 'sold')
ORDER BY o.accepted_at, o.id LIMIT %s
"""  # noqa: S608 - assembled from constants


@dataclass(frozen=True, slots=True)
class Difference:
    """An order that would end otherwise today: what it says, and what the stored market says."""

    order: UUID
    settled: str
    decided: str


@dataclass(slots=True)
class Report:
    """What deciding a day again found."""

    day: date
    orders: int = 0
    sold: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)


def resettle(day: date) -> Report:
    """Decide every closed order accepted on that day (UTC) again, by the same rules, and write nothing.

    Of a day whose ticks have been archived, those kept as evidence decide. What was voided after an order
    closed did not decide it and does not now. Sold orders were closed by their owners and are only counted.
    """
    start, end = day_bounds(day)
    report = Report(day)
    report.sold = Order.objects.filter(
        accepted_at__gte=start, accepted_at__lt=end, status=Order.Status.SOLD
    ).count()
    for page in _pages(start, end):
        batch = [due for due, _, _ in page]
        closed_at = {due.id: at for due, _, at in page}
        known = histories(batch, ticks=ALL_TICKS, closed_at=closed_at)
        for (due, settled, _), history in zip(page, known, strict=True):
            decided = decide(due.agreed, history)
            report.orders += 1
            report.outcomes[settled.refund_reason or settled.status] += 1
            if decided != settled:
                report.differences.append(Difference(due.id, _written(settled), _written(decided)))
    return report


def _pages(start: datetime, end: datetime) -> Iterator[list[tuple[Due, Outcome, datetime]]]:
    at, last = start, UUID(int=0)
    while True:
        with connection.cursor() as cursor:
            cursor.cursor.adapters.register_loader("timestamptz", TimestamptzLoader)
            cursor.execute(CLOSED, (start, end, at, last, PAGE))
            page = [_settled(row) for row in cursor.fetchall()]
        if not page:
            return
        yield page
        at, last = page[-1][0].accepted_at, page[-1][0].id


def _settled(row: Sequence[object]) -> tuple[Due, Outcome, datetime]:
    due = Due(*row[:-7])  # type: ignore[arg-type]
    closed_at, status, reason, payout, *exit_ = row[-7:]
    entry = due.entry
    outcome = Outcome(
        status=str(status),
        payout=payout,  # type: ignore[arg-type]
        refund_reason=None if reason is None else str(reason),
        entry=entry,
        exit=None if exit_[0] is None else Price(*exit_),  # type: ignore[arg-type]
    )
    if due.entry_after is not None:
        # A delayed entry is found again too.
        due.entry_at = due.entry_seq = due.entry_price = None
    return due, outcome, closed_at  # type: ignore[return-value]


def _written(outcome: Outcome | None) -> str:
    if outcome is None:
        return "open"
    ticks = [f"{tick.seq} at {tick.price}" if tick else "none" for tick in (outcome.entry, outcome.exit)]
    return f"{outcome.refund_reason or outcome.status} {outcome.payout}, entry {ticks[0]}, exit {ticks[1]}"
