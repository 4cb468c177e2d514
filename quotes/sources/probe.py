"""Try a source for a few seconds: the real adapter, against an intake of its own that nobody writes from."""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from config.core import clock
from config.core.errors import Invalid
from quotes.errors import InvalidSource
from quotes.intake import Intake, Link, Subscription
from quotes.lanes import Connection
from quotes.models import Source, SourceState
from quotes.rules import MADE_HERE, Quote
from quotes.sources import Source as Adapter
from quotes.sources.thread import MAKERS

LONGEST_SECONDS = 300
MOST_SYMBOLS = 100
# For a connection to be closed in good order; whoever waits is let go after that.
CLOSING_SECONDS = 3.0
TELL_SECONDS = 1.0
LOOK_SECONDS = 0.02
# A feed says every second how its sources fare.
FORGOTTEN_AFTER = timedelta(seconds=15)


@dataclass
class SymbolReport:
    """What was quoted of a symbol, as the source calls it."""

    symbol: str
    quotes: int = 0
    first: Quote | None = None
    first_at: datetime | None = None
    last: Quote | None = None
    last_at: datetime | None = None

    @property
    def spread(self) -> Decimal | None:
        """Ask less bid of the last quote."""
        return None if self.last is None else self.last.ask - self.last.bid


@dataclass
class ProbeReport:
    """What a source said while it was tried; never a secret.

    `heartbeats` counts signs of life that were no quotes, `lag_ms` is the last measured, `offset_ms` the
    source's clock less ours, `ignored` what made no quote by reason, `error` the last error, "" for none.
    """

    source: str
    symbols: list[SymbolReport] = field(default_factory=list)
    seconds: float = 0.0
    connects: int = 0
    quotes: int = 0
    heartbeats: int = 0
    lag_ms: int | None = None
    offset_ms: int | None = None
    ignored: dict[str, int] = field(default_factory=dict)
    error: str = ""

    @property
    def is_quoting(self) -> bool:
        """Whether any quote came."""
        return self.quotes > 0


class Listening(Intake):
    """An intake without lanes that remembers what it was given."""

    def __init__(self, source: str, symbols: Sequence[str]) -> None:
        super().__init__()
        self._source = self.health(source)
        self._symbols = {symbol: SymbolReport(symbol) for symbol in symbols}
        self._began = time.monotonic()
        self._heartbeats = 0
        self._lag_ms: int | None = None
        # Of the adapter itself, which has then ended.
        self.broke = ""

    def quote(self, symbol: str, bid: Decimal, ask: Decimal, link: Link) -> bool:
        """Remember a quote."""
        report, now = self._symbols[symbol], clock.now()
        report.last, report.last_at = Quote(bid, ask), now
        if report.first is None:
            report.first, report.first_at = report.last, now
        report.quotes += 1
        self._lag_ms = link.lag_ms
        return super().quote(symbol, bid, ask, link)

    def alive(self, link: Link) -> None:
        """Remember a sign of life."""
        self._heartbeats += 1
        self._lag_ms = link.lag_ms
        super().alive(link)

    def withdraw(self, symbol: str, link: Link) -> None:
        """Remember a sign of life that takes a price back."""
        self._heartbeats += 1
        super().withdraw(symbol, link)

    def answer(self, link: Link, *, is_sign: bool = True) -> None:
        """Remember a sign of life that measures the lag."""
        super().answer(link, is_sign=is_sign)
        self._heartbeats += 1
        self._lag_ms = link.lag_ms

    def is_hopeless(self) -> bool:
        """Tell whether the first connection has failed before anything was heard."""
        return self._source.state == "down" and self._source.last_sign_at is None

    def report(self) -> ProbeReport:
        """Return what was heard up to now."""
        health = self._source
        return ProbeReport(
            source=health.code,
            symbols=[SymbolReport(**vars(each)) for each in self._symbols.values()],
            seconds=round(time.monotonic() - self._began, 3),
            connects=health.connects,
            quotes=sum(each.quotes for each in self._symbols.values()),
            heartbeats=self._heartbeats,
            lag_ms=self._lag_ms,
            offset_ms=health.offset_ms,
            ignored=dict(health.ignored),
            error=self.broke or health.last_error,
        )


