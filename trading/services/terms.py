"""What operators set for an instrument, and the payout rate that follows."""

from decimal import Decimal
from typing import Any

from django.db import transaction

from config.core import audit, clock, money
from config.core.outbox import instrument_topic, publish
from kyc.models import User
from quotes.models import Instrument
from trading import errors
from trading.facts import PayoutChanged
from trading.models import RATE, PayoutRate, Terms


@transaction.atomic
def set_terms(*, instrument: Instrument, actor: User | None, reason: str, **changes: Any) -> Terms:
    """Write a new version of an instrument's terms; open orders keep the version they were accepted under.

    `changes` are fields of Terms; what is not named stays. The first version needs all without a default.
    """
    Instrument.objects.select_for_update().get(pk=instrument.pk)
    previous = Terms.objects.filter(instrument=instrument).order_by("-version").first()
    before = _settings(previous) if previous else {}
    terms = Terms.objects.create(
        instrument=instrument,
        **{**before, **changes},
        version=previous.version + 1 if previous else 1,
        created_at=clock.now(),
        created_by=actor,
        reason=reason,
    )
    if actor is not None:
        audit.record(
            actor=actor,
            action="terms.changed",
            target=("instrument", instrument.symbol),
            before={name: str(before[name]) for name in changes if name in before},
            after={name: str(value) for name, value in changes.items()},
            reason=reason,
        )
    _apply_rate(instrument, terms.fixed_rate, reason="terms", actor=actor, only_if_none=True)
    return terms


@transaction.atomic
def set_payout_rate(*, instrument: Instrument, rate: Decimal, actor: User, reason: str) -> PayoutRate:
    """Change an instrument's fixed payout rate for orders accepted from now on; raise RateOutOfBounds.

    The rate is profit per unit of stake, within the bounds of the terms, with at most 4 decimals (Invalid);
    everybody is told.
    """
    rate = money.fit(rate, RATE["decimal_places"])
    Instrument.objects.select_for_update().get(pk=instrument.pk)
    terms = Terms.objects.filter(instrument=instrument).order_by("-version").first()
    if terms is None or not terms.min_rate <= rate <= terms.max_rate:
        bounds = (
            f"{terms.min_rate.normalize():f} to {terms.max_rate.normalize():f}"
            if terms
            else "set by no terms"
        )
        raise errors.RateOutOfBounds(f"The payout rate is {rate.normalize():f}; its bounds are {bounds}.")
    set_terms(instrument=instrument, actor=actor, reason=reason, fixed_rate=rate)
    _apply_rate(instrument, rate, reason=reason, actor=actor)
    return PayoutRate.objects.filter(instrument=instrument).latest("id")


@transaction.atomic
def recalculate_payouts() -> int:
    """Bring every instrument's payout rate to what its policy says and return how many changed.

    The policy of every instrument is its fixed rate, clamped to the bounds of its terms.
    """
    changed = 0
    for instrument in Instrument.objects.select_for_update().order_by("pk"):
        terms = Terms.objects.filter(instrument=instrument).order_by("-version").first()
        if terms is not None:
            rate = min(max(terms.fixed_rate, terms.min_rate), terms.max_rate)
            changed += _apply_rate(instrument, rate, reason="fixed rate", actor=None)
    return changed


def _apply_rate(
    instrument: Instrument, rate: Decimal, *, reason: str, actor: User | None, only_if_none: bool = False
) -> bool:
    previous = PayoutRate.objects.filter(instrument=instrument).order_by("-id").first()
    if previous is not None and (only_if_none or previous.rate == rate):
        return False
    PayoutRate.objects.create(
        instrument=instrument,
        rate=rate,
        set_at=clock.now(),
        reason=reason[:200],
        inputs={"policy": "fixed", "fixed_rate": str(rate)},
        set_by=actor,
    )
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


def _settings(terms: Terms) -> dict[str, Any]:
    kept = {"id", "instrument", "version", "created_at", "created_by", "reason"}
    return {field.name: getattr(terms, field.name) for field in Terms._meta.fields if field.name not in kept}
