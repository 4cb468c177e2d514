"""Holidays and short days from a file: read, previewed, recorded once."""

from datetime import UTC, date, datetime, timedelta
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from hypothesis import given
from hypothesis import strategies as st

from config.core.models import AuditEntry
from quotes.errors import HoursTooSoon, InvalidHours, ReasonMissing
from quotes.models import Calendar, CalendarException
from quotes.rules import ALWAYS_OPEN, BEGINNING, FX_HOURS, Hours, Override, Schedule, Week, is_open
from quotes.services.calendars import (
    _overrides_for,
    _schedule,
    add_calendar_exception,
    create_calendar,
    import_calendar_exceptions,
    planned_exceptions,
    read_calendar_csv,
)
from tests.cast import olga  # noqa: F401
from tests.quotes.market import Clock, instrument
from tests.quotes.test_sessions import MINUTE, shown

NEW_YORK = "America/New_York"
FILE = """date,open,close,note
2030-12-24,,13:00,early close
2030-12-25,,,Christmas
2030-12-26,closed,,Boxing Day

2030-12-31,9:00,,late open
2031-01-04,10:00,15:30,a Saturday
"""


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.fixture
def fx(db: None, noon: Clock) -> Calendar:
    return create_calendar(code="fx", time_zone=NEW_YORK, hours=FX_HOURS)


def take(calendar: Calendar, text: str, actor: object = None) -> int:
    rows = read_calendar_csv(text, calendar.time_zone)
    return len(import_calendar_exceptions(calendar=calendar, rows=rows, actor=actor, reason="yearly"))  # type: ignore[arg-type]


def test_a_file_is_read_in_the_market_s_own_time() -> None:
    rows = read_calendar_csv(FILE, NEW_YORK)
    assert [(row.line, row.day, row.summary, row.note) for row in rows] == [
        (2, date(2030, 12, 24), "closes 13:00", "early close"),
        (3, date(2030, 12, 25), "closed all day", "Christmas"),
        (4, date(2030, 12, 26), "closed all day", "Boxing Day"),
        (6, date(2030, 12, 31), "opens 9:00", "late open"),
        (7, date(2031, 1, 4), "opens 10:00, closes 15:30", "a Saturday"),
    ]
    assert [row.said for row in rows] == [
        (Override(utc("2030-12-24 18:00"), utc("2030-12-25 05:00"), False),),
        (Override(utc("2030-12-25 05:00"), utc("2030-12-26 05:00"), False),),
        (Override(utc("2030-12-26 05:00"), utc("2030-12-27 05:00"), False),),
        (Override(utc("2030-12-31 05:00"), utc("2030-12-31 14:00"), False),),
        (
            Override(utc("2031-01-04 05:00"), utc("2031-01-04 15:00"), False),
            Override(utc("2031-01-04 15:00"), utc("2031-01-04 20:30"), True),
            Override(utc("2031-01-04 20:30"), utc("2031-01-05 05:00"), False),
        ),
    ]


