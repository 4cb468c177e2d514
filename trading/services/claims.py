"""What the settlers claim: orders that can be decided now, locked, each by one settler."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cached_property
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Min, Q
from psycopg.types.datetime import TimestamptzLoader

from trading.models import SHARDS, Order
from trading.rules import Contract, Price

# Orders of one transaction, shared by the instruments that have any due: large enough to spread the cost of
# a batch's dozen statements, small enough that no account stays locked longer than 0.2 s.
BATCH = 2_000
# Of an instrument whose tick decides orders at once: thirty that move together still make thousands.
EARLY_BATCH = 200


@dataclass
class Due:
    """A claimed order with everything that deciding and telling needs."""

    id: UUID
    client_id: str
    customer: int
    account: int
    counter: int
    escrow: int
    book: int
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
    duration_ticks: int | None
    barrier: Decimal | None
    low: Decimal | None
    high: Decimal | None
    is_relative: bool
    digit: int | None
    entry_after: datetime | None
    expires_at: datetime
    entry_at: datetime | None
    entry_seq: int | None
    entry_price: Decimal | None
    terms_version: int
    tie_policy: str
    max_exit_age_seconds: int
    max_entry_wait_ms: int
    known_until: datetime
    """The instrument's watermark."""

    @property
    def entry(self) -> Price | None:
        """The entry tick, unless it is still pending."""
        if self.entry_at is None or self.entry_seq is None or self.entry_price is None:
            return None
        return Price(self.entry_at, self.entry_seq, self.entry_price)

    @cached_property
    def agreed(self) -> Contract:
        """What the rules need to know of it."""
        return Contract(
            kind=self.contract,
            side=self.side,
            stake=self.stake,
            payout_rate=self.payout_rate,
            scale=self.scale,
            price_decimals=self.price_decimals,
            entry=self.entry,
            entry_after=self.entry_after,
            expires_at=self.expires_at,
            duration_ticks=self.duration_ticks,
            barrier=self.barrier,
            low=self.low,
            high=self.high,
            is_relative=self.is_relative,
            digit=self.digit,
            tie_policy=self.tie_policy,
            max_exit_age=timedelta(seconds=self.max_exit_age_seconds),
            max_entry_wait=timedelta(milliseconds=self.max_entry_wait_ms),
        )


# --- statements ---------------------------------------------------------------------------------------

COLUMNS = """
    o.id, o.client_id, o.customer_id, o.account_id, a.counter_id, e.id, b.id, b.code, b.kind, b.currency,
    b.scale, o.instrument_id, i.symbol, i.price_decimals, o.contract, o.side, o.stake, o.payout_rate,
    o.accepted_at, o.duration_seconds, o.duration_ticks, o.barrier, o.low, o.high, o.is_relative, o.digit,
    o.entry_after, o.expires_at, o.entry_at, o.entry_seq, o.entry_price,
    t.version, t.tie_policy, t.max_exit_age_seconds, t.max_entry_wait_ms, w.at
"""
JOINS = """
    JOIN ledger_account a ON a.id = o.account_id
    JOIN ledger_book b ON b.id = a.book_id
    JOIN ledger_account e ON e.book_id = b.id AND e.code = 'escrow' AND e.owner_id IS NULL
    JOIN quotes_instrument i ON i.id = o.instrument_id
    JOIN trading_terms t ON t.id = o.terms_id
"""

_OPEN = """
    WHERE instrument_id = w.instrument_id AND status = 'open' AND parked_at IS NULL
      AND (%(only)s::uuid IS NULL OR id = %(only)s::uuid)
"""
# A dead instrument never fills a batch: each gives at most `limit` orders of a shard, and only up to its own
# watermark.
CLAIM_FIRST = f"""
SELECT {COLUMNS}
FROM quotes_watermark w CROSS JOIN unnest(%(shards)s::smallint[]) AS s (number)
CROSS JOIN LATERAL (
    SELECT * FROM trading_order {_OPEN} AND shard = s.number AND expires_at <= least(w.at, %(cutoff)s)
    ORDER BY expires_at, id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
) o {JOINS}
ORDER BY o.expires_at, o.id
"""  # noqa: S608 - assembled from constants

