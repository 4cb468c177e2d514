"""What the market's rules say, purely: trading hours, which quotes count, and how ticks become candles."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo

# --- Trading hours ------------------------------------------------------------------------------------
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
    for opens_at, closes_at in _intervals(time_zone, hours, monday):
        if at < opens_at:
            return False, opens_at
        if at < closes_at:
            return True, closes_at
    return False, at + timedelta(days=7)


@lru_cache(maxsize=512)
def _intervals(time_zone: str, hours: Hours, monday: date) -> tuple[tuple[datetime, datetime], ...]:
    """Return the open stretches, UTC, of the local week before, of this one and of the next.

    Edges are wall-clock times of the market: one that occurs twice opens at the first and closes at the
    second, one that a jump of the clock skips is taken that much later.
    """
    zone = ZoneInfo(time_zone)

    def instants(week: int, minute: int) -> tuple[datetime, datetime]:
        wall = datetime(monday.year, monday.month, monday.day) + timedelta(weeks=week, minutes=minute)  # noqa: DTZ001
        first, second = (wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
        return first, second

    return tuple(
        (instants(week, opens)[0], max(instants(week, closes)))
        for week in (-1, 0, 1)
        for opens, closes in hours
    )


# --- Quotes -------------------------------------------------------------------------------------------
CONFIRM_WITHIN = timedelta(seconds=2)
FORGET_AFTER = timedelta(seconds=60)


class QuoteFilter:
    """Decides which quotes of one source make a tick, and keeps count of the others by reason.

    The price is the mid of bid and ask, rounded half-even to the instrument's decimals.

    Dropped: `non_positive`, `crossed` (bid above ask), `spread` (wider than `max_spread` of the mid), `jump`
    (farther than `max_jump` from the last accepted mid, unless the next quote within CONFIRM_WITHIN lies
    that near to it, or nothing was accepted for FORGET_AFTER).
    """

    __slots__ = ("_held", "_last", "_last_at", "_max_jump", "_max_spread", "_unit", "dropped")

    def __init__(self, price_decimals: int, max_spread: Decimal, max_jump: Decimal) -> None:
        self._unit = Decimal(1).scaleb(-price_decimals)
        self._max_spread, self._max_jump = max_spread, max_jump
        self.dropped: dict[str, int] = {"non_positive": 0, "crossed": 0, "spread": 0, "jump": 0}
        self.forget()

    def forget(self) -> None:
        """Start anew, as after a reconnect: the next quote is compared with nothing."""
        self._last: Decimal | None = None
        self._last_at = BEGINNING
        self._held: tuple[datetime, Decimal] | None = None

    def price(self, bid: Decimal, ask: Decimal, at: datetime) -> Decimal | None:
        """Return the tick price of a quote, None when it is dropped."""
        if bid <= 0 or ask <= 0:
            self._drop("non_positive")
            return None
        if bid > ask:
            self._drop("crossed")
            return None
        middle = (bid + ask) / 2
        if ask - bid > middle * self._max_spread:
            self._drop("spread")
            return None
        last = self._last
        if (
            last is not None
            and abs(middle - last) > last * self._max_jump
            and at - self._last_at < FORGET_AFTER
            and not self._is_confirmed(middle, at)
        ):
            self._held = (at, middle)
            self._drop("jump")
            return None
        price = middle.quantize(self._unit, rounding=ROUND_HALF_EVEN)
        if price <= 0:
            self._drop("non_positive")
            return None
        self._last, self._last_at, self._held = middle, at, None
        return price

    def _is_confirmed(self, middle: Decimal, at: datetime) -> bool:
        if self._held is None:
            return False
        held_at, held = self._held
        return at - held_at <= CONFIRM_WITHIN and abs(middle - held) <= held * self._max_jump

    def _drop(self, reason: str) -> None:
        self.dropped[reason] += 1


# --- Candles ------------------------------------------------------------------------------------------
STORED_FRAMES = (5, 60)
# Seconds of every frame that is shown, and the stored frame it is made of.
FRAMES = {
    5: 5,
    10: 5,
    15: 5,
    30: 5,
    60: 60,
    300: 60,
    900: 60,
    1800: 60,
    3600: 60,
    14_400: 60,
    86_400: 60,
}


class Bar(NamedTuple):
    """Open, high, low, close and count of one bucket's ticks, with the keys of its first and last."""

    start: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    ticks: int
    first_at: datetime
    first_seq: int
    last_at: datetime
    last_seq: int


def bucket_start(at: datetime, interval_seconds: int) -> datetime:
    """Return the start of the UTC bucket that holds an instant."""
    seconds = int((at - BEGINNING).total_seconds() // interval_seconds) * interval_seconds
    return BEGINNING + timedelta(seconds=seconds)


def bars_of(ticks: Iterable[tuple[datetime, int, Decimal]], interval_seconds: int) -> Iterator[Bar]:
    """Turn ticks `(at, seq, price)`, ascending by `(at, seq)`, into bars; buckets without ticks give none."""
    end = BEGINNING
    start = first_at = last_at = BEGINNING
    first = high = low = last = Decimal(0)
    count = first_seq = last_seq = 0
    length = timedelta(seconds=interval_seconds)
    for at, seq, price in ticks:
        if at >= end:
            if count:
                yield Bar(start, first, high, low, last, count, first_at, first_seq, last_at, last_seq)
            start = bucket_start(at, interval_seconds)
            end = start + length
            first = high = low = price
            first_at, first_seq, count = at, seq, 0
        elif price > high:
            high = price
        elif price < low:
            low = price
        last, last_at, last_seq = price, at, seq
        count += 1
    if count:
        yield Bar(start, first, high, low, last, count, first_at, first_seq, last_at, last_seq)


def widen(bars: Iterable[Bar], interval_seconds: int) -> Iterator[Bar]:
    """Join ascending bars into those of a longer frame that theirs divides."""
    joined: Bar | None = None
    for bar in bars:
        start = bucket_start(bar.start, interval_seconds)
        if joined is None or joined.start != start:
            if joined is not None:
                yield joined
            joined = bar._replace(start=start)
        else:
            joined = joined._replace(
                high=max(joined.high, bar.high),
                low=min(joined.low, bar.low),
                close=bar.close,
                ticks=joined.ticks + bar.ticks,
                last_at=bar.last_at,
                last_seq=bar.last_seq,
            )
    if joined is not None:
        yield joined


# --- Sources ------------------------------------------------------------------------------------------
# No market outside stands behind their prices.
MADE_HERE = frozenset({"simulated", "replay"})


def source_of(source: str, instrument_class: str, source_symbol: str, enabled: Sequence[str]) -> str:
    """Return the source that quotes an instrument: an enabled exchange replaces the simulation it serves."""
    if source == "simulated" and "binance" in enabled and instrument_class == "crypto" and source_symbol:
        return "binance"
    return source
