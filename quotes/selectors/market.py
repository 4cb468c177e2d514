"""What is known of the market: instruments and their hours, ticks, candles, the health of the feed."""

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple

from django.conf import settings
from django.db import connection

from config.core import clock
from quotes import history, rules
from quotes.errors import UnknownInstrument
from quotes.lanes import Connection
from quotes.models import Instrument, MarkUp, Source, Watermark

PAGE = 1_000


class TickPoint(NamedTuple):
    """A tick of the record."""

    at: datetime
    seq: int
    price: Decimal


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
