"""How much each instrument moves, estimated from its stored ticks for the pricing of contracts."""

from collections.abc import Collection
from datetime import timedelta
from typing import Any

from django.db import connection

from config.core import clock

WINDOW = timedelta(minutes=30)
# Two minutes of returns: below that an estimate says more about chance than about the market.
LEAST_SAMPLES = 24

# From the closes of the stored 5-second candles, which are written with their ticks: squared log returns over
# the time they took (realised variance; Hull, ch. 15.4). Across a silence of more than 30 s nothing is taken,
# so that the night between two sessions is not one great move. A return beyond twice the 98th of a hundred
# counts as that: one wrong price must not make everything dear for half an hour.
ESTIMATE = """
INSERT INTO trading_volatilityestimate (instrument_id, at, per_sqrt_second, tick_seconds, samples)
SELECT i.id, %(now)s, e.deviation, e.tick_seconds, e.samples
FROM quotes_instrument i CROSS JOIN LATERAL (
    WITH moves AS MATERIALIZED (
        SELECT abs(ln(close / before))::float8 AS size, seconds, ticks
        FROM (
            SELECT close, ticks, lag(close) OVER series AS before,
                   extract(epoch FROM start - lag(start) OVER series)::float8 AS seconds
            FROM quotes_candle
            WHERE instrument_id = i.id AND interval_seconds = 5 AND start >= %(since)s
            WINDOW series AS (ORDER BY start)
        ) closes
        WHERE seconds <= 30
    ), bound AS (SELECT 2 * percentile_cont(0.98) WITHIN GROUP (ORDER BY size) AS most FROM moves)
    SELECT sqrt(sum(CASE WHEN most > 0 THEN least(size, most) ELSE size END ^ 2) / sum(seconds)) AS deviation,
           sum(seconds) / sum(ticks) AS tick_seconds, count(*) AS samples
    FROM moves CROSS JOIN bound
) e
WHERE i.is_listed AND e.samples >= %(least)s AND e.deviation > 0
  AND NOT EXISTS (SELECT FROM trading_volatilityestimate v WHERE v.instrument_id = i.id AND v.at = %(now)s)
"""

# What a simulation is made by is published: who knows it would buy wherever an estimate is off.
PUBLISHED = """
INSERT INTO trading_volatilityestimate (instrument_id, at, per_sqrt_second, tick_seconds, samples)
SELECT i.id, %(now)s, i.simulated_volatility / sqrt(365 * 86400), i.simulated_interval_ms / 1000.0, 0
FROM quotes_instrument i JOIN quotes_watermark w ON w.instrument_id = i.id
WHERE (w.source = 'simulated' OR i.id = ANY(%(simulated)s)) AND i.is_listed AND i.simulated_volatility > 0
"""


def estimate_volatility(*, simulated: Collection[int] = ()) -> int:
    """Record a fresh estimate for every instrument that moved enough lately; return for how many.

    A simulated one gets what it is made by; one of `simulated` even before its first tick. Another with too
    few returns gets none, and what its volatility prices is refused once the last estimate is old.
    """
    now = clock.now()
    values: dict[str, Any] = {
        "now": now,
        "since": now - WINDOW,
        "least": LEAST_SAMPLES,
        "simulated": list(simulated),
    }
    with connection.cursor() as cursor:
        cursor.execute(PUBLISHED, values)
        published = cursor.rowcount
        cursor.execute(ESTIMATE, values)
        return published + cursor.rowcount
