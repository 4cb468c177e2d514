"""Local servers that speak as sources do, and an intake that remembers what it was given."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from decimal import Decimal
from http import HTTPStatus
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from quotes.intake import Intake, Link, Subscription
from quotes.sources import Source
from quotes.sources.connection import Timing

SECRET = "s3cr3t/key+that?never=leaves"
QUICK = Timing(silence=0.5, dead=0.5, ping_every=0.05, connect=2, backoff_first=0.01, backoff_longest=0.05)
# What a server writes of the keys it is sent is not ours.
_quiet = logging.getLogger("tests.peers")
_quiet.setLevel(logging.INFO)
# Whoever fails has failed for the length of a test.
ONCE = Timing(silence=0.5, dead=0.5, ping_every=0.05, connect=2, backoff_first=60, backoff_longest=60)


def subscription(source: str, symbol: str, source_symbol: str, number: int = 1) -> Subscription:
    return Subscription(
        instrument_id=number,
        symbol=symbol,
        price_decimals=5,
        source=source,
        source_symbol=source_symbol,
        tick_interval_ms=0,
        max_quote_age_ms=5000,
        max_spread=Decimal("0.5"),
        max_jump=Decimal("0.5"),
        simulated_price=None,
        simulated_volatility=None,
        simulated_interval_ms=500,
    )


def subscriptions(source: str, **symbols: str) -> list[Subscription]:
    """Ask for instruments by their symbols at the source."""
    return [subscription(source, *pair, number) for number, pair in enumerate(symbols.items(), start=1)]


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in a server of another task
            await asyncio.sleep(0.005)


class Heard(Intake):
    """An intake that remembers what it was given, and by which connection."""

    def __init__(self, wanted: Iterable[Subscription]) -> None:
        super().__init__()
        self.wanted = list(wanted)
        self.quotes: list[tuple[str, Decimal, Decimal]] = []
        self.links: list[Link] = []
        self.cuts: list[Link] = []
        self.withdrawn: list[str] = []
        self.signs = self.answers = 0
        self.follow(self.wanted, {})

    def quote(self, symbol: str, bid: Decimal, ask: Decimal, link: Link) -> bool:
        self.quotes.append((symbol, bid, ask))
        if link not in self.links:
            self.links.append(link)
        return super().quote(symbol, bid, ask, link)

    def alive(self, link: Link) -> None:
        self.signs += 1
        super().alive(link)

    def answer(self, link: Link, *, is_sign: bool = True) -> None:
        self.answers += 1
        super().answer(link, is_sign=is_sign)

    def withdraw(self, symbol: str, link: Link) -> None:
        self.withdrawn.append(symbol)
        super().withdraw(symbol, link)

    def cut(self, link: Link) -> None:
        self.cuts.append(link)
        super().cut(link)

    async def until(self, count: int) -> None:
        await eventually(lambda: len(self.quotes) >= count)


@asynccontextmanager
async def running(source: Source, heard: Heard) -> AsyncIterator[None]:
    """Run a source for what is wanted of it."""
    source.watch(heard.wanted)
    task = asyncio.create_task(source.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


# --- sockets ------------------------------------------------------------------------------------------

SocketScript = Callable[["SocketPeer", ServerConnection], Awaitable[None]]


class SocketPeer:
    """A WebSocket server that plays one script per connection, the last one again and again.

    A script sends what it likes; what the client sends is kept, and answered by `answer` where that is given.
    With `refuses`, a status and words, nobody gets as far as that.
    """

    def __init__(
        self,
        *scripts: SocketScript,
        answer: Callable[[Any], Iterable[Any]] | None = None,
        refuses: tuple[int, str] | None = None,
    ) -> None:
        self.scripts, self._answer, self._refuses = list(scripts) or [quiet], answer, refuses
        self.paths: list[str] = []
        self.received: list[Any] = []
        self.open = self.most_open = 0
        self.url = ""

    @property
    def connects(self) -> int:
        return len(self.paths)

    async def _handle(self, socket: ServerConnection) -> None:
        script = self.scripts[min(self.connects, len(self.scripts) - 1)]
        self.paths.append(socket.request.path if socket.request else "")
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        playing = asyncio.create_task(self._play(script, socket))
        try:
            with suppress(Exception):
                async for message in socket:
                    self.received.append(json.loads(message))
                    for answer in self._answer(self.received[-1]) if self._answer else ():
                        await socket.send(text_of(answer))
        finally:
            self.open -= 1
            playing.cancel()

    async def _play(self, script: SocketScript, socket: ServerConnection) -> None:
        with suppress(Exception):
            await script(self, socket)

    def _look_at(self, socket: ServerConnection, request: Request) -> Response | None:
        if self._refuses is None:
            return None
        status, words = self._refuses
        return socket.respond(HTTPStatus(status), words)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["SocketPeer"]:
        async with serve(
            self._handle,
            "127.0.0.1",
            0,
            ping_interval=None,
            close_timeout=0.1,
            process_request=self._look_at,
            logger=_quiet,
        ) as server:
            self.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            yield self


def text_of(frame: Any) -> str | bytes:
    """Return a frame that is text as it is, and everything else as JSON."""
    return frame if isinstance(frame, str | bytes) else json.dumps(frame)


async def quiet(peer: SocketPeer, socket: ServerConnection) -> None:
    """Say nothing."""


async def deaf(peer: SocketPeer, socket: ServerConnection) -> None:
    """Take nothing in, and so answer nothing."""
    socket.transport.pause_reading()


async def gone(peer: SocketPeer, socket: ServerConnection) -> None:
    """End at once."""
    socket.transport.abort()


def saying(*frames: Any) -> SocketScript:
    """Send these frames."""

    async def script(peer: SocketPeer, socket: ServerConnection) -> None:
        for frame in frames:
            await socket.send(text_of(frame))

    return script


def cut_within_a_frame(*frames: Any) -> SocketScript:
    """Send these frames, and half of another."""

    async def script(peer: SocketPeer, socket: ServerConnection) -> None:
        await saying(*frames)(peer, socket)
        # A text frame of 256 bytes, of which twenty come.
        socket.transport.write(b"\x81\x7e\x01\x00" + b'{"channel":"ticker",')
        await asyncio.sleep(0.05)
        socket.transport.abort()

    return script


# --- a stream over HTTP -------------------------------------------------------------------------------

StreamScript = Callable[["StreamPeer", asyncio.StreamWriter], Awaitable[None]]


class StreamPeer:
    """An HTTP/1.1 server, byte by byte: one script per connection, the last one again and again."""

    def __init__(self, *scripts: StreamScript) -> None:
        self.scripts = list(scripts)
        self.requests: list[str] = []
        self.open = self.most_open = 0
        self.url = ""

    @property
    def connects(self) -> int:
        return len(self.requests)

    @property
    def targets(self) -> list[str]:
        return [request.split(" ", 2)[1] for request in self.requests]

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        script = self.scripts[min(self.connects, len(self.scripts) - 1)]
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                self.requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
                gone = asyncio.create_task(reader.read())
                playing = asyncio.create_task(script(self, writer))  # type: ignore[arg-type]
                await asyncio.wait([gone, playing], return_when=asyncio.FIRST_COMPLETED)
                for task in (gone, playing):
                    task.cancel()
                await asyncio.gather(gone, playing, return_exceptions=True)
        finally:
            self.open -= 1
            writer.close()

    @asynccontextmanager
    async def serving(self, **options: Any) -> AsyncIterator["StreamPeer"]:
        server = await asyncio.start_server(self._handle, "127.0.0.1", 0, **options)
        scheme = "https" if options.get("ssl") else "http"
        self.url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()


async def head(writer: asyncio.StreamWriter, status: str = "200 OK") -> None:
    writer.write(f"HTTP/1.1 {status}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
    await writer.drain()


async def chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
    await writer.drain()


async def last_chunk(writer: asyncio.StreamWriter) -> None:
    writer.write(b"0\r\n\r\n")
    await writer.drain()


def answering(status: str, body: bytes) -> StreamScript:
    """Answer with something that is no stream."""

    async def script(peer: StreamPeer, writer: asyncio.StreamWriter) -> None:
        await head(writer, status)
        await chunk(writer, body)
        await last_chunk(writer)
        await asyncio.sleep(60)

    return script


def streaming(*chunks: bytes, ends: bool = False, is_cut: bool = False) -> StreamScript:
    """Send these chunks; then nothing more, or the end, or a cut."""

    async def script(peer: StreamPeer, writer: asyncio.StreamWriter) -> None:
        await head(writer)
        for each in chunks:
            await chunk(writer, each)
        if ends:
            await last_chunk(writer)
        elif is_cut:
            # A chunk announced longer than what comes of it.
            writer.write(b'40\r\n{"type":"PRI')
            await writer.drain()
            await asyncio.sleep(0.02)
            writer.transport.abort()
        else:
            await asyncio.sleep(60)

    return script
