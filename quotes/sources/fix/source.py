"""A FIX 4.4 liquidity provider: one session, requests for what is wanted, books that make quotes."""

import asyncio
from collections import defaultdict
from collections.abc import Collection
from datetime import timedelta
from functools import partial

import structlog

from config.core import clock
from quotes.errors import InvalidSource
from quotes.intake import Intake, Link, Subscription
from quotes.lanes import Connection
from quotes.services import fix
from quotes.sources.connection import CONNECTS, ERRORS, Backoff, SourceError, Timing
from quotes.sources.fix.book import Books, request
from quotes.sources.fix.messages import Message, Unreadable, read_timestamp
from quotes.sources.fix.opening import (
    FAILURES,
    FixOptions,
    check,
    connected,
    hidden,
    parties_of,
    read_address,
    secrets_of,
)
from quotes.sources.fix.sender import stored
from quotes.sources.fix.session import Parties, Session

log = structlog.get_logger(__name__)
# An answer may be late by as long as it took to be asked for, and by this.
ALLOWANCE_SECONDS = 0.5


class FixSource:
    """Keeps one session with a peer, and opens another with growing patience when it ends."""

    def __init__(self, intake: Intake, connection: Connection, timing: Timing | None = None) -> None:
        self.intake, self.timing = intake, timing or Timing()
        self.name = connection.code
        self._connection = connection
        self._health = intake.health(self.name)
        # By the peer's symbol, the instruments that ask for it.
        self._symbols: dict[str, list[str]] = {}
        self._changed = asyncio.Event()
        self._hidden: set[str] = set()

    @classmethod
    def check(cls, connection: Connection) -> FixOptions:
        """Return the connection's options; raise InvalidSource for those, or an address, that cannot be."""
        return check(connection)

    def hidden(self, words: str) -> str:
        """Return words of the peer, or of a library, cut short and without the secret in them."""
        return hidden(words, self._hidden)

    def watch(self, subscriptions: Collection[Subscription]) -> None:
        """Deliver exactly these; a changed list is asked for on the session there is."""
        symbols: dict[str, list[str]] = defaultdict(list)
        for each in subscriptions:
            symbols[each.source_symbol].append(each.symbol)
        for symbol in [each for each in symbols if not _is_sendable(each)]:
            self._health.complained(f"the symbol of {symbols.pop(symbol)[0]} cannot be sent")
        if symbols.keys() != self._symbols.keys():
            self._changed.set()
        self._symbols = dict(symbols)

    async def run(self) -> None:
        """Deliver until cancelled, reconnecting with growing patience."""
        backoff, loop = Backoff(self.timing), asyncio.get_running_loop()
        try:
            options, address = self.check(self._connection), read_address(self._connection.url)
        except InvalidSource as error:
            ERRORS.labels(self.name).inc()
            self._health.failed(error.detail)
            log.error("the source cannot be opened as it is", source=self.name, error=error.detail)
            # Settings that are changed start another source.
            await asyncio.Event().wait()
        while True:
            began = loop.time()
            try:
                await self._stream(options, address)
            except FAILURES as error:
                wait = backoff.seconds(loop.time() - began)
                ERRORS.labels(self.name).inc()
                said = self.hidden(str(error)) or type(error).__name__
                self._health.failed(said)
                log.warning("FIX session ended", source=self.name, error=said, wait=wait)
                await asyncio.sleep(wait)

    async def _stream(self, options: FixOptions, address: tuple[str, int, bool]) -> None:
        """Hold a session as long as something is asked for."""
        while not self._symbols:
            self._health.idle()
            self._changed.clear()
            await self._changed.wait()
        self._health.connecting()
        parties = await self._parties(options)
        async with connected(address, options.ca_file, self.timing) as streams:
            CONNECTS.labels(self.name).inc()
            numbers = await stored(
                partial(fix.open_fix_session, source=self.name, reset=options.reset_on_logon)
            )
            await _Delivery(self, options, parties, numbers, streams).run()

    async def _parties(self, options: FixOptions) -> Parties:
        parties = await asyncio.to_thread(parties_of, self._connection, options)
        self._hidden |= secrets_of(parties)
        return parties

    @property
    def symbols(self) -> dict[str, list[str]]:
        """By the peer's symbol, the instruments that ask for it now."""
        return self._symbols

    async def until_changed(self) -> None:
        """Wait until other symbols are asked for than before."""
        await self._changed.wait()
        self._changed.clear()


