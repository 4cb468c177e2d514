"""Where the sources' quotes become stamped ticks, held until the feed writes them. Safe between threads."""

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from config.core import clock
from quotes import selectors
from quotes.models import Instrument
from quotes.rules import BEGINNING, QuoteFilter
from quotes.services import Stretch

INSTANT = timedelta(microseconds=1)
MILLISECOND = timedelta(milliseconds=1)
# What is held while the database is away; beyond it the stretch is given up and becomes a gap.
MOST_HELD = 200_000


@dataclass(frozen=True, slots=True)
class Subscription:
    """What a feed needs to know of an instrument; the same settings compare equal."""

    instrument_id: int
    symbol: str
    price_decimals: int
    source: str
    source_symbol: str
    tick_interval_ms: int
    max_quote_age_ms: int
    max_spread: Decimal
    max_jump: Decimal
    simulated_price: Decimal | None
    simulated_volatility: Decimal | None
    simulated_interval_ms: int


def subscription_of(row: Instrument) -> Subscription:
    """Return what the feed needs to know of an instrument."""
    return Subscription(
        instrument_id=row.pk,
        symbol=row.symbol,
        price_decimals=row.price_decimals,
        source=selectors.source_of(row),
        source_symbol=row.source_symbol,
        tick_interval_ms=row.tick_interval_ms,
        max_quote_age_ms=row.max_quote_age_ms,
        max_spread=row.max_spread,
        max_jump=row.max_jump,
        simulated_price=row.simulated_price,
        simulated_volatility=row.simulated_volatility,
        simulated_interval_ms=row.simulated_interval_ms,
    )


class Link:
    """One connection of a source; `sign` is the last instant at which it was known to deliver everything.

    When no sign comes for longer than `silence`, what lies between is not known to be complete. A pinged
    connection then delivers nothing until it has answered a ping asked later: what it brings first may have
    waited in a buffer, and its age is not known.
    """

    __slots__ = ("asked_at", "is_pinged", "lag_ms", "sign", "silence", "source", "stalled_at")

    def __init__(
        self, silence: timedelta, lag_ms: int | None = None, source: str = "", is_pinged: bool = False
    ) -> None:
        self.sign = clock.now()
        self.silence = silence
        self.is_pinged = is_pinged
        # Of the ping that waits for its answer.
        self.asked_at: datetime | None = None
        self.stalled_at: datetime | None = None
        # Whose it is: an instrument that has gone to another source takes nothing of it any more.
        self.source = source
        self.lag_ms = lag_ms

    def lag(self, now: datetime) -> int | None:
        """Return the milliseconds of the last round trip, or of the one under way if that takes longer."""
        if self.asked_at is None:
            return self.lag_ms
        return max(self.lag_ms or 0, round((now - self.asked_at) / MILLISECOND))

    def is_silent(self, now: datetime) -> bool:
        """Tell whether nothing was heard, or a ping not answered, for longer than the limit."""
        return now - min(self.sign, self.asked_at or self.sign) > self.silence


class Lane:
    """One instrument on its way in: its quotes filtered, conflated and stamped in order."""

    __slots__ = (
        "filter",
        "held",
        "held_until",
        "last_price",
        "link",
        "resumes_at",
        "stamped",
        "subscription",
        "ticks",
    )

    def __init__(self, subscription: Subscription) -> None:
        self.subscription = subscription
        self.ticks: list[tuple[datetime, Decimal]] = []
        self.stamped = BEGINNING
        self.link: Link | None = None
        self.resumes_at: datetime | None = None
        self.held: Decimal | None = None
        self.held_until = BEGINNING
        self.last_price: Decimal | None = None
        self.follow(subscription)

    def follow(self, subscription: Subscription) -> None:
        """Take over changed settings."""
        self.subscription = subscription
        self.filter = QuoteFilter(subscription.price_decimals, subscription.max_spread, subscription.max_jump)

    def leave(self) -> None:
        """Forget what the source has delivered that is not written yet: another one follows."""
        self.link = self.held = self.resumes_at = None
        self.ticks = []

    def takes(self, link: Link) -> bool:
        """Tell whether a connection is one of the instrument's source, and what it brings is fresh."""
        return link.stalled_at is None and link.source in ("", self.subscription.source)

    def take(self, price: Decimal, at: datetime, link: Link) -> None:
        """Make a tick of a price, or hold it until its interval ends."""
        if self.link is None:
            self.resumes_at = at
        self.link, self.last_price = link, price
        interval_ms = self.subscription.tick_interval_ms
        if not interval_ms:
            self._stamp(price, at)
            return
        self.release(at)
        if self.held is None:
            interval = timedelta(milliseconds=interval_ms)
            self.held_until = at - (at - BEGINNING) % interval + interval
        self.held = price

    def is_due(self, at: datetime) -> bool:
        """Tell whether the interval of the price held had ended at an instant."""
        return self.held is not None and at >= self.held_until

    def release(self, at: datetime) -> None:
        """Make a tick of the last price of an interval that has ended."""
        if self.held is not None and self.is_due(at):
            self._stamp(self.held, at)
            self.held = None

    def _stamp(self, price: Decimal, at: datetime) -> None:
        if len(self.ticks) >= MOST_HELD:
            self.ticks.clear()
            self.resumes_at = at
        if at <= self.stamped:
            at = self.stamped + INSTANT
        self.stamped = at
        self.ticks.append((at, price))


