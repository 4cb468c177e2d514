"""Trading hours: laid down once, changed for the future only."""

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from io import StringIO
from operator import attrgetter
from typing import NamedTuple
from zoneinfo import ZoneInfo, available_timezones

from django.contrib.auth.base_user import AbstractBaseUser
from django.db import transaction

from config.core import audit, clock
from quotes.errors import HoursTooSoon, InvalidHours, ReasonMissing
from quotes.models import Calendar, CalendarException, CalendarWeek, Instrument, Watermark
from quotes.rules import ALWAYS_OPEN, BEGINNING, Override, Schedule, Week, is_valid_hours
from quotes.rules.hours import overrides_between, wall_instants
from quotes.services.history import history_lock

# Orders are accepted on the hours known then; nobody holds older ones than this.
NOTICE = timedelta(minutes=1)


@transaction.atomic
def create_calendar(
    *, code: str, time_zone: str = "UTC", hours: Sequence[Sequence[int]] = ALWAYS_OPEN
) -> Calendar:
    """Lay down a market's hours, as if they had always been; raise InvalidHours. A repeat returns the first.

    `hours` are pairs of local minutes since Monday 00:00.
    """
    _check_hours(hours)
    if time_zone not in available_timezones():
        raise InvalidHours(f"There is no time zone {time_zone}.")
    ZoneInfo(time_zone)
    calendar, is_new = Calendar.objects.get_or_create(code=code, defaults={"time_zone": time_zone})
    if is_new:
        CalendarWeek.objects.create(
            calendar=calendar, effective_from=BEGINNING, hours=[list(pair) for pair in hours]
        )
    return calendar


@transaction.atomic
def add_calendar_week(
    *,
    calendar: Calendar,
    effective_from: datetime,
    hours: Sequence[Sequence[int]],
    actor: AbstractBaseUser,
    reason: str,
) -> CalendarWeek:
    """Change the weekly hours from a future instant on; raise InvalidHours or HoursTooSoon."""
    _check_hours(hours)
    _check_notice(calendar, effective_from)
    week = CalendarWeek.objects.create(
        calendar=calendar, effective_from=effective_from, hours=[list(pair) for pair in hours]
    )
    audit.record(
        actor=actor,
        action="calendar.week_added",
        target=calendar,
        after={"effective_from": clock.iso(effective_from), "hours": week.hours},
        reason=reason,
    )
    return week


@transaction.atomic
def add_calendar_exception(
    *,
    calendar: Calendar,
    starts_at: datetime,
    ends_at: datetime,
    is_open: bool,
    note: str,
    actor: AbstractBaseUser,
    reason: str,
) -> CalendarException:
    """Open or close the market for a future stretch [starts_at, ends_at); raise InvalidHours or HoursTooSoon.

    Where exceptions overlap, the one recorded last holds.
    """
    if starts_at >= ends_at:
        raise InvalidHours("An exception ends after it starts.")
    _check_notice(calendar, starts_at)
    exception = CalendarException.objects.create(
        calendar=calendar,
        starts_at=starts_at,
        ends_at=ends_at,
        is_open=is_open,
        note=note,
        recorded_at=clock.now(),
    )
    audit.record(
        actor=actor,
        action="calendar.exception_added",
        target=calendar,
        after={"starts_at": clock.iso(starts_at), "ends_at": clock.iso(ends_at), "is_open": is_open},
        reason=reason,
    )
    return exception


def _check_hours(hours: Sequence[Sequence[int]]) -> None:
    if not is_valid_hours(hours):
        raise InvalidHours()


def _check_notice(calendar: Calendar, starts_at: datetime) -> None:
    earliest = _earliest_change(calendar)
    if starts_at < earliest:
        raise HoursTooSoon(earliest=clock.iso(earliest))


def _earliest_change(calendar: Calendar) -> datetime:
    """Hold the past of the calendar's instruments; return the instant before which all may be decided."""
    ids = list(Instrument.objects.filter(calendar=calendar).values_list("pk", flat=True))
    history_lock(ids, exclusive=True)
    marks = Watermark.objects.select_for_update(no_key=True).filter(instrument_id__in=ids).order_by("pk")
    return max([clock.now() + NOTICE, *(mark.at for mark in marks)])


# --- Exceptions from a file ---------------------------------------------------------------------------