def check_options(connection: Connection) -> None:
    """Let the adapter of a connection say whether it can be like this; raise InvalidSource."""
    if connection.kind in MADE_HERE or connection.kind not in MAKERS:
        raise InvalidSource(f"kind: {connection.kind} is nothing to connect to")
    check: Callable[[Connection], Any] | None = getattr(MAKERS[connection.kind], "check", None)
    if check is not None:
        check(connection)


def probe(
    connection: Connection,
    symbols: Sequence[str],
    seconds: float = 10.0,
    tell: Callable[[ProbeReport], None] | None = None,
) -> ProbeReport:
    """Connect, ask for the symbols as the source calls them, and return what came within so many seconds.

    It ends earlier where the first connection fails. `tell` is called about every second meanwhile. The
    record is not touched. Raises InvalidSource before anything is opened, also for a FIX session in use, and
    Invalid for symbols or seconds that are none or too many.
    """
    check_options(connection)
    if connection.kind == Source.Kind.FIX and _is_in_use(connection.code):
        raise InvalidSource(
            f"{connection.code} is connected, and a second connection would take its session's numbers. "
            "Disable it first."
        )
    wanted = list(dict.fromkeys(filter(None, map(str.strip, symbols))))
    if not 0 < len(wanted) <= MOST_SYMBOLS:
        raise Invalid(f"A probe needs one to {MOST_SYMBOLS} symbols.")
    if not 0 < seconds <= LONGEST_SECONDS:
        raise Invalid(f"A probe takes up to {LONGEST_SECONDS} seconds.")
    heard = Listening(connection.code, wanted)
    # A thread of its own: the caller may be on a loop already, and a name server may not answer for minutes.
    trying = threading.Thread(
        target=lambda: asyncio.run(_try(connection, wanted, seconds, heard)), name="probe", daemon=True
    )
    trying.start()
    until = time.monotonic() + seconds + CLOSING_SECONDS
    while trying.is_alive() and (left := until - time.monotonic()) > 0:
        trying.join(min(left, TELL_SECONDS))
        if tell is not None and trying.is_alive():
            tell(heard.report())
    report = heard.report()
    if trying.is_alive():
        report.error = report.error or "it did not end in time"
    return report


def _is_in_use(code: str) -> bool:
    recently = clock.now() - FORGOTTEN_AFTER
    return SourceState.objects.filter(source=code, updated_at__gt=recently).exclude(state="idle").exists()


async def _try(connection: Connection, symbols: list[str], seconds: float, heard: Listening) -> None:
    hidden: Callable[[str], str] = str
    try:
        source = MAKERS[connection.kind](heard, connection)
        hidden = getattr(source, "hidden", str)
        source.watch([_subscription(connection.code, symbol) for symbol in symbols])
        await _run(source, seconds, heard)
    except Exception as error:  # noqa: BLE001 - a mistake of the adapter is what is looked for
        heard.broke = hidden(f"{type(error).__name__}: {error}")


async def _run(source: Adapter, seconds: float, heard: Listening) -> None:
    running = asyncio.ensure_future(source.run())
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not (heard.is_hopeless() or running.done()):  # noqa: ASYNC110 - the adapter tells nobody
                await asyncio.sleep(LOOK_SECONDS)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


def _subscription(source: str, symbol: str) -> Subscription:
    return Subscription(
        instrument_id=0,
        symbol=symbol,
        price_decimals=8,
        source=source,
        source_symbol=symbol,
        tick_interval_ms=0,
        max_quote_age_ms=0,
        max_spread=Decimal(1),
        max_jump=Decimal(1),
        simulated_price=None,
        simulated_volatility=None,
        simulated_interval_ms=0,
    )
