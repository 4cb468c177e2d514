"""Stored candles of a day that is over: compared with its ticks, and put right where they differ."""

from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

import structlog
from django.db import connection, transaction

from config.core import clock
from quotes import selectors
from quotes.models import Candle, CandleCheck, Instrument, RecordDay, Watermark
from quotes.rules import BEGINNING, STORED_FRAMES

log = structlog.get_logger(__name__)
CANDLES_LOCK_CLASS = 0x63616E64
HOUR = timedelta(hours=1)
HOURS = 24
FIELDS = ("open", "high", "low", "close", "ticks", "first_at", "first_seq", "last_at", "last_seq")


class DayNotKept(Exception):
    """The ticks of that day are not in the database, or not all of them yet; says which."""


class Difference(NamedTuple):
    """A candle as it was stored and as its ticks make it, in the order of FIELDS; None: there is none."""

    frame: int
    start: datetime
    stored: tuple[Any, ...] | None
    made: tuple[Any, ...] | None


def verify_candles(*, day: date) -> list[CandleCheck]:
    """Compare every instrument's stored candles of a UTC day with its ticks, repair and record it.

    Returns a check per instrument with candles. One whose watermark has not passed the day is left out.
    Raises DayNotKept unless the day's ticks are in the database.
    """
    if day not in selectors.tick_days() or RecordDay.objects.filter(day=day, is_backfilled=True).exists():
        raise DayNotKept(f"the ticks of {day} are not in the database")
    checks = []
    for instrument in Instrument.objects.order_by("symbol"):
        try:
            check = verify_candles_of(instrument=instrument, day=day)
        except DayNotKept as reason:
            log.warning("candles are not verified", symbol=instrument.symbol, reason=str(reason))
            continue
        if check is not None:
            checks.append(check)
    return checks


@transaction.atomic
def verify_candles_of(*, instrument: Instrument, day: date) -> CandleCheck | None:
    """Compare an instrument's stored candles of a UTC day with its ticks and repair them; None: it has none.

    Below the watermark no tick comes that a candle counts, so the feed is not held up and loses nothing.
    Raises DayNotKept while the watermark stands below the day's end, or when the day is dropped meanwhile.
    """
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    end = start + HOURS * HOUR
    if Watermark.objects.values_list("at", flat=True).get(instrument=instrument) < end:
        raise DayNotKept(f"the watermark has not passed {day}")
    with connection.cursor() as cursor:
        # Two who repair at once would do it twice.
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [CANDLES_LOCK_CLASS, instrument.pk])
        found = [
            difference
            for frame in STORED_FRAMES
            for hour in range(HOURS)
            for difference in _differences(cursor, instrument.pk, frame, start + hour * HOUR)
        ]
    # Reading holds the day's table until here: if it is there now, it was there all the time.
    if day not in selectors.tick_days():
        raise DayNotKept(f"{day} was dropped meanwhile")
    _repair(instrument, found)
    candles = Candle.objects.filter(instrument=instrument, start__gte=start, start__lt=end).count()
    if not candles and not found:
        return None
    if found:
        log.error(
            "candles differed from their ticks and were repaired",
            symbol=instrument.symbol,
            day=str(day),
            candles=len(found),
        )
    return CandleCheck.objects.create(
        day=day,
        instrument=instrument,
        candles=candles,
        repaired=[_written(each) for each in found],
        checked_at=clock.now(),
    )


# Not by the code that wrote them: what both have wrong would not be seen. By hour, so that each statement
# stays short.
DIFFERENCES = """
WITH made AS (
    SELECT date_bin(%(length)s, at, %(origin)s) AS start,
           (array_agg(price ORDER BY at, seq))[1] AS open, max(price) AS high, min(price) AS low,
           (array_agg(price ORDER BY at DESC, seq DESC))[1] AS close, count(*)::int AS ticks,
           min(at) AS first_at, min(seq) AS first_seq, max(at) AS last_at, max(seq) AS last_seq
    FROM quotes_tick
    WHERE instrument_id = %(instrument)s AND at >= %(since)s AND at < %(until)s AND NOT is_late
    GROUP BY 1
), stored AS (
    SELECT start, open, high, low, close, ticks, first_at, first_seq, last_at, last_seq
    FROM quotes_candle
    WHERE instrument_id = %(instrument)s AND interval_seconds = %(frame)s
      AND start >= %(since)s AND start < %(until)s
)
SELECT coalesce(m.start, s.start), s.start IS NOT NULL, m.start IS NOT NULL,
       s.open, s.high, s.low, s.close, s.ticks, s.first_at, s.first_seq, s.last_at, s.last_seq,
       m.open, m.high, m.low, m.close, m.ticks, m.first_at, m.first_seq, m.last_at, m.last_seq
FROM made m FULL JOIN stored s ON s.start = m.start
WHERE m IS DISTINCT FROM s
ORDER BY 1
"""


def _differences(cursor: Any, instrument_id: int, frame: int, hour: datetime) -> list[Difference]:
    cursor.execute(
        DIFFERENCES,
        {
            "instrument": instrument_id,
            "frame": frame,
            "length": timedelta(seconds=frame),
            "since": hour,
            "until": hour + HOUR,
            "origin": BEGINNING,
        },
    )
    count = len(FIELDS)
    return [
        Difference(
            frame,
            start,
            values[:count] if is_stored else None,
            values[count:] if is_made else None,
        )
        for start, is_stored, is_made, *rest in cursor.fetchall()
        if (values := tuple(rest))
    ]


def _repair(instrument: Instrument, found: list[Difference]) -> None:
    for frame in STORED_FRAMES:
        starts = [each.start for each in found if each.frame == frame and each.stored is not None]
        Candle.objects.filter(instrument=instrument, interval_seconds=frame, start__in=starts).delete()
    Candle.objects.bulk_create(
        Candle(
            instrument=instrument,
            interval_seconds=each.frame,
            start=each.start,
            **dict(zip(FIELDS, each.made, strict=True)),
        )
        for each in found
        if each.made is not None
    )


def _written(each: Difference) -> dict[str, Any]:
    """Write what was repaired: the candle's interval and start, and what was stored, None for nothing."""
    stored = None
    if each.stored is not None:
        stored = {name: _plain(value) for name, value in zip(FIELDS, each.stored, strict=True)}
    return {"interval": each.frame, "start": clock.iso(each.start), "stored": stored}


def _plain(value: Any) -> int | str:
    if isinstance(value, datetime):
        return clock.iso(value)
    return value if isinstance(value, int) else f"{value:f}"
