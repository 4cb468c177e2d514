"""Voiding a tick: asked for by one operator, decided by another, only far beyond independent prices."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from statistics import median
from typing import NamedTuple

from django.contrib.auth.base_user import AbstractBaseUser
from django.db import IntegrityError, transaction

from config.core import audit, clock, outbox
from quotes import record, retention, rules, selectors
from quotes.errors import (
    InvalidPrices,
    NotVoidable,
    ReasonMissing,
    SamePerson,
    TickMissing,
    VoidDecided,
    VoidExists,
)
from quotes.facts import IndependentPriceView, TickVoided
from quotes.models import Instrument, Tick, VoidedTick, Watermark
from quotes.services.history import history_lock

# Published with the list of voided ticks; each request keeps the one in force.
VOID_DEVIATION = Decimal("0.005")
LEAST_PRICES, MOST_PRICES = 2, 20
LONGEST_SOURCE = 40
# What a price of the record holds.
LEAST_PRICE, PRICE_BOUND = Decimal("0.00000001"), Decimal(10**12)


class IndependentPrice(NamedTuple):
    """What a source that did not make the tick quoted at its instant."""

    source: str
    price: Decimal


@transaction.atomic
def request_void(
    *,
    instrument: Instrument,
    at: datetime,
    seq: int,
    independent_prices: Sequence[IndependentPrice],
    actor: AbstractBaseUser,
    reason: str,
) -> VoidedTick:
    """Ask that a tick be voided; nothing changes until another operator approves. The reason becomes public.

    `at` and `seq` are the tick's own. Raises ReasonMissing, TickMissing for one that is not in the database,
    InvalidPrices, NotVoidable when it is late, made here, or not farther from the median of the independent
    prices than VOID_DEVIATION of it, VoidExists.
    """
    _check_reason(reason)
    prices = [IndependentPrice(each.source.strip(), each.price) for each in independent_prices]
    maker = selectors.source_of(instrument)
    tick = _voidable(instrument, maker, at, seq)
    _check_prices(prices, maker)
    voided = VoidedTick(
        instrument=instrument,
        at=tick.at,
        seq=tick.seq,
        price=tick.price,
        independent_prices=[
            {"source": each.source, "price": f"{each.price.normalize():f}"} for each in prices
        ],
        deviation=_deviation(tick.price, [each.price for each in prices]),
        limit=VOID_DEVIATION,
        reason=reason.strip(),
        requested_by_id=actor.pk,
        requested_at=clock.now(),
    )
    try:
        with transaction.atomic():
            voided.save(force_insert=True)
    except IntegrityError:
        raise VoidExists() from None
    view = record.voided_row(voided)
    audit.record(actor=actor, action="void.requested", target=voided, after=view, reason=reason)
    return voided


@transaction.atomic
def approve_void(*, request: VoidedTick, actor: AbstractBaseUser, reason: str) -> VoidedTick:
    """Void a tick: orders that rest on it and close from now on are refunded; what is closed stays.

    Nothing is decided meanwhile. Raises ReasonMissing, SamePerson, VoidDecided.
    """
    history_lock([request.instrument_id], exclusive=True)
    Watermark.objects.select_for_update(no_key=True).get(instrument_id=request.instrument_id)
    voided = _decide(request, VoidedTick.State.APPROVED, actor, "tick.voided", reason)
    view = record.voided_row(voided)
    prices = [IndependentPriceView(**each) for each in view.pop("independent_prices")]
    outbox.publish(outbox.OPERATORS_TOPIC, TickVoided(**view, independent_prices=prices))
    return voided


@transaction.atomic
def decline_void(*, request: VoidedTick, actor: AbstractBaseUser, reason: str) -> VoidedTick:
    """Leave a tick as it is; raise ReasonMissing, SamePerson, VoidDecided."""
    return _decide(request, VoidedTick.State.DECLINED, actor, "void.declined", reason)


@retention.register
def voided_spans(start: datetime, end: datetime) -> Iterator[retention.Span]:
    """Name the voided ticks of [start, end): that an order was refunded because of one stays provable."""
    rows = VoidedTick.objects.filter(state=VoidedTick.State.APPROVED, at__gte=start, at__lt=end)
    for instrument, at in rows.values_list("instrument_id", "at"):
        yield retention.Span(instrument, at, at)


def _voidable(instrument: Instrument, maker: str, at: datetime, seq: int) -> Tick:
    if maker == rules.SIMULATED:
        raise NotVoidable(f"The prices of {instrument} are made by its seed; nothing independent quotes it.")
    tick = Tick.objects.filter(instrument=instrument, at=at, seq=seq).first()
    if tick is None:
        raise TickMissing(f"{instrument} has no tick {seq} at {clock.iso(at)} in the database.")
    if tick.is_late:
        raise NotVoidable("The tick came late and decides nothing.")
    return tick


def _check_prices(prices: Sequence[IndependentPrice], maker: str) -> None:
    names = {each.source.casefold() for each in prices}
    if maker in names:
        raise InvalidPrices(f"{maker} makes the prices here; it is not independent of them.")
    if len(names) < len(prices) or not all(0 < len(each.source) <= LONGEST_SOURCE for each in prices):
        raise InvalidPrices(f"Name each source once, with at most {LONGEST_SOURCE} characters.")
    if not LEAST_PRICES <= len(prices) <= MOST_PRICES:
        raise InvalidPrices(f"Give the prices of {LEAST_PRICES} to {MOST_PRICES} independent sources.")
    if not all(map(_is_price, (each.price for each in prices))):
        raise InvalidPrices("A price is above zero and has at most eight decimals.")


def _is_price(value: Decimal) -> bool:
    is_near = value.is_finite() and LEAST_PRICE <= value < PRICE_BOUND
    return is_near and value == value.quantize(LEAST_PRICE)


def _deviation(price: Decimal, independent: Sequence[Decimal]) -> Decimal:
    """Return how far the price is from the median of the others, as a part of it; raise NotVoidable."""
    middle = median(independent)
    found = (abs(price - middle) / middle).quantize(Decimal("1e-8"))
    if found <= VOID_DEVIATION:
        raise NotVoidable(
            f"The tick is {found:f} from the independent prices; more than {VOID_DEVIATION:f} is needed.",
            deviation=f"{found:f}",
            limit=f"{VOID_DEVIATION:f}",
        )
    return found


def _decide(
    request: VoidedTick, state: VoidedTick.State, actor: AbstractBaseUser, action: str, reason: str
) -> VoidedTick:
    _check_reason(reason)
    if request.requested_by_id == actor.pk:
        raise SamePerson("You asked for it; somebody else decides.")
    decided = VoidedTick.objects.filter(pk=request.pk, state=VoidedTick.State.REQUESTED).update(
        state=state, decided_by_id=actor.pk, decided_at=clock.now()
    )
    if not decided:
        raise VoidDecided()
    voided = VoidedTick.objects.select_related("instrument").get(pk=request.pk)
    audit.record(
        actor=actor,
        action=action,
        target=voided,
        before={"state": VoidedTick.State.REQUESTED},
        after={"state": state},
        reason=reason,
    )
    return voided


def _check_reason(reason: str) -> None:
    if not reason.strip():
        raise ReasonMissing()
