"""Trading hours, purely."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo

WEEK_MINUTES = 7 * 24 * 60
ALWAYS_OPEN = ((0, WEEK_MINUTES),)
# The currency market: Sunday 17:00 to Friday 17:00, New York.
FX_HOURS = ((0, 4 * 1440 + 17 * 60), (6 * 1440 + 17 * 60, WEEK_MINUTES))
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
# How far ahead an opening or a close is looked for.
HORIZON = timedelta(days=35)
ENDLESS = datetime.max.replace(tzinfo=UTC)

Hours = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Week:
    """Weekly hours in force from an instant on: pairs of local minutes since Monday 00:00."""

    effective_from: datetime
    hours: Hours


@dataclass(frozen=True, slots=True)
class Override:
    """A stretch [starts_at, ends_at) that is open or closed whatever the week says."""

    starts_at: datetime
    ends_at: datetime
    is_open: bool


@dataclass(frozen=True, slots=True)
class Schedule:
    """The trading hours of a market: weeks ascending, overrides in the order they were recorded."""

    time_zone: str
    weeks: tuple[Week, ...]
    overrides: tuple[Override, ...] = ()


class Session(NamedTuple):
    """Whether a market is open, and the next change; None: none within HORIZON."""

    is_open: bool
    opens_at: datetime | None
    closes_at: datetime | None


def is_valid_hours(hours: Sequence[Sequence[int]]) -> bool:
    """Tell whether hours are ascending pairs of minutes of a week that neither overlap nor touch."""
    edges = [edge for pair in hours for edge in pair]
    return (
        all(len(pair) == 2 for pair in hours)
        and all(isinstance(edge, int) and 0 <= edge <= WEEK_MINUTES for edge in edges)
        and all(earlier < later for earlier, later in pairwise(edges))
    )


def is_open(schedule: Schedule, at: datetime) -> bool:
    """Tell whether the market is open at an instant; opening instants are open, closing ones are not."""
    return _state(schedule, at)[0]


def open_until(schedule: Schedule, at: datetime) -> datetime | None:
    """Return the close of the session running at an instant, None when closed.

    ENDLESS when there is no close within HORIZON.
    """
    if not is_open(schedule, at):
        return None
    return _next_change(schedule, at) or ENDLESS


def next_open(schedule: Schedule, at: datetime) -> datetime | None:
    """Return the next instant at which a market closed at `at` opens; None: open, or not within HORIZON."""
    return None if is_open(schedule, at) else _next_change(schedule, at)


def session(schedule: Schedule, at: datetime) -> Session:
    """Return the state of the market at an instant and its next change."""
    open_now, change = is_open(schedule, at), _next_change(schedule, at)
    return Session(open_now, None if open_now else change, change if open_now else None)


def overrides_between(
    schedule: Schedule, wanted: Schedule, starts_at: datetime, ends_at: datetime
) -> list[Override]:
    """Return what makes a schedule open in [starts_at, ends_at) exactly when another is."""
    found: list[Override] = []
    at = starts_at
    while at < ends_at:
        (now, until), (then, later) = _state(schedule, at), _state(wanted, at)
        until = min(until, later, ends_at)
        if now is not then:
            if found and found[-1].ends_at == at and found[-1].is_open is then:
                found[-1] = Override(found[-1].starts_at, until, then)
            else:
                found.append(Override(at, until, then))
        at = until
    return found


def _next_change(schedule: Schedule, at: datetime) -> datetime | None:
    before, until = _state(schedule, at)
    horizon = at + HORIZON
    while until < horizon:
        after, later = _state(schedule, until)
        if after != before:
            return until
        until = later
    return None


def _state(schedule: Schedule, at: datetime) -> tuple[bool, datetime]:
    """Return whether it is open at an instant, and an instant later than that up to which this holds."""
    until = at + HORIZON
    week: Week | None = None
    for candidate in schedule.weeks:
        if candidate.effective_from <= at:
            week = candidate
        elif candidate.effective_from < until:
            until = candidate.effective_from
    open_now, edge = _week_state(schedule.time_zone, week.hours if week else (), at)
    until = min(until, edge)
    for override in schedule.overrides:
        if override.starts_at > at:
            until = min(until, override.starts_at)
        elif override.ends_at > at:
            # The last recorded one wins; an earlier one ending inside it is only a harmless stop.
            open_now, until = override.is_open, min(until, override.ends_at)
    return open_now, until


def _week_state(time_zone: str, hours: Hours, at: datetime) -> tuple[bool, datetime]:
    if hours == ALWAYS_OPEN:
        return True, at + HORIZON
    local = at.astimezone(ZoneInfo(time_zone)).date()
    monday = local - timedelta(days=local.weekday())
    open_now, until = False, at + timedelta(days=7)
    # All of them: where clocks change, one may be moved into or past the next.
    for opens_at, closes_at in _intervals(time_zone, hours, monday):
        if opens_at <= at < closes_at:
            open_now, until = True, min(until, closes_at)
        elif at < opens_at:
            until = min(until, opens_at)
    return open_now, until


@lru_cache(maxsize=512)
def _intervals(time_zone: str, hours: Hours, monday: date) -> tuple[tuple[datetime, datetime], ...]:
    """Return the open stretches, UTC, of the local week before, of this one and of the next.

    Edges are wall-clock times of the market: one that occurs twice opens at the first and closes at the
    second.
    """
    return tuple(
        (wall_instants(time_zone, monday, opens, week)[0], wall_instants(time_zone, monday, closes, week)[1])
        for week in (-1, 0, 1)
        for opens, closes in hours
    )


def wall_instants(time_zone: str, day: date, minutes: int, weeks: int = 0) -> tuple[datetime, datetime]:
    """Return the first and the last instant, UTC, at which clocks show so many minutes past a day's midnight.

    They differ where clocks are set back. What a jump of the clocks skips is taken that much later.
    """
    wall = datetime(day.year, day.month, day.day) + timedelta(weeks=weeks, minutes=minutes)  # noqa: DTZ001
    zone = ZoneInfo(time_zone)
    first, second = (wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    return first, max(first, second)