COLUMNS = ("date", "open", "close", "note")
CLOSED = "closed"
DAY_MINUTES = 24 * 60
MOST_ROWS = 2_000
MOST_REFUSALS = 20
LONGEST_NOTE = 120
FIRST_YEAR, LAST_YEAR = 1970, 2199


class ExceptionRow(NamedTuple):
    """What a line of a file says of a local day [starts_at, ends_at); the rest of it is the week's."""

    line: int
    day: date
    summary: str
    starts_at: datetime
    ends_at: datetime
    said: tuple[Override, ...]
    note: str


class PlannedRow(NamedTuple):
    """A row and what has to be recorded for it to hold; nothing when it holds already."""

    row: ExceptionRow
    overrides: list[Override]


def read_calendar_csv(text: str, zone: str) -> list[ExceptionRow]:
    """Read `date,open,close,note`, local to a time zone; raise InvalidHours that names the lines.

    Without times, or with the word `closed`, the day is closed; with `close` alone it closes early, with
    `open` alone it opens late, with both it is open between them and no more. 24:00 is the end of the day.
    """
    rows: list[ExceptionRow] = []
    refusals: list[str] = []
    seen: dict[date, int] = {}
    for line, fields in _lines(text):
        try:
            row = _read_row(line, fields, zone)
        except ValueError as error:
            refusals.append(f"line {line}: {error}")
            continue
        if row.day in seen:
            refusals.append(f"line {line}: {row.day} is in line {seen[row.day]} already")
        seen.setdefault(row.day, line)
        rows.append(row)
    if not rows and not refusals:
        refusals.append("line 1: there is no row")
    _refuse(refusals)
    return rows


def planned_exceptions(*, calendar: Calendar, rows: Sequence[ExceptionRow]) -> list[PlannedRow]:
    """Return what an import of these rows would record now."""
    schedule = _schedule(calendar)
    return [PlannedRow(row, _overrides_for(schedule, row)) for row in rows]


@transaction.atomic
def import_calendar_exceptions(
    *, calendar: Calendar, rows: Sequence[ExceptionRow], actor: AbstractBaseUser | None, reason: str
) -> list[CalendarException]:
    """Record what makes every row hold, all or nothing; return it. The same rows again record nothing.

    A row says the whole of its day: what an earlier file said of it holds no longer. Raises HoursTooSoon,
    naming the lines, for what would begin too soon, and ReasonMissing.
    """
    if not reason.strip():
        raise ReasonMissing()
    # Two imports at once would each record what the other does.
    Calendar.objects.select_for_update(no_key=True).get(pk=calendar.pk)
    earliest = _earliest_change(calendar)
    planned = [each for each in planned_exceptions(calendar=calendar, rows=rows) if each.overrides]
    early = [row.line for row, overrides in planned if overrides[0].starts_at < earliest]
    if early:
        lines = ", ".join(map(str, early[:MOST_REFUSALS]))
        raise HoursTooSoon(
            f"line {lines}: hours change after {clock.iso(earliest)} only.", earliest=clock.iso(earliest)
        )
    now = clock.now()
    recorded = CalendarException.objects.bulk_create(
        CalendarException(
            calendar=calendar,
            starts_at=override.starts_at,
            ends_at=override.ends_at,
            is_open=override.is_open,
            note=row.note,
            recorded_at=now,
        )
        for row, overrides in planned
        for override in overrides
    )
    if recorded:
        audit.record(
            actor=actor,
            action="calendar.exceptions_imported",
            target=calendar,
            after={
                "rows": len(rows),
                "recorded": len(recorded),
                "days": [str(row.day) for row, _ in planned],
            },
            reason=reason,
        )
    return recorded


