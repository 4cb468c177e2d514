"""How an order ends: pure functions of durable rows. No clock, no database, no process state."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from config.core import money


@dataclass(frozen=True, slots=True)
class Price:
    """A tick as the rules see it."""

    at: datetime
    seq: int
    price: Decimal


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch (starts_at, ends_at] without provable prices."""

    starts_at: datetime
    ends_at: datetime
    reason: str

    def covers(self, instant: datetime) -> bool:
        """Tell whether the instant lies in the gap."""
        return self.starts_at < instant <= self.ends_at

    def parts(self, entry_at: datetime, expires_at: datetime) -> bool:
        """Tell whether the prices on either side of these instants are of different sources."""
        return self.reason == "source_changed" and entry_at <= self.starts_at < expires_at


@dataclass(frozen=True, slots=True)
class Contract:
    """What was agreed when the order was accepted."""

    side: str
    stake: Decimal
    payout_rate: Decimal
    scale: int
    entry: Price | None
    entry_after: datetime | None
    expires_at: datetime
    tie_policy: str
    max_exit_age: timedelta
    max_entry_wait: timedelta


@dataclass(frozen=True, slots=True)
class History:
    """What is stored of the market once its watermark has passed the expiry."""

    first_after: Price | None
    """The first tick after `entry_after`; only looked at while the entry is pending."""
    last_before: Price | None
    """The last tick up to the expiry."""
    gaps: Sequence[Gap]
    open_at_expiry: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the order ended. `payout` is what returns to the account: stake and profit, stake, or nothing."""

    status: str
    payout: Decimal
    refund_reason: str | None
    entry: Price | None
    exit: Price | None


def entry_deadline(entry_after: datetime, max_entry_wait: timedelta, expires_at: datetime) -> datetime:
    """Return the last instant at which a delayed entry may come."""
    return min(entry_after + max_entry_wait, expires_at)


def pending_entry(contract: Contract, first_after: Price | None) -> Price | None:
    """Return the entry of a delayed order: the first tick after the delay, if it came in time."""
    if contract.entry_after is None or first_after is None:
        return None
    deadline = entry_deadline(contract.entry_after, contract.max_entry_wait, contract.expires_at)
    return first_after if contract.entry_after < first_after.at <= deadline else None


def decide(contract: Contract, history: History) -> Outcome:
    """Decide a rise/fall order. Requires that the watermark has reached `expires_at`.

    Anybody with the stored rows gets the same answer. The refunds come first, in this order: no_entry,
    market_closed, feed_dead or feed_gap over the expiry, feed_gap where the source has changed since the
    entry, no_exit, stale_exit, a tie where the terms say so.
    """
    entry = contract.entry or pending_entry(contract, history.first_after)
    if entry is None:
        return _refund(contract, "no_entry", None, None)
    if not history.open_at_expiry:
        return _refund(contract, "market_closed", entry, None)
    for gap in history.gaps:
        if gap.covers(contract.expires_at):
            return _refund(contract, "feed_dead" if gap.reason == "feed_dead" else "feed_gap", entry, None)
    if any(gap.parts(entry.at, contract.expires_at) for gap in history.gaps):
        return _refund(contract, "feed_gap", entry, None)
    last = history.last_before
    if last is None or last.seq <= entry.seq:
        return _refund(contract, "no_exit", entry, None)
    if contract.expires_at - last.at > contract.max_exit_age:
        return _refund(contract, "stale_exit", entry, last)
    if last.price == entry.price:
        if contract.tie_policy == "refund":
            return _refund(contract, "tie", entry, last)
        return Outcome("lost", money.ZERO, None, entry, last)
    if (last.price > entry.price) == (contract.side == "up"):
        profit = money.profit(contract.stake, contract.payout_rate, contract.scale)
        return Outcome("won", contract.stake + profit, None, entry, last)
    return Outcome("lost", money.ZERO, None, entry, last)


def _refund(contract: Contract, reason: str, entry: Price | None, last: Price | None) -> Outcome:
    return Outcome("refunded", contract.stake, reason, entry, last)


def slipped(side: str, asked: Decimal, price: Decimal, max_slippage: Decimal) -> bool:
    """Tell whether the price has moved against the customer by more than he accepts.

    A better price is his: for `up` a lower one, for `down` a higher one.
    """
    worse = price - asked if side == "up" else asked - price
    return worse > max_slippage
