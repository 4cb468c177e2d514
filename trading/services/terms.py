"""What operators set for an instrument."""

from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import Q

from config.core import audit, clock, money
from config.core.errors import Invalid
from kyc.models import User
from quotes.models import Instrument
from trading import errors
from trading.models import RATE, BookTerms, PayoutRate, Terms
from trading.selectors import payout_cut
from trading.services.payouts import apply_rate, lock_rates
from trading.services.pricing import LEAST_PROFIT_UNITS


@transaction.atomic
def set_terms(*, instrument: Instrument, actor: User | None, reason: str, **changes: Any) -> Terms:
    """Write a new version of an instrument's terms; open orders keep the version they were accepted under.

    `changes` are fields of Terms; what is not named stays. The first version needs all without a default.
    Raises Invalid when the least profit would be lost in the rounding of a book that trades the instrument.
    """
    lock_rates(instrument.pk)
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
    apply_rate(instrument, terms.fixed_rate, reason="terms", actor=actor, only_if_none=True)
    return terms


@transaction.atomic
def set_payout_rate(*, instrument: Instrument, rate: Decimal, actor: User, reason: str) -> PayoutRate:
    """Change an instrument's fixed payout rate for orders accepted from now on; raise RateOutOfBounds.

    The rate is profit per unit of stake, within the bounds of the terms, with at most 4 decimals (Invalid);
    everybody is told.
    """
    rate = money.fit(rate, RATE["decimal_places"])
    lock_rates(instrument.pk)
    terms = Terms.objects.filter(instrument=instrument).order_by("-version").first()
    if terms is None or not terms.min_rate <= rate <= terms.max_rate:
        bounds = (
            f"{terms.min_rate.normalize():f} to {terms.max_rate.normalize():f}"
            if terms
            else "set by no terms"
        )
        raise errors.RateOutOfBounds(f"The payout rate is {rate.normalize():f}; its bounds are {bounds}.")
    set_terms(instrument=instrument, actor=actor, reason=reason, fixed_rate=rate)
    if cut := payout_cut(instrument):
        rate = max(rate - cut, terms.min_rate)
    apply_rate(instrument, rate, reason=reason, actor=actor)
    return PayoutRate.objects.filter(instrument=instrument).latest("id")


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


def _settings(terms: Terms) -> dict[str, Any]:
    kept = {"id", "instrument", "version", "created_at", "created_by", "reason"}
    return {field.name: getattr(terms, field.name) for field in Terms._meta.fields if field.name not in kept}
