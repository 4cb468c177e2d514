"""settle-lag: 200 orders/s expire steadily for a minute at random instants, as they are placed; two settlers.

Measured of each order: from the commit of the heartbeat whose watermark passed its expiry to the moment at
which its closing is seen committed, asked for every 5 ms. Heartbeats come every 100 ms with a tick of each
instrument, by the same door as the feed's; orders are placed by the service, in processes of their own.
"""

import itertools
import multiprocessing
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection, connections

from config.bench import stage
from config.core import clock
from config.core.ids import new_id
from payments.ledger.models import Account
from trading.models import SHARDS, Order
from trading.services import PlaceOrder, place_order

PER_SECOND = 200
SECONDS = 60
CUSTOMERS = 2_000
INSTRUMENTS = 10
SETTLERS, PLACERS = 2, 2
SHORTEST, LONGEST = 5, 15
HEARTBEAT_SECONDS, LOOK_SECONDS = 0.1, 0.005


def run() -> stage.Row:
    """Trade for a while until as many orders expire as are placed, then measure for a minute."""
    market = stage.Market(INSTRUMENTS)
    accounts = stage.funded_accounts(CUSTOMERS)
    market.tick("100.00")
    stage.settled_tables()
    with ExitStack() as stack:
        for number in range(SETTLERS):
            shard = str(number * SHARDS // SETTLERS)
            stack.enter_context(stage.process("manage.py", "settle_orders", "--first-shard", shard))
        stage.say(f"placing {PER_SECOND} orders/s for {LONGEST + SECONDS} s, measuring the last {SECONDS}")
        symbols = [instrument.symbol for instrument in market.instruments]
        stack.enter_context(placing(accounts, symbols, PER_SECOND))
        lags = _watch(market)
    return stage.Row(
        "settle-lag",
        len(lags) / SECONDS,
        "orders/s",
        p50_ms=stage.percentile(lags, 0.5),
        p99_ms=stage.percentile(lags, 0.99),
    )


def _watch(market: stage.Market) -> list[float]:
    """Beat for the feed; return the lags in milliseconds of the orders that expired in the last minute."""
    begins_at = clock.now() + timedelta(seconds=LONGEST)
    ends_at = begins_at + timedelta(seconds=SECONDS)
    lags: list[float] = []
    waiting: dict[UUID, float] = {}
    prices = price_walk()
    next_beat = time.perf_counter()
    while (now := clock.now()) < ends_at or waiting:
        if now > ends_at + timedelta(seconds=60):
            raise RuntimeError(f"{len(waiting)} orders are still open")
        # Asked before the watermark moves: none of them can have been closed yet.
        due = _due(begins_at, min(now, ends_at))
        market.tick(next(prices), now)
        passed_at = time.perf_counter()
        for order in due:
            waiting.setdefault(order, passed_at)
        next_beat = max(next_beat + HEARTBEAT_SECONDS, passed_at)
        while time.perf_counter() < next_beat:
            lags += _closed(waiting)
            time.sleep(LOOK_SECONDS)
    return lags


def _due(since: datetime, until: datetime) -> list[UUID]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM trading_order WHERE status = 'open' AND expires_at > %s AND expires_at <= %s",
            [since, until],
        )
        return [row[0] for row in cursor.fetchall()]


def _closed(waiting: dict[UUID, float]) -> list[float]:
    """Take out what is seen closed, and return how many milliseconds each has waited."""
    if not waiting:
        return []
    closed = Order.objects.filter(pk__in=list(waiting)).exclude(status=Order.Status.OPEN)
    found = list(closed.values_list("pk", flat=True))
    seen_at = time.perf_counter()
    return [(seen_at - waiting.pop(order)) * 1000 for order in found]


# --- the load -----------------------------------------------------------------------------------------


def price_walk() -> Iterator[str]:
    """Return prices that move by up to half a unit."""
    cents = 10_000
    while True:
        cents = max(5_000, cents + random.randint(-50, 50))  # noqa: S311
        yield f"{cents / 100:.2f}"


@contextmanager
def placing(accounts: Sequence[Account], symbols: Sequence[str], per_second: float) -> Iterator[None]:
    """Place orders of random durations at that rate in processes of their own while the block lasts."""
    forked = multiprocessing.get_context("fork")
    ended = forked.Event()
    who = [(account.pk, account.owner_id) for account in accounts]
    connections.close_all()
    placers = [
        forked.Process(target=_place, args=(who[number::PLACERS], symbols, per_second / PLACERS, ended))
        for number in range(PLACERS)
    ]
    for placer in placers:
        placer.start()
    try:
        yield
    finally:
        ended.set()
        for placer in placers:
            placer.join()
    if any(placer.exitcode for placer in placers):
        raise RuntimeError("an order was refused")


def _place(accounts: Sequence[Any], symbols: Sequence[str], per_second: float, ended: Any) -> None:
    started = time.perf_counter()
    for number in itertools.count():
        if ended.wait(max(0.0, started + number / per_second - time.perf_counter())):
            return
        account, owner = accounts[number % len(accounts)]
        command = PlaceOrder(
            client_id=str(new_id()),
            account=account,
            symbol=symbols[number % len(symbols)],
            contract="rise_fall",
            side="up" if number % 2 else "down",
            stake="10.00",
            duration_seconds=random.randint(SHORTEST, LONGEST),  # noqa: S311
        )
        place_order(customer_id=owner, command=command)
