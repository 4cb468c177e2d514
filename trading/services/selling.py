"""Selling early: an open order bought back at its fair value less a margin, or refused with the reason."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Q

from config.core import clock, facts, money
from config.core.errors import Broken, Invalid
from config.core.faults import faultpoint
from config.core.ids import derived_id
from config.core.outbox import customer_topic, write_facts
from payments.ledger.services import NewTransfer, post_rows
from quotes.models import Gap, Instrument, VoidedTick, Watermark
from quotes.rules import is_open
from quotes.selectors import calendars_of
from quotes.services import history_lock
from trading import errors
from trading import facts as said
from trading.facts import OrderView
from trading.models import Curb, Order, Terms, VolatilityEstimate
from trading.rules import Price, Question, Volatility, absolute, sale_value
from trading.selectors import curbs_over, order_of, order_view
from trading.services.claims import Due, claim_one
from trading.services.pricing import OLDEST_VOLATILITY
from trading.services.refusals import counted
from trading.services.tallies import add_to_tallies, reduce_exposure
from trading.services.telling import account_changed, order_row

SELLABLE = ("rise_fall", "higher_lower", "ends_between")


@dataclass(frozen=True, slots=True)
class Offer:
    """What an open order is worth now: `price` in its currency, made of `inputs`, at a tick."""

    price: Decimal
    tick: Price
    inputs: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sold:
    """The sold order, and whether an earlier call with the same client_id sold it."""

    order: OrderView
    is_replayed: bool


def sale_offer(*, customer_id: int, order_id: UUID) -> tuple[Due, Offer]:
    """Return what the order would be bought back for at this moment; raise what stands against it."""
    due = claim_one(order_id=order_id, customer_id=customer_id, locks=False)
    if due is None:
        raise _closed(order_of(customer_id, order_id))
    return due, _offer(due, clock.now())


def sell_order(*, customer_id: int, order_id: UUID, client_id: str, min_price: str | None = None) -> Sold:
    """Buy an open order back at its value, once: a repeated `client_id` answers as before.

    Either this or the settler closes it: both need the order's row. Raises NoSuchOrder, OrderClosed,
    SaleNotOffered, PriceStale, and SalePriceChanged when the value is below `min_price`.
    """
    with counted():
        return _sell(customer_id, order_id, client_id, min_price)


@transaction.atomic
def _sell(customer_id: int, order_id: UUID, client_id: str, min_price: str | None) -> Sold:
    if not 1 <= len(client_id) <= 64:
        raise Invalid("client_id takes 1 to 64 characters.", errors={"client_id": ["1 to 64 characters."]})
    due = claim_one(order_id=order_id, customer_id=customer_id)
    if due is None:
        return _repeated(customer_id, order_id, client_id, min_price)
    faultpoint("sell.after_claim")
    least = None if min_price is None else _amount(min_price, due.scale)
    history_lock([due.instrument])
    now = clock.now()
    offer = _offer(due, now)
    if least is not None and offer.price < least:
        raise errors.SalePriceChanged(
            f"You asked for at least {least:f} {due.currency}; the order is worth {offer.price:f} now.",
            min_price=f"{least:f}",
            price=f"{offer.price:f}",
        )
    view = _close(due, offer, client_id, min_price, now)
    faultpoint("sell.before_commit")
    return Sold(view, is_replayed=False)


def _amount(value: str, scale: int) -> Decimal:
    try:
        return money.parse(value, scale)
    except Invalid as refused:
        raise Invalid(refused.detail, errors={"min_price": [refused.detail]}) from None


def _repeated(customer_id: int, order_id: UUID, client_id: str, min_price: str | None) -> Sold:
    view = order_of(customer_id, order_id)
    sold = Order.objects.filter(pk=order_id, status=Order.Status.SOLD, sale_client_id=client_id).first()
    if sold is None:
        raise _closed(view)
    if (sold.sale or {}).get("min_price") != min_price:
        raise errors.IdempotencyMismatch(
            "This client_id sold the order at another min_price. Use a new client_id.", order=str(order_id)
        )
    return Sold(view, is_replayed=True)


def _closed(view: OrderView) -> errors.OrderClosed:
    return errors.OrderClosed(f"The order is {view.status} already.", order_status=view.status)


# --- the price ----------------------------------------------------------------------------------------


def _offer(due: Due, now: datetime) -> Offer:
    """Value the order at the latest tick; whoever sells at it holds the order's lock."""
    terms = Terms.objects.filter(instrument_id=due.instrument).order_by("-version").first()
    entry = due.entry
    is_sellable = due.contract in SELLABLE and due.duration_ticks is None
    if terms is None or not terms.offers_sale or not is_sellable:
        raise errors.SaleNotOffered("This order runs to its end; it is not bought back early.")
    if entry is None:
        raise errors.SaleNotOffered("The order has no entry yet. Try again in a moment.")
    if held := sales_held(due, now):
        until = f" until {clock.iso(held.ends_at)}" if held.ends_at else ""
        raise errors.SaleNotOffered(f"Early sales are stopped now{until}. The order goes on to its end.")
    _not_too_near(due, entry, now, timedelta(seconds=terms.sell_cutoff_seconds))
    tick, volatility, estimate = _market(due, now)
    parted = Gap.objects.filter(instrument=due.instrument, reason=Gap.Reason.SOURCE_CHANGED)
    if parted.filter(starts_at__gte=entry.at, starts_at__lt=now).exists():
        raise errors.SaleNotOffered(
            "The source of the prices has changed since the entry. The stake will come back."
        )
    approved = VoidedTick.objects.filter(instrument=due.instrument, state=VoidedTick.State.APPROVED)
    if approved.filter(seq__in=(entry.seq, tick.seq)).exists():
        raise errors.SaleNotOffered("A price it would rest on was voided. The order goes on to its end.")
    fixed = absolute(due.agreed, entry)
    level = entry.price if due.contract == "rise_fall" else fixed.barrier
    question = Question(
        kind=due.contract,
        spot=float(tick.price),
        seconds=(due.expires_at - now).total_seconds(),
        barrier=None if level is None else float(level),
        low=None if fixed.low is None else float(fixed.low),
        high=None if fixed.high is None else float(fixed.high),
    )
    won, tied = sale_value(
        question,
        volatility,
        due.side,
        grid=10.0**-due.price_decimals,
        ties_refund=due.contract == "rise_fall" and due.tie_policy == Terms.Tie.REFUND,
    )
    payout = due.stake + money.profit(due.stake, due.payout_rate, due.scale)
    fair = Decimal(won) * payout + Decimal(tied) * due.stake
    price = money.floor(fair * (1 - terms.sell_margin), due.scale)
    if price <= 0:
        raise errors.SaleNotOffered("The order is worth less than the smallest amount now.")
    inputs = {
        "probability": round(won, 9),
        "tie_probability": round(tied, 9),
        "volatility": estimate,
        "margin": f"{terms.sell_margin.normalize():f}",
        "terms": terms.version,
        "at": clock.iso(now),
    }
    return Offer(price, tick, inputs)


