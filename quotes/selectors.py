"""What is known of the market: instruments and their hours, ticks, candles, the health of the feed."""

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple

from django.conf import settings
from django.db import connection
from psycopg.types.datetime import TimestamptzLoader

from config.core import clock
from quotes import history, rules, seconds
from quotes.errors import UnknownInstrument, UnknownInterval
from quotes.lanes import Connection
from quotes.models import Instrument, MarkUp, Source, Watermark

PAGE = 1_000
MOST_STORED = 50_000


class TickPoint(NamedTuple):
    """A tick of the record."""

    at: datetime
    seq: int
    price: Decimal


class CandleView(NamedTuple):
    """A candle of any frame; `is_forming` until the watermark has passed its end."""

    start: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    ticks: int
    last_seq: int
    is_forming: bool


@dataclass(frozen=True, slots=True)
class InstrumentState:
    """An instrument at an instant: its hours, its last tick, how fresh the feed is."""

    instrument: Instrument
    session: rules.Session
    last: TickPoint | None
    watermark_at: datetime
    source: str
    quote: rules.Quote | None = None

    @property
    def is_open(self) -> bool:
        """Whether it takes orders: in session and not suspended."""
        return self.session.is_open and not self.instrument.is_suspended

    @property
    def opens_at(self) -> datetime | None:
        """The next opening; None while in session."""
        return self.session.opens_at

    @property
    def closes_at(self) -> datetime | None:
        """The next close; None while out of session, or when none is near."""
        return self.session.closes_at

    @property
    def is_simulated(self) -> bool:
        """Whether its prices are made by a generator or recorded before, which the customer is told."""
        return self.source in rules.MADE_HERE


# --- Instruments --------------------------------------------------------------------------------------


def instruments(*, listed_only: bool = True) -> list[InstrumentState]:
    """Return the instruments by symbol, with their state now."""
    rows = Instrument.objects.select_related("watermark").order_by("symbol")
    return _states(rows.filter(is_listed=True) if listed_only else rows)


def instrument_by_symbol(symbol: str) -> InstrumentState:
    """Return one instrument, listed or not, with its state now; raise UnknownInstrument."""
    found = _states(Instrument.objects.select_related("watermark").filter(symbol=symbol))
    if not found:
        raise UnknownInstrument(f"There is no instrument {symbol}.", symbol=symbol)
    return found[0]


def listed_instrument(symbol: str) -> Instrument:
    """Return a listed instrument; raise UnknownInstrument."""
    known = "\x00" not in symbol  # which PostgreSQL takes in no text
    instrument = Instrument.objects.filter(symbol=symbol, is_listed=True).first() if known else None
    if instrument is None:
        raise UnknownInstrument(f"There is no instrument {symbol}.", symbol=symbol)
    return instrument


def source_of(instrument: Instrument) -> str:
    """Return the source that quotes an instrument here."""
    return rules.source_of(
        instrument.source, instrument.instrument_class, instrument.source_symbol, settings.SOURCES
    )


def connections() -> list[Connection]:
    """Return the enabled sources as configured; those built in are there without anybody configuring them."""
    found = {
        kind: Connection(kind, kind, url)
        for kind, url in (("simulated", ""), ("replay", ""), ("binance", settings.BINANCE_URL))
    }
    for row in Source.objects.all():
        found.pop(row.code, None)
        if row.is_enabled:
            found[row.code] = Connection(row.code, row.kind, row.url, row.secret_ref, row.options)
    return sorted(found.values(), key=lambda each: each.code)


def _states(found: Iterable[Instrument]) -> list[InstrumentState]:
    now, rows = clock.now(), list(found)
    schedules = calendars_of([row.pk for row in rows])
    return [
        InstrumentState(
            instrument=row,
            session=rules.session(schedules[row.pk], now),
            last=_last(row.watermark),
            watermark_at=row.watermark.at,
            source=row.watermark.source or source_of(row),
            quote=_quote(row.watermark),
        )
        for row in rows
    ]


def mark_ups() -> dict[tuple[str, str], tuple[Decimal, Decimal]]:
    """Return amount and least spread in force, by symbol and customer group."""
    newest = MarkUp.objects.order_by("instrument_id", "group", "-version").distinct("instrument_id", "group")
    rows = newest.values_list("instrument__symbol", "group", "amount", "min_spread")
    return {(symbol, group): (amount, spread) for symbol, group, amount, spread in rows}


def displayed_quote(state: InstrumentState, group: str) -> rules.Quote | None:
    """Return the newest bid and ask as a customer group sees them; without its own mark-up, as all do."""
    quote = state.quote
    if quote is None:
        return None
    found = mark_ups()
    symbol, nothing = state.instrument.symbol, (Decimal(0), Decimal(0))
    amount, spread = found.get((symbol, group), found.get((symbol, rules.STANDARD), nothing))
    return rules.displayed(quote, Decimal(1).scaleb(-state.instrument.price_decimals), amount, spread)


def _quote(mark: Watermark) -> rules.Quote | None:
    if mark.last_bid is None or mark.last_ask is None:
        return None if mark.last_price is None else rules.Quote(mark.last_price, mark.last_price)
    return rules.Quote(mark.last_bid, mark.last_ask)


