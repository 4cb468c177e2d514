"""fact-to-socket: from the closing of an order to the private message at its customer; 300 customers listen.

Measured of each order that closes: from the instant the settler wrote into it and its fact, some milliseconds
before the commit, to the arrival of `order.won`, `order.lost` or `order.refunded` at the customer's socket: a
little more than from the commit on. Settler, relay and gateway are the real ones; each customer places an
order every three seconds, whose own facts share the way. Nothing may be missing.
"""

import asyncio
import base64
import multiprocessing
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import orjson
from django.db import connections

from config.bench import stage
from config.bench.settle_lag import HEARTBEAT_SECONDS, LONGEST, placing, price_walk
from config.bench.ticks_to_socket import _frames
from kyc.models import User
from kyc.services import issue_tokens
from trading.models import Order

CUSTOMERS = 300
PER_SECOND = 100
SECONDS = 30
CLOSING = {"order.won", "order.lost", "order.refunded"}
# A message that is later than this counts as lost.
LATEST_SECONDS = 5
AT_ONCE = 20


def run() -> stage.Row:
    """Trade with settler, relay and gateway while all customers listen."""
    market = stage.Market(10)
    accounts = stage.funded_accounts(CUSTOMERS)
    market.tick("100.00")
    stage.settled_tables()
    people = User.objects.in_bulk([account.owner_id for account in accounts])
    tokens = [issue_tokens(user=person).access for person in people.values()]
    port = stage.free_port()
    gateway = (
        "-m",
        "daphne",
        "--verbosity",
        "0",
        "--no-server-name",
        "--bind",
        "127.0.0.1",
        "--port",
        str(port),
    )
    with (
        stage.process("manage.py", "settle_orders"),
        stage.process("manage.py", "relay_events"),
        stage.process(*gateway, "config.asgi:application"),
        placing(accounts, [instrument.symbol for instrument in market.instruments], PER_SECOND),
        quoting(market),
    ):
        stage.wait_for_port(port)
        stage.say(f"{CUSTOMERS} customers listen for {SECONDS} s after {LONGEST} s of trading")
        counted_from = time.time() + LONGEST
        heard = asyncio.run(_listen(port, tokens, counted_from))
    _nothing_is_missing(heard, counted_from)
    ages = list(heard.values())
    return stage.Row(
        "fact-to-socket",
        len(ages) / SECONDS,
        "messages/s",
        p50_ms=stage.percentile(ages, 0.5),
        p99_ms=stage.percentile(ages, 0.99),
    )


def _nothing_is_missing(heard: dict[str, float], counted_from: float) -> None:
    start, end = (datetime.fromtimestamp(at, UTC) for at in (counted_from, counted_from + SECONDS))
    closed = Order.objects.filter(closed_at__gte=start, closed_at__lt=end).values_list("pk", flat=True)
    if missing := {str(pk) for pk in closed} - heard.keys():
        raise RuntimeError(f"{len(missing)} of {len(closed)} closings were not heard")


@contextmanager
def quoting(market: stage.Market) -> Iterator[None]:
    """Beat for the feed in a process of its own, for the length of the block."""
    forked = multiprocessing.get_context("fork")
    ended = forked.Event()
    connections.close_all()
    feed = forked.Process(target=_quote, args=(market, ended))
    feed.start()
    try:
        yield
    finally:
        ended.set()
        feed.join()


def _quote(market: stage.Market, ended: Any) -> None:
    for price in price_walk():
        market.tick(price)
        if ended.wait(HEARTBEAT_SECONDS):
            return


# --- the customers ------------------------------------------------------------------------------------


async def _listen(port: int, tokens: list[str], counted_from: float) -> dict[str, float]:
    """Return how old in milliseconds the closing of each order was when it came, by order."""
    heard: dict[str, float] = {}
    connecting = asyncio.Semaphore(AT_ONCE)
    await asyncio.gather(*(_client(port, token, counted_from, heard, connecting) for token in tokens))
    return heard


async def _client(
    port: int, token: str, counted_from: float, heard: dict[str, float], connecting: asyncio.Semaphore
) -> None:
    until = counted_from + SECONDS
    async with connecting:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        frames = await _open(reader, writer, token)
    try:
        async with asyncio.timeout(until + LATEST_SECONDS - time.time()):
            async for text in frames:
                arrived = time.time()
                message = orjson.loads(text)
                if message["type"] in CLOSING:
                    order = message["order"]
                    closed_at = datetime.fromisoformat(order["closed_at"]).timestamp()
                    if counted_from <= closed_at < until:
                        heard[order["id"]] = (arrived - closed_at) * 1000
    except TimeoutError:
        pass
    finally:
        writer.close()


async def _open(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, token: str) -> Any:
    """Shake hands as the customer, subscribe and wait for the snapshot; return the frames after it."""
    key = base64.b64encode(os.urandom(16)).decode()
    writer.write(
        "GET /ws/v1/ HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
        f"Authorization: Bearer {token}\r\n\r\n".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    if b" 101 " not in head.partition(b"\r\n")[0]:
        raise RuntimeError(f"the gateway refused a socket: {head!r}")
    asked = orjson.dumps({"op": "subscribe", "channels": ["account"]})
    writer.write(bytes([0x81, 0x80 | len(asked), 0, 0, 0, 0]) + asked)
    frames = _frames(reader)
    async for text in frames:
        if orjson.loads(text)["type"] == "snapshot":
            break
    return frames
