"""What adapters share that keep a connection open: reconnecting, handing over, keeping their secret."""

import asyncio
import json
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, ClassVar
from urllib.parse import quote

import structlog
from websockets.exceptions import WebSocketException

from config.core.secrets import SecretMissing, get_secret
from quotes.errors import InvalidSource
from quotes.intake import Intake, Link, Subscription
from quotes.lanes import SECRETS_BEGIN, Connection
from quotes.sources.connection import CONNECTS, ERRORS, Backoff, SourceError, Timing
from quotes.sources.options import Options, check_url, read_options

log = structlog.get_logger(__name__)
# What ends a connection, to be followed by another; anything else is a mistake of ours.
FAILURES = (OSError, TimeoutError, WebSocketException, SourceError)
LONGEST_WORDS = 300
HIDDEN = "[secret]"


class Denied(SourceError):
    """The peer refuses us, or our settings cannot work: another attempt would change nothing soon."""


def read_secret(reference: str) -> str:
    """Return a secret that sources may use; raise Denied for others, SecretMissing, ValueError."""
    if not reference.startswith(SECRETS_BEGIN):
        raise Denied(f"a source may only use secrets whose names begin with {SECRETS_BEGIN}")
    return get_secret(reference)


@asynccontextmanager
async def within(seconds: float | None, otherwise: str) -> AsyncIterator[asyncio.Timeout]:
    """Limit what is done to so many seconds; raise TimeoutError, saying what was missed."""
    try:
        async with asyncio.timeout(seconds) as limit:
            yield limit
    except TimeoutError as error:
        raise TimeoutError(str(error) or f"{otherwise} for {seconds} s") from None


