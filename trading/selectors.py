"""Reading orders, always through the eyes of whoever asks."""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
from django.db import connection
from django.db.models import OuterRef, QuerySet, Subquery

from config.core import clock, money
from quotes import selectors as market
from quotes.models import Instrument
from quotes.rules import SIMULATED
from trading import errors
from trading.facts import Distances, OrderView, TickView
from trading.models import SHARDS, Order, PayoutRate, Terms
from trading.rules import KINDS, Price


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


def instrument_rows(*, symbol: str | None = None) -> list[dict[str, Any]]:
    """Return the listed instruments with terms, payout rate, session and last tick, as REST shows them."""
    states = {
        row.instrument.pk: row for row in market.instruments() if symbol in (None, row.instrument.symbol)
    }
    latest = Terms.objects.filter(instrument__in=states).order_by("instrument_id", "-version")
    newest = PayoutRate.objects.filter(instrument=OuterRef("pk")).order_by("-id").values("rate")[:1]
    rates = dict(
        Instrument.objects.filter(pk__in=states).annotate(rate=Subquery(newest)).values_list("pk", "rate")
    )
    return [
        {
            **_state_row(states[terms.instrument_id]),
            **_terms_row(terms, rates[terms.instrument_id]),
            "offers": _offers(terms, rates[terms.instrument_id], states[terms.instrument_id].source),
        }
        for terms in latest.distinct("instrument_id")
        if rates[terms.instrument_id] is not None
    ]


def _state_row(state: market.InstrumentState) -> dict[str, Any]:
    instrument, last = state.instrument, state.last
    return {
        "symbol": instrument.symbol,
        "name": instrument.name,
        "class": instrument.instrument_class,
        "price_decimals": instrument.price_decimals,
        "is_open": state.is_open,
        "is_suspended": instrument.is_suspended,
        "opens_at": clock.iso(state.opens_at) if state.opens_at else None,
        "closes_at": clock.iso(state.closes_at) if state.closes_at else None,
        "is_simulated": state.is_simulated,
        "max_quote_age_ms": instrument.max_quote_age_ms,
        "last": tick_view(Price(*last), instrument.price_decimals) if last else None,
    }


def _terms_row(terms: Terms, rate: Decimal) -> dict[str, Any]:
    return {
        "payout_rate": f"{rate.normalize():f}",
        "tie_policy": terms.tie_policy,
        "entry_policy": terms.entry_policy,
        "entry_delay_ms": terms.entry_delay_ms if terms.entry_policy == Terms.EntryPolicy.DELAYED else 0,
        "min_stake": f"{terms.min_stake.normalize():f}",
        "max_stake": f"{terms.max_stake.normalize():f}",
        "min_duration_seconds": terms.min_duration_seconds,
        "max_duration_seconds": terms.max_duration_seconds,
        "cutoff_seconds": terms.cutoff_seconds,
        "min_duration_ticks": terms.min_duration_ticks if terms.max_duration_ticks else 0,
        "max_duration_ticks": terms.max_duration_ticks,
        "max_tick_wait_seconds": terms.max_tick_wait_seconds,
        "offers_sale": terms.offers_sale,
        "sell_cutoff_seconds": terms.sell_cutoff_seconds,
        "contracts": terms.contracts,
    }


def _offers(terms: Terms, rate: Decimal, source: str) -> list[dict[str, Any]]:
    """Say of each contract what can be bought: its sides, what it takes, how it may end, what it pays."""
    kinds = {code: KINDS[code] for code in terms.contracts if code in KINDS}
    counted = {"ticks"} if terms.max_duration_ticks else set()
    low, high = (f"{bound.normalize():f}" for bound in (terms.min_priced_rate, terms.max_priced_rate))
    offers = []
    for code, kind in kinds.items():
        lengths = [
            each for each in ("seconds", "clock", "ticks") if each in kind.lengths - {"ticks"} | counted
        ]
        if not lengths or (kind.needs_uniform_digits and source != SIMULATED):
            continue
        fixed = f"{rate.normalize():f}" if code == "rise_fall" else None
        offers.append(
            {
                "contract": code,
                "sides": kind.sides,
                "takes": kind.takes,
                "lengths": lengths,
                "payout_rate": fixed,
                "min_payout_rate": fixed or low,
                "max_payout_rate": fixed or high,
            }
        )
    return offers


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
