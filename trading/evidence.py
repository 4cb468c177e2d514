"""Which ticks orders need for ever."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Max, Q
from django.db.models.functions import Greatest

from quotes import retention
from trading.models import Order, Terms
from trading.rules import entry_deadline, needs_every_tick

AROUND = timedelta(seconds=5)
# An entry is a little older than the acceptance, a delayed one and its order's expiry a little later.
SLACK = timedelta(hours=1)
PAGE = 5_000
COLUMNS = (
    "accepted_at",
    "id",
    "instrument_id",
    "status",
    "contract",
    "duration_ticks",
    "entry_after",
    "terms__max_entry_wait_ms",
    "entry_at",
    "exit_at",
    "closed_at",
    "expires_at",
)


def register() -> None:
    """Declare the evidence of orders to whoever drops old ticks."""
    retention.register(spans)


def spans(start: datetime, end: datetime) -> Iterator[retention.Span]:
    """Name the ticks around entry and exit of every order that needs any of [start, end).

    Both spans reach on to where a later tick would have counted, so that it stays provable that none did.
    An order that is not closed, or whose outcome rests on every tick of its way, needs everything in between.
    """
    for order in _accepted_around(start, end):
        for span in _spans_of(order):
            if span.starts_at < end and span.ends_at >= start:
                yield span


def _spans_of(order: dict[str, Any]) -> tuple[retention.Span, ...]:
    instrument, expires_at = order["instrument_id"], order["expires_at"]
    accepted_at, entry_at = order["accepted_at"], order["entry_at"]
    starts_at = min(entry_at or accepted_at, accepted_at) - AROUND
    ends_at = expires_at + AROUND
    if order["status"] == Order.Status.OPEN:
        return (retention.Span(instrument, starts_at, ends_at, is_settled=False),)
    if entry_at is None and order["entry_after"] is not None:
        wait = timedelta(milliseconds=order["terms__max_entry_wait_ms"])
        entry_at = entry_deadline(order["entry_after"], wait, expires_at)
    if needs_every_tick(order["contract"], order["duration_ticks"]):
        # Decided early it was closed then; at its end, it is provable that no later tick counted.
        return (retention.Span(instrument, starts_at, min(expires_at, order["closed_at"]) + AROUND),)
    entered_at = max(entry_at or accepted_at, accepted_at)
    return (
        retention.Span(instrument, starts_at, entered_at + AROUND),
        retention.Span(instrument, (order["exit_at"] or expires_at) - AROUND, ends_at),
    )


def _accepted_around(start: datetime, end: datetime) -> Iterator[dict[str, Any]]:
    """Read the orders that may touch [start, end), page by page along the index of acceptance."""
    longest = Terms.objects.aggregate(
        seconds=Max(Greatest("max_duration_seconds", "max_tick_wait_seconds"), default=0),
        delay_ms=Max("entry_delay_ms", default=0),
    )
    life = timedelta(seconds=longest["seconds"], milliseconds=longest["delay_ms"])
    orders = Order.objects.filter(accepted_at__lt=end + SLACK).order_by("accepted_at", "id").values(*COLUMNS)
    page = list(orders.filter(accepted_at__gte=start - life - SLACK)[:PAGE])
    while page:
        yield from page
        at, last = page[-1]["accepted_at"], page[-1]["id"]
        further = Q(accepted_at__gt=at) | Q(id__gt=last)
        page = list(orders.filter(further, accepted_at__gte=at)[:PAGE])
