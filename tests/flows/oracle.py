"""A second opinion on every order, from ticks, gaps and hours alone.

Written from the published rules without a look at the platform's own: other look-ups, other rounding, other
money. Where both say the same, both read the rules the same way.
"""

from bisect import bisect_right
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import ROUND_FLOOR, Decimal

MAX_QUOTE_AGE = timedelta(milliseconds=5_000)
CUTOFF = timedelta(seconds=5)
SHORTEST, LONGEST = timedelta(seconds=5), timedelta(minutes=15)


@dataclass(frozen=True)
class Print:
    """A tick as the recording implies it."""

    at: datetime
    seq: int
    price: Decimal


@dataclass(frozen=True)
class Rules:
    """What the terms of a stretch of the replay say."""

    rate: Decimal
    delay: timedelta | None = None
    entry_wait: timedelta = timedelta(seconds=10)
    ties_lose: bool = False
    exit_age: timedelta = timedelta(seconds=30)


@dataclass
class Wish:
    """An order as the oracle knows it: what was asked, and what it foretells."""

    client_id: str
    account: str
    scale: int
    side: str
    stake: Decimal
    rules: Rules
    accepted_at: datetime
    expires_at: datetime
    entry: Print | None
    exit: Print | None = None
    status: str = "open"
    reason: str | None = None
    payout: Decimal = Decimal(0)


@dataclass
class Oracle:
    """Knows the recording, the gaps and the hours, and decides for itself."""

    ticks: list[Print]
    now: datetime
    balances: dict[str, Decimal]
    gaps: list[tuple[datetime, datetime, str]] = field(default_factory=list)
    closures: list[tuple[datetime, datetime]] = field(default_factory=list)
    open: list[Wish] = field(default_factory=list)
    closed: list[Wish] = field(default_factory=list)
    late: int = 0

    def __post_init__(self) -> None:
        self._times = [tick.at for tick in self.ticks]

    def pause(self, start: datetime, end: datetime, reason: str) -> None:
        """Note a gap: what was recorded within comes too late and is numbered no more."""
        self.gaps.append((start, end, reason))
        kept = [tick for tick in self.ticks if not start < tick.at <= end]
        self.late += len(self.ticks) - len(kept)
        self.ticks = [Print(tick.at, seq, tick.price) for seq, tick in enumerate(kept, start=1)]
        self._times = [tick.at for tick in self.ticks]

    def last(self, upto: datetime) -> Print | None:
        found = bisect_right(self._times, upto)
        return self.ticks[found - 1] if found else None

    def first(self, after: datetime, upto: datetime) -> Print | None:
        found = bisect_right(self._times, after)
        ahead = self.ticks[found] if found < len(self.ticks) else None
        return ahead if ahead is not None and ahead.at <= upto else None

    def place(self, wish: Wish, is_clock_expiry: bool) -> str | None:
        """Take an order or return the code of its refusal."""
        starts_at = self.now + (wish.rules.delay or timedelta(0))
        for start, end in self.closures:
            if start <= self.now < end or self.now < start <= wish.expires_at:
                return "market_closed"
        if is_clock_expiry and self.now > wish.expires_at - CUTOFF:
            return "expiry_cutoff"
        if not SHORTEST <= wish.expires_at - starts_at <= LONGEST:
            return "duration_out_of_range"
        tick = self.last(self.now)
        if tick is None or self.now - tick.at > MAX_QUOTE_AGE:
            return "price_stale"
        if self.balances[wish.account] < wish.stake:
            return "insufficient_funds"
        if wish.rules.delay is None:
            wish.entry = tick
        self.balances[wish.account] -= wish.stake
        self.open.append(wish)
        return None

    def settle(self, watermark: datetime) -> int:
        """Close what the record up to the watermark decides; return how many."""
        due = [wish for wish in self.open if self._is_decidable(wish, watermark)]
        for wish in due:
            self.decide(wish)
            self.balances[wish.account] += wish.payout
            self.open.remove(wish)
            self.closed.append(wish)
        return len(due)

    def _is_decidable(self, wish: Wish, watermark: datetime) -> bool:
        if wish.expires_at <= watermark:
            return True
        if wish.rules.delay is None:
            return False
        deadline = self._entry_deadline(wish)
        return deadline <= watermark and self.first(wish.accepted_at + wish.rules.delay, deadline) is None

    def _entry_deadline(self, wish: Wish) -> datetime:
        assert wish.rules.delay is not None
        return min(wish.accepted_at + wish.rules.delay + wish.rules.entry_wait, wish.expires_at)

    def decide(self, wish: Wish) -> None:
        """Fill in how an order ends."""
        if wish.rules.delay is not None:
            wish.entry = self.first(wish.accepted_at + wish.rules.delay, self._entry_deadline(wish))
        last = self.last(wish.expires_at)
        wish.reason = self._refund_reason(wish, last)
        if wish.reason is not None:
            wish.status, wish.payout = "refunded", wish.stake
            wish.exit = last if wish.reason in {"stale_exit", "tie"} else None
            return
        assert wish.entry is not None
        assert last is not None
        wish.exit = last
        rose, fell = last.price > wish.entry.price, last.price < wish.entry.price
        if (wish.side == "up" and rose) or (wish.side == "down" and fell):
            unit = Decimal(10) ** wish.scale
            profit = (wish.stake * wish.rules.rate * unit).to_integral_value(rounding=ROUND_FLOOR) / unit
            wish.status, wish.payout = "won", wish.stake + profit
        else:
            wish.status, wish.payout = "lost", Decimal(0)

    def _refund_reason(self, wish: Wish, last: Print | None) -> str | None:
        if wish.entry is None:
            return "no_entry"
        if any(start <= wish.expires_at < end for start, end in self.closures):
            return "market_closed"
        for start, end, reason in self.gaps:
            if start < wish.expires_at <= end:
                return "feed_dead" if reason == "feed_dead" else "feed_gap"
        if last is None or last.at <= wish.entry.at:
            return "no_exit"
        if wish.expires_at - last.at > wish.rules.exit_age:
            return "stale_exit"
        if last.price == wish.entry.price and not wish.rules.ties_lose:
            return "tie"
        return None
