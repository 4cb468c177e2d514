"""What the settlers read: claims of due orders, and the stored market that decides them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Q
from psycopg.types.datetime import TimestamptzLoader

from config.core.sql import array
from quotes.models import Gap as RecordedGap
from quotes.rules import is_open
from quotes.selectors import calendars_of
from trading.models import SHARDS
from trading.rules import Contract, Gap, History, Price

# Orders of one transaction, shared by the instruments that have any due: large enough to spread the cost of
# a batch's dozen statements, small enough that the first customers hear within 0.3 s of a burst's expiry.
BATCH = 1_200


@dataclass(slots=True)
class Due:
    """A claimed order with everything that deciding and telling needs."""

    id: UUID
    client_id: str
    customer: int
    account: int
    counter: int
    escrow: int
    book_code: str
    book_kind: str
    currency: str
    scale: int
    instrument: int
    symbol: str
    price_decimals: int
    contract: str
    side: str
    stake: Decimal
    payout_rate: Decimal
    accepted_at: datetime
    duration_seconds: int | None
    entry_after: datetime | None
    expires_at: datetime
    entry_at: datetime | None
    entry_seq: int | None
    entry_price: Decimal | None
    terms_version: int
    tie_policy: str
    max_exit_age_seconds: int
    max_entry_wait_ms: int

    @property
    def entry(self) -> Price | None:
        """The entry tick, unless it is still pending."""
        if self.entry_at is None or self.entry_seq is None or self.entry_price is None:
            return None
        return Price(self.entry_at, self.entry_seq, self.entry_price)

    def agreed(self) -> Contract:
        """What the rules need to know of it."""
        return Contract(
            side=self.side,
            stake=self.stake,
            payout_rate=self.payout_rate,
            scale=self.scale,
            entry=self.entry,
            entry_after=self.entry_after,
            expires_at=self.expires_at,
            tie_policy=self.tie_policy,
            max_exit_age=timedelta(seconds=self.max_exit_age_seconds),
            max_entry_wait=timedelta(milliseconds=self.max_entry_wait_ms),
        )


# --- statements ---------------------------------------------------------------------------------------

_COLUMNS = """
    o.id, o.client_id, o.customer_id, o.account_id, a.counter_id, e.id, b.code, b.kind, b.currency, b.scale,
    o.instrument_id, i.symbol, i.price_decimals, o.contract, o.side, o.stake, o.payout_rate, o.accepted_at,
    o.duration_seconds, o.entry_after, o.expires_at, o.entry_at, o.entry_seq, o.entry_price,
    t.version, t.tie_policy, t.max_exit_age_seconds, t.max_entry_wait_ms
"""
_JOINS = """
    JOIN ledger_account a ON a.id = o.account_id
    JOIN ledger_book b ON b.id = a.book_id
    JOIN ledger_account e ON e.book_id = b.id AND e.code = 'escrow' AND e.owner_id IS NULL
    JOIN quotes_instrument i ON i.id = o.instrument_id
    JOIN trading_terms t ON t.id = o.terms_id
