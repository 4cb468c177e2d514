"""ticks-to-socket: from the feed's stamp of a tick to its arrival at 300 sockets, twenty ticks a second."""

import asyncio
import base64
import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

import orjson

from config.bench import stage
from quotes.services import create_calendar, create_instrument, open_days

SOCKETS = 300
PER_SECOND = 20
SECONDS = 15
WARM_SECONDS = 3
SYMBOL = "BENCH1"


@dataclass
class Heard:
    """What one socket received: the age of each message on arrival in milliseconds, and their numbers."""

    ages: list[float] = field(default_factory=list)
    seqs: list[int] = field(default_factory=list)


def run() -> stage.Row:
    """Run a real feed, a real gateway and the sockets of 300 clients."""
    now = datetime.now().astimezone()
    open_days([now.date()])
    create_instrument(
        symbol=SYMBOL,
        name=SYMBOL,
        instrument_class="volatility",
        price_decimals=2,
        calendar=create_calendar(code="always"),
        source="simulated",
        simulated_price=Decimal(100_000),
        simulated_volatility=Decimal(1),
        simulated_interval_ms=1000 // PER_SECOND,
    )
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
        stage.process("manage.py", "stream_quotes"),
        stage.process(*gateway, "config.asgi:application"),
    ):
        stage.wait_for_port(port)
        stage.say(f"{SOCKETS} sockets listen for {SECONDS} s")
        heard = asyncio.run(_listen(port))
    return _row(heard)


def _row(heard: list[Heard]) -> stage.Row:
    last = min(each.seqs[-1] for each in heard)
    first = max(each.seqs[0] for each in heard)
    for each in heard:
        if each.seqs != sorted(set(each.seqs)):
            raise RuntimeError("a socket heard a price twice or an older one after a newer")
    ages = [age for each in heard for age in each.ages]
    expected = (last - first + 1) * len(heard)
    got = sum(first <= seq <= last for each in heard for seq in each.seqs)
    stage.say(f"{got} of {expected} prices arrived as messages of their own; the rest was superseded")
    return stage.Row(
        "ticks-to-socket",
        len(ages) / SECONDS,
        "messages/s",
        p50_ms=stage.percentile(ages, 0.5),
        p99_ms=stage.percentile(ages, 0.99),
    )


async def _listen(port: int) -> list[Heard]:
    heard = [Heard() for _ in range(SOCKETS)]
    until = time.time() + WARM_SECONDS + SECONDS
    await asyncio.gather(*(_client(port, each, until) for each in heard))
    return heard


async def _client(port: int, heard: Heard, until: float) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        await _open(reader, writer)
        counted_from = until - SECONDS
        async with asyncio.timeout_at(asyncio.get_running_loop().time() + until - time.time() + 1):
            async for text in _frames(reader):
                arrived = time.time()
                if arrived > until:
                    return
                message = orjson.loads(text)
                if arrived >= counted_from and message["type"] == "quote":
                    heard.ages.append((arrived - datetime.fromisoformat(message["at"]).timestamp()) * 1000)
                    heard.seqs.append(message["seq"])
    finally:
        writer.close()


async def _open(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Shake hands and subscribe, speaking just enough of the protocol: the load shares the two cores."""
    key = base64.b64encode(os.urandom(16)).decode()
    writer.write(
        "GET /ws/v1/ HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    if b" 101 " not in head.partition(b"\r\n")[0]:
        raise RuntimeError(f"the gateway refused a socket: {head!r}")
    asked = orjson.dumps({"op": "subscribe", "channels": [f"quotes:{SYMBOL}"]})
    writer.write(bytes([0x81, 0x80 | len(asked), 0, 0, 0, 0]) + asked)


async def _frames(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while True:
        first, length = await reader.readexactly(2)
        if length == 126:
            length = int.from_bytes(await reader.readexactly(2))
        payload = await reader.readexactly(length)
        if first & 0x0F == 1:
            yield payload
