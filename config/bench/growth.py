"""growth: placing and settling with 10^5, 10^6 and 10^7 closed orders behind them, and as many ticks each:
10^8 at the last.

Each is measured three times at each size, with R before and after it; the medians of their ratios count, and
the value is the worse of both at the last size over the first. BENCH_ORDERS and BENCH_TICKS choose other
sizes, e.g. 1e5,1e6.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from statistics import median

from django.db import connections

from config.bench import orders_service, settle_burst, stage
from config.core import clock
from payments.ledger.models import Account
from quotes.services import open_days

SIZES = [int(float(size)) for size in os.environ.get("BENCH_ORDERS", "1e5,1e6,1e7").split(",")]
TICKS = int(float(os.environ.get("BENCH_TICKS", "1e8")))
TICK_DAYS = 20
FILLERS = 10_000
TIMES = 3
CHUNK = 500_000

# As placing and settling leave them: what is written is what matters, not how it came about.
# Ids are in the order of time, as the platform's own are.
ID = """(lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || substr(md5(n::text), 1, 3)
         || '8' || substr(md5(n::text), 4, 15))::uuid"""
ORDERS = f"""
INSERT INTO trading_order (
    id, account_id, client_id, request_sha256, customer_id, shard, instrument_id, terms_id, contract, side,
    stake, payout_rate, status, accepted_at, duration_seconds, expires_at, entry_at, entry_seq, entry_price,
    exit_at, exit_seq, exit_price, payout, closed_at, parked_because)
SELECT {ID}, a.id, n::text, '', a.owner_id, a.id %% 16, %(instrument)s, %(terms)s, 'rise_fall',
       'up', 10, 0.85, 'won', at, 60, at + '60 s', at, n, 100, at + '60 s', n, 101, 18.5, at + '61 s', ''
FROM generate_series(%(first)s, %(last)s) n
JOIN unnest(%(accounts)s::bigint[], %(owners)s::bigint[]) WITH ORDINALITY AS a(id, owner_id, place)
    ON a.place = n %% %(many)s + 1,
LATERAL (SELECT %(begins)s::timestamptz + n * interval '100 ms' AS at) t
"""  # noqa: S608 - assembled from constants
TRANSFERS = f"""
INSERT INTO ledger_transfer (id, book_id, source_id, destination_id, amount, code, reference, created_at,
                             destination_version, destination_balance)
SELECT {ID}, %(book)s, %(escrow)s, a.id, 10, 'release', n::text, at, n / %(many)s + 2, 10
FROM generate_series(%(first)s, %(last)s) n
JOIN unnest(%(accounts)s::bigint[]) WITH ORDINALITY AS a(id, place) ON a.place = n %% %(many)s + 1,
LATERAL (SELECT %(begins)s::timestamptz + n * interval '100 ms' AS at) t
"""  # noqa: S608 - assembled from constants
FILL_TICKS = """
INSERT INTO quotes_tick (instrument_id, at, seq, price, is_late)
SELECT %s, %s::timestamptz + n * interval '10 ms', n, 100, false FROM generate_series(%s, %s) n
"""
FOREIGN_KEYS = """
SELECT conrelid::regclass::text, quote_ident(conname), pg_get_constraintdef(oid) FROM pg_constraint
WHERE contype = 'f' AND conrelid IN ('trading_order'::regclass, 'ledger_transfer'::regclass)
"""


def run() -> stage.Row:
    """Fill, measure, fill further."""
    filler = _Filler()
    found: list[tuple[float, float]] = []
    for size in SIZES:
        filler.ticks(TICKS * size // SIZES[-1])
        with filler.without_foreign_keys():
            filler.orders(size)
        filler.settle()
        placing, settling = zip(*(_measured() for _ in range(TIMES)), strict=True)
        found.append((median(placing), median(settling)))
        stage.say(
            f"{size} closed orders: placing {found[-1][0]:.3f} R of {[round(each, 3) for each in placing]}, "
            f"settling {found[-1][1]:.2f} R of {[round(each, 2) for each in settling]}"
        )
    ratio = min(last / first for first, last in zip(found[0], found[-1], strict=True))
    return stage.Row("growth", ratio, "of the first")


def _measured() -> tuple[float, float]:
    before = stage.measure_r(5)
    placed = orders_service.run().value
    between = stage.measure_r(5)
    settled = settle_burst.run().value
    after = stage.measure_r(5)
    return placed * 2 / (before + between), settled * 2 / (between + after)


class _Filler:
    """Writes history in bulk, past the checks that would take hours: its rows are well-formed by design."""

    def __init__(self) -> None:
        self.market = stage.Market(1)
        self.accounts = stage.funded_accounts(FILLERS, "1.00")
        self.done = 0
        self.done_a_day = 0
        today = clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
        self.days = [today - timedelta(days=day) for day in range(2, TICK_DAYS + 2)]
        open_days([day.date() for day in self.days])
        with connections["owner"].cursor() as cursor:
            cursor.execute("SELECT id FROM trading_terms LIMIT 1")
            (self.terms,) = cursor.fetchone()

    def settle(self) -> None:
        """Leave the tables as autovacuum does, so that it does not begin while something is measured."""
        with connections["owner"].cursor() as cursor:
            cursor.execute("VACUUM (FREEZE, ANALYZE)")

    @contextmanager
    def without_foreign_keys(self) -> Iterator[None]:
        """Check no reference of orders and transfers within the block; what comes after it is, as in life."""
        with connections["owner"].cursor() as cursor:
            cursor.execute(FOREIGN_KEYS)
            keys = cursor.fetchall()
            for table, name, _ in keys:
                cursor.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
        yield
        with connections["owner"].cursor() as cursor:
            for table, name, definition in keys:
                # What was written unchecked stays unchecked: hours at the last size.
                unchecked = definition.removesuffix(" NOT VALID") + " NOT VALID"
                cursor.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} {unchecked}")

    def orders(self, size: int) -> None:
        """Write closed orders and their transfers up to this many."""
        book = self.accounts[0].book
        values = {
            "instrument": self.market.instruments[0].pk,
            "terms": self.terms,
            "accounts": [account.pk for account in self.accounts],
            "owners": [account.owner_id for account in self.accounts],
            "many": FILLERS,
            "begins": clock.now() - timedelta(days=30),
            "book": book.pk,
            "escrow": Account.objects.get(book=book, code=Account.Code.ESCROW, owner=None).pk,
        }
        while self.done < size:
            last = min(size, self.done + CHUNK)
            values |= {"first": self.done + 1, "last": last}
            with connections["owner"].cursor() as cursor:
                cursor.execute(ORDERS, values)
                cursor.execute(TRANSFERS, values)
            self.done = last
            stage.say(f"{last} closed orders written")

    def ticks(self, size: int) -> None:
        """Write ticks of past days up to this many."""
        first, last = self.done_a_day + 1, size // TICK_DAYS
        for day in self.days:
            with connections["owner"].cursor() as cursor:
                cursor.execute(FILL_TICKS, [self.market.instruments[0].pk, day, first, last])
        self.done_a_day = last
        stage.say(f"{last * TICK_DAYS} ticks written")
