"""orders-http: POST /api/v1/orders through granian with JWT, eight connections, all checks."""

import json
import socket
import threading
import time
from contextlib import closing
from typing import Any

from config.bench import stage
from config.core.ids import new_id
from kyc.models import User
from kyc.services import issue_tokens

CONNECTIONS = 8
SECONDS = 10
CUSTOMERS = 400


def run() -> stage.Row:
    """Post orders as fast as eight connections can."""
    market = stage.Market(10)
    accounts = stage.funded_accounts(CUSTOMERS)
    market.tick("100.00")
    stage.settled_tables()
    people = {user.pk: user for user in User.objects.all()}
    customers = [
        (account.pk, issue_tokens(user=people[account.owner_id or 0]).access) for account in accounts
    ]
    symbols = [instrument.symbol for instrument in market.instruments]
    with stage.web() as port:
        stage.say(f"posting for {SECONDS} s over {CONNECTIONS} connections")
        latencies = _load(port, customers, symbols)
    return stage.Row(
        "orders-http",
        len(latencies) / SECONDS,
        "orders/s",
        p50_ms=stage.percentile(latencies, 0.5) * 1000,
        p99_ms=stage.percentile(latencies, 0.99) * 1000,
    )


def _load(port: int, customers: list[Any], symbols: list[str]) -> list[float]:
    latencies: list[list[float]] = [[] for _ in range(CONNECTIONS)]
    counted_from = time.perf_counter() + 2  # the first seconds warm caches and plans
    threads = [
        threading.Thread(
            target=_post_for_a_while,
            args=(port, customers[n::CONNECTIONS], symbols, counted_from, latencies[n]),
        )
        for n in range(CONNECTIONS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [latency for part in latencies for latency in part]


def _post_for_a_while(
    port: int, customers: list[Any], symbols: list[str], counted_from: float, latencies: list[float]
) -> None:
    """Speak just enough HTTP over a bare socket: the load shares the two cores with what it measures."""
    with closing(socket.create_connection(("127.0.0.1", port), timeout=10)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        number = 0
        while (started := time.perf_counter()) < counted_from + SECONDS:
            account, token = customers[number % len(customers)]
            _send_order(connection, account, token, symbols[number % len(symbols)], number)
            _expect_created(connection)
            if started >= counted_from:
                latencies.append(time.perf_counter() - started)
            number += 1


def _send_order(connection: socket.socket, account: int, token: str, symbol: str, number: int) -> None:
    order = {
        "client_id": str(new_id()),
        "account": account,
        "symbol": symbol,
        "contract": "rise_fall",
        "side": "up" if number % 2 else "down",
        "stake": "10.00",
        "duration_seconds": 3600,
        "min_payout_rate": "0.80",
    }
    body = json.dumps(order).encode()
    head = (
        f"POST /api/v1/orders HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    connection.sendall(head.encode() + body)


def _expect_created(connection: socket.socket) -> None:
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65536)
    head, _, body = received.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    while len(body) < length:
        body += connection.recv(65536)
    if not head.startswith(b"HTTP/1.1 201"):
        raise RuntimeError(f"an order was refused: {head.splitlines()[0]!r} {body!r}")
