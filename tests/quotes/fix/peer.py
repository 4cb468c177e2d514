"""An acceptor that plays scripts, and a source that speaks with it."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

from quotes.intake import Subscription
from quotes.lanes import Connection
from quotes.sources.connection import Timing
from quotes.sources.fix import FixSource
from tests.quotes.fix.wire import Pair, Read, cut, fix
from tests.quotes.test_binance import Heard, eventually
from tests.quotes.test_binance import subscription as any_subscription

QUICK = Timing(silence=5, connect=5, backoff_first=0.01, backoff_longest=0.05)
OPTIONS = {"sender": "TICKHOUSE", "target": "LP", "heartbeat_seconds": 30}


def subscription(symbol: str = "EURUSD", source_symbol: str = "EUR/USD", number: int = 1) -> Subscription:
    return replace(any_subscription(symbol, source_symbol, instrument_id=number), source="lp")


class Ended(Exception):
    """The other side has closed the connection."""


class Line:
    """One connection as the acceptor sees it; `got` holds every message, `seq` the number of its next."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seq: int = 1) -> None:
        self._reader, self.writer = reader, writer
        self._buffer, self._waiting = bytearray(), list[Read]()
        self.got: list[Read] = []
        self.seq = seq

    async def receive(self) -> Read:
        """Return the next message; raise Ended."""
        while not self._waiting:
            data = await self._reader.read(65536)
            if not data:
                raise Ended
            self._buffer += data
            self._waiting += cut(self._buffer)
        self.got.append(self._waiting.pop(0))
        return self.got[-1]

    async def expect(self, kind: str) -> Read:
        """Return the next message of a kind, answering the session's own on the way."""
        while (message := await self.receive()).kind != kind:
            self.answer(message)
        return message

    def answer(self, message: Read) -> None:
        """Answer TestRequests; send nothing again, but say so."""
        if message.kind == "1":
            self.send("0", (112, message[112]))
        elif message.kind == "2":
            self.raw(fix("4", int(message[7]), (123, "Y"), (36, str(self.seq)), dup="Y"))

    def send(self, kind: str, *pairs: Pair, **more: str) -> None:
        """Send a message with the next number."""
        self.raw(fix(kind, self.seq, *pairs, **more))
        self.seq += 1

    def raw(self, data: bytes) -> None:
        """Send bytes."""
        self.writer.write(data)

    async def log_on(self, *pairs: Pair, heartbeat: int = 30) -> Read:
        """Wait for the Logon and answer it."""
        logon = await self.expect("A")
        self.send("A", (98, "0"), (108, str(heartbeat)), *pairs)
        return logon

    def quote(self, symbol: str, bid: str, ask: str, *pairs: Pair, **more: str) -> None:
        """Send a snapshot of one bid and one offer."""
        sides = [(269, "0"), (270, bid), (269, "1"), (270, ask)]
        self.send("W", *pairs, (55, symbol), (268, "2"), *sides, **more)

    async def listen(self, kinds: str = "") -> None:
        """Answer the session's own and Logouts until the end, or until one of these kinds has come."""
        while True:
            message = await self.receive()
            self.answer(message)
            if message.kind == "5":
                self.send("5")
            if message.kind in kinds.split():
                return


Script = Callable[[Line], Awaitable[None]]


class Acceptor:
    """Plays one script per connection, the last one again and again; numbers go on from one to the next."""

    def __init__(self, *scripts: Script, goes_on: bool = False) -> None:
        self.scripts, self.goes_on = scripts, goes_on
        self.lines: list[Line] = []
        self.ended = 0
        self.failures: list[BaseException] = []

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        script = self.scripts[min(len(self.lines), len(self.scripts) - 1)]
        line = Line(reader, writer, self.lines[-1].seq if self.goes_on and self.lines else 1)
        self.lines.append(line)
        try:
            with suppress(Ended, ConnectionError):
                await script(line)
        except BaseException as error:
            self.failures.append(error)
            raise
        finally:
            self.ended += 1
            writer.close()


@asynccontextmanager
async def trading(
    acceptor: Acceptor,
    *subscriptions: Subscription,
    heard: Heard | None = None,
    options: dict[str, Any] | None = None,
    secret_ref: str = "",
    timing: Timing = QUICK,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[tuple[FixSource, Heard]]:
    """Run a source of the name `lp` against the acceptor."""
    wanted = subscriptions or (subscription(),)
    heard = heard or Heard(*wanted)
    server = await asyncio.start_server(acceptor.handle, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    url = f"tcps://localhost:{port}" if tls else f"127.0.0.1:{port}"
    source = FixSource(heard, Connection("lp", "fix", url, secret_ref, OPTIONS | (options or {})), timing)
    source.watch(wanted)
    running = asyncio.create_task(source.run())
    try:
        yield source, heard
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        server.close()
        assert [each for each in acceptor.failures if isinstance(each, AssertionError)] == []


async def until_quoted(heard: Heard, count: int) -> None:
    await eventually(lambda: len(heard.quotes) >= count)
