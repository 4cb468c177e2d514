"""Candles of one second: kept nowhere, made of the ticks that the database holds."""

from datetime import datetime, timedelta
from typing import Any

from django.db import connection

from quotes.rules import BEGINNING, Bar

# So many ticks in a second are likely; where there are more, more are read.
LIKELY_TICKS = 8
MOST_TICKS = 50_000
SECOND = timedelta(seconds=1)

SECONDS = """
SELECT date_bin('1 second', at, %(origin)s) AS start,
       (array_agg(price ORDER BY seq))[1], max(price), min(price),
       (array_agg(price ORDER BY seq DESC))[1], count(*), min(at), min(seq), max(at), max(seq),
       (sum(count(*)) OVER ())::bigint, count(*) OVER ()
FROM (SELECT at, seq, price FROM quotes_tick
      WHERE instrument_id = %(instrument)s AND at >= %(since)s AND at < %(end)s AND NOT is_late
      ORDER BY at DESC, seq DESC LIMIT %(most)s) newest
GROUP BY start ORDER BY start DESC LIMIT %(limit)s
"""


def newest_seconds(instrument_id: int, end: datetime, limit: int) -> list[Bar]:
    """Return the newest `limit` candles of one second before `end`, a whole second, newest first.

    A statement reads at most MOST_TICKS ticks, unless a single second has more.
    """
    found: list[Bar] = []
    most = min(limit * LIKELY_TICKS, MOST_TICKS)
    while len(found) < limit:
        bars, is_cut = _read(instrument_id, end, limit - len(found), most)
        found += bars
        if not is_cut:
            break
        if bars:
            end = bars[-1].start
        most = MOST_TICKS
    return found


def _read(instrument_id: int, end: datetime, limit: int, most: int) -> tuple[list[Bar], bool]:
    """Return whole candles made of the newest `most` ticks, newest first, and whether more may follow."""
    values: dict[str, Any] = {
        "instrument": instrument_id,
        "since": BEGINNING,
        "end": end,
        "most": most,
        "limit": limit,
        "origin": BEGINNING,
    }
    with connection.cursor() as cursor:
        cursor.execute(SECONDS, values)
        rows = cursor.fetchall()
        if not rows or rows[0][-2] < most:
            return [Bar(*row[:-2]) for row in rows], False
        if rows[0][-1] > len(rows):
            return [Bar(*row[:-2]) for row in rows], True
        # Of the oldest second there may be ticks that were not read.
        if most < MOST_TICKS or len(rows) > 1:
            return [Bar(*row[:-2]) for row in rows[:-1]], True
        cursor.execute(SECONDS, {**values, "since": rows[0][0], "end": rows[0][0] + SECOND, "most": None})
        return [Bar(*row[:-2]) for row in cursor.fetchall()], True