def _last(mark: Watermark) -> TickPoint | None:
    if mark.last_at is None or mark.last_price is None:
        return None
    return TickPoint(mark.last_at, mark.last_seq, mark.last_price)


# --- Trading hours ------------------------------------------------------------------------------------
SCHEDULES = """
SELECT i.id, c.time_zone,
       (SELECT jsonb_agg(jsonb_build_array(w.effective_from, w.hours) ORDER BY w.effective_from)
        FROM quotes_calendarweek w WHERE w.calendar_id = c.code)::text,
       (SELECT jsonb_agg(jsonb_build_array(x.starts_at, x.ends_at, x.is_open) ORDER BY x.id)
        FROM quotes_calendarexception x WHERE x.calendar_id = c.code)::text
FROM quotes_instrument i JOIN quotes_calendar c ON c.code = i.calendar_id
WHERE i.id = ANY(%s)
"""


def calendars_of(instrument_ids: Collection[int]) -> dict[int, rules.Schedule]:
    """Return the trading hours of each instrument, as stored now."""
    with connection.cursor() as cursor:
        cursor.execute(SCHEDULES, [list(instrument_ids)])
        return {row[0]: read_schedule(*row[1:]) for row in cursor.fetchall()}


@lru_cache(maxsize=256)
def read_schedule(time_zone: str, weeks: str | None, overrides: str | None) -> rules.Schedule:
    """Read a schedule from JSON: weeks `[[since, hours], …]`, overrides `[[starts_at, ends_at, is_open], …]`.

    What was read before is known by its text, so nothing can be out of date.
    """
    return rules.Schedule(
        time_zone,
        tuple(
            rules.Week(datetime.fromisoformat(since), tuple((opens, closes) for opens, closes in hours))
            for since, hours in json.loads(weeks or "[]")
        ),
        tuple(
            rules.Override(datetime.fromisoformat(starts), datetime.fromisoformat(ends), is_open)
            for starts, ends, is_open in json.loads(overrides or "[]")
        ),
    )


# --- Ticks --------------------------------------------------------------------------------------------
# Days that were dropped live on in the archive, and here where an order needed them.
TICKS = """
SELECT at, seq, price FROM (
    (SELECT at, seq, price FROM quotes_tick
     WHERE instrument_id = %(instrument)s AND at < %(at)s AND NOT is_late
     ORDER BY at DESC, seq DESC LIMIT %(limit)s)
    UNION
    (SELECT at, seq, price FROM quotes_evidencetick
     WHERE instrument_id = %(instrument)s AND at < %(at)s
     ORDER BY at DESC, seq DESC LIMIT %(limit)s)
) t ORDER BY at DESC, seq DESC LIMIT %(limit)s
"""


def ticks_page(instrument: Instrument, end: datetime | None = None, limit: int = PAGE) -> list[TickPoint]:
    """Return the newest ticks before `end` (None: all), ascending; the first's `at` ends the page before.

    Days that have left the database are read from the archive; raises Unavailable when it is away.
    """
    before = end or rules.ENDLESS
    values: dict[str, Any] = {"instrument": instrument.pk, "at": before, "limit": limit}
    with connection.cursor() as cursor:
        cursor.execute(TICKS, values)
        known = cursor.fetchall()
    return [TickPoint(*row) for row in history.newest_ticks(instrument, known, before, limit)][::-1]


def tick_days() -> list[date]:
    """Return the UTC days that have a partition, ascending."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT right(c.relname, 8) FROM pg_inherits h JOIN pg_class c ON c.oid = h.inhrelid "
            "WHERE h.inhparent = 'quotes_tick'::regclass ORDER BY 1"
        )
        return [datetime.strptime(name, "%Y%m%d").date() for (name,) in cursor.fetchall()]  # noqa: DTZ007


# --- Candles ------------------------------------------------------------------------------------------
STORED_CANDLES = """
SELECT start, open, high, low, close, ticks, last_seq FROM quotes_candle
WHERE instrument_id = %(instrument)s AND interval_seconds = %(stored)s AND start < %(end)s
ORDER BY start DESC LIMIT %(rows)s
"""
# The newest limit × n rows hold at least `limit` whole buckets of n, whatever is missing in between.
DERIVED_CANDLES = f"""
SELECT date_bin(%(frame)s, start, %(origin)s) AS bucket,
       (array_agg(open ORDER BY start))[1], max(high), min(low), (array_agg(close ORDER BY start DESC))[1],
       sum(ticks)::bigint, max(last_seq)
