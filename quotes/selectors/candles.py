"""Pages of candles, as rows and as they are written for clients."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from django.db import connection
from psycopg.types.datetime import TimestamptzLoader

from config.core import clock, wire
from quotes import history, rules, seconds
from quotes.errors import UnknownInterval
from quotes.models import Instrument, Watermark

PAGE = 1_000
MOST_STORED = 50_000


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


# The same bytes as `candle_row` and the renderer give; sums over a page are not worth a plan of their own.
WRITTEN_CANDLES = """
SELECT coalesce(string_agg(
           '{"start":"' || to_char(start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
           || '","open":"' || round(open, %(decimals)s) || '","high":"' || round(high, %(decimals)s)
           || '","low":"' || round(low, %(decimals)s) || '","close":"' || round(close, %(decimals)s)
           || '","ticks":' || ticks || ',"is_forming":' || (start + %(frame)s > %(mark)s)
           || ',"last_seq":' || last_seq || '}', ',' ORDER BY start), ''), count(*), min(start)
FROM ({rows}) AS page (start, open, high, low, close, ticks, last_seq)
"""


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


def written_candles(
    instrument: Instrument, interval_seconds: int, end: datetime | None = None, limit: int = PAGE
) -> tuple[bytes, int, datetime | None]:
    """Return a page as `candles_page` gives it, written as a JSON array, with its length and first start.

    PostgreSQL writes what it stores: a page of 1,000 took 12 ms to be read as decimals and written again,
    and takes 2 ms.
    """
    stored = rules.FRAMES.get(interval_seconds)
    if stored is None or interval_seconds == 1:
        page = candles_page(instrument, interval_seconds, end, limit)
        rows = wire.encode([candle_row(candle, instrument.price_decimals) for candle in page])
        return rows, len(page), page[0].start if page else None
    values = {
        **_values(instrument.pk, interval_seconds, stored, end, candles_limit(interval_seconds, limit)),
        "decimals": instrument.price_decimals,
        "mark": Watermark.objects.values_list("at", flat=True).get(instrument=instrument),
    }
    rows_of = STORED_CANDLES if stored == interval_seconds else DERIVED_CANDLES
    with connection.cursor() as cursor:
        cursor.execute(WRITTEN_CANDLES.replace("{rows}", rows_of), values)
        written, count, start = cursor.fetchone()
    return f"[{written}]".encode(), count, start


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
    parameters = _values(instrument_id, interval_seconds, stored, end, limit)
    with connection.cursor() as cursor:
        # The driver's own loader of instants: a quarter of a page's time less than the framework's.
        cursor.cursor.adapters.register_loader("timestamptz", TimestamptzLoader)
        cursor.execute(
            STORED_CANDLES if stored == interval_seconds else DERIVED_CANDLES,
            parameters,
        )
        found: list[tuple[Any, ...]] = cursor.fetchall()
        return found


def _values(
    instrument_id: int, interval_seconds: int, stored: int, end: datetime | None, limit: int
) -> dict[str, Any]:
    return {
        "instrument": instrument_id,
        "stored": stored,
        "end": _whole(end, interval_seconds),
        "rows": limit * interval_seconds // stored,
        "frame": timedelta(seconds=interval_seconds),
        "origin": rules.BEGINNING,
        "limit": limit,
    }


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