def test_a_day_is_as_long_as_its_clocks_make_it() -> None:
    spring, autumn = read_calendar_csv("date,open,close\n2030-03-10,,\n2030-11-03,,\n", NEW_YORK)
    assert (spring.ends_at - spring.starts_at, autumn.ends_at - autumn.starts_at) == (
        timedelta(hours=23),
        timedelta(hours=25),
    )
    # 02:30 does not exist on the one day, 01:30 comes twice on the other.
    skipped, twice = read_calendar_csv("date,open,close\n2030-03-10,2:30,\n2030-11-03,,1:30\n", NEW_YORK)
    assert skipped.said == (Override(utc("2030-03-10 05:00"), utc("2030-03-10 07:30"), False),)
    assert twice.said == (Override(utc("2030-11-03 06:30"), utc("2030-11-04 05:00"), False),)
    # In São Paulo clocks once jumped over midnight, and were set back at it.
    jumped, repeated = read_calendar_csv("date,open,close\n2018-11-04,,\n2019-02-16,,\n", "America/Sao_Paulo")
    assert (jumped.starts_at, jumped.ends_at) == (utc("2018-11-04 03:00"), utc("2018-11-05 02:00"))
    assert (repeated.starts_at, repeated.ends_at) == (utc("2019-02-16 02:00"), utc("2019-02-17 03:00"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line 1: the columns are date,open,close,note"),
        ("date,open\n2030-12-25,\n", "line 1: the columns are"),
        ("date,open,close,colour\n", "line 1: the columns are"),
        ("date,open,close,open\n", "line 1: the columns are"),
        ("date,open,close\n", "line 1: there is no row"),
        ("date,open,close\n25.12.2030,,\n", "line 2: '25.12.2030' is no date like 2030-12-25"),
        ("date,open,close\n2030-02-30,,\n", "line 2: day is out of range for month"),
        ("date,open,close\n9999-12-31,,\n", "line 2: the year lies outside 1970 to 2199"),
        ("date,open,close\n2030-12-25,25:00,\n", "line 2: '25:00' is no time like 13:00"),
        ("date,open,close\n2030-12-25,,1pm\n", "line 2: '1pm' is no time like 13:00"),
        ("date,open,close\n2030-12-25,٩:٠٠,\n", "line 2: '٩:٠٠' is no time like 13:00"),
        ("date,open,close\n2030-12-25,closed,13:00\n", "line 2: a closed day has no times"),
        ("date,open,close\n2030-12-25,17:00,09:00\n", "line 2: it closes before it opens; hours across"),
        ("date,open,close\n2030-12-25,,24:00\n", "line 2: it says what is so on any day"),
        ("date,open,close\n2030-03-10,2:30,3:15\n", "line 2: the clocks skip these hours"),
        ("date,open,close\n2030-12-25,,,Christmas\n", "line 2: there are more fields than columns"),
        (f"date,open,close,note\n2030-12-25,,,{'x' * 121}\n", "line 2: a note is one line of at most 120"),
        ('date,open,close,note\n2030-12-25,,,"a\nb"\n', "line 3: a note is one line"),
        ('date,open,close,note\n2030-12-25,,,"a\n', "line 2: unexpected end of data"),
        (
            "date,open,close\n2030-12-25,,\nx,,\n2030-12-25,,\n",
            "line 3: 'x' is no date like 2030-12-25; line 4: 2030-12-25 is in line 2 already",
        ),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_line(text: str, words: str) -> None:
    with pytest.raises(InvalidHours) as refused:
        read_calendar_csv(text, NEW_YORK)
    assert words in refused.value.detail


def test_many_refusals_are_counted_and_rows_are_limited() -> None:
    with pytest.raises(InvalidHours) as refused:
        read_calendar_csv("date,open,close\n" + "x,,\n" * 23, "UTC")
    assert refused.value.detail.endswith("; and 3 more")
    assert refused.value.details["refusals"] == 23
    with pytest.raises(InvalidHours, match="line 2002: at most 2000 rows at once"):
        read_calendar_csv("date,open,close\n" + "x,,\n" * 2001, "UTC")


def test_a_spreadsheet_s_file_is_read_too() -> None:
    text = '\ufeffDate, Open ,CLOSE,Note\r\n2030-12-25,Closed,closed,"Christmas, all day"\r\n,,,\r\n'
    (row,) = read_calendar_csv(text, "UTC")
    assert (row.summary, row.note) == ("closed all day", "Christmas, all day")


def test_a_file_is_recorded_once_and_audited_once(fx: Calendar, olga) -> None:  # noqa: F811
    assert take(fx, FILE, olga) == 7
    assert not is_open(_schedule(fx), utc("2030-12-24 18:00"))
    assert is_open(_schedule(fx), utc("2030-12-24 17:59"))
    assert is_open(_schedule(fx), utc("2031-01-04 15:00"))
    (entry,) = AuditEntry.objects.filter(action="calendar.exceptions_imported")
    assert (entry.actor_id, entry.object_id, entry.reason) == (olga.pk, "fx", "yearly")
    assert (entry.after["rows"], entry.after["recorded"]) == (5, 7)
    assert take(fx, FILE, olga) == 0
    assert (CalendarException.objects.count(), AuditEntry.objects.filter(object_id="fx").count()) == (7, 1)


def test_what_has_passed_may_stay_in_the_file(fx: Calendar, noon: Clock) -> None:
    take(fx, FILE)
    noon.instant = utc("2030-12-28 12:00")
    assert take(fx, FILE + "2031-07-04,,,\n") == 1


def test_a_corrected_file_replaces_what_the_one_before_said_of_a_day(fx: Calendar) -> None:
    take(fx, "date,open,close\n2030-12-24,,\n2030-12-25,,\n")
    assert take(fx, "date,open,close\n2030-12-24,,13:00\n2030-12-25,,\n") == 2
    schedule = _schedule(fx)
    opened = [utc("2030-12-24 05:00") + timedelta(minutes=m) for m in range(1440)]
    assert [is_open(schedule, at) for at in opened] == [at < utc("2030-12-24 18:00") for at in opened]
    assert not is_open(schedule, utc("2030-12-25 12:00"))
    assert take(fx, "date,open,close\n2030-12-24,,\n") == 1
    assert not is_open(_schedule(fx), utc("2030-12-24 12:00"))


def test_one_row_too_soon_refuses_all(fx: Calendar, noon: Clock) -> None:
    instrument(calendar=fx)
    with pytest.raises(HoursTooSoon) as refused:
        take(fx, "date,open,close\n2030-12-25,,\n2030-03-05,,\n2030-03-04,,9:00\n")
    assert refused.value.detail.startswith("line 3, 4: hours change after 2030-03-05T12:01:00")
    assert CalendarException.objects.count() == 0
    # The rest of the day is in time.
    assert take(fx, "date,open,close\n2030-03-05,,13:00\n") == 1


def test_a_reason_is_asked_for(fx: Calendar) -> None:
    with pytest.raises(ReasonMissing):
        import_calendar_exceptions(calendar=fx, rows=[], actor=None, reason=" ")


def test_what_an_operator_recorded_by_hand_is_seen_in_the_preview(fx: Calendar, olga) -> None:  # noqa: F811
    take(fx, FILE)
    add_calendar_exception(
        calendar=fx,
        starts_at=utc("2030-12-25 10:00"),
        ends_at=utc("2030-12-25 11:00"),
        is_open=True,
        note="",
        actor=olga,
        reason="by hand",
    )
    planned = planned_exceptions(calendar=fx, rows=read_calendar_csv(FILE, NEW_YORK))
    assert [len(overrides) for _, overrides in planned] == [0, 1, 0, 0, 0]


def test_the_command_previews_records_and_repeats(fx: Calendar, tmp_path: Path) -> None:
    path = tmp_path / "2030.csv"
    path.write_bytes(b"\xef\xbb\xbf" + FILE.encode())

    def run(*options: str) -> list[str]:
        out = StringIO()
        call_command("import_calendar", "fx", str(path), *options, stdout=out)
        return out.getvalue().splitlines()

    preview = run("--dry-run")
    assert preview[1] == "2030-12-25 closed all day: 1 exceptions"
    assert preview[-1] == "5 rows, 7 exceptions to record"
    assert CalendarException.objects.count() == 0
    assert run()[-1] == "5 rows, 7 exceptions recorded"
    assert run()[-2:] == [
        "2031-01-04 opens 10:00, closes 15:30: holds already",
        "5 rows, 0 exceptions recorded",
    ]
    assert AuditEntry.objects.get(object_id="fx").reason == "import_calendar 2030.csv"


def test_the_command_refuses_what_it_cannot_do(fx: Calendar, tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes("date,open,close\n2030-12-25,,,\xe9\n".encode("latin1"))
    for arguments, words in (
        (("nope", str(path)), "no calendar nope"),
        (("fx", str(tmp_path / "none.csv")), "No such file"),
        (("fx", str(path)), "utf-8"),
    ):
        with pytest.raises(CommandError, match=words):
            call_command("import_calendar", *arguments)


# --- Any row, any recorded past -----------------------------------------------------------------------

DAYS = [date(2030, 3, 10), date(2030, 11, 3), date(2030, 3, 11), date(2030, 3, 15), date(2030, 11, 2)]
minutes = st.none() | st.integers(0, 1439)
recorded = st.tuples(st.integers(-1500, 2900), st.integers(1, 2000), st.booleans())


@given(
    day=st.sampled_from(DAYS),
    opens=minutes,
    closes=minutes,
    before=st.lists(recorded, max_size=4),
    hours=st.sampled_from([FX_HOURS, ALWAYS_OPEN, ((480, 1020), (1440, 2000), (7000, 9000))]),
)
def test_a_row_holds_whatever_was_recorded_before(
    day: date,
    opens: int | None,
    closes: int | None,
    before: list[tuple[int, int, bool]],
    hours: Hours,
) -> None:
    fields = ["" if edge is None else f"{edge // 60}:{edge % 60:02d}" for edge in (opens, closes)]
    try:
        (row,) = read_calendar_csv(f"date,open,close\n{day},{','.join(fields)}\n", NEW_YORK)
    except InvalidHours:
        return
    overrides = tuple(
        Override(row.starts_at + start * MINUTE, row.starts_at + (start + length) * MINUTE, is_then_open)
        for start, length, is_then_open in before
    )
    found = Schedule(NEW_YORK, (Week(BEGINNING, hours),), overrides)
    week = Schedule(NEW_YORK, found.weeks)
    after = Schedule(NEW_YORK, found.weeks, (*overrides, *_overrides_for(found, row)))
    assert _overrides_for(after, row) == []
    first = row.starts_at if opens is None else read_on_the_wall(day, opens)[0]
    last = row.ends_at if closes is None else read_on_the_wall(day, closes)[1]
    for minute in range(-120, 28 * 60, 7):
        at = row.starts_at + minute * MINUTE
        if not row.starts_at <= at < row.ends_at:
            expected = is_open(found, at)
        elif opens is None and closes is None:
            expected = False
        elif None not in (opens, closes):
            expected = first <= at < last
        else:
            expected = first <= at < last and is_open(week, at)
        assert is_open(after, at) is expected


def read_on_the_wall(day: date, minute: int) -> tuple[datetime, datetime]:
    """Return the first and last instant at which a clock in New York shows so many minutes past midnight."""
    start, readings = shown(NEW_YORK, day)
    wall = datetime(day.year, day.month, day.day) + minute * MINUTE  # noqa: DTZ001
    return start + readings[wall][0] * MINUTE, start + readings[wall][-1] * MINUTE