@dataclass(frozen=True, slots=True)
class Collected:
    """A stretch to write; `resumes_at` is the first instant after a pause in which nothing was received."""

    stretch: Stretch
    resumes_at: datetime | None


class Intake:
    """The lanes of a feed. Sources put quotes in from their thread, the writer collects from its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.lanes: dict[str, Lane] = {}

    def follow(
        self, subscriptions: Iterable[Subscription], last_prices: Mapping[str, Decimal | None]
    ) -> None:
        """Have exactly these lanes; those that stay keep what they hold, a new one knows its last price."""
        wanted = {each.symbol: each for each in subscriptions}
        with self._lock:
            for symbol in self.lanes.keys() - wanted.keys():
                del self.lanes[symbol]
            for symbol, subscription in wanted.items():
                lane = self.lanes.get(symbol)
                if lane is None:
                    lane = self.lanes[symbol] = Lane(subscription)
                    lane.last_price = last_prices.get(symbol)
                elif lane.subscription != subscription:
                    if lane.subscription.source != subscription.source:
                        lane.leave()
                    lane.follow(subscription)

    def quote(self, symbol: str, bid: Decimal, ask: Decimal, link: Link) -> bool:
        """Take a quote in, which is a sign of life too; return whether it makes a tick."""
        with self._lock:
            at = self._sign(link)
            lane = self.lanes.get(symbol)
            if lane is None or not lane.takes(link):
                return False
            if lane.link is None:
                lane.filter.forget()
            price = lane.filter.price(bid, ask, at)
            if price is None:
                return False
            lane.take(price, at, link)
            return True

    def price(self, symbol: str, price: Decimal, link: Link) -> None:
        """Take a price in that is the platform's own already."""
        with self._lock:
            at = self._sign(link)
            lane = self.lanes.get(symbol)
            if lane is not None and lane.takes(link):
                lane.take(price, at, link)

    def alive(self, link: Link) -> None:
        """Note a sign of life: a frame, a heartbeat, the answer to a ping."""
        with self._lock:
            self._sign(link)

    def ask(self, link: Link) -> None:
        """Note that a ping is under way."""
        with self._lock:
            link.asked_at = clock.now()

    def answer(self, link: Link) -> None:
        """Note the answer to the ping under way: a sign of life that measures the lag, and ends a stall."""
        with self._lock:
            now, asked_at = self._sign(link), link.asked_at
            if asked_at is None:
                return
            link.asked_at, link.lag_ms = None, round((now - asked_at) / MILLISECOND)
            if link.stalled_at is not None and asked_at >= link.stalled_at:
                link.stalled_at = None

    def cut(self, link: Link) -> None:
        """End a connection: the watermarks of its instruments stop until another delivers a quote."""
        with self._lock:
            self._cut(link)

    def move(self, old: Link, new: Link) -> None:
        """Let a connection go on where another ends that it overlaps: nothing was missed."""
        with self._lock:
            if old.is_silent(clock.now()):
                self._cut(old)
            for lane in self.lanes.values():
                if lane.link is old:
                    lane.link = new

    def _sign(self, link: Link) -> datetime:
        now = clock.now()
        if link.is_silent(now):
            self._cut(link)
            link.stalled_at = now if link.is_pinged else None
        link.sign = now
        return now

    def _cut(self, link: Link) -> None:
        for lane in self.lanes.values():
            if lane.link is link:
                # What is held would move the watermark of a line that says nothing any more.
                lane.link = lane.held = None

    def last_price(self, symbol: str) -> Decimal | None:
        """Return the price an instrument has come to, None before its first."""
        with self._lock:
            lane = self.lanes.get(symbol)
            return None if lane is None else lane.last_price

    def has_ticks(self) -> bool:
        """Tell whether there is a tick to write."""
        with self._lock:
            return any(
                lane.ticks or (lane.link is not None and lane.is_due(lane.link.sign))
                for lane in self.lanes.values()
            )

    def waiting(self, symbol: str) -> int:
        """Return how many ticks of an instrument wait to be written."""
        with self._lock:
            lane = self.lanes.get(symbol)
            return 0 if lane is None else len(lane.ticks)

    def is_up(self, symbol: str) -> bool:
        """Tell whether an instrument's source is delivering it."""
        with self._lock:
            lane = self.lanes.get(symbol)
            return lane is not None and lane.link is not None

    def dropped(self) -> dict[str, dict[str, int]]:
        """Return how many quotes made no tick, by symbol and reason."""
        with self._lock:
            return {symbol: dict(lane.filter.dropped) for symbol, lane in self.lanes.items()}

    def collect(self) -> dict[int, Collected]:
        """Hand over everything received, by instrument id, with the instant up to which that is all.

        Instruments whose source is away and which have nothing to write are left out.
        """
        collected = {}
        with self._lock:
            now = clock.now()
            for lane in self.lanes.values():
                if lane.link is not None:
                    lane.release(lane.link.sign)
                elif not lane.ticks:
                    continue
                until = lane.stamped if lane.link is None else max(lane.stamped, lane.link.sign)
                lane.stamped = until
                stretch = Stretch(
                    until, lane.ticks, lane.subscription.source, lane.link.lag(now) if lane.link else None
                )
                collected[lane.subscription.instrument_id] = Collected(stretch, lane.resumes_at)
                lane.ticks, lane.resumes_at = [], None
        return collected
