"""How much each instrument moves, estimated from its stored ticks for the pricing of contracts."""

from collections.abc import Collection
from datetime import timedelta

from django.db import connection

from config.core import clock

WINDOW = timedelta(minutes=30)
# Two minutes of returns: below that an estimate says more about chance than about the market.
LEAST_SAMPLES = 24

# From the closes of the stored 5-second candles, which are written with their ticks: squared log returns over
# the time they took (realised variance; Hull, ch. 15.4). Across a silence of more than 30 s nothing is taken,
# so that the night between two sessions is not one great move.
ESTIMATE = """
INSERT INTO trading_volatilityestimate (instrument_id, at, per_sqrt_second, tick_seconds, samples)
SELECT instrument_id, %(now)s, sqrt(sum(ln(close / before) ^ 2)::float8 / sum(seconds)),
       sum(seconds) / sum(ticks), count(*)
FROM (
    SELECT instrument_id, close, ticks, lag(close) OVER series AS before,
           extract(epoch FROM start - lag(start) OVER series)::float8 AS seconds
    FROM quotes_candle WHERE interval_seconds = 5 AND start >= %(since)s
    WINDOW series AS (PARTITION BY instrument_id ORDER BY start)
) moves
WHERE seconds <= 30
GROUP BY instrument_id
HAVING count(*) >= %(least)s AND sum(ln(close / before) ^ 2) > 0
"""

# What a simulation is made by is published, so it needs no time to become known.
PUBLISHED = """
INSERT INTO trading_volatilityestimate (instrument_id, at, per_sqrt_second, tick_seconds, samples)
SELECT i.id, %(now)s, i.simulated_volatility / sqrt(365 * 86400), i.simulated_interval_ms / 1000.0, 0
FROM quotes_instrument i JOIN quotes_watermark w ON w.instrument_id = i.id
WHERE (w.source = 'simulated' OR i.id = ANY(%(simulated)s)) AND i.is_listed AND i.simulated_volatility > 0
  AND NOT EXISTS (SELECT FROM trading_volatilityestimate e WHERE e.instrument_id = i.id AND e.at >= %(now)s)
"""


def estimate_volatility(*, simulated: Collection[int] = ()) -> int:
    """Record a fresh estimate for every instrument that moved enough lately; return for how many.

    A simulated one with too few returns gets what it is made by; one of `simulated` even before its first
    tick. Any other gets none, and what its volatility prices is refused once the last estimate is old.
    """
    now = clock.now()
    with connection.cursor() as cursor:
        cursor.execute(ESTIMATE, {"now": now, "since": now - WINDOW, "least": LEAST_SAMPLES})
        estimated = cursor.rowcount
        cursor.execute(PUBLISHED, {"now": now, "simulated": list(simulated)})
        return estimated + cursor.rowcount
