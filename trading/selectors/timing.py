"""How orders are timed against the movement of the price; never how they end, nor whose they are."""

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db import connection

from config.core import clock
from quotes.rules import MADE_HERE
from trading.rules import DIRECTED

WINDOW = timedelta(minutes=30)
REACH = timedelta(milliseconds=500)

# Everything since the version of the terms that last changed the entry: what was accepted before it has been
# answered by it. By the version an order was accepted under and not by time, so that an order placed while
# the terms changed is on one side alone.
# Orders on one side within the same half second see one movement: the first stands for all, or a crowd that
# follows one signal would look like a hundred who know. It also bounds how many ticks are looked up.
# An order at the latest tick comes in when it is accepted, a delayed one at its entry tick; either has the
# entry tick's price. Only what the watermark has passed is counted, so nothing is ever counted differently.
_TIMING = """
WITH watched AS MATERIALIZED (
    SELECT w.instrument_id, w.at AS known_until, v.id AS terms_id, v.created_at
    FROM quotes_watermark w CROSS JOIN LATERAL (
        SELECT id, created_at FROM (
            SELECT id, version, created_at, entry_policy IS DISTINCT FROM lag(entry_policy) OVER series
                OR entry_delay_ms IS DISTINCT FROM lag(entry_delay_ms) OVER series AS is_other
            FROM trading_terms WHERE instrument_id = w.instrument_id WINDOW series AS (ORDER BY version)
        ) versions
        WHERE is_other ORDER BY version DESC LIMIT 1
    ) v
    WHERE w.source <> '' AND w.source <> ALL(%(made_here)s)
      AND (%(only)s::bigint IS NULL OR w.instrument_id = %(only)s::bigint)
), placed AS MATERIALIZED (
    SELECT DISTINCT ON (o.instrument_id, o.side, date_bin(%(reach)s, e.at, 'epoch'))
           o.instrument_id, o.side, o.entry_at, o.entry_price, e.at
    FROM trading_order o
    JOIN watched s ON s.instrument_id = o.instrument_id
    JOIN ledger_account a ON a.id = o.account_id JOIN ledger_book b ON b.id = a.book_id
    CROSS JOIN LATERAL (SELECT greatest(o.accepted_at, o.entry_at) AS at) e
    WHERE o.accepted_at >= %(since)s AND o.terms_id >= s.terms_id AND o.entry_seq IS NOT NULL
      AND o.contract = ANY(%(contracts)s) AND o.side IN ('up', 'down') AND b.kind = 'real'
      AND e.at + %(reach)s <= s.known_until
    ORDER BY o.instrument_id, o.side, date_bin(%(reach)s, e.at, 'epoch'), e.at, o.id
), moved AS (
    SELECT p.instrument_id, (p.side = 'up') = (t.price > p.entry_price) AS is_ahead
    FROM placed p CROSS JOIN LATERAL (
        SELECT price FROM quotes_tick
        WHERE instrument_id = p.instrument_id AND at > p.entry_at AND at <= p.at + %(reach)s AND NOT is_late
        ORDER BY at DESC, seq DESC LIMIT 1
    ) t
    WHERE t.price <> p.entry_price
)
SELECT s.instrument_id, s.created_at, count(m.is_ahead), count(m.is_ahead) FILTER (WHERE m.is_ahead)
FROM watched s LEFT JOIN moved m ON m.instrument_id = s.instrument_id
GROUP BY s.instrument_id, s.created_at ORDER BY s.instrument_id
"""


class Timing(NamedTuple):
    """Orders of an instrument after which the price moved, and how many of them it moved for.

    `since` is when orders began to be entered as they are now; none from before it is counted.
    """

    instrument: int
    since: datetime
    orders: int
    ahead: int


def order_timing(instrument_id: int | None = None) -> list[Timing]:
    """Count, of every instrument with outside prices or one, the directed orders of real money by timing.

    Those of the last WINDOW, by the movement from their entry to the last tick within REACH; the others, and
    those without a movement, do not count.
    """
    values: dict[str, Any] = {
        "made_here": sorted(MADE_HERE),
        "only": instrument_id,
        "since": clock.now() - WINDOW,
        "reach": REACH,
        "contracts": list(DIRECTED),
    }
    with connection.cursor() as cursor:
        cursor.execute(_TIMING, values)
        return [Timing(*row) for row in cursor.fetchall()]
