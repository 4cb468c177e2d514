"""Binance spot, best bid and ask (bookTicker) of the combined stream: no key, no event time.

Its rules: the server pings and wants the payload back (the websockets library does that), a connection lives
24 hours, `serverShutdown` announces an earlier end, five incoming messages a second at most.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import NamedTuple

import orjson
import structlog
from websockets.asyncio.client import ClientConnection

from quotes.intake import Intake, Link, Subscription
from quotes.lanes import Connection
from quotes.sources.connection import ShuttingDown, SourceError, Timing
from quotes.sources.socket import SocketReader, opened
from quotes.sources.streams import OverlappingSource, Reader

log = structlog.get_logger(__name__)
MOST_STREAMS = 1024
# Its edge may answer pings for a backend that is dead: then another connection is tried.
PATIENCE = 30.0


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
        bid, ask = Decimal(data["b"]), Decimal(data["a"])
        if not (bid.is_finite() and ask.is_finite()):
            raise ValueError("not a number")
        return BookTicker(data["s"], int(data["u"]), bid, ask)
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
        raise SourceError(f"unreadable frame: {frame[:200]!r}") from error


class BinanceSource(OverlappingSource):
    """Keeps one connection to the exchange; a changed list goes to a new one before the old one ends.

    So does one that has brought nothing for `patience` seconds.
    """

    def __init__(
        self,
        intake: Intake,
        connection: Connection,
        timing: Timing | None = None,
        patience: float = PATIENCE,
    ) -> None:
        super().__init__(intake, connection, timing)
        self.patience = patience
        # The overlap of two connections brings every update twice. Without one nothing is known: the exchange
        # may have begun to count anew.
        self._last_update: dict[str, int] = defaultdict(int)

    def peer_symbol(self, source_symbol: str) -> str:
        """Return a symbol as the exchange writes it, `BTCUSDT`."""
        return source_symbol.replace("/", "").replace("-", "").upper()

    def watch(self, subscriptions: Collection[Subscription]) -> None:
        """Deliver exactly these from now on."""
        super().watch(subscriptions)
        if len(self.symbols) > MOST_STREAMS:
            log.error("too many instruments for one connection", most=MOST_STREAMS)

    def forget(self) -> None:
        """Begin without a connection."""
        self._last_update.clear()

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Reader]:
        """Open a connection that is known to answer, and close it at the end."""
        streams = "/".join(f"{symbol.lower()}@bookTicker" for symbol in sorted(self.symbols))
        async with opened(f"{self.url}/stream?streams={streams}", self.timing) as socket:
            reader = _Reader(self, socket)
            async with self.reading(reader):
                yield reader

    def take(self, ticker: BookTicker, link: Link) -> None:
        """Put one update in, unless it is known already."""
        if ticker.update_id <= self._last_update[ticker.symbol]:
            return
        self._last_update[ticker.symbol] = ticker.update_id
        for symbol in self.symbols.get(ticker.symbol, ()):
            self.intake.quote(symbol, ticker.bid, ticker.ask, link)


class _Reader(SocketReader):
    """One connection being read."""

    source: BinanceSource

    def __init__(self, source: BinanceSource, socket: ClientConnection) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        super().__init__(source, socket)

    @property
    def is_known_by_pongs(self) -> bool:
        """Between frames that come now and then; beyond that they speak for the edge alone."""
        return asyncio.get_running_loop().time() - self._heard_at < self.source.patience

    async def begin(self) -> None:
        """Return once a ping was answered."""
        await super().begin()
        self.beside(self._keep_looking())

    async def _keep_looking(self) -> None:
        """Have a connection replaced that has brought nothing for too long.

        It is not moved to the next one: what the market did meanwhile is not known.
        """
        loop = asyncio.get_running_loop()
        while (left := self._heard_at + self.source.patience - loop.time()) > 0:  # noqa: ASYNC110 - it moves
            await asyncio.sleep(left)
        self.source.complained(f"no frame for {self.source.patience:g} s")
        self.source.intake.cut(self.link)
        self.ending.set()

    def take(self, frame: str | bytes) -> None:
        """Put a frame in; raise SourceError."""
        self._heard_at = asyncio.get_running_loop().time()
        try:
            ticker = read_frame(frame)
        except ShuttingDown:
            log.info("binance announced its end, opening another connection")
            self.ending.set()
            return
        if ticker is None:
            self.source.intake.alive(self.link)
        else:
            self.source.take(ticker, self.link)