FROM ({STORED_CANDLES}) stored GROUP BY bucket ORDER BY bucket DESC LIMIT %(limit)s
"""  # noqa: S608


def candles_limit(interval_seconds: int, limit: int) -> int:
    """Return how many candles a page holds that asks for `limit`: it is made of at most MOST_STORED.

    Of one second, which are made of ticks, it holds at most PAGE.
    """
    if interval_seconds == 1:
        return max(1, min(limit, PAGE))
    stored = rules.FRAMES.get(interval_seconds, interval_seconds)
    return max(1, min(limit, MOST_STORED * stored // max(1, interval_seconds)))


def candles_page(
    instrument: Instrument, interval_seconds: int, end: datetime | None = None, limit: int = PAGE
) -> list[CandleView]:
    """Return the newest candles that start before `end` (None: all), ascending; raise UnknownInterval.

    The page before ends at the first one's start. Buckets without ticks have no candle. Of a long
    frame a page is shorter: see `candles_limit`. Seconds of days that have left the database are read from
    the archive; raises Unavailable when it is away.
    """
    stored = rules.FRAMES.get(interval_seconds)
    if stored is None:
        raise UnknownInterval(interval=interval_seconds, intervals=sorted(rules.FRAMES))
    limit = candles_limit(interval_seconds, limit)
    mark = Watermark.objects.values_list("at", flat=True).get(instrument=instrument)
    if interval_seconds == 1:
        rows = _second_rows(instrument, end, limit)
    else:
        rows = _candle_rows(instrument.pk, interval_seconds, stored, end, limit)
    length = timedelta(seconds=interval_seconds)
    return [CandleView._make((*row, row[0] + length > mark)) for row in reversed(rows)]


def _whole(end: datetime | None, interval_seconds: int) -> datetime:
    """Return the end of the last bucket that starts before `end`: what is read is whole buckets."""
    if end is None or end >= rules.ENDLESS - timedelta(seconds=interval_seconds):
        return rules.ENDLESS
    last = rules.bucket_start(end - timedelta(microseconds=1), interval_seconds)
    return last + timedelta(seconds=interval_seconds)


def _second_rows(instrument: Instrument, end: datetime | None, limit: int) -> Sequence[tuple[Any, ...]]:
    before = _whole(end, 1)
    bars = seconds.newest_seconds(instrument.pk, before, limit)
    # Read after the database: a day that is dropped in between is found in one of both.
    bars = history.candle_rows(instrument, 1, before, limit, known=bars)[::-1]
    return [(*bar[:6], bar.last_seq) for bar in bars]


def _candle_rows(
    instrument_id: int, interval_seconds: int, stored: int, end: datetime | None, limit: int
) -> Sequence[tuple[Any, ...]]:
    is_stored = stored == interval_seconds
    parameters: dict[str, Any] = {
        "instrument": instrument_id,
        "stored": stored,
        "end": _whole(end, interval_seconds),
        "rows": limit * interval_seconds // stored,
        "frame": timedelta(seconds=interval_seconds),
        "origin": rules.BEGINNING,
        "limit": limit,
    }
    with connection.cursor() as cursor:
        # The driver's own loader of instants: a quarter of a page's time less than the framework's.
        cursor.cursor.adapters.register_loader("timestamptz", TimestamptzLoader)
        cursor.execute(
            STORED_CANDLES if is_stored else DERIVED_CANDLES,
            parameters,
        )
        found: list[tuple[Any, ...]] = cursor.fetchall()
        return found


def newest_candle(instrument_id: int, frame: int) -> rules.Bar | None:
    """Return the newest candle of a live frame as it stands, for a feed that takes over."""
    if frame == 1:
        return next(iter(seconds.newest_seconds(instrument_id, rules.ENDLESS, 1)), None)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT start, open, high, low, close, ticks, first_at, first_seq, last_at, last_seq "
            "FROM quotes_candle WHERE instrument_id = %s AND interval_seconds = %s "
            "ORDER BY start DESC LIMIT 1",
            [instrument_id, frame],
        )
        row = cursor.fetchone()
    return None if row is None else rules.Bar(*row)


def candle_row(candle: CandleView, decimals: int) -> dict[str, Any]:
    """Write a candle with the instrument's decimals."""
    places = f".{decimals}f"
    return {
        "start": clock.iso(candle.start),
        "open": format(candle.open, places),
        "high": format(candle.high, places),
        "low": format(candle.low, places),
        "close": format(candle.close, places),
        "ticks": candle.ticks,
        "is_forming": candle.is_forming,
        "last_seq": candle.last_seq,
    }


# --- The feed -----------------------------------------------------------------------------------------


class FeedState(NamedTuple):
    """How the record of an instrument goes on: the watermark's age and what the source says of itself."""

    symbol: str
    source: str
    watermark_age: timedelta
    last_tick_age: timedelta | None
    source_lag_ms: int | None
    late_ticks: int
    is_fresh: bool


def feed_health() -> list[FeedState]:
    """Return the state of every listed instrument's feed; fresh: the watermark is within `max_quote_age`."""
    now = clock.now()
    found = []
    for row in Instrument.objects.select_related("watermark").filter(is_listed=True).order_by("symbol"):
        mark = row.watermark
        age = now - mark.at
        found.append(
            FeedState(
                symbol=row.symbol,
                source=mark.source or source_of(row),
                watermark_age=age,
                last_tick_age=None if mark.last_at is None else now - mark.last_at,
                source_lag_ms=mark.source_lag_ms,
                late_ticks=mark.late_ticks,
                is_fresh=age <= timedelta(milliseconds=row.max_quote_age_ms),
            )
        )
    return found