"""

# A dead instrument never fills a batch: each gives at most `limit` orders, and only up to its own watermark.
CLAIM_DUE = f"""
SELECT {_COLUMNS}
FROM quotes_watermark w
CROSS JOIN LATERAL (
    SELECT * FROM trading_order
    WHERE instrument_id = w.instrument_id AND shard = %(shard)s AND status = 'open' AND parked_at IS NULL
      AND expires_at <= least(w.at, %(cutoff)s) AND (%(only)s::uuid IS NULL OR id = %(only)s::uuid)
    ORDER BY expires_at, id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
) o {_JOINS}
ORDER BY o.expires_at, o.id
"""  # noqa: S608 - assembled from constants

CLAIM_PENDING = f"""
SELECT {_COLUMNS}, w.at
FROM quotes_watermark w
CROSS JOIN LATERAL (
    SELECT * FROM trading_order
    WHERE instrument_id = w.instrument_id AND status = 'open' AND entry_seq IS NULL AND parked_at IS NULL
      AND entry_after < w.at AND (%(only)s::uuid IS NULL OR id = %(only)s::uuid)
    ORDER BY entry_after LIMIT %(limit)s FOR UPDATE SKIP LOCKED
) o {_JOINS}
ORDER BY o.entry_after, o.id
"""  # noqa: S608 - assembled from constants

DUE_SHARDS = """
SELECT s.shard, count(*) FROM unnest(%(shards)s::smallint[]) WITH ORDINALITY AS s (shard, turn)
CROSS JOIN quotes_watermark w
WHERE EXISTS (
    SELECT FROM trading_order
    WHERE instrument_id = w.instrument_id AND shard = s.shard AND status = 'open' AND parked_at IS NULL
      AND expires_at <= least(w.at, %(cutoff)s))
GROUP BY s.shard, s.turn ORDER BY s.turn
"""

# Shard by shard and only past the shortest grace: so the index of due orders serves, and while a dead feed's
# orders wait for their grace, none of them is looked at.
DEAD_FEEDS = """
SELECT w.instrument_id, max(o.expires_at)
FROM quotes_watermark w
CROSS JOIN LATERAL (
    SELECT make_interval(secs => min(settle_grace_seconds)) AS shortest FROM trading_terms
    WHERE instrument_id = w.instrument_id OFFSET 0) grace
CROSS JOIN generate_series(0, %(last_shard)s) AS s (shard)
CROSS JOIN LATERAL (
    SELECT terms_id, expires_at FROM trading_order
    WHERE instrument_id = w.instrument_id AND shard = s.shard AND status = 'open' AND parked_at IS NULL
      AND expires_at > w.at AND expires_at <= %(now)s - grace.shortest
    OFFSET 0) o
JOIN trading_terms t ON t.id = o.terms_id
WHERE w.at < %(now)s - interval '1 second'  -- alive: none of its orders needs a look
  AND o.expires_at + make_interval(secs => t.settle_grace_seconds) <= %(now)s
GROUP BY w.instrument_id
ORDER BY w.instrument_id
"""

LAST_TICKS = """
SELECT t.at, t.seq, t.price
FROM unnest(%s::bigint[], %s::timestamptz[], %s::timestamptz[])
    WITH ORDINALITY AS k (instrument, upto, since, place)
LEFT JOIN LATERAL (
    SELECT at, seq, price FROM quotes_tick
    WHERE instrument_id = k.instrument AND at <= k.upto AND at >= k.since AND NOT is_late
    ORDER BY at DESC, seq DESC LIMIT 1) t ON true
ORDER BY k.place
"""

FIRST_TICKS = """
SELECT t.at, t.seq, t.price
FROM unnest(%s::bigint[], %s::timestamptz[], %s::timestamptz[])
    WITH ORDINALITY AS k (instrument, after, upto, place)
LEFT JOIN LATERAL (
    SELECT at, seq, price FROM quotes_tick
    WHERE instrument_id = k.instrument AND at > k.after AND at <= k.upto AND NOT is_late
    ORDER BY at, seq LIMIT 1) t ON true
ORDER BY k.place
"""


def due_shards(first_shard: int, cutoff: datetime) -> list[tuple[int, int]]:
    """Return the shards that hold due orders and of how many instruments, in turn from `first_shard`."""
    turns = [(first_shard + step) % SHARDS for step in range(SHARDS)]
    with connection.cursor() as cursor:
        cursor.execute(DUE_SHARDS, {"shards": turns, "cutoff": cutoff})
        return list(cursor.fetchall())


def claim_due(shard: int, cutoff: datetime, *, limit: int = BATCH, only: UUID | None = None) -> list[Due]:
    """Lock and return orders of a shard whose expiry their watermark has passed, `limit` of an instrument."""
    rows = _rows(CLAIM_DUE, {"shard": shard, "cutoff": cutoff, "only": only, "limit": limit})
    return [Due(*row) for row in rows]


def claim_pending(*, only: UUID | None = None) -> list[tuple[Due, datetime]]:
    """Lock and return orders whose delayed entry may be known, each with its instrument's watermark."""
    return [(Due(*row[:-1]), row[-1]) for row in _rows(CLAIM_PENDING, {"limit": BATCH, "only": only})]


