"""Any service that sends quotes as JSON over a WebSocket, spoken to as its options say.

Without sequence numbers in a form that all have, one connection brings its frames in order, and another is
opened only when it has ended.
"""

import asyncio
import json
from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal, NamedTuple
from urllib.parse import quote

from msgspec import Meta
from websockets.asyncio.client import ClientConnection

from config.core import clock
from quotes.errors import InvalidSource
from quotes.intake import Link
from quotes.lanes import Connection
from quotes.sources.frames import instant_of, price_of, read_json, unreadable
from quotes.sources.options import Options
from quotes.sources.socket import AskingReader, SocketSource
from quotes.sources.streams import Denied, StreamSource
from quotes.sources.templates import MISSING, Match, check_path, fill, find, placeholders

Template = dict[str, Any] | list[Any]


class Auth(Options, frozen=True):
    """What is sent to be let in, with {secret} in it; `match` recognises the answer that we are."""

    send: Template
    match: Match | None = None

    def __post_init__(self) -> None:
        if "secret" not in placeholders(self.send):
            raise ValueError("`auth.send` has no {secret} in it")


class Heartbeat(Options, frozen=True):
    """What is sent every so often, and how a frame that only says that the peer lives is recognised."""

    send: Template | None = None
    every_seconds: Annotated[float, Meta(ge=0.2, le=600)] = 10.0
    match: Match | None = None


class Complaint(Options, frozen=True):
    """How an error is recognised, and where its words stand."""

    match: Match
    text: str = ""

    def __post_init__(self) -> None:
        if self.text:
            check_path(self.text)


class Paths(Options, frozen=True):
    """Where symbol, prices and time stand in a frame, or in each item of the list at `each`."""

    symbol: str
    bid: str | None = None
    ask: str | None = None
    price: str | None = None
    time: str | None = None
    time_unit: Literal["s", "ms", "us", "ns", "iso"] = "ms"
    each: str | None = None

    def __post_init__(self) -> None:
        for path in (self.symbol, self.bid, self.ask, self.price, self.time, self.each):
            if path is not None:
                check_path(path)
        given = [self.bid is not None, self.ask is not None, self.price is not None]
        if given not in ([True, True, False], [False, False, True]):
            raise ValueError("`paths` needs both `bid` and `ask`, or `price` for both")


class JsonOptions(Options, frozen=True):
    """How a service is spoken to.

    `ping_frames`: the socket's own pings measure the lag; off for a server that does not answer them.
    """

    subscribe: Template
    paths: Paths
    unsubscribe: Template | None = None
    auth: Auth | None = None
    heartbeat: Heartbeat | None = None
    error: Complaint | None = None
    silence_seconds: Annotated[float, Meta(ge=1, le=600)] = 30.0
    ping_frames: bool = True

    def __post_init__(self) -> None:
        for name, template in (("subscribe", self.subscribe), ("unsubscribe", self.unsubscribe)):
            if template is not None and len(placeholders(template) & {"symbol", "symbols"}) != 1:
                raise ValueError(f"`{name}` needs {{symbol}}, or {{symbols}} for all at once")
        beat = self.heartbeat
        if beat is not None and "symbol" in "".join(placeholders(beat.send)):
            raise ValueError("`heartbeat.send` concerns no symbol")
        if self.auth is not None and "symbol" in "".join(placeholders(self.auth.send)):
            raise ValueError("`auth.send` concerns no symbol")
        if beat is not None and beat.send is not None and beat.every_seconds >= self.silence_seconds:
            raise ValueError("`heartbeat.every_seconds` lies below `silence_seconds`")

    @property
    def measured_beat(self) -> Heartbeat | None:
        """The heartbeat whose answers measure the lag, where the socket's own pings do not."""
        beat = self.heartbeat
        is_answered = beat is not None and beat.send is not None and beat.match is not None
        return beat if is_answered and not self.ping_frames else None


