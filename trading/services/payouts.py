"""Bringing payout rates to what their policies say, from the orders of the last minutes."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import connection, transaction
from django.db.models import Sum
from psycopg.types.datetime import TimestamptzLoader

from config.core import clock, money
from config.core.outbox import instrument_topic, publish
from kyc.models import User
from quotes.models import Instrument, Watermark
from quotes.rules import SIMULATED
from trading.facts import PayoutChanged
from trading.models import Exposure, Order, PayoutRate, Terms
from trading.rules import Ended, Policy, Recalculated, decide, recalculated
from trading.selectors import payout_cut
from trading.services.claims import COLUMNS, JOINS, Due
from trading.services.histories import histories

ENDED = """
SELECT o.customer_id, o.stake, o.status = 'won'
FROM trading_order o JOIN ledger_account a ON a.id = o.account_id JOIN ledger_book b ON b.id = a.book_id
WHERE o.closed_at >= %(since)s AND o.instrument_id = %(instrument)s AND o.contract = 'rise_fall'
  AND o.status IN ('won', 'lost') AND b.kind = 'real'
"""
SOLD = f"""
SELECT {COLUMNS}
FROM trading_order o JOIN quotes_watermark w ON w.instrument_id = o.instrument_id {JOINS}
WHERE o.instrument_id = %(instrument)s AND o.contract = 'rise_fall'
  AND o.status = 'sold' AND o.expires_at >= %(since)s AND o.expires_at <= w.at AND b.kind = 'real'
"""  # noqa: S608 - assembled from constants


def recalculate_payouts() -> int:
    """Bring every instrument's payout rate to what its policy says and return how many changed.

    Simulated instruments and those whose terms say so keep their fixed rate. Each instrument is a transaction
    of its own: one that has to wait holds no other up.
    """
    return sum(map(recalculate_payout, Instrument.objects.order_by("pk").values_list("pk", flat=True)))


@transaction.atomic
def recalculate_payout(instrument_id: int) -> bool:
    """Bring one instrument's payout rate to what its policy and its curbs say; return whether it changed."""
    instrument = lock_rates(instrument_id)
    terms = Terms.objects.filter(instrument=instrument).order_by("-version").first()
    if terms is None:
        return False
    found = _policy_says(instrument, terms)
    rate, reason, inputs = found.rate, found.reason, _inputs(terms, found)
    if cut := payout_cut(instrument):
        rate, reason = max(rate - cut, terms.min_rate), "lowered for now"
        inputs["cut"] = f"{cut.normalize():f}"
    return apply_rate(instrument, rate, reason=reason, actor=None, inputs=inputs)


def _policy_says(instrument: Instrument, terms: Terms) -> Recalculated:
    policy = Policy(
        fixed_rate=terms.fixed_rate,
        min_rate=terms.min_rate,
        max_rate=terms.max_rate,
        margin=terms.payout_margin,
        max_step=terms.payout_max_step,
        min_orders=terms.payout_min_orders,
        skew=terms.payout_skew,
    )
    is_simulated = Watermark.objects.filter(instrument=instrument, source=SIMULATED).exists()
    if terms.payout_policy == Terms.PayoutPolicy.FIXED or is_simulated:
        return recalculated(policy, (), (money.ZERO, money.ZERO), None)
    window = timedelta(minutes=terms.payout_window_minutes)
    return recalculated(
        policy, ended(instrument.pk, clock.now() - window), open_stakes(instrument.pk), _exact(instrument)
    )


def ended(instrument_id: int, since: datetime) -> list[Ended]:
    """Return the rise/fall orders of real money that ended since: sold ones as if they had been held."""
    values: dict[str, Any] = {"instrument": instrument_id, "since": since}
    with connection.cursor() as cursor:
        cursor.cursor.adapters.register_loader("timestamptz", TimestamptzLoader)
        cursor.execute(ENDED, values)
        found = [Ended(*row) for row in cursor.fetchall()]
        cursor.execute(SOLD, values)
        sold = [Due(*row) for row in cursor.fetchall()]
    for due, history in zip(sold, histories(sold) if sold else (), strict=True):
        outcome = decide(due.agreed, history)
        if outcome is not None and outcome.status != Order.Status.REFUNDED:
            found.append(Ended(due.customer, due.stake, outcome.status == Order.Status.WON))
    return found


def open_stakes(instrument_id: int) -> tuple[Decimal, Decimal]:
    """Return the open stakes of real money on up and on down."""
    sums = dict(
        Exposure.objects.filter(instrument_id=instrument_id, side__in=("up", "down"), book__kind="real")
        .values_list("side")
        .annotate(Sum("stakes"))
    )
    return sums.get("up", money.ZERO), sums.get("down", money.ZERO)


def _exact(instrument: Instrument) -> Decimal | None:
    newest = PayoutRate.objects.filter(instrument=instrument).order_by("-id").first()
    if newest is None:
        return None
    return Decimal(newest.inputs.get("exact", newest.rate))


def _inputs(terms: Terms, found: Recalculated) -> dict[str, Any]:
    if found.probability is None:
        return {"policy": "fixed", "fixed_rate": str(terms.fixed_rate)}
    return {
        "policy": terms.payout_policy,
        "exact": str(found.exact),
        "probability": str(found.probability),
        "effective_orders": str(found.effective_orders),
        "skew": str(found.skew),
        "terms": terms.version,
    }


def lock_rates(instrument_id: int) -> Instrument:
    """Lock an instrument's terms and rates. Not its key: every placement's foreign key shares that one."""
    return Instrument.objects.select_for_update(no_key=True).get(pk=instrument_id)


def apply_rate(
    instrument: Instrument,
    rate: Decimal,
    *,
    reason: str,
    actor: User | None,
    inputs: dict[str, Any] | None = None,
    only_if_none: bool = False,
) -> bool:
    """Put a rate in force for orders accepted from now on, and tell everybody; return whether it changed.

    A recalculated rate is also recorded when only the exact one moved, so that the next run steps from there.
    """
    inputs = inputs or {"policy": "fixed", "fixed_rate": str(rate)}
    previous = PayoutRate.objects.filter(instrument=instrument).order_by("-id").first()
    same = previous is not None and previous.rate == rate
    moved = previous is not None and "exact" in inputs and previous.inputs.get("exact") != inputs["exact"]
    if previous is not None and (only_if_none or (same and not moved)):
        return False
    PayoutRate.objects.create(
        instrument=instrument, rate=rate, set_at=clock.now(), reason=reason[:200], inputs=inputs, set_by=actor
    )
    if same:
        return False
    publish(
        instrument_topic(instrument.symbol),
        PayoutChanged(
            symbol=instrument.symbol,
            payout_rate=f"{rate.normalize():f}",
            previous_rate=f"{previous.rate.normalize():f}" if previous else None,
            reason=reason,
        ),
    )
    return True
