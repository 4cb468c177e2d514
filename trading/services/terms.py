"""What operators set for an instrument, and the payout rate that follows."""

from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import Q

from config.core import audit, clock, money
from config.core.errors import Invalid
from config.core.outbox import instrument_topic, publish
from kyc.models import User
from quotes.models import Instrument
from trading import errors
from trading.facts import PayoutChanged
from trading.models import RATE, BookTerms, PayoutRate, Terms

LEAST_PROFIT_UNITS = Decimal(50)


@transaction.atomic
def set_terms(*, instrument: Instrument, actor: User | None, reason: str, **changes: Any) -> Terms:
    """Write a new version of an instrument's terms; open orders keep the version they were accepted under.

    `changes` are fields of Terms; what is not named stays. The first version needs all without a default.
    Raises Invalid when the least profit would be lost in the rounding of a book that trades the instrument.
    """
    _lock(instrument.pk)
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
    if {"min_stake", "min_rate"} & changes.keys():
        _least_profit_is_countable(terms)
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
    _lock(instrument.pk)
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


def recalculate_payouts() -> int:
    """Bring every instrument's payout rate to what its policy says and return how many changed.

    The policy of every instrument is its fixed rate, clamped to the bounds of its terms. Each instrument is
    a transaction of its own: one that has to wait holds no other up.
    """
    return sum(map(_recalculate, Instrument.objects.order_by("pk").values_list("pk", flat=True)))


@transaction.atomic
def _recalculate(instrument_id: int) -> bool:
    instrument = _lock(instrument_id)
    terms = Terms.objects.filter(instrument=instrument).order_by("-version").first()
    if terms is None:
        return False
    rate = min(max(terms.fixed_rate, terms.min_rate), terms.max_rate)
    return _apply_rate(instrument, rate, reason="fixed rate", actor=None)


def _least_profit_is_countable(terms: Terms) -> None:
    """Profits are rounded down to the smallest unit: below LEAST_PROFIT_UNITS that takes a visible share."""
    least = terms.min_stake * terms.min_rate
    trades = Q(all_instruments=True) | Q(instruments=terms.instrument_id)
    for entry in BookTerms.objects.filter(trades).select_related("book").distinct():
        needed = LEAST_PROFIT_UNITS.scaleb(-entry.book.scale)
        if least < needed:
            stake, rate, earned = (
                f"{number.normalize():f}" for number in (terms.min_stake, terms.min_rate, least)
            )
            said = (
                f"The smallest stake {stake} at the lowest rate {rate} earns {earned}; "
                f"the book {entry.book.code} needs at least {needed:f}."
            )
            raise Invalid(said, errors={"min_stake": [said]})


def _lock(instrument_id: int) -> Instrument:
    # Not the key: every placement's foreign key shares that one.
    return Instrument.objects.select_for_update(no_key=True).get(pk=instrument_id)


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
