"""Trading hours: laid down once, changed for the future only."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

from django.contrib.auth.base_user import AbstractBaseUser
from django.db import transaction

from config.core import audit, clock
from quotes.errors import HoursTooSoon, InvalidHours
from quotes.models import Calendar, CalendarException, CalendarWeek, Instrument, Watermark
from quotes.rules import ALWAYS_OPEN, BEGINNING, is_valid_hours
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
    """Hold the past of the calendar's instruments, and refuse to change what may have been decided."""
    ids = list(Instrument.objects.filter(calendar=calendar).values_list("pk", flat=True))
    history_lock(ids, exclusive=True)
    marks = Watermark.objects.select_for_update(no_key=True).filter(instrument_id__in=ids).order_by("pk")
    earliest = max([clock.now() + NOTICE, *(mark.at for mark in marks)])
    if starts_at < earliest:
        raise HoursTooSoon(earliest=clock.iso(earliest))
