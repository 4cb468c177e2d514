"""OANDA v20 pricing stream: one JSON object a line over HTTP that does not end, with a key.

A heartbeat comes every five seconds. The stream cannot be asked anything: its instruments are those of its
address, and its lag is how much later than the quickest heartbeat something comes by the times written in it.
"""

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from decimal import Decimal
from typing import Any, ClassVar, NamedTuple

import httpx

from config.core import clock
from quotes.intake import MILLISECOND, Intake, Link
from quotes.lanes import Connection
from quotes.rules import BEGINNING
from quotes.sources.connection import SourceError, Timing
from quotes.sources.frames import nanoseconds_of, price_of, read_json, unreadable
from quotes.sources.options import Options
from quotes.sources.streams import Denied, OverlappingSource, Reader, within

LONGEST_LINE = 1 << 20
LONGEST_ANSWER = 1 << 16
# The request cannot succeed as it is: what it asks for, who asks, or where.
REFUSING = frozenset({400, 401, 403, 404})
MOST_BEATS = 60
# More than that behind the quickest heartbeat, and what comes has waited somewhere.
LATE_MS = 1_000


class OandaOptions(Options, frozen=True):
    """`account`: whose prices, for instance 101-004-1234567-001."""

    account: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9-]{1,40}", self.account):
            raise ValueError("`account` is letters, digits and dashes")


class Price(NamedTuple):
    """The best bid and ask of an instrument, None where there is none to trade at; `at` in nanoseconds."""

    instrument: str
    at: int | None
    bid: Decimal | None
    ask: Decimal | None
    is_tradeable: bool

    @property
    def is_given(self) -> bool:
        """Whether there is a price to trade at."""
        return self.is_tradeable and self.bid is not None and self.ask is not None


def read_price(message: dict[str, Any]) -> Price:
    """Read a PRICE; the best bid is the highest, the best ask the lowest, in whatever order they come.

    Raises SourceError.
    """
    try:
        bids, asks = ([price_of(each["price"]) for each in message[side]] for side in ("bids", "asks"))
        return Price(
            str(message["instrument"]),
            nanoseconds_of(message.get("time")),
            max(bids, default=None),
            min(asks, default=None),
            message.get("tradeable", message.get("status") != "non-tradeable") is True,
        )
    except (KeyError, TypeError):
        raise unreadable(message) from None


class Lines:
    """Joins chunks, cut anywhere, to lines; holds at most a line of LONGEST_LINE bytes."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Return the lines that a chunk completes; raise SourceError for one that is too long."""
        *whole, self._rest = (self._rest + chunk).split(b"\n") if b"\n" in chunk else (self._rest + chunk,)
        for line in (*whole, self._rest):
            if len(line) > LONGEST_LINE:
                raise SourceError(f"a line longer than {LONGEST_LINE} bytes")
        return (line for line in whole if line.strip())


class OandaSource(OverlappingSource):
    """Keeps one stream open; a changed list goes to a new one, opened before the old is dropped."""

    options_kind: ClassVar[type[Options]] = OandaOptions
    scheme: ClassVar[str] = "https"
    plain_scheme: ClassVar[str] = "http"
    default_url: ClassVar[str] = "https://stream-fxtrade.oanda.com"
    default_timing: ClassVar[Timing] = Timing(silence=10.0, dead=10.0)

    def __init__(self, intake: Intake, connection: Connection, timing: Timing | None = None) -> None:
        super().__init__(intake, connection, timing)
        # The overlap of two streams brings every price twice; within one they come in order.
        self._last: dict[str, tuple[int, bool, Reader]] = {}

    def peer_symbol(self, source_symbol: str) -> str:
        """Return a symbol as the broker writes it, with an underscore."""
        return source_symbol.strip().replace("/", "_").upper()

    def forget(self) -> None:
        """Begin without a stream."""
        self._last.clear()

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Reader]:
        """Open a stream that has begun to deliver, and close it at the end."""
        options, secret = self.options(), self.secret()
        if not secret:
            raise Denied("a key is needed: secret_ref names it")
        waits = httpx.Timeout(self.timing.connect, read=self.timing.dead)
        try:
            async with (
                httpx.AsyncClient(timeout=waits) as client,
                client.stream(
                    "GET",
                    f"{self.url}/v3/accounts/{options.account}/pricing/stream",
                    params={"instruments": ",".join(sorted(self.symbols)), "snapshot": "true"},
                    # Compressed, lines would wait for their block to be full.
                    headers={
                        "Authorization": f"Bearer {secret}",
                        "Accept-Encoding": "identity",
                        "Accept-Datetime-Format": "RFC3339",
                    },
                ) as response,
            ):
                if response.status_code != httpx.codes.OK:
                    raise await _refusal(response, self.timing)
                reader = _Reader(self, response)
                async with self.reading(reader):
                    yield reader
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL) as error:
            raise SourceError(f"{type(error).__name__}: {error}") from None

    def take(self, price: Price, reader: "_Reader") -> None:
        """Put one price in, or take the last one back, unless that is known already."""
        instruments = self.symbols.get(price.instrument)
        reason = ""
        if instruments is None:
            reason = "unknown_symbol"
        elif reader.is_late and price.is_given:
            reason = "late"
        elif self._is_known(price, reader):
            reason = "repeated"
        if instruments is None or reason:
            self.ignored(reason)
            self.intake.alive(reader.link)
        elif price.bid is None or price.ask is None or not price.is_given:
            self.ignored("not_tradeable")
            self.withdraw(price.instrument, reader.link)
        else:
            for symbol in instruments:
                self.intake.quote(symbol, price.bid, price.ask, reader.link)

    def _is_known(self, price: Price, reader: "_Reader") -> bool:
        """Tell whether another stream has brought this price, or a later one, or this one has brought it.

        That there is none may be said at the time of the last price; of two streams, who says so is right.
        """
        if price.at is None:
            return False
        at, was_given, by = self._last.get(price.instrument, (-1, False, reader))
        if price.at == at:
            is_known = price.is_given and (was_given or by is not reader)
        else:
            is_known = price.at < at and by is not reader
        if not is_known:
            self._last[price.instrument] = (price.at, price.is_given, reader)
        return is_known


