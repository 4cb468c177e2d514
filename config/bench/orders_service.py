"""orders-service: `place_order` in four processes, without HTTP."""

import multiprocessing
import time
from typing import Any

from django.db import connections

from config.bench import stage
from config.core.ids import new_id
from trading.services import PlaceOrder, place_order

PROCESSES = 4
SECONDS = 10
CUSTOMERS = 400


def run() -> stage.Row:
    """Place orders as fast as four processes can."""
    market = stage.Market(10)
    accounts = [(account.pk, account.owner_id) for account in stage.funded_accounts(CUSTOMERS)]
    market.tick("100.00")
    stage.settled_tables()
    symbols = [instrument.symbol for instrument in market.instruments]
    connections.close_all()
    forked = multiprocessing.get_context("fork")
    with forked.Pool(PROCESSES) as pool:
        stage.say(f"placing for {SECONDS} s in {PROCESSES} processes")
        shares = [(accounts[number::PROCESSES], symbols) for number in range(PROCESSES)]
        results = pool.starmap(_place_for_a_while, shares)
    latencies = [latency for part in results for latency in part]
    return stage.Row(
        "orders-service",
        len(latencies) / SECONDS,
        "orders/s",
        p50_ms=stage.percentile(latencies, 0.5) * 1000,
        p99_ms=stage.percentile(latencies, 0.99) * 1000,
    )


def _place_for_a_while(accounts: list[Any], symbols: list[str]) -> list[float]:
    latencies: list[float] = []
    counted_from = time.perf_counter() + 1  # the first second warms caches and plans
    number = 0
    while (started := time.perf_counter()) < counted_from + SECONDS:
        account, owner = accounts[number % len(accounts)]
        command = PlaceOrder(
            client_id=str(new_id()),
            account=account,
            symbol=symbols[number % len(symbols)],
            contract="rise_fall",
            side="up" if number % 2 else "down",
            stake="10.00",
            duration_seconds=3600,
            min_payout_rate="0.80",
        )
        place_order(customer_id=owner, command=command)
        if started >= counted_from:
            latencies.append(time.perf_counter() - started)
        number += 1
    return latencies
