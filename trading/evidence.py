"""Which ticks orders need for ever."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from quotes import retention
from trading.models import Order

AROUND = timedelta(seconds=5)


def register() -> None:
    """Declare the evidence of orders to whoever drops old ticks."""
    retention.register(spans)


def spans(start: datetime, end: datetime) -> Iterator[retention.Span]:
    """Name the ticks around entry and exit of every order that touches [start, end)."""
    touching = Order.objects.filter(accepted_at__lt=end + AROUND, expires_at__gte=start - AROUND)
    for order in touching.iterator(chunk_size=5_000):
        settled = order.status != Order.Status.OPEN
        for at in (order.entry_at or order.accepted_at, order.exit_at or order.expires_at):
            yield retention.Span(order.instrument_id, at - AROUND, at + AROUND, settled)