class _Reader(Reader):
    """One stream being read."""

    source: OandaSource

    def __init__(self, source: OandaSource, response: httpx.Response) -> None:
        self._response = response
        self._began = asyncio.Event()
        self._behind: deque[timedelta] = deque(maxlen=MOST_BEATS)
        self._seen: set[str] = set()
        # What comes has waited somewhere, for nobody knows how long.
        self.is_late = False
        super().__init__(source, Link(timedelta(seconds=source.timing.silence), source=source.name))

    async def begin(self) -> None:
        """Return once the first line has come."""
        await self._began.wait()

    async def read(self) -> None:
        """Take line after line, as long as they come."""
        lines, loop = Lines(), asyncio.get_running_loop()
        try:
            async with within(self.timing.dead, "silent") as limit:
                async for chunk in self._response.aiter_raw():
                    for line in lines.feed(chunk):
                        self.take(line)
                        limit.reschedule(loop.time() + self.timing.dead)
        except httpx.ReadTimeout:
            raise TimeoutError(f"silent for {self.timing.dead} s") from None
        except (httpx.HTTPError, httpx.StreamError) as error:
            raise SourceError(f"{type(error).__name__}: {error}") from None
        raise SourceError("the stream has ended")

    def take(self, line: bytes) -> None:
        """Put a line in; raise SourceError."""
        message = read_json(line)
        if not isinstance(message, dict):
            raise unreadable(line)
        self._began.set()
        if message.get("type") == "PRICE":
            price = read_price(message)
            # The first of each says how it stood when the stream began, however long ago that came to be; and
            # that there is none may be said at the time of the last there was.
            if price.instrument in self._seen and price.is_given:
                self._note_time(price.at)
            self._seen.add(price.instrument)
            self.source.take(price, self)
        elif message.get("type") == "HEARTBEAT":
            self._note_time(nanoseconds_of(message.get("time")), is_beat=True)
            self.source.intake.alive(self.link)
        elif "errorMessage" in message:
            raise SourceError(str(message["errorMessage"]))
        else:
            self.source.ignored("other")
            self.source.intake.alive(self.link)

    def _note_time(self, at: int | None, *, is_beat: bool = False) -> None:
        if at is None:
            return
        theirs = BEGINNING + timedelta(microseconds=at // 1_000)
        behind = clock.now() - theirs
        self.source.health.saw_time(theirs)
        if is_beat:
            self._behind.append(behind)
        if not self._behind:
            return
        was_late = self.is_late
        self.link.lag_ms = max(0, round((behind - min(self._behind)) / MILLISECOND))
        self.is_late = self.link.lag_ms > LATE_MS
        if self.is_late and not was_late:
            self.source.intake.cut(self.link)


async def _refusal(response: httpx.Response, timing: Timing) -> SourceError:
    """Return the error of an answer that is no stream, with the broker's words."""
    body = b""
    async with within(timing.connect, "no answer"):
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) >= LONGEST_ANSWER:
                break
    try:
        words = str(read_json(body)["errorMessage"])
    except (SourceError, KeyError, TypeError):
        words = body[:200].decode(errors="replace").strip()
    kind = Denied if response.status_code in REFUSING else SourceError
    return kind(f"HTTP {response.status_code} {words}".strip())
