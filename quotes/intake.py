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

    When no sign comes for longer than `silence`, what lies between is not known to be complete.
    """

    __slots__ = ("lag_ms", "sign", "silence", "source")

    def __init__(self, silence: timedelta, lag_ms: int | None = None, source: str = "") -> None:
        self.sign = clock.now()
        self.silence = silence
        # Whose it is: an instrument that has gone to another source takes nothing of it any more.
        self.source = source
        self.lag_ms = lag_ms


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
        """Tell whether a connection is one of the instrument's source."""
        return link.source in ("", self.subscription.source)

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

    def release(self, now: datetime) -> None:
        """Make a tick of the last price of an interval that has ended."""
        if self.held is not None and now >= self.held_until:
            self._stamp(self.held, now)
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

    def cut(self, link: Link) -> None:
        """End a connection: the watermarks of its instruments stop until another delivers a quote."""
        with self._lock:
            self._cut(link)

    def move(self, old: Link, new: Link) -> None:
        """Let a connection go on where another ends that it overlaps: nothing was missed."""
        with self._lock:
            for lane in self.lanes.values():
                if lane.link is old:
                    lane.link = new

    def _sign(self, link: Link) -> datetime:
        now = clock.now()
        if now - link.sign > link.silence:
            self._cut(link)
        link.sign = now
        return now

    def _cut(self, link: Link) -> None:
        for lane in self.lanes.values():
            if lane.link is link:
                lane.link = None

    def last_price(self, symbol: str) -> Decimal | None:
        """Return the price an instrument has come to, None before its first."""
        with self._lock:
            lane = self.lanes.get(symbol)
            return None if lane is None else lane.last_price

    def has_ticks(self) -> bool:
        """Tell whether there is a tick to write."""
        with self._lock:
            now = clock.now()
            return any(
                lane.ticks or (lane.held is not None and now >= lane.held_until)
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
                lane.release(now)
                if lane.link is None and not lane.ticks:
                    continue
                until = lane.stamped if lane.link is None else max(lane.stamped, lane.link.sign)
                lane.stamped = until
                stretch = Stretch(
                    until, lane.ticks, lane.subscription.source, lane.link.lag_ms if lane.link else None
                )
                collected[lane.subscription.instrument_id] = Collected(stretch, lane.resumes_at)
                lane.ticks, lane.resumes_at = [], None
        return collected
