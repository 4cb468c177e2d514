"""Kraken spot, WebSocket v2: best bid and ask (`ticker`, triggered by changes of the book), no key.

Prices are JSON numbers and there are no sequence numbers; one connection brings its updates in order. The
server says about once a second that it lives, and by `status` whether the exchange trades.
"""

import asyncio
import json
from collections.abc import Collection
from decimal import Decimal
from typing import Any, ClassVar, NamedTuple

from websockets.asyncio.client import ClientConnection

from quotes.sources.connection import Timing
from quotes.sources.frames import instant_of, price_of, read_json, unreadable
from quotes.sources.socket import AskingReader, SocketSource


class Ticker(NamedTuple):
    """A best bid and ask of a symbol; None for a side of the book that is empty."""

    symbol: str
    bid: Decimal | None
    ask: Decimal | None


def read_tickers(message: dict[str, Any]) -> list[Ticker]:
    """Read a snapshot or an update of the channel `ticker`; raise SourceError."""
    try:
        return [
            Ticker(
                str(each["symbol"]),
                *(None if each.get(side) is None else price_of(each[side]) for side in ("bid", "ask")),
            )
            for each in message["data"]
        ]
    except (KeyError, TypeError, AttributeError):
        raise unreadable(message) from None


def read_status(message: dict[str, Any]) -> str:
    """Read how the exchange fares: online, maintenance, cancel_only, post_only; raise SourceError."""
    try:
        return str(message["data"][0]["system"])
    except (KeyError, TypeError, IndexError):
        raise unreadable(message) from None


class KrakenSource(SocketSource):
    """Keeps one connection to the exchange and subscribes there to what is asked for."""

    default_url: ClassVar[str] = "wss://ws.kraken.com/v2"
    default_timing: ClassVar[Timing] = Timing(dead=5.0)

    def peer_symbol(self, source_symbol: str) -> str:
        """Return a symbol as the exchange writes it, `BTC/USD`."""
        return source_symbol.strip().upper()

    def make_reader(self, socket: ClientConnection) -> AskingReader:
        """Begin to read a socket."""
        return _Reader(self, socket)

    def take(self, ticker: Ticker, reader: "_Reader") -> None:
        """Put one update in, if it is one that counts."""
        instruments = self.symbols.get(ticker.symbol)
        if instruments is None or not reader.is_online:
            self.ignored("unknown_symbol" if instruments is None else "not_online")
            self.intake.alive(reader.link)
        elif ticker.bid is None or ticker.ask is None:
            self.ignored("no_price")
            self.withdraw(ticker.symbol, reader.link)
        else:
            for symbol in instruments:
                self.intake.quote(symbol, ticker.bid, ticker.ask, reader.link)


class _Reader(AskingReader):
    source: KrakenSource

    def __init__(self, source: KrakenSource, socket: ClientConnection) -> None:
        super().__init__(source, socket)
        self.is_online = True
        self._asked: set[str] = set()
        self._asking = asyncio.Lock()
        self._requests = 0
        # The number of the ping under way, and who waits for its answer.
        self._ping: tuple[int, asyncio.Future[None]] | None = None

    @property
    def patience(self) -> float | None:
        """Heartbeats and answers to pings come all the time."""
        return self.timing.dead

    # --- what is sent ---------------------------------------------------------------------------------

    async def ask_for(self, symbols: Collection[str]) -> None:
        """Subscribe to what is new, and end what is not wanted any more."""
        async with self._asking:
            gone, new = self._asked - set(symbols), set(symbols) - self._asked
            self._asked = set(symbols)
            await self._request("unsubscribe", gone)
            await self._request("subscribe", new)

    async def _ask_again(self) -> None:
        """Have a snapshot of everything: what changed meanwhile did not count."""
        async with self._asking:
            await self._request("unsubscribe", self._asked)
            await self._request("subscribe", self._asked)

    async def _request(self, method: str, symbols: Collection[str]) -> None:
        if not symbols:
            return
        params: dict[str, Any] = {"channel": "ticker", "symbol": sorted(symbols), "event_trigger": "bbo"}
        if method == "subscribe":
            params["snapshot"] = True
        await self.send(json.dumps({"method": method, "params": params, "req_id": self._number()}))

    def _number(self) -> int:
        self._requests += 1
        return self._requests

    async def round_trip(self) -> None:
        """Ask through the exchange's own ping: its answer comes behind the quotes sent before."""
        number, answered = self._number(), asyncio.get_running_loop().create_future()
        self._ping = (number, answered)
        self.source.intake.ask(self.link)
        await self.socket.send(json.dumps({"method": "ping", "req_id": number}))
        await answered

    # --- what is heard --------------------------------------------------------------------------------

    def take(self, frame: str | bytes) -> None:
        """Put a frame in; raise SourceError."""
        message = read_json(frame)
        if not isinstance(message, dict):
            raise unreadable(frame)
        if message.get("channel") == "ticker":
            for ticker in read_tickers(message):
                self.source.take(ticker, self)
        elif message.get("method") == "pong":
            self._take_pong(message)
        else:
            self.source.intake.alive(self.link)
            self._take_other(message)

    def _take_pong(self, message: dict[str, Any]) -> None:
        if (theirs := instant_of(message.get("time_out"), "iso")) is not None:
            self.source.health.saw_time(theirs)
        if self._ping is None or message.get("req_id") != self._ping[0]:
            self.source.intake.alive(self.link)
            return
        (_, answered), self._ping = self._ping, None
        self.source.intake.answer(self.link)
        if not answered.done():
            answered.set_result(None)

    def _take_other(self, message: dict[str, Any]) -> None:
        if message.get("channel") == "status":
            self._take_status(read_status(message))
        elif message.get("success") is False or "error" in message:
            error = str(message.get("error") or "refused without a reason")
            refused = str(message.get("symbol") or "")
            self.source.complained(error if refused in error else f"{refused}: {error}")
            if message.get("method") != "unsubscribe":
                self.source.withdraw(refused, self.link)

    def _take_status(self, system: str) -> None:
        was_online, self.is_online = self.is_online, system == "online"
        if was_online and not self.is_online:
            self.source.complained(f"the exchange is not online: {system}")
            self.source.intake.cut(self.link)
        elif self.is_online and not was_online:
            self.beside(self._ask_again())
