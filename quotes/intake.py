"""Where the sources' quotes come in, held until the feed writes their ticks. Safe between threads."""

import threading
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from config.core import clock
from quotes import selectors
from quotes.health import SourceHealth
from quotes.lanes import INSTANT, MILLISECOND, MOST_HELD, Lane, Link, Subscription
from quotes.models import Instrument
from quotes.services import Stretch

__all__ = [
    "INSTANT",
    "MOST_HELD",
    "Collected",
    "Counts",
    "Intake",
    "Lane",
    "Link",
    "Subscription",
    "subscription_of",
]


# By source and symbol: quotes accepted, and those dropped by reason.
Counts = dict[str, dict[str, dict[str, Any]]]


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
        aggregation=row.aggregation,
        further=tuple((each.source, each.source_symbol) for each in row.quotations.all()),
        max_source_age_ms=row.max_source_age_ms,
        fail_over_after_ms=row.fail_over_after_ms,
        fail_back_after_ms=row.fail_back_after_ms,
    )


@dataclass(frozen=True, slots=True)
class Collected:
    """A stretch to write; `resumes_at` is the first instant after a pause in which nothing was received.

    `must_part`: its ticks do not compare with what was recorded before, whatever their label.
    """

    stretch: Stretch
    resumes_at: datetime | None
    must_part: bool = False


class Intake:
    """The lanes of a feed. Sources put quotes in from their thread, the writer collects from its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._health: dict[str, SourceHealth] = {}
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
                    lane.follow(subscription)

    def health(self, source: str) -> SourceHealth:
        """Return what is known of a source, for its adapter to write and the feed to read."""
        return self._health.setdefault(source, SourceHealth(source))

    def healths(self) -> list[SourceHealth]:
        """Return what is known of every source that was ever asked for."""
        return list(self._health.values())

    def quote(self, symbol: str, bid: Decimal, ask: Decimal, link: Link) -> bool:
        """Take a quote in, which is a sign of life too; return whether it makes a tick."""
        return self._take(symbol, bid, ask, link, is_made_here=False)

    def price(self, symbol: str, price: Decimal, link: Link) -> None:
        """Take a price in that is the platform's own already."""
        self._take(symbol, price, price, link, is_made_here=True)

    def _take(self, symbol: str, bid: Decimal, ask: Decimal, link: Link, *, is_made_here: bool) -> bool:
        with self._lock:
            at = self._sign(link)
            if health := self._health.get(link.source):
                health.quotes += 1
                health.last_quote_at = at
            lane = self.lanes.get(symbol)
            return lane is not None and lane.take(bid, ask, at, link, is_made_here=is_made_here)

    def withdraw(self, symbol: str, link: Link) -> None:
        """Note that a source has no price of an instrument any more: its last quote counts no longer."""
        with self._lock:
            self._sign(link)
            if (lane := self.lanes.get(symbol)) is not None:
                lane.withdraw(link)

    def part(self, sources: Collection[str]) -> None:
        """Begin anew wherever one of these sources quotes: what it delivers now may be something else."""
        with self._lock:
            for lane in self.lanes.values():
                if not lane.quoters.keys().isdisjoint(sources):
                    lane.part()

    def alive(self, link: Link) -> None:
        """Note a sign of life: a frame, a heartbeat, the answer to a ping."""
        with self._lock:
            self._sign(link)

    def ask(self, link: Link) -> None:
        """Note that a ping is under way."""
        with self._lock:
            link.asked_at = clock.now()

    def answer(self, link: Link, *, is_sign: bool = True) -> None:
        """Note the answer to the ping under way: a sign of life that measures the lag, and ends a stall.

        Without `is_sign` it proves the line alone: what stands before a service may answer for a dead one.
        """
        with self._lock:
            now, asked_at = self._sign(link) if is_sign else self._look(link), link.asked_at
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
                lane.move(old, new)

    def _look(self, link: Link) -> datetime:
        now = clock.now()
        if link.is_silent(now):
            self._cut(link)
            link.stalled_at = now if link.is_pinged else None
        return now

    def _sign(self, link: Link) -> datetime:
        link.sign = now = self._look(link)
        if health := self._health.get(link.source):
            health.last_sign_at, health.lag_ms, health.silence = now, link.lag_ms, link.silence
        return now

    def _cut(self, link: Link) -> None:
        for lane in self.lanes.values():
            lane.cut(link)

    def last_price(self, symbol: str) -> Decimal | None:
        """Return the price an instrument has come to, None before its first."""
        with self._lock:
            lane = self.lanes.get(symbol)
            return None if lane is None else lane.last_price

    def has_ticks(self) -> bool:
        """Tell whether there is a tick to write."""
        with self._lock:
            return any(
                lane.ticks
                or (lane.held is not None and (sign := lane.sign()) is not None and lane.is_due(sign))
                for lane in self.lanes.values()
            )

    def waiting(self, symbol: str) -> int:
        """Return how many ticks of an instrument wait to be written."""
        with self._lock:
            lane = self.lanes.get(symbol)
            return 0 if lane is None else len(lane.ticks)

    def is_up(self, symbol: str) -> bool:
        """Tell whether an instrument's sources are delivering it."""
        with self._lock:
            lane = self.lanes.get(symbol)
            return lane is not None and lane.is_live

    def counts(self) -> Counts:
        """Return how the quotes of each source fared, since their lane's start."""
        found: Counts = {}
        with self._lock:
            for symbol, lane in self.lanes.items():
                for source, quoter in lane.quoters.items():
                    dropped = {"stalled": quoter.stalled, **quoter.filter.dropped}
                    counted = {"accepted": quoter.filter.accepted, "dropped": dropped}
                    found.setdefault(source, {})[symbol] = counted
        return found

    def collect(self) -> dict[int, Collected]:
        """Hand over everything received, by instrument id, with the instant up to which that is all.

        Instruments whose sources are away and which have nothing to write are left out.
        """
        collected = {}
        with self._lock:
            now = clock.now()
            for lane in self.lanes.values():
                sign = lane.sign() if lane.is_live else None
                if sign is not None:
                    lane.release(sign)
                elif not lane.ticks:
                    continue
                until = lane.stamped if sign is None else max(lane.stamped, sign)
                lane.stamped = until
                lag = None if sign is None else lane.lag(now)
                stretch = Stretch(until, lane.ticks, lane.label, lag, lane.quote)
                parts = lane.must_part and bool(lane.ticks)
                collected[lane.subscription.instrument_id] = Collected(stretch, lane.resumes_at, parts)
                lane.must_part = lane.must_part and not parts
                lane.ticks, lane.resumes_at = [], None
        return collected
