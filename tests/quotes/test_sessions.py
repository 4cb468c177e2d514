"""Trading hours across weekends, clock changes, exceptions and changes of the week."""

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotes.rules import (
    ALWAYS_OPEN,
    BEGINNING,
    ENDLESS,
    FX_HOURS,
    HORIZON,
    WEEK_MINUTES,
    Hours,
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
from quotes.rules.hours import overrides_between

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


def test_hours_moved_past_each_other_by_a_jump_are_open_from_the_first_on() -> None:
    # 02:10–02:20 does not exist on 2030-03-10 and is taken at 03:10; 03:00–04:00 has begun by then.
    sunday = 6 * 1440
    nightly = ((sunday + 130, sunday + 140), (sunday + 180, sunday + 240))
    schedule = Schedule("America/New_York", (Week(BEGINNING, nightly),))
    assert is_open(schedule, utc("2030-03-10 07:05"))
    assert session(schedule, utc("2030-03-10 07:00")) == Session(True, None, utc("2030-03-10 08:00"))


# --- A second computation, minute by minute -----------------------------------------------------------

MINUTE = timedelta(minutes=1)
DAY = 1440
# Around a change of the clocks where the zone has one: two days before it begins what is looked at.
CHANGES = [
    ("America/New_York", date(2030, 3, 10)),
    ("America/New_York", date(2030, 11, 3)),
    ("Europe/London", date(2030, 3, 31)),
    ("Europe/London", date(2030, 10, 27)),
    ("Australia/Sydney", date(2030, 4, 7)),
    ("Australia/Sydney", date(2030, 10, 6)),
    ("Australia/Lord_Howe", date(2030, 10, 6)),
    ("Asia/Kolkata", date(2030, 6, 2)),
    ("America/Sao_Paulo", date(2018, 11, 4)),  # midnight does not exist
    ("America/Sao_Paulo", date(2018, 2, 18)),  # the hour before midnight comes twice
]
DAYS_SHOWN = 60


@lru_cache(maxsize=16)
def shown(zone: str, day: date) -> tuple[datetime, dict[datetime, list[int]]]:
    """Look at a clock on a wall there, every minute from twelve days before a day on.

    By the time it shows: the minutes, counted from the start, at which it does. A time that it jumps over is
    taken as much later as it lies in the jump.
    """
    start = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(days=12)
    readings: dict[datetime, list[int]] = {}
    before: datetime | None = None
    for minute in range(DAYS_SHOWN * DAY):
        wall = (start + minute * MINUTE).astimezone(ZoneInfo(zone)).replace(tzinfo=None)
        skipped = before + MINUTE if before is not None else wall
        for late in range(int((wall - skipped) / MINUTE)):
            readings[skipped + late * MINUTE] = [minute + late]
        readings.setdefault(wall, []).append(minute)
        before = wall
    return start, readings


def opened(zone: str, day: date, hours: Hours) -> bytearray:
    """Mark every minute at which the weekly hours are open."""
    start, readings = shown(zone, day)
    marks = bytearray(DAYS_SHOWN * DAY)
    monday = datetime(start.year, start.month, start.day) - timedelta(days=start.weekday() + 7)  # noqa: DTZ001
    for week in range(DAYS_SHOWN // 7 + 3):
        for opens, closes in hours:
            first = readings.get(monday + timedelta(weeks=week, minutes=opens), [0])[0]
            last = readings.get(monday + timedelta(weeks=week, minutes=closes), [0])[-1]
            marks[first:last] = b"\1" * max(0, last - first)
    return marks


def edges() -> st.SearchStrategy[int]:
    sunday_night = st.integers(6 * DAY - 90, 6 * DAY + 240)
    return st.one_of(st.integers(0, WEEK_MINUTES), sunday_night)


def weekly_hours() -> st.SearchStrategy[Hours]:
    lists = st.lists(edges(), min_size=2, max_size=12, unique=True).map(sorted)
    paired = lists.map(lambda e: tuple((e[i], e[i + 1]) for i in range(0, len(e) - 1, 2)))
    # A currency market that rests five minutes each evening.
    rests = [(d * DAY + 17 * 60 + 5, d * DAY + DAY + 17 * 60) for d in range(4)]
    broken = ((0, 17 * 60), *rests, (6 * DAY + 17 * 60 + 5, WEEK_MINUTES))
    return st.one_of(paired, st.just(FX_HOURS), st.just(broken), st.just(ALWAYS_OPEN), st.just(()))


stretches = st.tuples(st.integers(9 * DAY, 18 * DAY), st.integers(1, 2 * DAY), st.booleans())


@settings(max_examples=30)
@given(
    where=st.sampled_from(CHANGES),
    hours=weekly_hours(),
    changed=st.none() | st.tuples(st.integers(9 * DAY, 16 * DAY), weekly_hours()),
    exceptions=st.lists(stretches, max_size=4),
    offset=st.integers(0, 172),
)
def test_every_minute_is_as_a_clock_on_the_wall_says(
    where: tuple[str, date],
    hours: Hours,
    changed: tuple[int, Hours] | None,
    exceptions: list[tuple[int, int, bool]],
    offset: int,
) -> None:
    start, _ = shown(*where)
    marks, weeks = opened(*where, hours), [Week(BEGINNING, hours)]
    if changed is not None:
        since, others = changed
        marks[since:] = opened(*where, others)[since:]
        weeks.append(Week(start + since * MINUTE, others))
    overrides = []
    for begins, length, open_then in exceptions:
        marks[begins : begins + length] = bytes([open_then]) * length
        overrides.append(Override(start + begins * MINUTE, start + (begins + length) * MINUTE, open_then))
    schedule = Schedule(where[0], tuple(weeks), tuple(overrides))
    for minute in range(10 * DAY, 14 * DAY):
        assert is_open(schedule, start + minute * MINUTE) is bool(marks[minute]), minute
    horizon = HORIZON // MINUTE
    for minute in range(10 * DAY + offset, 19 * DAY, 173):
        instant, now = start + minute * MINUTE, marks[minute]
        found = marks.find(1 - now, minute, minute + horizon)
        change = None if found < 0 else start + found * MINUTE
        expected = Session(True, None, change) if now else Session(False, change, None)
        assert session(schedule, instant) == expected
        assert open_until(schedule, instant) == ((change or ENDLESS) if now else None)
        assert next_open(schedule, instant) == (None if now else change)


@settings(max_examples=25)
@given(
    where=st.sampled_from(CHANGES),
    hours=st.tuples(weekly_hours(), weekly_hours()),
    exceptions=st.lists(stretches, max_size=3),
    stretch=st.tuples(st.integers(9 * DAY, 15 * DAY), st.integers(0, 3 * DAY)),
)
def test_overrides_make_one_schedule_like_another(
    where: tuple[str, date],
    hours: tuple[Hours, Hours],
    exceptions: list[tuple[int, int, bool]],
    stretch: tuple[int, int],
) -> None:
    start, _ = shown(*where)
    recorded = tuple(
        Override(start + begins * MINUTE, start + (begins + length) * MINUTE, is_then_open)
        for begins, length, is_then_open in exceptions
    )
    one = Schedule(where[0], (Week(BEGINNING, hours[0]),), recorded)
    other = Schedule(where[0], (Week(BEGINNING, hours[1]),))
    begins, ends = start + stretch[0] * MINUTE, start + sum(stretch) * MINUTE
    found = overrides_between(one, other, begins, ends)
    made = Schedule(where[0], one.weeks, (*recorded, *found))
    for minute in range(stretch[0] - DAY, sum(stretch) + DAY, 7):
        instant = start + minute * MINUTE
        wanted = other if begins <= instant < ends else one
        assert is_open(made, instant) is is_open(wanted, instant)
    assert overrides_between(made, other, begins, ends) == []
    assert all(before.ends_at <= after.starts_at for before, after in pairwise(found))