def _rows(statement: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Run a claim. Instants are read by the driver's own loader, ten times faster than Django's."""
    with connection.cursor() as cursor:
        cursor.cursor.adapters.register_loader("timestamptz", TimestamptzLoader)
        cursor.execute(statement, values)
        return cursor.fetchall()


def histories(batch: Sequence[Due]) -> list[History]:
    """Read what the outcome of each order depends on: ticks, gaps and sessions, each in one statement."""
    lasts = last_ticks(batch)
    pending = [due for due in batch if due.entry_seq is None]
    firsts = dict(zip((due.id for due in pending), first_ticks(pending), strict=True))
    gaps = _gaps(batch)
    schedules = calendars_of({due.instrument for due in batch})
    return [
        History(
            first_after=firsts.get(due.id),
            last_before=lasts[due.instrument, due.expires_at],
            gaps=gaps.get(due.instrument, ()),
            open_at_expiry=is_open(schedules[due.instrument], due.expires_at),
        )
        for due in batch
    ]


def last_ticks(batch: Sequence[Due]) -> dict[tuple[int, datetime], Price | None]:
    """Find the last tick up to each expiry; orders that expire together share one look-up."""
    since: dict[tuple[int, datetime], datetime] = {}
    for due in batch:
        key = (due.instrument, due.expires_at)
        # The entry may be a little older than the acceptance; nothing before it can be an exit.
        start = due.entry_at or due.accepted_at
        since[key] = min(start, since.get(key, start))
    rows = _ticks(LAST_TICKS, [key[0] for key in since], [key[1] for key in since], list(since.values()))
    return dict(zip(since, rows, strict=True))


def first_ticks(pending: Sequence[Due]) -> list[Price | None]:
    """Find the first tick after each order's delay and before its expiry."""
    if not pending:
        return []
    afters = [due.entry_after or due.accepted_at for due in pending]
    return _ticks(
        FIRST_TICKS, [due.instrument for due in pending], afters, [due.expires_at for due in pending]
    )


def _ticks(
    statement: str, instruments: list[int], ones: list[datetime], others: list[datetime]
) -> list[Price | None]:
    with connection.cursor() as cursor:
        cursor.execute(statement, (array(instruments), array(ones), array(others)))
        return [Price(*row) if row[0] is not None else None for row in cursor.fetchall()]


def _gaps(batch: Sequence[Due]) -> dict[int, list[Gap]]:
    expiries = [due.expires_at for due in batch]
    entries = [due.entry_at or due.accepted_at for due in batch]
    recorded = RecordedGap.objects.filter(
        Q(ends_at__gte=min(expiries))
        | Q(ends_at__gte=min(entries), reason=RecordedGap.Reason.SOURCE_CHANGED),
        instrument_id__in={due.instrument for due in batch},
        starts_at__lt=max(expiries),
    ).order_by("starts_at", "id")
    found: dict[int, list[Gap]] = {}
    for gap in recorded:
        found.setdefault(gap.instrument_id, []).append(Gap(gap.starts_at, gap.ends_at, gap.reason))
    return found


def dead_feeds(now: datetime) -> list[tuple[int, datetime]]:
    """Return the instruments whose watermark misses orders past their grace, each with the last expiry."""
    with connection.cursor() as cursor:
        cursor.execute(DEAD_FEEDS, {"now": now, "last_shard": SHARDS - 1})
        return list(cursor.fetchall())