def _lines(text: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Give each line that says something with its number, counted as an editor does."""
    reader = csv.reader(StringIO(text.removeprefix("\ufeff")), strict=True)
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        if not {"date", "open", "close"} <= set(header) <= set(COLUMNS) or len(set(header)) < len(header):
            raise InvalidHours(f"line 1: the columns are {','.join(COLUMNS)}")
        for count, values in enumerate(reader):
            if count >= MOST_ROWS:
                raise InvalidHours(f"line {reader.line_num}: at most {MOST_ROWS} rows at once")
            if any(value.strip() for value in values):
                padded = [*values, *[""] * (len(header) - len(values))]
                fields = {name: value.strip() for name, value in zip(header, padded, strict=False)}
                yield reader.line_num, {**fields, "rest": "".join(padded[len(header) :]).strip()}
    except csv.Error as error:
        raise InvalidHours(f"line {reader.line_num}: {error}") from error


def _read_row(line: int, fields: dict[str, str], zone: str) -> ExceptionRow:
    """Read one line; raise ValueError."""
    if fields["rest"]:
        raise ValueError("there are more fields than columns")
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", fields["date"], re.ASCII):
        raise ValueError(f"{fields['date']!r} is no date like 2030-12-25")
    day, note = date.fromisoformat(fields["date"]), fields.get("note", "")
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise ValueError(f"the year lies outside {FIRST_YEAR} to {LAST_YEAR}")
    if len(note) > LONGEST_NOTE or not note.isprintable():
        raise ValueError(f"a note is one line of at most {LONGEST_NOTE} characters")
    opens, closes = _times(fields["open"], fields["close"])
    starts_at, ends_at = (wall_instants(zone, day, minutes)[0] for minutes in (0, DAY_MINUTES))
    if opens is None and closes is None:
        said = [Override(starts_at, ends_at, False)]
        return ExceptionRow(line, day, "closed all day", starts_at, ends_at, tuple(said), note)
    first = starts_at if opens is None else wall_instants(zone, day, opens)[0]
    # Clocks that are set back at midnight show the last hour of a day twice.
    last = ends_at if closes in (None, DAY_MINUTES) else min(wall_instants(zone, day, closes)[1], ends_at)
    if first >= last:
        raise ValueError("the clocks skip these hours")
    said = [Override(starts_at, first, False), Override(last, ends_at, False)]
    if opens is not None and closes is not None:
        said.insert(1, Override(first, last, True))
    said = [each for each in said if each.starts_at < each.ends_at]
    if not said:
        raise ValueError("it says what is so on any day")
    words = [f"{verb}s {fields[verb]}" for verb in ("open", "close") if fields[verb]]
    return ExceptionRow(line, day, ", ".join(words), starts_at, ends_at, tuple(said), note)


def _times(opens: str, closes: str) -> tuple[int | None, int | None]:
    """Return the minutes of a local day at which it opens and closes, both None when it is closed."""
    words = {opens.lower(), closes.lower()}
    if CLOSED in words:
        if words - {CLOSED, ""}:
            raise ValueError("a closed day has no times")
        return None, None
    first, last = _minutes(opens), _minutes(closes)
    if first is not None and last is not None and first >= last:
        raise ValueError("it closes before it opens; hours across midnight are two rows")
    return first, last


def _minutes(text: str) -> int | None:
    if not text:
        return None
    found = re.fullmatch(r"(?:([01]?\d|2[0-3]):([0-5]\d)|24:00)", text, re.ASCII)
    if found is None:
        raise ValueError(f"{text!r} is no time like 13:00")
    return DAY_MINUTES if found[1] is None else int(found[1]) * 60 + int(found[2])


def _schedule(calendar: Calendar) -> Schedule:
    return Schedule(
        calendar.time_zone,
        tuple(
            Week(week.effective_from, tuple((opens, closes) for opens, closes in week.hours))
            for week in calendar.weeks.order_by("effective_from")
        ),
        tuple(
            Override(each.starts_at, each.ends_at, each.is_open)
            for each in calendar.exceptions.order_by("id")
        ),
    )


def _overrides_for(schedule: Schedule, row: ExceptionRow) -> list[Override]:
    """Return what has to be recorded for a row to hold, ascending."""
    recorded = _touching(schedule.overrides, row.starts_at, row.ends_at)
    wanted = [each for each in row.said if _touching(recorded, each.starts_at, each.ends_at)[-1:] != (each,)]
    # What the row does not say is the week's, whatever was recorded before.
    now = replace(schedule, overrides=(*recorded, *row.said))
    then = replace(schedule, overrides=row.said)
    wanted += overrides_between(now, then, row.starts_at, row.ends_at)
    return sorted(wanted, key=attrgetter("starts_at"))


def _touching(overrides: Sequence[Override], starts_at: datetime, ends_at: datetime) -> tuple[Override, ...]:
    return tuple(each for each in overrides if each.starts_at < ends_at and each.ends_at > starts_at)


def _refuse(refusals: Sequence[str]) -> None:
    if not refusals:
        return
    left = len(refusals) - MOST_REFUSALS
    more = [f"and {left} more"] if left > 0 else []
    raise InvalidHours("; ".join([*refusals[:MOST_REFUSALS], *more]), refusals=len(refusals))
