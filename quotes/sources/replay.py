"""Recorded quotes played again: live at a multiple of their speed, or step by step at their own time."""

import asyncio
import csv
import gzip
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import structlog

from config.core import clock
from quotes import services
from quotes.intake import Intake, Link, Subscription, subscription_of
from quotes.live import LivePrices
from quotes.models import Instrument
from quotes.rules import BEGINNING
from quotes.services import Appended

log = structlog.get_logger(__name__)
BEAT_SECONDS = 0.1
# Recorded quiet is quiet: it never looks like a broken connection.
NEVER = timedelta.max
MOST_WAITING = 20_000
AT_ONCE = 500

Quote = tuple[datetime, Decimal, Decimal]


def read_quotes(path: Path) -> Iterator[Quote]:
    """Read `(at, bid, ask)` from a CSV, also gzipped, with columns `ts_ms` or `recv_ns`, `bid`, `ask`."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", newline="") as file:
        rows = csv.reader(file)
        header = next(rows)
        per_microsecond = {"ts_ms": (1000, 1), "recv_ns": (1, 1000)}
        column = next(name for name in per_microsecond if name in header)
        times, divided = per_microsecond[column]
        when, bid, ask = header.index(column), header.index("bid"), header.index("ask")
        for row in rows:
            microseconds = int(row[when]) * times // divided
            yield BEGINNING + timedelta(microseconds=microseconds), Decimal(row[bid]), Decimal(row[ask])


class ReplaySource:
    """Plays a recording per instrument, shifted to now, over and over.

    `speed` 1 is as recorded, 1000 a thousand times that, 0 as fast as it can be written. An instrument's
    `source_symbol` is a file's name in `folder`.
    """

    name = "replay"

    def __init__(self, intake: Intake, folder: Path, speed: int) -> None:
        self._intake, self._folder, self._speed = intake, folder, speed
        self._link = Link(silence=NEVER, lag_ms=0, source=self.name)
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}

    def watch(self, subscriptions: Collection[Subscription]) -> None:
        """Play exactly these."""
        wanted = {(each.symbol, each.source_symbol) for each in subscriptions}
        for key in self._tasks.keys() - wanted:
            self._tasks.pop(key).cancel()
        for key in wanted - self._tasks.keys():
            self._tasks[key] = asyncio.get_running_loop().create_task(self._play(*key))

    async def run(self) -> None:
        """Beat: between two recorded quotes nothing is missing."""
        try:
            while True:
                self._intake.alive(self._link)
                await asyncio.sleep(BEAT_SECONDS)
        finally:
            for task in self._tasks.values():
                task.cancel()

    async def _play(self, symbol: str, file_name: str) -> None:
        path = self._folder / Path(file_name).name
        if not path.is_file():
            log.error("there is no such recording", symbol=symbol, path=str(path))
            return
        while True:
            await self._play_once(symbol, path)

    async def _play_once(self, symbol: str, path: Path) -> None:
        loop = asyncio.get_running_loop()
        began, first = loop.time(), None
        for given, (at, bid, ask) in enumerate(read_quotes(path), start=1):
            first = first or at
            if self._speed:
                wait = began + (at - first).total_seconds() / self._speed - loop.time()
                if wait > 0:
                    await asyncio.sleep(wait)
            if given % AT_ONCE == 0:
                await asyncio.sleep(0)
                while self._intake.waiting(symbol) > MOST_WAITING:  # noqa: ASYNC110 - another thread takes
                    await asyncio.sleep(0.001)
            self._intake.quote(symbol, bid, ask, self._link)


class ReplayFeed:
    """Plays one recording at its own time, step by step, in the caller's process.

    The clock stands where the feed has brought it, so that placing and settling see the recorded moment:

        feed = ReplayFeed(path)
        with feed.own_time():
            feed.follow(instrument)  # made within, so that its record begins with the recording
            for at in feed.batches(size=500): ...
    """

    def __init__(self, path: Path, *, is_published: bool = False) -> None:
        self._quotes = read_quotes(path)
        self._next: Quote | None = next(self._quotes)
        self._now = self._next[0] - timedelta(seconds=1)
        self._intake = Intake()
        self._live = LivePrices() if is_published else None
        self._days: set[date] = set()
        self._epoch = 0

    @property
    def has_ended(self) -> bool:
        """Whether every recorded quote has been played."""
        return self._next is None

    def own_time(self) -> "AbstractContextManager[None]":
        """Let the process's clock stand at the feed's moment."""
        return clock.ticking(lambda: self._now)

    def follow(self, instrument: Instrument) -> None:
        """Play for this instrument from here on, as its only feed."""
        self._instrument, self._subscription = instrument, subscription_of(instrument)
        self._intake.follow([self._subscription], {})
        self._link = Link(silence=NEVER, lag_ms=0)
        self._epoch = services.take_over([instrument.pk])

    def advance(self, to: datetime) -> Appended | None:
        """Play every quote up to an instant, which the watermark and the clock then stand at."""
        while self._next is not None and self._next[0] <= to:
            self._take()
        self._now = to
        return self._write()

    def batches(self, size: int = 1_000) -> Iterator[datetime]:
        """Play the rest, `size` quotes at a time; after each yield the instant now reached."""
        while not self.has_ended:
            for _ in range(size):
                self._take()
            self._write()
            yield self._now

    def _take(self) -> None:
        if self._next is None:
            return
        self._now, bid, ask = self._next
        self._intake.quote(self._instrument.symbol, bid, ask, self._link)
        self._next = next(self._quotes, None)

    def _write(self) -> Appended | None:
        self._intake.alive(self._link)
        days = {self._now.date()}
        collected = {key: each.stretch for key, each in self._intake.collect().items()}
        days |= {at.date() for stretch in collected.values() for at, _ in stretch.ticks}
        if days - self._days:
            services.open_days(days - self._days)
            self._days |= days
        appended = services.append_ticks(epoch=self._epoch, stretches=collected)
        written = appended.get(self._instrument.pk)
        if self._live is not None and written is not None:
            self._live.publish({self._instrument.symbol: (self._subscription.price_decimals, written)})
        return written