def sales_held(due: Due, now: datetime) -> Curb | None:
    """Return a curb that holds the early sale of an order back, or None."""
    effects = (Curb.Effect.STOP_SALES, Curb.Effect.STOP_ALL, Curb.Effect.EVENT)
    over = curbs_over(due.instrument, now).filter(effect__in=effects)
    over = over.filter(Q(book=None) | Q(book_id=due.book))
    over = over.filter(contract__in=("", due.contract), side__in=("", due.side))
    return over.first()


def _not_too_near(due: Due, entry: Price, now: datetime, cutoff: timedelta) -> None:
    seconds = int(cutoff.total_seconds())
    if now < max(entry.at, due.accepted_at) + cutoff:
        raise errors.SaleNotOffered(f"An order can be sold from {seconds} s after its entry.")
    if now >= due.expires_at - cutoff:
        raise errors.SaleNotOffered(f"An order can be sold until {seconds} s before its end.")


def _market(due: Due, now: datetime) -> tuple[Price, Volatility, int]:
    """Return the latest tick and how the market moves; raise what makes them no basis for a price."""
    instrument = Instrument.objects.get(pk=due.instrument)
    if instrument.is_suspended:
        raise errors.SaleNotOffered(f"{due.symbol} is suspended. The order goes on to its end.")
    if not is_open(calendars_of([due.instrument])[due.instrument], now):
        raise errors.SaleNotOffered(f"{due.symbol} is closed. The order goes on to its end.")
    mark = Watermark.objects.get(instrument=instrument)
    limit = timedelta(milliseconds=instrument.max_quote_age_ms)
    if mark.last_at is None or mark.last_price is None or now - min(mark.last_at, mark.at) > limit:
        raise errors.PriceStale(f"{due.symbol} has no fresh price. Try again when it moves.")
    if mark.source_lag_ms is not None and mark.source_lag_ms > instrument.max_source_lag_ms:
        raise errors.PriceStale(f"The source of {due.symbol} lags behind. Try again in a moment.")
    estimate = VolatilityEstimate.objects.filter(instrument=instrument).order_by("-id").first()
    if estimate is None or now - estimate.at > OLDEST_VOLATILITY:
        raise errors.SaleNotOffered(f"{due.symbol} has moved too little lately for a price. Try again soon.")
    tick = Price(mark.last_at, mark.last_seq, mark.last_price)
    return tick, Volatility(estimate.per_sqrt_second, estimate.tick_seconds), estimate.pk


