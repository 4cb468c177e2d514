"""Trading hours across weekends, clock changes, exceptions and changes of the week."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotes.rules import (
    ALWAYS_OPEN,
    BEGINNING,
    ENDLESS,
    FX_HOURS,
    WEEK_MINUTES,
    Override,
    Schedule,
    Session,
    Week,
    is_open,
    is_valid_hours,
    next_open,
    open_until,
    session,
)

FX = Schedule("America/New_York", (Week(BEGINNING, FX_HOURS),))
ALWAYS = Schedule("UTC", (Week(BEGINNING, ALWAYS_OPEN),))


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("instant", "expected"),
    [
        ("2030-01-04 21:59:59.999999", True),  # Friday, winter: 17:00 in New York is 22:00 UTC
        ("2030-01-04 22:00", False),
        ("2030-01-06 21:59:59.999999", False),
        ("2030-01-06 22:00", True),
        ("2030-07-05 20:59", True),  # summer: 21:00 UTC
        ("2030-07-05 21:00", False),
        ("2030-07-07 20:59", False),
        ("2030-07-07 21:00", True),
        ("2030-01-09 03:00", True),
    ],
)
def test_fx_hours_follow_new_york(instant: str, expected: bool) -> None:
    assert is_open(FX, utc(instant)) is expected


def test_the_weekend_of_a_clock_change_is_an_hour_shorter_in_spring_and_longer_in_autumn() -> None:
    for friday, hours in (("2030-03-08 22:00", 47), ("2030-11-01 21:00", 49), ("2030-02-01 22:00", 48)):
        closes = utc(friday)
        opens = next_open(FX, closes)
        assert opens is not None
        assert (opens - closes) == timedelta(hours=hours)


def test_a_session_is_told_with_its_next_change() -> None:
    assert session(FX, utc("2030-01-05 12:00")) == Session(False, utc("2030-01-06 22:00"), None)
    assert session(FX, utc("2030-01-09 12:00")) == Session(True, None, utc("2030-01-11 22:00"))
    assert session(ALWAYS, utc("2030-01-09 12:00")) == Session(True, None, None)
    assert open_until(ALWAYS, utc("2030-01-09 12:00")) == ENDLESS
    assert open_until(FX, utc("2030-01-05 12:00")) is None
    assert next_open(FX, utc("2030-01-09 12:00")) is None


def test_an_exception_wins_over_the_week_and_the_last_recorded_over_the_earlier() -> None:
    holiday = Override(utc("2030-12-25 00:00"), utc("2030-12-26 00:00"), False)
    extra = Override(utc("2030-12-25 12:00"), utc("2030-12-25 13:00"), True)
    closed = Schedule(FX.time_zone, FX.weeks, (holiday,))
    opened = Schedule(FX.time_zone, FX.weeks, (holiday, extra))
    assert not is_open(closed, utc("2030-12-25 12:30"))
    assert is_open(opened, utc("2030-12-25 12:30"))
    assert not is_open(Schedule(FX.time_zone, FX.weeks, (extra, holiday)), utc("2030-12-25 12:30"))
    assert open_until(closed, utc("2030-12-24 12:00")) == utc("2030-12-25 00:00")
    assert next_open(opened, utc("2030-12-25 01:00")) == utc("2030-12-25 12:00")
    assert open_until(opened, utc("2030-12-25 12:00")) == utc("2030-12-25 13:00")
    assert next_open(opened, utc("2030-12-25 13:00")) == utc("2030-12-26 00:00")


def test_a_changed_week_holds_from_its_instant_on_and_never_before() -> None:
    changed = Schedule("UTC", (Week(BEGINNING, ALWAYS_OPEN), Week(utc("2030-01-09 12:00"), ((0, 1440),))))
    assert is_open(changed, utc("2030-01-09 11:59:59.999999"))
    assert not is_open(changed, utc("2030-01-09 12:00"))
    assert session(changed, utc("2030-01-09 12:00")).opens_at == utc("2030-01-14 00:00")


def test_hours_that_touch_midnight_of_the_week_are_one_session() -> None:
    # Sunday 17:00 to Friday 17:00 is two stretches of a Monday-based week.
    assert open_until(FX, utc("2030-01-06 22:00")) == utc("2030-01-11 22:00")


def test_an_hour_that_the_clock_skips_is_taken_later_and_one_that_repeats_is_taken_whole() -> None:
    nightly = Schedule("America/New_York", (Week(BEGINNING, ((6 * 1440 + 90, 6 * 1440 + 150),)),))
    # 2030-03-10: 01:30 EST to 02:30, which is 03:30 EDT; 2030-11-03: 01:30 EDT to 02:30 EST.
    assert open_until(nightly, utc("2030-03-10 06:30")) == utc("2030-03-10 07:30")
    assert next_open(nightly, utc("2030-11-02 12:00")) == utc("2030-11-03 05:30")
    assert open_until(nightly, utc("2030-11-03 05:30")) == utc("2030-11-03 07:30")


@given(st.integers(0, 3 * 366 * 24 * 60))
def test_away_from_clock_changes_the_wall_clock_decides(minutes: int) -> None:
    instant = utc("2029-01-01 00:00") + timedelta(minutes=minutes)
    wall = instant.astimezone(ZoneInfo("America/New_York"))
    minute = wall.weekday() * 1440 + wall.hour * 60 + wall.minute
    assert is_open(FX, instant) == any(start <= minute < end for start, end in FX_HOURS)


@given(
    st.lists(st.integers(0, WEEK_MINUTES), min_size=2, max_size=8, unique=True).filter(
        lambda e: len(e) % 2 == 0
    ),
    st.sampled_from(["UTC", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"]),
    st.integers(0, 400 * 24 * 60),
)
def test_what_is_announced_is_what_happens(edges: list[int], zone: str, minutes: int) -> None:
    pairs = sorted(edges)
    hours = tuple((pairs[i], pairs[i + 1]) for i in range(0, len(pairs), 2))
    schedule = Schedule(zone, (Week(BEGINNING, hours),))
    instant = utc("2030-01-01 00:00") + timedelta(minutes=minutes)
    now = session(schedule, instant)
    change = now.closes_at if now.is_open else now.opens_at
    if change is None:
        assert hours == ALWAYS_OPEN
        return
    assert is_open(schedule, change) is not now.is_open
    step = (change - instant) / 7
    assert all(is_open(schedule, instant + step * part) is now.is_open for part in range(7))
    assert is_open(schedule, change - timedelta(microseconds=1)) is now.is_open


@pytest.mark.parametrize(
    ("hours", "valid"),
    [
        ([[0, WEEK_MINUTES]], True),
        ([], True),
        ([[0, 10], [20, 30]], True),
        ([[0, 10], [10, 30]], False),
        ([[10, 0]], False),
        ([[0, WEEK_MINUTES + 1]], False),
        ([[0, 10, 20]], False),
        ([[0, 1.5]], False),
    ],
)
def test_hours_are_ascending_pairs(hours: list[list[int]], valid: bool) -> None:
    assert is_valid_hours(hours) is valid
