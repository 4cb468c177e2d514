"""Instruments and calendars through their one door, and the console's pages about them."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.urls import reverse

from config.core.models import AuditEntry, Fact
from quotes.errors import HoursTooSoon, InvalidHours, InvalidInstrument, ReasonMissing
from quotes.models import CalendarException, CalendarWeek, Instrument, Watermark
from quotes.rules import ALWAYS_OPEN, BEGINNING, is_open
from quotes.selectors import calendars_of
from quotes.services import (
    add_calendar_exception,
    add_calendar_week,
    change_instrument,
    create_calendar,
    resume_instrument,
    suspend_instrument,
)
from tests.cast import browser_for, olga  # noqa: F401
from tests.quotes.market import Clock, at, instrument

# ruff: noqa: F811


def test_a_new_instrument_has_a_watermark_an_entry_and_a_fact(eurusd: Instrument) -> None:
    mark = Watermark.objects.get()
    assert (mark.instrument_id, mark.at, mark.epoch, mark.last_seq) == (eurusd.pk, at(-1), 0, 0)
    assert AuditEntry.objects.values_list("action", "object_id").get() == (
        "instrument.created",
        str(eurusd.pk),
    )
    fact = Fact.objects.get(name="instrument.changed")
    assert (fact.topic, fact.payload["symbol"], fact.payload["is_open"]) == (
        "instrument:EURUSD",
        "EURUSD",
        True,
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"symbol": "eur/usd"},
        {"price_decimals": 9},
        {"source": "simulated"},
        {"source": "simulated", "simulated_price": Decimal(0), "simulated_volatility": Decimal(1)},
        {
            "source": "simulated",
            "simulated_price": Decimal("1.085"),
            "simulated_volatility": Decimal("0.08"),
            "price_decimals": 5,
        },
        {"source": "binance", "source_symbol": ""},
        {"source": "nobody"},
        {"max_spread": Decimal(0)},
        {"max_jump": Decimal(1)},
    ],
)
def test_an_instrument_that_could_not_be_streamed_is_refused(
    db: None, noon: Clock, wrong: dict[str, Any]
) -> None:
    settings = {"symbol": "EURUSD", **wrong}
    with pytest.raises(InvalidInstrument):
        instrument(**settings)
    assert (Instrument.objects.count(), Watermark.objects.count(), Fact.objects.count()) == (0, 0, 0)


def test_a_change_is_audited_with_what_was_and_what_is(eurusd: Instrument, olga: Any, noon: Clock) -> None:
    noon.move(5)
    changed = change_instrument(
        instrument=eurusd, actor=olga, reason="quieter", max_quote_age_ms=9000, max_spread=Decimal("0.01")
    )
    assert (changed.max_quote_age_ms, changed.changed_at) == (9000, at(5))
    entry = AuditEntry.objects.get(action="instrument.changed")
    assert (entry.before, entry.after) == ({"max_quote_age_ms": 5000}, {"max_quote_age_ms": 9000})
    assert (entry.actor_id, entry.reason) == (olga.pk, "quieter")
    change_instrument(instrument=eurusd, actor=olga, reason="again", max_quote_age_ms=9000)
    assert AuditEntry.objects.filter(action="instrument.changed").count() == 1


def test_what_prices_rest_on_is_for_good_and_a_reason_is_asked_for(eurusd: Instrument, olga: Any) -> None:
    with pytest.raises(InvalidInstrument, match="price_decimals"):
        change_instrument(instrument=eurusd, actor=olga, reason="finer", price_decimals=6)
    with pytest.raises(ReasonMissing):
        suspend_instrument(instrument=eurusd, actor=olga, reason="  ")
    eurusd.refresh_from_db()
    assert (eurusd.price_decimals, eurusd.is_suspended) == (5, False)


def test_suspending_and_resuming_tell_everybody(eurusd: Instrument, olga: Any) -> None:
    suspend_instrument(instrument=eurusd, actor=olga, reason="news")
    resume_instrument(instrument=eurusd, actor=olga, reason="calm")
    facts = Fact.objects.filter(name="instrument.changed").order_by("id")
    assert [fact.payload["is_suspended"] for fact in facts] == [False, True, False]
    actions = AuditEntry.objects.order_by("id").values_list("action", flat=True)
    assert list(actions)[-2:] == ["instrument.suspended", "instrument.resumed"]


# --- hours --------------------------------------------------------------------------------------------


def test_hours_change_for_the_future_only(eurusd: Instrument, olga: Any, noon: Clock) -> None:
    calendar = eurusd.calendar
    with pytest.raises(HoursTooSoon) as refused:
        add_calendar_week(
            calendar=calendar, effective_from=at(59), hours=[[0, 60]], actor=olga, reason="shorter"
        )
    assert refused.value.details == {"earliest": "2030-03-05T12:01:00.000000Z"}
    add_calendar_week(calendar=calendar, effective_from=at(60), hours=[[0, 60]], actor=olga, reason="shorter")
    schedule = calendars_of([eurusd.pk])[eurusd.pk]
    assert (is_open(schedule, at(59.9)), is_open(schedule, at(60))) == (True, False)
    assert [week.effective_from for week in CalendarWeek.objects.all()] == [BEGINNING, at(60)]


def test_hours_change_after_what_the_watermark_has_reached(
    eurusd: Instrument, epoch: int, olga: Any, noon: Clock
) -> None:
    Watermark.objects.update(at=at(300))
    closed = {"is_open": False, "note": "", "actor": olga, "reason": "holiday"}
    with pytest.raises(HoursTooSoon):
        add_calendar_exception(calendar=eurusd.calendar, starts_at=at(299), ends_at=at(900), **closed)
    add_calendar_exception(calendar=eurusd.calendar, starts_at=at(300), ends_at=at(900), **closed)
    schedule = calendars_of([eurusd.pk])[eurusd.pk]
    assert [is_open(schedule, at(seconds)) for seconds in (299, 300, 899, 900)] == [True, False, False, True]


def test_impossible_hours_are_refused(eurusd: Instrument, olga: Any) -> None:
    with pytest.raises(InvalidHours):
        create_calendar(code="odd", hours=[[10, 5]])
    with pytest.raises(InvalidHours):
        create_calendar(code="odd", time_zone="Mars/Olympus")
    with pytest.raises(InvalidHours):
        add_calendar_exception(
            calendar=eurusd.calendar,
            starts_at=at(900),
            ends_at=at(900),
            is_open=True,
            note="",
            actor=olga,
            reason="x",
        )
    assert CalendarException.objects.count() == 0


def test_laying_down_a_calendar_again_changes_nothing(db: None) -> None:
    first = create_calendar(code="fx")
    assert create_calendar(code="fx", hours=[[0, 60]]) == first
    assert CalendarWeek.objects.get().hours == [list(pair) for pair in ALWAYS_OPEN]


# --- the console --------------------------------------------------------------------------------------


def test_an_operator_changes_suspends_and_resumes_with_a_reason(
    eurusd: Instrument, olga: Any, noon: Clock
) -> None:
    console = browser_for(olga, verified=True)
    page = reverse("admin:quotes_instrument_change", args=[eurusd.pk])
    shown = console.get(page)
    assert shown.status_code == 200
    form = shown.context["adminform"].form
    values = {
        name: "" if form.initial.get(name) is None else form.initial[name]
        for name in form.fields
        if name != "is_listed"
    }
    without = console.post(page, {**values, "is_listed": "on", "max_quote_age_ms": "7000", "reason": ""})
    assert without.status_code == 200
    assert Instrument.objects.get().max_quote_age_ms == 5000
    impossible = console.post(page, {**values, "is_listed": "on", "source": "simulated", "reason": "try it"})
    assert impossible.status_code == 200
    assert Instrument.objects.get().source == "replay"
    done = console.post(page, {**values, "is_listed": "on", "max_quote_age_ms": "7000", "reason": "calmer"})
    assert done.status_code == 302
    assert Instrument.objects.get().max_quote_age_ms == 7000
    assert AuditEntry.objects.get(action="instrument.changed").reason == "calmer"

    everywhere = reverse("admin:quotes_instrument_changelist")
    for action, expected in (("suspend", True), ("resume", False)):
        chosen = {"action": action, "_selected_action": [eurusd.pk], "_reasoned": "1", "reason": "because"}
        assert console.post(everywhere, chosen).status_code == 302
        assert Instrument.objects.get().is_suspended is expected


def test_an_operator_makes_an_instrument(eurusd: Instrument, olga: Any) -> None:
    console = browser_for(olga, verified=True)
    values = {
        "symbol": "GBPUSD", "name": "GBP/USD", "instrument_class": "fx", "price_decimals": "5",
        "calendar": "always", "is_listed": "on", "max_quote_age_ms": "5000", "max_source_lag_ms": "2000",
        "tick_interval_ms": "0", "source": "replay", "source_symbol": "gbpusd.csv.gz", "max_spread": "0.01",
        "max_jump": "0.002", "simulated_interval_ms": "500", "aggregation": "primary",
        "max_source_age_ms": "5000", "fail_over_after_ms": "3000", "fail_back_after_ms": "30000",
        "reason": "asked for",
    }  # fmt: skip
    done = console.post(reverse("admin:quotes_instrument_add"), values)
    assert done.status_code == 302
    assert Watermark.objects.filter(instrument__symbol="GBPUSD").exists()


def test_the_console_shows_gaps_and_hours_and_adds_an_exception(
    eurusd: Instrument, olga: Any, noon: Clock
) -> None:
    console = browser_for(olga, verified=True)
    for name in ("quotes_gap_changelist", "quotes_calendar_changelist", "quotes_instrument_changelist"):
        assert console.get(reverse(f"admin:{name}")).status_code == 200
    assert console.get(reverse("admin:quotes_calendar_change", args=["always"])).status_code == 200
    begins = at(0) + timedelta(days=1)
    chosen = {
        "action": "add_exception", "_selected_action": ["always"], "_reasoned": "1", "reason": "holiday",
        "starts_at": f"{begins:%Y-%m-%d %H:%M:%S}",
        "ends_at": f"{begins + timedelta(days=1):%Y-%m-%d %H:%M:%S}",
        "note": "Spring",
    }  # fmt: skip
    assert console.post(reverse("admin:quotes_calendar_changelist"), chosen).status_code == 302
    found = CalendarException.objects.get()
    assert (found.starts_at, found.is_open, found.note) == (begins, False, "Spring")
