"""Hedges: what is wanted against what is held, intended in one transaction, claimed and recorded in others.

Nothing here speaks to a provider: that is done by `trading.hedging`, which calls these.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from math import fsum
from uuid import UUID

import prometheus_client
import structlog
from django.db import connection, transaction
from django.db.models import F, QuerySet, Sum

from config.core import clock, money
from config.core.faults import faultpoint
from config.core.ids import new_id
from config.core.wire import plain
from payments.ledger.models import Book
from quotes.lanes import Connection
from quotes.models import Instrument, Watermark
from quotes.rules import MADE_HERE
from quotes.selectors import connections
from trading.models import HedgeExecution, HedgeOrder, HedgeTerms, Order, VolatilityEstimate
from trading.models.hedging import QUANTITY
from trading.rules import Question, Volatility, hedging
from trading.services.pricing import OLDEST_VOLATILITY

log = structlog.get_logger(__name__)
State = HedgeOrder.State
# Its bytes may have reached the provider, and nothing says yet that it is over.
ON_ITS_WAY = (State.SENT, State.ACKNOWLEDGED)
LONGEST_WORDS = 300
UNIT = Decimal(1).scaleb(-QUANTITY["decimal_places"])
OTHER_CURRENCY = "in a book of another currency"
FAILED = prometheus_client.Counter("hedge_decisions_failed", "Instruments no hedge could be decided for.")


# --- deciding -----------------------------------------------------------------------------------------


def decide_hedges(*, providers: Collection[str]) -> list[HedgeOrder]:
    """Intend the orders that are needed now of these providers, at most one an instrument; return them.

    What was intended and not sent in time lapses. Each instrument is a transaction of its own. Nothing is
    decided while an order is unfinished or its executions do not add up, without a fresh price or volatility,
    or at a price that is made here.
    """
    HedgeOrder.objects.filter(state=State.INTENDED, good_until__lte=clock.now()).update(
        state=State.LAPSED, changed_at=clock.now()
    )
    hedged = HedgeTerms.objects.filter(is_on=True, provider__in=providers).order_by("pk")
    intended = []
    for pk in hedged.values_list("pk", flat=True):
        try:
            order = _decide(pk)
        except Exception:  # one instrument must not stop the others
            if not connection.is_usable():
                raise
            FAILED.inc()
            log.exception("a hedge could not be decided", instrument=pk)
            continue
        if order is not None:
            intended.append(order)
    if intended:
        faultpoint("hedge.after_decide")
    return intended


@transaction.atomic
def _decide(instrument_id: int) -> HedgeOrder | None:
    # Locked: of two that decide, the second finds the order of the first.
    terms = (
        HedgeTerms.objects.select_for_update(no_key=True, of=("self",))
        .select_related("instrument", "provider")
        .filter(pk=instrument_id, is_on=True)
        .first()
    )
    if (
        terms is None
        or unfinished_of(instrument_id).exists()
        or HedgeOrder.objects.filter(instrument=instrument_id, is_reconciled=False).exists()
    ):
        return None
    now = clock.now()
    market = _market(terms.instrument, now)
    if market is None:
        return None
    wanted = _wanted(terms, market, now)
    if wanted is None:
        return None
    held = held_of(instrument_id)
    quantity = hedging.to_order(
        wanted=wanted.amount,
        held=held,
        is_open=wanted.orders > 0,
        bounds=hedging.Bounds(terms.threshold, terms.lot, terms.max_quantity),
    )
    if not quantity:
        return None
    return _intend(terms, market, wanted, held, quantity, now)


def _intend(
    terms: HedgeTerms, market: "_Market", wanted: "_Wanted", held: Decimal, quantity: Decimal, now: datetime
) -> HedgeOrder:
    inputs = {
        "price": market.price,
        "seq": market.seq,
        "volatility": market.volatility_id,
        "orders": wanted.orders,
        "ending": wanted.ending,
        "not_hedged": dict(wanted.not_hedged),
        "wanted": wanted.amount,
        "held": held,
        "threshold": terms.threshold,
        "lot": terms.lot,
        "max_quantity": terms.max_quantity,
    }
    limit = hedging.limit_price(
        price=market.price,
        quantity=quantity,
        collar=terms.collar,
        decimals=terms.instrument.price_decimals,
    )
    return HedgeOrder.objects.create(
        id=new_id(),
        instrument=terms.instrument,
        provider=terms.provider,
        source_symbol=terms.source_symbol,
        side=HedgeOrder.Side.BUY if quantity > 0 else HedgeOrder.Side.SELL,
        quantity=abs(quantity),
        limit_price=limit,
        decided_at=now,
        good_until=now + timedelta(seconds=terms.max_age_seconds),
        inputs=plain(inputs),
        changed_at=now,
    )


@dataclass(frozen=True, slots=True)
class _Market:
    """The latest tick and how the market moves; without an estimate nothing is wanted, but given back."""

    price: Decimal
    seq: int
    volatility: Volatility | None
    volatility_id: int | None


@dataclass(slots=True)
class _Wanted:
    """How much outweighs the open orders, of how many; those that are ending, or not hedged and why."""

    amount: Decimal
    orders: int
    ending: int
    not_hedged: Counter[str]


def _market(instrument: Instrument, now: datetime) -> _Market | None:
    mark = Watermark.objects.get(instrument=instrument)
    limit = timedelta(milliseconds=instrument.max_quote_age_ms)
    if mark.last_at is None or mark.last_price is None or now - min(mark.last_at, mark.at) > limit:
        return None
    if mark.source in MADE_HERE:
        return None
    estimate = VolatilityEstimate.objects.filter(instrument=instrument).order_by("-id").first()
    if estimate is None or now - estimate.at > OLDEST_VOLATILITY:
        return _Market(mark.last_price, mark.last_seq, None, None)
    moves = Volatility(estimate.per_sqrt_second, estimate.tick_seconds)
    return _Market(mark.last_price, mark.last_seq, moves, estimate.pk)


@dataclass(frozen=True, slots=True)
class _Open:
    """An open order of real money, as far as hedging looks at it."""

    contract: str
    side: str
    stake: Decimal
    payout_rate: Decimal
    scale: int
    currency: str
    duration_ticks: int | None
    expires_at: datetime
    entry: Decimal | None
    barrier: Decimal | None
    low: Decimal | None
    high: Decimal | None
    is_relative: bool

    def question(self, spot: Decimal, entry: Decimal, seconds: float) -> Question:
        """Return it as the pricing model sees it; rise/fall has its barrier at the entry."""
        base = entry if self.is_relative else money.ZERO
        barrier, low, high = (
            None if level is None else float(base + level) for level in (self.barrier, self.low, self.high)
        )
        if self.contract == "rise_fall":
            barrier = float(entry)
        return Question(
            kind=self.contract, spot=float(spot), seconds=seconds, barrier=barrier, low=low, high=high
        )

    def payout(self) -> float:
        """Return what is paid if it is won."""
        return float(self.stake + money.profit(self.stake, self.payout_rate, self.scale))


def _open_orders(instrument_id: int) -> Iterator[_Open]:
    rows = Order.objects.filter(
        instrument=instrument_id,
        status=Order.Status.OPEN,
        parked_at=None,
        account__book__kind=Book.Kind.REAL,
    ).values_list(
        "contract", "side", "stake", "payout_rate", "account__book__scale", "account__book__currency",
        "duration_ticks", "expires_at", "entry_price", "barrier", "low", "high", "is_relative",
    )  # fmt: skip
    return (_Open(*row) for row in rows.order_by().iterator())


def _wanted(terms: HedgeTerms, market: _Market, now: datetime) -> _Wanted | None:
    """Return what outweighs the open orders; None when that cannot be known."""
    found, deltas = _Wanted(money.ZERO, 0, 0, Counter()), []
    for order in _open_orders(terms.instrument_id):
        why = hedging.not_hedged_because(order.contract, order.duration_ticks)
        if order.currency != terms.currency:
            why = OTHER_CURRENCY
        seconds = (order.expires_at - now).total_seconds()
        if why:
            found.not_hedged[why] += 1
        elif seconds < terms.cutoff_seconds:
            found.ending += 1
        else:
            found.orders += 1
            if order.entry is None:
                # Its barrier moves along with the price until the entry: there is nothing to outweigh yet.
                continue
            if market.volatility is None:
                return None
            question = order.question(market.price, order.entry, seconds)
            deltas.append(hedging.digital_delta(question, market.volatility, order.side, order.payout()))
    found.amount = Decimal(fsum(deltas)).quantize(UNIT)
    return found


def held_of(instrument_id: int) -> Decimal:
    """Return what is held of an instrument, below zero when it is owed: what all executions add up to."""
    kept = HedgeTerms.objects.filter(pk=instrument_id).values_list("held", flat=True).first()
    return kept or money.ZERO


def unfinished_of(instrument_id: int) -> QuerySet[HedgeOrder]:
    """Return the order of an instrument that is not over; there is one at most."""
    return HedgeOrder.objects.filter(instrument=instrument_id, state__in=hedging.UNFINISHED)


def filled_of(order: HedgeOrder) -> Decimal:
    """Return how much of an order is filled: the sum of its executions."""
    return order.executions.aggregate(filled=Sum("quantity"))["filled"] or money.ZERO


# --- sending ------------------------------------------------------------------------------------------


def hedges_by_provider() -> dict[Connection, list[HedgeOrder]]:
    """Return the orders that are not over, by their provider.

    Every enabled provider is there that hedging is on with, or that owes a report, be it without an order.
    """
    wanted = set(HedgeTerms.objects.filter(is_on=True).values_list("provider_id", flat=True))
    orders = defaultdict(list)
    for order in HedgeOrder.objects.filter(state__in=hedging.UNFINISHED).order_by("pk"):
        orders[order.provider_id].append(order)
        if order.state in ON_ITS_WAY:
            wanted.add(order.provider_id)
    return {each: orders[each.code] for each in connections() if each.code in wanted}


@transaction.atomic
def claim_hedge_order(order_id: UUID, seq: int, is_repeat: bool) -> bool:
    """Mark an intended order as sent under a number of its session; return whether it may be sent.

    Called in the transaction that takes the number: an order has one number at most. Not once it is too old
    or hedging is switched off.
    """
    if is_repeat and HedgeOrder.objects.filter(pk=order_id, state=State.SENT, sent_seq=seq).exists():
        return True
    now = clock.now()
    # Every condition on the row itself: with a join PostgreSQL would not ask again after waiting for it.
    hedged = HedgeTerms.objects.filter(is_on=True).values("pk")
    claimed = HedgeOrder.objects.filter(
        pk=order_id, state=State.INTENDED, good_until__gt=now, instrument_id__in=hedged
    ).update(state=State.SENT, sent_seq=seq, sent_at=now, changed_at=now)
    return claimed == 1


@transaction.atomic
def resend_hedge_order(*, order_id: UUID) -> bool:
    """Tell whether an order that its provider has not received may be sent again; one too old lapses."""
    now = clock.now()
    sent = HedgeOrder.objects.filter(pk=order_id, state=State.SENT)
    if sent.filter(good_until__lte=now).update(state=State.LAPSED, changed_at=now):
        log.warning("a hedge was never received and is too old to be sent again", order=str(order_id))
        return False
    return sent.exists()


# --- what comes of it ---------------------------------------------------------------------------------


@transaction.atomic
def refuse_hedge_order(*, order_id: UUID, text: str) -> bool:
    """Record that a provider did not take an order at all; return whether that was news."""
    refused = HedgeOrder.objects.filter(pk=order_id, state=State.SENT).update(
        state=State.REJECTED, said=_words(text), changed_at=clock.now()
    )
    return refused == 1


@transaction.atomic
def record_execution(*, provider: str, report: hedging.Report) -> bool:
    """Record what a provider reports of an order, once by its ExecID; return whether that was news.

    A report of no order of ours changes nothing, and is an alarm.
    """
    order = _reported(provider, report)
    if order is None:
        log.error("a provider reports an order that is none of ours", provider=provider, said=report.raw)
        return False
    if not report.is_status_only:
        if order.executions.filter(exec_id=report.exec_id).exists():
            return False
        effect = _effect(order, report)
        HedgeExecution.objects.create(
            order=order,
            exec_id=report.exec_id,
            refers_to=report.refers_to if report.takes_back else "",
            quantity=effect,
            price=report.price,
            fields=plain([(tag, hedging.storable(value)) for tag, value in report.raw]),
            recorded_at=clock.now(),
        )
        signed = effect if order.side == HedgeOrder.Side.BUY else -effect
        HedgeTerms.objects.filter(pk=order.instrument_id).update(held=F("held") + signed)
    _stand(order, report)
    return True


def _reported(provider: str, report: hedging.Report) -> HedgeOrder | None:
    try:
        order_id = UUID(report.cl_ord_id)
    except ValueError:
        return None
    sent = HedgeOrder.objects.filter(pk=order_id, provider=provider, sent_seq__isnull=False)
    return sent.select_for_update(no_key=True).first()


def _effect(order: HedgeOrder, report: hedging.Report) -> Decimal:
    """Return what a report adds to what is filled: its own fill, less what stands of the one it takes back.

    A correction may itself be corrected, by its own ExecID or by that of the first fill.
    """
    if not report.takes_back:
        return report.quantity
    # What each goes back to, in the order they came: only what is recorded already, so that none goes round.
    earlier, fills = list(order.executions.order_by("pk")), dict[str, str]()
    for each in earlier:
        fills[each.exec_id] = fills.get(each.refers_to, each.exec_id)
    fill = fills.get(report.refers_to)
    if fill is None:
        log.error("a fill that is not known is taken back", order=str(order.pk), fill=report.refers_to)
    return report.quantity - sum(each.quantity for each in earlier if fills[each.exec_id] == fill)


def _stand(order: HedgeOrder, report: hedging.Report) -> None:
    """Bring an order, which is locked, to where a report leaves it."""
    filled, before = filled_of(order), order.state
    order.state = hedging.state_after(order.state, report.ord_status, filled)
    order.cum_quantity, order.is_reconciled = report.cum_quantity, filled == report.cum_quantity
    order.average_price = report.average_price
    order.said = _words(report.text) or order.said
    order.changed_at = clock.now()
    order.save(
        update_fields=["state", "cum_quantity", "is_reconciled", "average_price", "said", "changed_at"]
    )
    if not order.is_reconciled:
        log.error("the executions of a hedge do not add up", order=str(order.pk), told=report.cum_quantity)
    elif before == State.LAPSED and filled:
        log.error("a hedge that was given up has been filled", order=str(order.pk), filled=filled)


def _words(text: str) -> str:
    return hedging.storable(text)[:LONGEST_WORDS]