class Quoted(NamedTuple):
    """What a frame says of a symbol; None for a price that is not there, `time` as the peer writes it."""

    symbol: str
    bid: Decimal | None
    ask: Decimal | None
    time: object


def parts_of(message: Any) -> list[Any]:
    """Return a frame, or the items of one that is a list."""
    return message if isinstance(message, list) else [message]


def read_quotes(part: Any, paths: Paths) -> Iterator[Quoted]:
    """Return what a part of a frame says of symbols, if it is of that kind; raise SourceError."""
    if paths.each is None:
        items: Any = [part]
    else:
        items = find(part, paths.each)
        if items is MISSING or items is None:
            return
        if not isinstance(items, list):
            raise unreadable(part)
    for item in items:
        symbol = find(item, paths.symbol)
        if isinstance(symbol, str):
            bid, ask = (_price(item, path or paths.price or "") for path in (paths.bid, paths.ask))
            yield Quoted(symbol, bid, ask, find(item, paths.time) if paths.time else MISSING)


def _price(item: Any, path: str) -> Decimal | None:
    value = find(item, path)
    return None if value is MISSING or value is None else price_of(value)


class JsonSource(SocketSource):
    """Keeps one socket open to a service, and subscribes there to what is asked for."""

    options_kind: ClassVar[type[Options]] = JsonOptions

    @classmethod
    def check(cls, connection: Connection) -> JsonOptions:
        """Return the connection's options; raise InvalidSource for those, or an address, that cannot be."""
        options: JsonOptions = super().check(connection)
        sent = [connection.url, options.subscribe, options.unsubscribe]
        sent += [each.send for each in (options.auth, options.heartbeat) if each is not None]
        if "secret" in placeholders(sent) and not connection.secret_ref:
            raise InvalidSource("secret_ref: {secret} is to be sent, and no secret is named")
        if placeholders(connection.url) - {"secret"}:
            raise InvalidSource("url: a symbol does not stand in the address")
        return options

    def address(self) -> str:
        """Return the address with the secret in its place, if it has one there; raise Denied."""
        self.current: JsonOptions = self.options()
        self.key = self.secret()
        return str(fill(self.url, {"secret": quote(self.key, safe="")}))

    def make_reader(self, socket: ClientConnection) -> AskingReader:
        """Begin to read a socket."""
        return _Reader(self, socket, self.current, self.key)

    def take(self, quoted: Quoted, link: Link) -> bool:
        """Put a quote in; return whether it was one."""
        instruments = self.symbols.get(quoted.symbol)
        if instruments is None or quoted.bid is None or quoted.ask is None:
            self.ignored("unknown_symbol" if instruments is None else "no_price")
            return False
        if quoted.time is not MISSING:
            theirs = instant_of(quoted.time, self.current.paths.time_unit)
            if theirs is None:
                self.ignored("time")
            else:
                self.health.saw_time(theirs)
        for symbol in instruments:
            self.intake.quote(symbol, quoted.bid, quoted.ask, link)
        return True


