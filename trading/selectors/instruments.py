"""Instruments as REST and the sockets show them: what can be bought, at which payout, and when."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from django.db.models import OuterRef, Subquery

from config.core import clock
from quotes import selectors as market
from quotes.models import Instrument
from quotes.rules import SIMULATED
from trading.models import Curb, PayoutRate, Terms
from trading.rules import KINDS, Price
from trading.selectors.orders import tick_view
from trading.selectors.risk import curbs_of_the_day


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
    curbs = list(curbs_of_the_day(clock.now()).filter(side="").select_related("book"))
    return [
        {
            **_state_row(states[terms.instrument_id]),
            **_terms_row(terms, rates[terms.instrument_id]),
            "offers": _offers(terms, rates[terms.instrument_id], states[terms.instrument_id].source),
            "curbs": _curb_rows(states[terms.instrument_id].instrument, curbs),
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


def _curb_rows(instrument: Instrument, curbs: Iterable[Curb]) -> list[dict[str, Any]]:
    """Say what is held back on an instrument, now or within a day; lowered payouts show in the rates.

    That one side is full is nobody's business before he asks for it: a preview says so.
    """
    over = [
        curb
        for curb in curbs
        if curb.effect != Curb.Effect.LOWER_PAYOUTS
        and curb.instrument_id in (None, instrument.pk)
        and curb.instrument_class in ("", instrument.instrument_class)
    ]
    return [
        {
            "effect": curb.effect,
            "book": curb.book.code if curb.book else None,
            "contract": curb.contract or None,
            "starts_at": clock.iso(curb.starts_at),
            "ends_at": clock.iso(curb.ends_at) if curb.ends_at else None,
        }
        for curb in over
    ]