# Of one shard that the planner knows: in a burst it plans twice as well.
CLAIM_EXPIRED = CLAIM_FIRST.replace("unnest(%(shards)s::smallint[])", "(VALUES (%(shard)s))")

# Counted in ticks, and the last of them has come: ticks are numbered without a hole.
CLAIM_COUNTED = f"""
SELECT {COLUMNS}
FROM (SELECT * FROM quotes_watermark k WHERE EXISTS (
    SELECT FROM trading_order WHERE instrument_id = k.instrument_id AND status = 'open' AND parked_at IS NULL
      AND due_seq IS NOT NULL AND due_seq <= k.last_seq) OFFSET 0) w
CROSS JOIN LATERAL (
    SELECT seq FROM quotes_tick WHERE instrument_id = w.instrument_id AND at <= %(cutoff)s AND NOT is_late
    ORDER BY at DESC, seq DESC LIMIT 1) seen
CROSS JOIN LATERAL (
    SELECT * FROM trading_order {_OPEN} AND due_seq <= least(w.last_seq, seen.seq)
    ORDER BY due_seq, id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
) o {JOINS}
ORDER BY o.due_seq, o.id
"""  # noqa: S608 - assembled from constants

# Some tick has reached a barrier. The extremes since a while ago lead to candidates by index; whether the
# tick came within the life of each is asked then, so that none is claimed in vain.
CLAIM_REACHED = f"""
SELECT {COLUMNS}
FROM (SELECT * FROM quotes_watermark k WHERE EXISTS (
    SELECT FROM trading_order WHERE instrument_id = k.instrument_id AND status = 'open' AND parked_at IS NULL
      AND (reach_high IS NOT NULL OR reach_low IS NOT NULL)) OFFSET 0) w
CROSS JOIN LATERAL (
    SELECT max(price) AS highest, min(price) AS lowest FROM quotes_tick
    WHERE instrument_id = w.instrument_id AND at > %(since)s AND at <= least(w.at, %(cutoff)s) AND NOT is_late
    OFFSET 0) r
CROSS JOIN LATERAL (
    SELECT * FROM trading_order c {_OPEN} AND (reach_high <= r.highest OR reach_low >= r.lowest)
      AND EXISTS (
        SELECT FROM quotes_tick t
        WHERE t.instrument_id = w.instrument_id AND t.at > greatest(c.entry_at, %(since)s)
          AND t.at <= least(w.at, c.expires_at, %(cutoff)s) AND NOT t.is_late
          AND (t.price >= c.reach_high OR t.price <= c.reach_low)
          AND (c.due_seq IS NULL OR t.seq <= c.due_seq))
    ORDER BY expires_at, id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
) o {JOINS}
ORDER BY o.expires_at, o.id
"""  # noqa: S608 - assembled from constants

READ_ONE = f"""
SELECT {COLUMNS}
FROM trading_order o JOIN quotes_watermark w ON w.instrument_id = o.instrument_id {JOINS}
WHERE o.id = %(id)s AND o.customer_id = %(customer)s AND o.status = 'open'
"""  # noqa: S608 - assembled from constants
CLAIM_ONE = f"{READ_ONE} FOR UPDATE OF o"

CLAIM_PENDING = f"""
SELECT {COLUMNS}
FROM quotes_watermark w
CROSS JOIN LATERAL (
    SELECT * FROM trading_order
    WHERE instrument_id = w.instrument_id AND status = 'open' AND entry_seq IS NULL AND parked_at IS NULL
      AND entry_after < w.at AND (%(only)s::uuid IS NULL OR id = %(only)s::uuid)
    ORDER BY entry_after LIMIT %(limit)s FOR UPDATE SKIP LOCKED
) o {JOINS}
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
    ORDER BY expires_at OFFSET 0) o
JOIN trading_terms t ON t.id = o.terms_id
WHERE w.at < %(now)s - interval '1 second'  -- alive: none of its orders needs a look
  AND o.expires_at + make_interval(secs => t.settle_grace_seconds) <= %(now)s
GROUP BY w.instrument_id
ORDER BY w.instrument_id
"""


