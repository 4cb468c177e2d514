"""Instruments: made, changed and suspended by operators, through one door that keeps the trail."""

import math
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from django.contrib.auth.base_user import AbstractBaseUser
from django.core.exceptions import ValidationError
from django.db import transaction

from config.core import audit, clock, outbox
from quotes import rules, selectors
from quotes.errors import InvalidInstrument, ReasonMissing
from quotes.facts import InstrumentChanged
from quotes.models import Calendar, Instrument, Watermark
from quotes.services.sources import known_sources

SECONDS_PER_YEAR = 365 * 24 * 3600
# With smaller steps many would be none, and a tie or a direction could be guessed from the rounding.
LEAST_STEP_UNITS = 5
LEAST_SOURCES = {
    Instrument.Aggregation.PRIMARY: 1,
    Instrument.Aggregation.BEST: 2,
    Instrument.Aggregation.MEDIAN: rules.LEAST_FOR_MEDIAN,
}

CHANGEABLE = frozenset(
    {
        "name",
        "is_listed",
        "max_quote_age_ms",
        "max_source_lag_ms",
        "tick_interval_ms",
        "max_spread",
        "max_jump",
        "source",
        "source_symbol",
        "simulated_price",
        "simulated_volatility",
        "simulated_interval_ms",
        "aggregation",
        "max_source_age_ms",
        "fail_over_after_ms",
        "fail_back_after_ms",
    }
)


@transaction.atomic
def create_instrument(
    *,
    symbol: str,
    name: str,
    instrument_class: str,
    price_decimals: int,
    calendar: Calendar,
    actor: AbstractBaseUser | None = None,
    **settings: Any,
) -> Instrument:
    """Make an instrument with its watermark at this instant; raise InvalidInstrument.

    `settings` are the fields that may be changed later. Its symbol, decimals and calendar are for good:
    stored prices and decided orders rest on them.
    """
    instrument = Instrument(
        symbol=symbol,
        name=name,
        instrument_class=instrument_class,
        price_decimals=price_decimals,
        calendar=calendar,
        changed_at=clock.now(),
        **settings,
    )
    check_instrument(instrument)
    instrument.save(force_insert=True)
    Watermark.objects.create(instrument=instrument, at=instrument.changed_at)
    audit.record(actor=actor, action="instrument.created", target=instrument, after=_view(instrument))
    tell_instrument(instrument)
    return instrument


@transaction.atomic
def change_instrument(
    *, instrument: Instrument, actor: AbstractBaseUser, reason: str, **changes: Any
) -> Instrument:
    """Change settings of an instrument, with a reason; the feed follows within a second or two.

    Raises InvalidInstrument for a value that cannot be or a field that may not change, ReasonMissing.
    """
    forbidden = changes.keys() - CHANGEABLE
    if forbidden:
        raise InvalidInstrument(f"These cannot be changed: {', '.join(sorted(forbidden))}.")
    return _change(instrument, actor, "instrument.changed", reason, changes)


@transaction.atomic
def suspend_instrument(*, instrument: Instrument, actor: AbstractBaseUser, reason: str) -> Instrument:
    """Refuse new orders on an instrument; open ones are not touched."""
    return _change(instrument, actor, "instrument.suspended", reason, {"is_suspended": True})


@transaction.atomic
def resume_instrument(*, instrument: Instrument, actor: AbstractBaseUser, reason: str) -> Instrument:
    """Accept orders on an instrument again."""
    return _change(instrument, actor, "instrument.resumed", reason, {"is_suspended": False})


def _change(
    instrument: Instrument, actor: AbstractBaseUser, action: str, reason: str, changes: dict[str, Any]
) -> Instrument:
    if not reason.strip():
        raise ReasonMissing()
    locked = Instrument.objects.select_for_update(no_key=True).get(pk=instrument.pk)
    before = _view(locked)
    for field, value in changes.items():
        setattr(locked, field, value)
    check_instrument(locked)
    after = _view(locked)
    changed = {field for field in after if after[field] != before[field]}
    if not changed:
        return locked
    locked.changed_at = clock.now()
    locked.save(update_fields=[*changes, "changed_at"])
    audit.record(
        actor=actor,
        action=action,
        target=locked,
        before={field: before[field] for field in sorted(changed)},
        after={field: after[field] for field in sorted(changed)},
        reason=reason,
    )
    tell_instrument(locked)
    return locked