# --- closing ------------------------------------------------------------------------------------------


def _close(due: Due, offer: Offer, client_id: str, min_price: str | None, now: datetime) -> OrderView:
    tick = offer.tick
    closed = Order.objects.filter(pk=due.id, status=Order.Status.OPEN).update(
        status=Order.Status.SOLD,
        payout=offer.price,
        closed_at=now,
        exit_at=tick.at,
        exit_seq=tick.seq,
        exit_price=tick.price,
        sale_client_id=client_id,
        sale={**offer.inputs, "min_price": min_price},
    )
    if closed != 1:
        raise Broken(f"order {due.id} was locked open and is not")
    posted = post_rows(_transfers(due, offer.price))
    add_to_tallies([(due, Order.Status.SOLD, offer.price)], now)
    row = next(each for each in reversed(posted) if each.destination_version is not None)
    view = order_view(
        order_row(
            due,
            entry=due.entry,
            exit_=tick,
            status=Order.Status.SOLD,
            payout=offer.price,
            closed_at=now,
        )
    )
    sold = said.OrderSold(order=view, account=due.account, version=row.destination_version or 0)
    arrived = sum(each.destination_version is not None for each in posted)
    changed = account_changed(due, row, from_version=(row.destination_version or 0) - arrived)
    topic = customer_topic(due.customer)
    write_facts(
        [(topic, data.fact_name, facts.encode(data)) for data in (sold, changed)],
        at=now,
    )
    reduce_exposure([due])
    return view


def _transfers(due: Due, price: Decimal) -> list[NewTransfer]:
    """Say where the money goes. The stake leaves escrow under the same id as at any other end: only once."""
    reference, returned = str(due.id), min(price, due.stake)
    kept, gained = due.stake - returned, price - returned
    transfers = [
        NewTransfer(derived_id(due.id, "release"), due.escrow, due.account, returned, "sold", reference)
    ]
    if kept:
        transfers.append(
            NewTransfer(derived_id(due.id, "kept"), due.escrow, due.counter, kept, "stake_lost", reference)
        )
    if gained:
        transfers.append(
            NewTransfer(derived_id(due.id, "profit"), due.counter, due.account, gained, "profit", reference)
        )
    return transfers
