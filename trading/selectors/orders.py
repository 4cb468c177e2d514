"""Reading orders, always through the eyes of whoever asks."""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
from django.db import connection
from django.db.models import QuerySet

from config.core import clock, money
from trading import errors
from trading.facts import Distances, OrderView, TickView
from trading.models import SHARDS, Order
from trading.rules import Price


class OrderRow(msgspec.Struct, kw_only=True):
    """An order with what its view needs from other tables, whichever statement read it."""

    id: UUID
    client_id: str
    account: int
    symbol: str
    price_decimals: int
    contract: str
    side: str
    stake: Decimal
    currency: str
    scale: int
    payout_rate: Decimal
    status: str
    refund_reason: str | None
    accepted_at: datetime
    entry_after: datetime | None
    duration_seconds: int | None
    expires_at: datetime
    entry: Price | None
    exit: Price | None
    payout: Decimal | None
    closed_at: datetime | None
    terms: int
    duration_ticks: int | None = None
    barrier: Decimal | None = None
    low: Decimal | None = None
    high: Decimal | None = None
    is_relative: bool = False
    digit: int | None = None


def order_view(row: OrderRow) -> OrderView:
    """Write an order as everybody outside sees it."""
    decimals, scale = row.price_decimals, row.scale
    return OrderView(
        id=str(row.id),
        client_id=row.client_id,
        account=row.account,
        symbol=row.symbol,
        contract=row.contract,
        side=row.side,
        stake=f"{row.stake:.{scale}f}",
        currency=row.currency,
        payout_rate=f"{row.payout_rate.normalize():f}",
        status=row.status,
        refund_reason=row.refund_reason,
        accepted_at=clock.iso(row.accepted_at),
        entry_after=clock.iso(row.entry_after) if row.entry_after else None,
        duration_seconds=row.duration_seconds,
        expires_at=clock.iso(row.expires_at),
        entry=tick_view(row.entry, decimals) if row.entry else None,
        exit=tick_view(row.exit, decimals) if row.exit else None,
        payout=f"{row.payout:.{scale}f}" if row.payout is not None else None,
        closed_at=clock.iso(row.closed_at) if row.closed_at else None,
        terms=row.terms,
        duration_ticks=row.duration_ticks,
        digit=row.digit,
        **_levels(row),
    )


def _levels(row: OrderRow) -> dict[str, Any]:
    """Write the barriers as prices, and as the distances they were agreed as."""
    named = (("barrier", row.barrier), ("low", row.low), ("high", row.high))
    agreed = {name: level for name, level in named if level is not None}
    if not agreed:
        return {}
    base = row.entry.price if row.is_relative and row.entry else money.ZERO
    known = not row.is_relative or row.entry is not None
    prices = {name: f"{base + level:.{row.price_decimals}f}" for name, level in agreed.items() if known}
    if not row.is_relative:
        return prices
    signed = {name: f"{level:+.{row.price_decimals}f}" for name, level in agreed.items()}
    return {**prices, "distances": Distances(**signed)}


def tick_view(price: Price, decimals: int) -> TickView:
    """Write a tick with the instrument's decimals."""
    return TickView(at=clock.iso(price.at), seq=price.seq, price=f"{price.price:.{decimals}f}")


def view_of(order: Order) -> OrderView:
    """Return the view of a stored order; `orders_of` has loaded what it needs."""
    book = order.account.book
    row = OrderRow(
        id=order.pk,
        client_id=order.client_id,
        account=order.account_id,
        symbol=order.instrument.symbol,
        price_decimals=order.instrument.price_decimals,
        contract=order.contract,
        side=order.side,
        stake=order.stake,
        currency=book.currency,
        scale=book.scale,
        payout_rate=order.payout_rate,
        status=order.status,
        refund_reason=order.refund_reason,
        accepted_at=order.accepted_at,
        entry_after=order.entry_after,
        duration_seconds=order.duration_seconds,
        expires_at=order.expires_at,
        entry=_price(order.entry_at, order.entry_seq, order.entry_price),
        exit=_price(order.exit_at, order.exit_seq, order.exit_price),
        payout=order.payout,
        closed_at=order.closed_at,
        terms=order.terms.version,
        duration_ticks=order.duration_ticks,
        barrier=order.barrier,
        low=order.low,
        high=order.high,
        is_relative=order.is_relative,
        digit=order.digit,
    )
    return order_view(row)


def _price(at: datetime | None, seq: int | None, price: Decimal | None) -> Price | None:
    if at is None or seq is None or price is None:
        return None
    return Price(at, seq, price)


def orders_of(
    customer_id: int, *, accounts: Iterable[int] = (), status: str | None = None, client_id: str | None = None
) -> QuerySet[Order]:
    """Return the customer's orders, newest first; `status` may be `closed` for all that are not open."""
    # By key: through the customer's accounts, so that the unique (account, client_id) answers, whatever the
    # length of his history.
    by_key = {"account__owner_id": customer_id, "client_id": client_id}
    whose = by_key if client_id else {"customer_id": customer_id}
    orders = _viewable().filter(**whose).order_by("-id")
    if accounts := list(accounts):
        orders = orders.filter(account_id__in=accounts)
    if status == "open":  # by its own small index
        orders = orders.filter(status=status, account__owner_id=customer_id)
    elif status == "closed":
        orders = orders.exclude(status=Order.Status.OPEN)
    elif status:
        orders = orders.filter(status=status)
    return orders


def order_of(customer_id: int, order_id: UUID) -> OrderView:
    """Return one order of the customer; raise NoSuchOrder also when it is somebody else's."""
    order = _viewable().filter(pk=order_id, customer_id=customer_id).first()
    if order is None:
        raise errors.NoSuchOrder(f"You have no order {order_id}.")
    return view_of(order)


def _viewable() -> QuerySet[Order]:
    return Order.objects.select_related("instrument", "account__book", "terms")


def settlement_lag() -> float:
    """Return for how many seconds the oldest decidable order has been waiting; 0 when none waits."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT min(o.expires_at) FROM quotes_watermark w CROSS JOIN generate_series(0, %s) AS s (shard)
            CROSS JOIN LATERAL (
                SELECT expires_at FROM trading_order
                WHERE instrument_id = w.instrument_id AND shard = s.shard AND status = 'open'
                  AND parked_at IS NULL AND expires_at <= w.at ORDER BY expires_at LIMIT 1) o
            """,
            (SHARDS - 1,),
        )
        oldest = cursor.fetchone()[0]
    return max(0.0, (clock.now() - oldest).total_seconds()) if oldest else 0.0