def step_units(instrument: Instrument) -> float:
    """Return the standard deviation of a simulated step, σ √dt of the price, in units of its last decimal."""
    years = instrument.simulated_interval_ms / 1000 / SECONDS_PER_YEAR
    price = float(instrument.simulated_price or 0) * 10**instrument.price_decimals
    return price * float(instrument.simulated_volatility or 0) * math.sqrt(years)


def check_instrument(instrument: Instrument) -> None:
    """Raise InvalidInstrument unless the instrument could be streamed as it is."""
    try:
        instrument.full_clean()
    except ValidationError as error:
        raise InvalidInstrument(errors=error.message_dict) from error
    if not 0 < instrument.max_spread < 1 or not 0 < instrument.max_jump < 1:
        raise InvalidInstrument("max_spread and max_jump are parts of the price, between 0 and 1.")
    if instrument.source == rules.SIMULATED and (
        not instrument.simulated_price
        or instrument.simulated_price <= 0
        or not instrument.simulated_volatility
        or instrument.simulated_volatility <= 0
        or instrument.simulated_interval_ms < 1
    ):
        raise InvalidInstrument("A simulation needs a price, a volatility and an interval above zero.")
    if instrument.source == rules.SIMULATED and step_units(instrument) < LEAST_STEP_UNITS:
        raise InvalidInstrument(
            f"A simulated step would be {step_units(instrument):.1f} units of the last decimal; below "
            f"{LEAST_STEP_UNITS} the next price can be guessed. Give it more decimals, more volatility or a "
            "longer interval."
        )
    if instrument.source == rules.SIMULATED and instrument.tick_interval_ms:
        raise InvalidInstrument("A simulation has its own interval: each of its prices makes a tick.")
    if instrument.source != rules.SIMULATED and not instrument.source_symbol:
        raise InvalidInstrument("Say what the instrument is called at its source.")
    further = [] if instrument.pk is None else instrument.quotations.values_list("source", flat=True)
    check_sources(instrument, further)


def check_sources(instrument: Instrument, further: Iterable[str]) -> None:
    """Raise InvalidInstrument unless these sources can make its price by its policy.

    `further` are the sources beside its first. Prices made here and prices of a market outside never mix, and
    are never merged: whose they are is told to the customer.
    """
    codes = [instrument.source, *further]
    if unknown := set(codes) - known_sources().keys():
        raise InvalidInstrument(f"There is no source {', '.join(sorted(unknown))}.")
    if len(set(codes)) < len(codes):
        raise InvalidInstrument("A source quotes an instrument once.")
    made_here = rules.MADE_HERE.intersection(codes)
    if made_here and len(made_here) < len(codes):
        raise InvalidInstrument("Prices made here and those of a market outside never mix in one instrument.")
    if rules.SIMULATED in codes[1:]:
        raise InvalidInstrument("A simulation is the first source of an instrument, or none.")
    policy = Instrument.Aggregation(instrument.aggregation)
    if made_here and policy != Instrument.Aggregation.PRIMARY:
        raise InvalidInstrument("Prices made here are never merged: choose the first source that delivers.")
    if len(codes) < LEAST_SOURCES[policy]:
        raise InvalidInstrument(
            f"The policy {policy} needs {LEAST_SOURCES[policy]} sources; this would be {len(codes)}."
        )


def _view(instrument: Instrument) -> dict[str, Any]:
    fields = sorted({*CHANGEABLE, "is_suspended"})
    values = {field: getattr(instrument, field) for field in fields}
    return {
        field: f"{value.normalize():f}" if isinstance(value, Decimal) else value
        for field, value in values.items()
    }


def tell_instrument(instrument: Instrument) -> None:
    """Publish what screens show of an instrument, in the transaction that changed it."""
    state = selectors.instrument_by_symbol(instrument.symbol)
    session = state.session
    outbox.publish(
        outbox.instrument_topic(instrument.symbol),
        InstrumentChanged(
            symbol=instrument.symbol,
            name=instrument.name,
            price_decimals=instrument.price_decimals,
            is_listed=instrument.is_listed,
            is_suspended=instrument.is_suspended,
            is_open=state.is_open,
            opens_at=clock.iso(session.opens_at) if session.opens_at else None,
            closes_at=clock.iso(session.closes_at) if session.closes_at else None,
            is_simulated=state.is_simulated,
        ),
    )
