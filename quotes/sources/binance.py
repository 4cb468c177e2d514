"""Binance spot, best bid and ask (bookTicker) of the combined stream: no key, no event time.

Its rules: the server pings and wants the payload back (the websockets library does that), a connection lives
24 hours, `serverShutdown` announces an earlier end, five incoming messages a second at most.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from decimal import Decimal
from typing import NamedTuple

import orjson
import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from quotes.intake import Intake, Link, Subscription
from quotes.lanes import Connection
from quotes.sources.connection import (
    CONNECTS,
    ERRORS,
    Backoff,
    ShuttingDown,
    SourceError,
    Timing,
)

log = structlog.get_logger(__name__)
MOST_STREAMS = 1024


class BookTicker(NamedTuple):
    """A best bid and ask of a symbol; `update_id` grows with each."""

    symbol: str
    update_id: int
    bid: Decimal
    ask: Decimal


def read_frame(frame: str | bytes) -> BookTicker | None:
    """Read a frame of the combined stream; None for what is no book ticker.

    Raises ShuttingDown, and SourceError with the server's words.
    """
    try:
        message = orjson.loads(frame)
        data = message.get("data", message)
        if data.get("e") == "serverShutdown":
            raise ShuttingDown
        if "code" in message and "msg" in message:
            raise SourceError(f"{message['code']}: {message['msg']}")
        if not str(message.get("stream", "")).endswith("@bookTicker"):
            return None
        return BookTicker(data["s"], int(data["u"]), Decimal(data["b"]), Decimal(data["a"]))
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
        raise SourceError(f"unreadable frame: {frame[:200]!r}") from error


class BinanceSource:
    """Keeps one connection to the exchange, and opens the next before it drops one that must end."""

    def __init__(self, intake: Intake, connection: Connection, timing: Timing | None = None) -> None:
        self.intake, self._url, self.timing = intake, connection.url.rstrip("/"), timing or Timing()
        self.name = connection.code
        self._health = intake.health(self.name)
        self._symbols: dict[str, list[str]] = {}
        self._changed = asyncio.Event()
        # The overlap of two connections brings every update twice. Without one nothing is known: the exchange
        # may have begun to count anew.
        self._last_update: dict[str, int] = defaultdict(int)

    def watch(self, subscriptions: Collection[Subscription]) -> None:
        """Deliver exactly these; a changed list goes to a new connection before the old one ends."""
        symbols: dict[str, list[str]] = defaultdict(list)
        for each in subscriptions:
            symbols[each.source_symbol.replace("/", "").replace("-", "").upper()].append(each.symbol)
        if len(symbols) > MOST_STREAMS:
            log.error("too many instruments for one connection", most=MOST_STREAMS)
        if symbols.keys() != self._symbols.keys():
            self._changed.set()
        self._symbols = dict(symbols)

    async def run(self) -> None:
        """Deliver until cancelled, reconnecting with growing patience."""
        backoff, loop = Backoff(self.timing), asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                await self._stream()
            except (OSError, WebSocketException, SourceError, TimeoutError) as error:
                wait = backoff.seconds(loop.time() - began)
                ERRORS.labels(self.name).inc()
                self._health.failed(error)
                log.warning(
                    "binance connection ended", error=str(error), type=type(error).__name__, wait=wait
                )
                await asyncio.sleep(wait)

    async def _stream(self) -> None:
        """Stream over one connection after another, each open before the one before is dropped."""
        current: _Reader | None = None
        self._last_update.clear()
        async with AsyncExitStack() as old:
            while True:
                self._changed.clear()
                if not self._symbols:
                    self._health.idle()
                    current = None
                    await old.aclose()
                    self._last_update.clear()
                    await self._changed.wait()
                    continue
                if current is None:
                    self._health.connecting()
                fresh = AsyncExitStack()
                try:
                    reader = await fresh.enter_async_context(self._connected())
                except BaseException:
                    await fresh.aclose()
                    raise
                # The old one has delivered up to here, and the new one does from here on: nothing is missed.
                if current is not None and not current.task.done():
                    self.intake.move(current.link, reader.link)
                await old.aclose()
                old.push_async_exit(fresh.__aexit__)
                current = reader
                await self._until_due(reader)

    async def _until_due(self, reader: "_Reader") -> None:
        """Wait until the connection must be replaced; raise what ended it before."""
        reasons = [asyncio.ensure_future(event.wait()) for event in (self._changed, reader.ending)]
        try:
            await asyncio.wait(
                [reader.task, *reasons],
                timeout=self.timing.rotate_after,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            for reason in reasons:
                reason.cancel()
        if reader.task.done():
            reader.task.result()

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator["_Reader"]:
        streams = "/".join(f"{symbol.lower()}@bookTicker" for symbol in sorted(self._symbols))
        async with connect(
            f"{self._url}/stream?streams={streams}",
            ping_interval=None,
            open_timeout=self.timing.connect,
            close_timeout=1,
            max_size=1 << 20,
        ) as socket:
            CONNECTS.labels(self.name).inc()
            reader = _Reader(self, socket)
            try:
                async with asyncio.timeout(self.timing.connect):
                    await reader.round_trip()
                self._health.connected()
                yield reader
            finally:
                await reader.stop()

    def take(self, ticker: BookTicker, link: Link) -> None:
        """Put one update in, unless it is known already."""
        if ticker.update_id <= self._last_update[ticker.symbol]:
            return
        self._last_update[ticker.symbol] = ticker.update_id
        for symbol in self._symbols.get(ticker.symbol, ()):
            self.intake.quote(symbol, ticker.bid, ticker.ask, link)


class _Reader:
    """One connection being read, and pinged so that a quiet market and a dead line can be told apart."""

    def __init__(self, source: BinanceSource, socket: ClientConnection) -> None:
        self._source, self._socket, self._timing = source, socket, source.timing
        self.link = Link(timedelta(seconds=self._timing.silence), source=source.name, is_pinged=True)
        # The server has announced its end; it delivers until then.
        self.ending = asyncio.Event()
        self.task: asyncio.Task[None] = asyncio.ensure_future(self._read())
        self._pings = asyncio.ensure_future(self._ping())

    async def stop(self) -> None:
        """Stop reading; the watermarks that hang on this connection stop with it."""
        self._pings.cancel()
        self.task.cancel()
        await asyncio.gather(self._pings, self.task, return_exceptions=True)
        self._source.intake.cut(self.link)

    async def round_trip(self) -> None:
        """Ask for a sign of life and wait for it; it measures the lag, too."""
        self._source.intake.ask(self.link)
        await (await self._socket.ping())
        self._source.intake.answer(self.link)

    async def _read(self) -> None:
        while True:
            frame = await self._socket.recv()
            try:
                ticker = read_frame(frame)
            except ShuttingDown:
                log.info("binance announced its end, opening another connection")
                self.ending.set()
                continue
            if ticker is None:
                self._source.intake.alive(self.link)
            else:
                self._source.take(ticker, self.link)

    async def _ping(self) -> None:
        while True:
            await asyncio.sleep(self._timing.ping_every)
            try:
                async with asyncio.timeout(self._timing.dead):
                    await self.round_trip()
            except TimeoutError:
                # Reading ends with it, and says why.
                await self._socket.close(code=1011, reason=f"silent for {self._timing.dead} s")
                return