class _Reader(AskingReader):
    """One socket being read."""

    source: JsonSource

    def __init__(self, source: JsonSource, socket: ClientConnection, options: JsonOptions, key: str) -> None:
        self._options, self._key = options, key
        # Not yet let in, where an answer says so.
        self._is_waiting = options.auth is not None
        self._let_in = asyncio.Event()
        self._asked: set[str] = set()
        self._beat: asyncio.Future[None] | None = None
        # When a ping of the socket was answered last.
        self._answered_at: datetime | None = None
        super().__init__(source, socket)

    def make_link(self, source: StreamSource) -> Link:
        """Return what the intake knows this connection by."""
        options = self._options
        silence = timedelta(seconds=options.silence_seconds)
        is_pinged = options.ping_frames or options.measured_beat is not None
        return Link(silence, source=source.name, is_pinged=is_pinged)

    @property
    def patience(self) -> float | None:
        """Pings may be answered by what stands before the service: only its frames count."""
        return self._options.silence_seconds

    @property
    def is_known_by_pongs(self) -> bool:
        """They measure the line, and say nothing of the service."""
        return False

    # --- what is sent ---------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Return once the service has let us in and a ping was answered, where it answers."""
        if (auth := self._options.auth) is not None:
            await self._send(auth.send)
            if auth.match is not None:
                await self._let_in.wait()
        self._is_waiting = False
        options, beat = self._options, self._options.heartbeat
        if options.ping_frames:
            await super().begin()
            if beat is not None and beat.send is not None:
                self.beside(self._keep_beating(beat.send, beat.every_seconds))
        elif (measured := options.measured_beat) is not None:
            await self.round_trip()
            self.beside(self.keep_pinging(measured.every_seconds, options.silence_seconds))
        elif beat is not None and beat.send is not None:
            self.beside(self._keep_beating(beat.send, beat.every_seconds))

    async def round_trip(self) -> None:
        """Ask for a sign of life and wait for it, by the service's own heartbeat where that is the way."""
        if (beat := self._options.measured_beat) is None:
            await super().round_trip()
            self._look()
            self._answered_at = clock.now()
            return
        self._beat = asyncio.get_running_loop().create_future()
        self.source.intake.ask(self.link)
        await self._send(beat.send)
        await self._beat

    def _look(self) -> None:
        """Take no quotes after a stall of the line until a later ping shows that they do not wait."""
        now, limit = clock.now(), timedelta(seconds=self.timing.silence)
        if self.link.stalled_at is None and now - (self._answered_at or now) > limit:
            self.source.intake.cut(self.link)
            self.link.stalled_at = now

    async def ask_for(self, symbols: Collection[str]) -> None:
        """Subscribe to what is new; end what is not wanted any more, or let it come for nothing."""
        wanted = set(symbols)
        if self._options.unsubscribe is not None:
            await self._send_for(self._options.unsubscribe, self._asked - wanted)
            self._asked &= wanted
        await self._send_for(self._options.subscribe, wanted - self._asked)
        self._asked |= wanted

    async def _send_for(self, template: Template, symbols: Collection[str]) -> None:
        if not symbols:
            return
        if "symbols" in placeholders(template):
            await self._send(template, symbols=sorted(symbols))
            return
        for symbol in sorted(symbols):
            await self._send(template, symbol=symbol)

    async def _send(self, template: Any, **values: str | list[str]) -> None:
        await self.send(json.dumps(fill(template, {"secret": self._key, **values})))

    async def _keep_beating(self, message: Template, every: float) -> None:
        while True:
            await asyncio.sleep(every)
            await self._send(message)

    # --- what is heard --------------------------------------------------------------------------------

    def take(self, frame: str | bytes) -> None:
        """Put a frame in; raise SourceError, and Denied where it says that we are not let in."""
        self._look()
        has_quoted = False
        for part in parts_of(read_json(frame)):
            if not self._take_message(part):
                quoted = [
                    self.source.take(each, self.link) for each in read_quotes(part, self._options.paths)
                ]
                has_quoted |= any(quoted)
                if not quoted:
                    self.source.ignored("other")
        if not has_quoted:
            self.source.intake.alive(self.link)

    def _take_message(self, part: Any) -> bool:
        """Take a part that is no quote; return whether it was one of those."""
        options = self._options
        if options.error is not None and options.error.match.holds(part):
            words = find(part, options.error.text) if options.error.text else part
            if self._is_waiting:
                raise Denied(str(words))
            self.source.complained(str(words))
        elif self._is_waiting and options.auth and options.auth.match and options.auth.match.holds(part):
            self._let_in.set()
        elif options.heartbeat and options.heartbeat.match and options.heartbeat.match.holds(part):
            self._take_beat()
        else:
            return False
        return True

    def _take_beat(self) -> None:
        if self._beat is not None and not self._beat.done():
            self.source.intake.answer(self.link)
            self._beat.set_result(None)