class Reader(ABC):
    """One connection being read, in a task of its own that never ends well."""

    def __init__(self, source: "StreamSource", link: Link) -> None:
        self.source, self.link, self.timing = source, link, source.timing
        # The peer has announced its end; it delivers until then.
        self.ending = asyncio.Event()
        self.task: asyncio.Task[None] = asyncio.ensure_future(self.read())
        self._others: list[asyncio.Future[None]] = []

    @abstractmethod
    async def read(self) -> None:
        """Put in what arrives until the connection ends; raise what ended it."""

    @abstractmethod
    async def begin(self) -> None:
        """Return once the connection is known to deliver."""

    def beside(self, doing: Coroutine[Any, Any, None]) -> None:
        """Do this as long as the connection is read."""
        self._others.append(asyncio.ensure_future(doing))

    async def unless_ended(self, doing: Coroutine[Any, Any, None]) -> None:
        """Do this; where reading ends before, raise why."""
        task = asyncio.ensure_future(doing)
        try:
            await asyncio.wait([task, self.task], return_when=asyncio.FIRST_COMPLETED)
        finally:
            task.cancel()
            (result,) = await asyncio.gather(task, return_exceptions=True)
        if self.task.done():
            self.task.result()
        if isinstance(result, BaseException):
            raise result

    async def until(self, *events: asyncio.Event, seconds: float | None = None) -> None:
        """Wait for one of the events, or so long; raise what ended the connection before."""
        waits = [asyncio.ensure_future(event.wait()) for event in events]
        try:
            await asyncio.wait([self.task, *waits], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if self.task.done():
            self.task.result()

    async def stop(self) -> None:
        """Stop reading; the watermarks that hang on this connection stop with it."""
        tasks = [self.task, *self._others]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.source.intake.cut(self.link)


class StreamSource(ABC):
    """Keeps a connection delivering, and opens another with growing patience when it ends."""

    options_kind: ClassVar[type[Options]] = Options
    scheme: ClassVar[str] = "wss"
    plain_scheme: ClassVar[str] = "ws"
    default_url: ClassVar[str] = ""
    default_timing: ClassVar[Timing] = Timing()

    def __init__(self, intake: Intake, connection: Connection, timing: Timing | None = None) -> None:
        self.intake, self.connection, self.timing = intake, connection, timing or self.default_timing
        self.name = connection.code
        self.url = (connection.url or self.default_url).rstrip("/")
        self.health = intake.health(self.name)
        # By the peer's symbol, the instruments that ask for it.
        self.symbols: dict[str, list[str]] = {}
        self.changed = asyncio.Event()
        self.backoff = Backoff(self.timing)
        self._hidden: set[str] = set()
        self._last_complaint = ""

    # --- what is configured ---------------------------------------------------------------------------

    @classmethod
    def check(cls, connection: Connection) -> Any:
        """Return the connection's options; raise InvalidSource for those, or an address, that cannot be."""
        check_url(connection.url or cls.default_url, cls.scheme, cls.plain_scheme)
        return read_options(connection, cls.options_kind)

    def options(self) -> Any:
        """Return the connection's options, checked; raise Denied."""
        try:
            return self.check(self.connection)
        except InvalidSource as error:
            raise Denied(error.detail) from None

    def secret(self) -> str:
        """Return the connection's secret as it is now, "" for one without; raise Denied."""
        reference = self.connection.secret_ref
        if not reference:
            return ""
        try:
            secret = read_secret(reference)
        except SecretMissing as error:
            raise Denied(str(error)) from None
        except ValueError:
            raise Denied(f"the secret {reference} cannot be read as text") from None
        if not (secret.isascii() and secret.isprintable()):
            raise Denied(f"the secret {reference} has characters that cannot be sent")
        written = (quote(secret, safe=""), json.dumps(secret)[1:-1], repr(secret)[1:-1])
        self._hidden.update(each for each in (secret, *written) if each)
        return secret

    def hidden(self, words: str) -> str:
        """Return words of the peer, or of a library, cut short and without the secret in them."""
        for secret in sorted(self._hidden, key=len, reverse=True):
            words = words.replace(secret, HIDDEN)
        return words[:LONGEST_WORDS]

    # --- what is asked for ----------------------------------------------------------------------------

    def peer_symbol(self, source_symbol: str) -> str:
        """Return a symbol as the peer writes it."""
        return source_symbol.strip()

    def watch(self, subscriptions: Collection[Subscription]) -> None:
        """Deliver exactly these from now on."""
        symbols: dict[str, list[str]] = defaultdict(list)
        for each in subscriptions:
            if name := self.peer_symbol(each.source_symbol):
                symbols[name].append(each.symbol)
        if symbols.keys() != self.symbols.keys():
            self.changed.set()
        self.symbols = dict(symbols)

    # --- running --------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Deliver until cancelled, reconnecting with growing patience."""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                await self.stream()
            except FAILURES as error:
                wait = self.failed(error, loop.time() - began)
                await self._pause(wait, may_end_early=isinstance(error, Denied))

    @abstractmethod
    async def stream(self) -> None:
        """Deliver over one connection, or one after another; raise what ended it."""

    @abstractmethod
    def connected(self) -> AbstractAsyncContextManager[Reader]:
        """Open a connection that is known to answer, and close it at the end."""

    @asynccontextmanager
    async def reading(self, reader: Reader) -> AsyncIterator[None]:
        """Count a connection as open once it delivers, and stop reading it afterwards."""
        CONNECTS.labels(self.name).inc()
        try:
            async with within(self.timing.connect, "no answer"):
                await reader.unless_ended(reader.begin())
            self.health.connected()
            yield
        finally:
            await reader.stop()

    def failed(self, error: BaseException, healthy_seconds: float) -> float:
        """Note what ended a connection, or kept one from opening; return how long to wait."""
        wait = self.backoff.seconds(healthy_seconds)
        if isinstance(error, Denied):
            wait = self.timing.backoff_longest
        said = self.hidden(str(error)) or type(error).__name__
        ERRORS.labels(self.name).inc()
        self.health.failed(said)
        log.warning("source connection ended", source=self.name, error=said, wait=wait)
        return wait

    def complained(self, words: str) -> None:
        """Note an error that the peer named and the connection survives."""
        said = self.hidden(words)
        ERRORS.labels(self.name).inc()
        self.health.complained(said)
        if said != self._last_complaint:
            log.warning("source complained", source=self.name, error=said)
        self._last_complaint = said

    def ignored(self, reason: str) -> None:
        """Count what was said and makes no quote."""
        self.health.ignored[reason] += 1

    def withdraw(self, symbol: str, link: Link) -> None:
        """Let the last quote of a symbol, as the peer writes it, count no longer: it has no price now."""
        for each in self.symbols.get(symbol, ()):
            self.intake.withdraw(each, link)

    async def idle(self) -> None:
        """Wait until something is asked for."""
        self.health.idle()
        await self.changed.wait()

    async def _pause(self, seconds: float, *, may_end_early: bool) -> None:
        if not may_end_early:
            await asyncio.sleep(seconds)
            return
        # What was refused may be one of the symbols: another list is tried at once.
        try:
            async with asyncio.timeout(seconds):
                await self.changed.wait()
        except TimeoutError:
            return


class OverlappingSource(StreamSource):
    """Opens the next connection before it drops one that must end: nothing is missed in between."""

    def forget(self) -> None:
        """Begin without a connection: nothing is known of what the peer has said before."""

    async def stream(self) -> None:
        """Stream over one connection after another."""
        self.forget()
        current: Reader | None = None
        async with AsyncExitStack() as kept:
            while True:
                self.changed.clear()
                if not self.symbols:
                    current = None
                    await kept.aclose()
                    self.forget()
                    await self.idle()
                    continue
                current = await self._next(current, kept)

    async def _next(self, current: Reader | None, kept: AsyncExitStack) -> Reader:
        """Open the next connection, drop the one before, and return it when it must be replaced in turn."""
        if current is None:
            self.health.connecting()
        try:
            async with AsyncExitStack() as fresh:
                reader = await fresh.enter_async_context(self.connected())
                # The one before has delivered up to here, and this one does from here on.
                if current is not None and not current.task.done():
                    self.intake.move(current.link, reader.link)
                await kept.aclose()
                kept.push_async_exit(fresh.pop_all())
        except FAILURES as error:
            if current is None or current.task.done():
                raise
            # The one before goes on as long as it can.
            self.complained(str(error) or type(error).__name__)
            longest = isinstance(error, Denied)
            wait = self.timing.backoff_longest if longest else self.backoff.seconds(0)
            await current.until(self.changed, seconds=wait)
            return current
        await reader.until(self.changed, reader.ending, seconds=self.timing.rotate_after)
        return reader