class _Delivery:
    """One session and its books: hears what the session receives, and asks for what the source wants."""

    def __init__(
        self,
        source: FixSource,
        options: FixOptions,
        parties: Parties,
        numbers: fix.FixNumbers,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self._source, self._options, self._intake = source, options, source.intake
        self._health = source.intake.health(source.name)
        self._session = Session(parties, self, numbers, streams, source.timing)
        self._books = Books(options.depth, self._health.ignored)
        self._link = self._new_link(options.test_request_seconds)
        # By the id of a market data request that stands, its symbols.
        self._requests: dict[str, tuple[str, ...]] = {}
        # Ids of an earlier connection may still be known to the peer.
        self._prefix = f"{clock.now():%Y%m%d%H%M%S%f}"
        self._requested = 0
        # The peer sends changes: a book that has missed one is wrong.
        self._has_changes = False

    async def run(self) -> None:
        """Deliver until the session ends; raise why. Ends it itself when nothing is asked for any more."""
        tasks = [asyncio.ensure_future(self._session.run()), asyncio.ensure_future(self._follow())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            session, following = await asyncio.gather(*tasks, return_exceptions=True)
            self._intake.cut(self._link)
        for result in (session, following):
            if isinstance(result, Exception):
                raise result

    async def _follow(self) -> None:
        while self._source.symbols:
            await self._source.until_changed()
            if self._health.state == "up":
                self._request_wanted()

    def _new_link(self, ask_seconds: float) -> Link:
        silence = timedelta(seconds=2 * ask_seconds + ALLOWANCE_SECONDS)
        return Link(silence, source=self._source.name, is_pinged=True)

    # --- what is asked for ----------------------------------------------------------------------------

    def _request_wanted(self) -> None:
        """Ask for symbols that are new, and end requests for what is not wanted any more."""
        wanted, options = self._source.symbols.keys(), self._options
        ending = {key: each for key, each in self._requests.items() if not wanted >= set(each)}
        for key in ending:
            del self._requests[key]
        self._books.follow(wanted)
        standing = {symbol for symbols in self._requests.values() for symbol in symbols}
        missing = sorted(wanted - standing)
        # A request that loses some of its symbols is replaced; the new one begins before the old one ends.
        for start in range(0, len(missing), options.symbols_per_request):
            symbols = tuple(missing[start : start + options.symbols_per_request])
            self._requested += 1
            key = f"{self._prefix}-{self._requested}"
            self._requests[key] = symbols
            self._session.tell("V", request(key, symbols, options.depth, options.update_type, ends=False))
        self._end(ending)

    def _end(self, requests: dict[str, tuple[str, ...]]) -> None:
        depth, update_type = self._options.depth, self._options.update_type
        for key, symbols in requests.items():
            self._session.tell("V", request(key, symbols, depth, update_type, ends=True))

    # --- what the session hears -----------------------------------------------------------------------

    def logged_on(self, ask_seconds: float) -> None:
        """Begin to deliver."""
        self._link = self._new_link(ask_seconds)
        self._health.connected()
        self._request_wanted()

    def deliver(self, message: Message, is_current: bool) -> None:
        """Take market data over; what is current makes quotes."""
        if is_current:
            self.alive(message)
        if message.type not in ("W", "X"):
            self._health.ignored[f"message {message.type}"] += 1
            return
        self._has_changes |= message.type == "X"
        try:
            touched = self._books.take(message, self._requests.get(message.get(262) or "", ()))
        except Unreadable as error:
            said = f"message {message.get(34)} ({message.get(55) or message.type}): {error}"
            if message.type == "X":
                # The books are not known any more; new ones come with a new session.
                raise SourceError(said) from error
            self._health.complained(said)
            # The book that was to be replaced is known no longer, and empty.
            touched = self._books.without_top()
        if is_current:
            for symbol in touched:
                self._quote(symbol)

    def _quote(self, symbol: str) -> None:
        top = self._books.top(symbol)
        for instrument in self._source.symbols.get(symbol, ()):
            if top is None:
                self._intake.withdraw(instrument, self._link)
            else:
                self._intake.quote(instrument, *top, self._link)

    def alive(self, message: Message) -> None:
        """Note a sign of life; what comes after a silence may have waited, and is asked about at once."""
        was_stalled = self._link.stalled_at is not None
        self._intake.alive(self._link)
        if self._link.stalled_at is not None and not was_stalled:
            self._session.ask_soon()
        if (theirs := read_timestamp(message.get(52))) is not None and not message.says(43):
            self._health.saw_time(theirs)

    def lost(self) -> None:
        """Stop the watermarks: what is missing is not known."""
        self._intake.cut(self._link)

    def skipped(self) -> None:
        """Know nothing until the next quotes; begin books of changes anew, with new snapshots."""
        self._intake.cut(self._link)
        if not self._has_changes:
            return
        standing, self._requests = self._requests, {}
        self._books.follow(())
        self._request_wanted()
        self._end(standing)

    def caught_up(self) -> None:
        """Quote what the books have come to."""
        for symbol in self._books.tops():
            self._quote(symbol)

    def stalled(self) -> None:
        """Take no quotes until an answer shows that they do not wait."""
        self._intake.cut(self._link)
        self._link.stalled_at = clock.now()

    def asked(self) -> None:
        """Measure the lag from here."""
        self._intake.ask(self._link)

    def answered(self) -> None:
        """Note the lag; after a stall the books are current again."""
        was_stalled = self._link.stalled_at is not None
        self._intake.answer(self._link)
        is_stalled = self._link.stalled_at is not None
        if was_stalled and not is_stalled:
            self.caught_up()
        elif is_stalled and not was_stalled:
            self._session.ask_soon()

    def refused(self, request_id: str) -> None:
        """Take back the prices of what the peer delivers no longer."""
        for symbol in self._requests.get(request_id, ()):
            for instrument in self._source.symbols.get(symbol, ()):
                self._intake.withdraw(instrument, self._link)

    def complained(self, text: str) -> None:
        """Show the operator what is wrong."""
        self._health.complained(text)
        log.warning("FIX peer complained", source=self._source.name, said=text)


def _is_sendable(symbol: str) -> bool:
    return bool(symbol) and symbol.isascii() and symbol.isprintable()
