"""settle-burst: 40,000 orders of 2,000 customers on ten instruments expire at one instant; two settlers."""

import time
from contextlib import ExitStack
from datetime import datetime, timedelta
from decimal import Decimal

from django.db import connection, transaction
from django.db.models import Sum

from config.bench import stage
from config.core import clock
from config.core.ids import derived_id, new_id
from payments.ledger.models import Account
from payments.ledger.services import NewTransfer, post_rows
from quotes.models import Instrument
from trading.models import SHARDS, Exposure, Order, Terms

ORDERS = 40_000
CUSTOMERS = 2_000
INSTRUMENTS = 10
SETTLERS = 2


def run() -> stage.Row:
    """Measure from the watermark's commit to the last order's."""
    market = stage.Market(INSTRUMENTS)
    accounts = stage.funded_accounts(CUSTOMERS)
    expires_at = clock.now() - timedelta(seconds=1)
    market.tick("100.00", expires_at - timedelta(seconds=60))
    stage.say(f"opening {ORDERS} orders")
    _open_orders(accounts, market.instruments, expires_at)
    market.tick(
        "101.00", expires_at - timedelta(milliseconds=10), until=expires_at - timedelta(milliseconds=1)
    )
    stage.settled_tables()
    with ExitStack() as stack:
        for number in range(SETTLERS):
            shard = str(number * SHARDS // SETTLERS)
            stack.enter_context(stage.process("manage.py", "settle_orders", "--first-shard", shard))
        stage.say(f"starting {SETTLERS} settlers")
        time.sleep(6)
        others = _open_count() - ORDERS
        market.tick("102.00", expires_at + timedelta(milliseconds=500))
        started = time.perf_counter()
        first, last = _wait_for_the_end(started, others)
    stage.say(f"first commit after {first * 1000:.0f} ms, last after {last * 1000:.0f} ms")
    return stage.Row("settle-burst", ORDERS / last, "orders/s", p50_ms=first * 1000, p99_ms=last * 1000)


def _wait_for_the_end(started: float, others: int) -> tuple[float, float]:
    first = 0.0
    while True:
        left = _open_count() - others
        now = time.perf_counter() - started
        if left < ORDERS and not first:
            first = now
        if left == 0:
            return first, now
        if now > 120:
            raise RuntimeError(f"{left} orders are still open")
        time.sleep(0.01 if not first else 0.05)


def _open_count() -> int:
    """Read it from the exposure, exact and a few rows: counting orders took time from the settlers."""
    return Exposure.objects.aggregate(left=Sum("open_orders"))["left"] or 0


_EXPOSE = """
INSERT INTO trading_exposure (book_id, instrument_id, side, open_orders, stakes, profit)
SELECT a.book_id, o.instrument_id, o.side, count(*), sum(o.stake), sum(trunc(o.stake * o.payout_rate, 2))
FROM trading_order o JOIN ledger_account a ON a.id = o.account_id
WHERE o.status = 'open' GROUP BY a.book_id, o.instrument_id, o.side
ON CONFLICT (book_id, instrument_id, side) DO UPDATE SET
    open_orders = excluded.open_orders, stakes = excluded.stakes, profit = excluded.profit
"""


def _open_orders(accounts: list[Account], instruments: list[Instrument], expires_at: datetime) -> None:
    """Write open orders and their stakes as placement would have a minute ago, in batches."""
    accepted_at = expires_at - timedelta(seconds=59)
    entry_at = expires_at - timedelta(seconds=60)
    terms = {found.instrument_id: found.pk for found in Terms.objects.all()}
    escrow = Account.objects.get(book=accounts[0].book, code=Account.Code.ESCROW, owner=None)
    for start in range(0, ORDERS, 2_000):
        orders = []
        for number in range(start, start + 2_000):
            account = accounts[number % CUSTOMERS]
            instrument = instruments[(number // 7) % INSTRUMENTS]
            orders.append(
                Order(
                    id=new_id(),
                    account=account,
                    client_id=str(number),
                    request_sha256=b"",
                    customer_id=account.owner_id or 0,
                    shard=account.pk % SHARDS,
                    instrument=instrument,
                    terms_id=terms[instrument.pk],
                    contract="rise_fall",
                    side="up" if (number // 3) % 2 else "down",
                    stake=Decimal("10.00"),
                    payout_rate=Decimal("0.85"),
                    accepted_at=accepted_at,
                    duration_seconds=59,
                    expires_at=expires_at,
                    entry_at=entry_at,
                    entry_seq=1,
                    entry_price=Decimal("100.00"),
                )
            )
        with transaction.atomic():
            post_rows(
                [
                    NewTransfer(
                        derived_id(order.id, "stake"),
                        order.account_id,
                        escrow.pk,
                        order.stake,
                        "stake",
                        str(order.id),
                    )
                    for order in orders
                ]
            )
            Order.objects.bulk_create(orders)
    with connection.cursor() as cursor:
        cursor.execute(_EXPOSE)