def due_shards(first_shard: int, cutoff: datetime) -> list[tuple[int, int]]:
    """Return the shards that hold due orders and of how many instruments, in turn from `first_shard`."""
    turns = [(first_shard + step) % SHARDS for step in range(SHARDS)]
    with connection.cursor() as cursor:
        cursor.execute(DUE_SHARDS, {"shards": turns, "cutoff": cutoff})
        return list(cursor.fetchall())


def claim_first(
    *, shards: Sequence[int], cutoff: datetime, limit: int, only: UUID | None = None
) -> list[Due]:
    """Lock and return orders whose expiry their watermark has passed, `limit` an instrument and shard."""
    values = {"shards": list(shards), "cutoff": cutoff, "only": only, "limit": limit}
    return _claimed(CLAIM_FIRST, values)


def claim_expired(*, shard: int, cutoff: datetime, limit: int = BATCH, only: UUID | None = None) -> list[Due]:
    """Lock and return orders of a shard whose expiry their watermark has passed, `limit` of an instrument."""
    return _claimed(CLAIM_EXPIRED, {"shard": shard, "cutoff": cutoff, "only": only, "limit": limit})


def claim_counted(*, cutoff: datetime, only: UUID | None = None) -> list[Due]:
    """Lock and return orders counted in ticks whose last tick had come by the cutoff."""
    return _claimed(CLAIM_COUNTED, {"cutoff": cutoff, "only": only, "limit": EARLY_BATCH})


def claim_reached(*, cutoff: datetime, since: datetime, only: UUID | None = None) -> list[Due]:
    """Lock and return orders whose barrier was reached by a tick after `since`, up to the cutoff."""
    return _claimed(CLAIM_REACHED, {"cutoff": cutoff, "since": since, "only": only, "limit": EARLY_BATCH})


def oldest_watched() -> datetime | None:
    """Return the earliest entry of the open orders that watch barriers; None while there are none."""
    watching = Order.objects.filter(status=Order.Status.OPEN, parked_at=None)
    watching = watching.filter(Q(reach_low__isnull=False) | Q(reach_high__isnull=False))
    return watching.aggregate(at=Min("entry_at"))["at"]


def claim_pending(*, only: UUID | None = None) -> list[Due]:
    """Lock and return orders whose delayed entry may be known."""
    return _claimed(CLAIM_PENDING, {"limit": BATCH, "only": only})


def claim_one(*, order_id: UUID, customer_id: int, locks: bool = True) -> Due | None:
    """Lock and return an open order of the customer, waiting for whoever is at it; None when it is closed.

    With `locks` off it is only read.
    """
    found = _claimed(CLAIM_ONE if locks else READ_ONE, {"id": order_id, "customer": customer_id})
    return found[0] if found else None


def _claimed(statement: str, values: dict[str, Any]) -> list[Due]:
    """Run a claim. Instants are read by the driver's own loader, ten times faster than Django's."""
    with connection.cursor() as cursor:
        cursor.cursor.adapters.register_loader("timestamptz", TimestamptzLoader)
        cursor.execute(statement, values)
        return [Due(*row) for row in cursor.fetchall()]


def dead_feeds(now: datetime) -> list[tuple[int, datetime]]:
    """Return the instruments whose watermark misses orders past their grace, each with the last expiry."""
    with connection.cursor() as cursor:
        cursor.execute(DEAD_FEEDS, {"now": now, "last_shard": SHARDS - 1})
        return list(cursor.fetchall())
