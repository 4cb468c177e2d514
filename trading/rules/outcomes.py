"""How an order ends: pure functions of durable rows. No clock, no database, no process state."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from config.core import money
from trading.rules.contracts import KINDS, End, Reach, needs_every_tick, reach_of


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

    def lies_between(self, entry_at: datetime, end_at: datetime) -> bool:
        """Tell whether some of the gap lies after the one instant and before the other."""
        return self.ends_at > entry_at and self.starts_at < end_at

    def parts(self, entry_at: datetime, end_at: datetime) -> bool:
        """Tell whether the prices on either side of these instants are of different sources."""
        return self.reason == "source_changed" and entry_at <= self.starts_at < end_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """What was agreed when the order was accepted.

    `barrier`, `low` and `high` are prices, or with `is_relative` distances from the entry. With
    `duration_ticks` the order ends at that tick after its entry, and `expires_at` is the last instant for it.
    """

    kind: str = "rise_fall"
    side: str
    stake: Decimal
    payout_rate: Decimal
    scale: int
    price_decimals: int
    entry: Price | None
    entry_after: datetime | None
    expires_at: datetime
    duration_ticks: int | None = None
    barrier: Decimal | None = None
    low: Decimal | None = None
    high: Decimal | None = None
    is_relative: bool = False
    digit: int | None = None
    tie_policy: str
    max_exit_age: timedelta
    max_entry_wait: timedelta

    @property
    def needs_every_tick(self) -> bool:
        """Whether the outcome rests on the ticks on the way, not on the last one alone."""
        return needs_every_tick(self.kind, self.duration_ticks)


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What is stored of the market, all of it up to `known_until`: the instrument's watermark.

    What a contract does not look at may be left out. Of the two ends, that of an order counted in ticks is
    `nth`: the agreed tick after the entry, None while it has not come.
    """

    known_until: datetime
    gaps: Sequence[Gap] = ()
    open_at_end: bool = True
    """Whether the instrument's session was open at the instant that decides."""
    first_after: Price | None = None
    """The first tick after `entry_after`; only looked at while the entry is pending."""
    last_before: Price | None = None
    """The last tick up to the expiry."""
    nth: Price | None = None
    reached: Price | None = None
    """The first tick after the entry, up to the end, that reaches or crosses a barrier."""
    ticks: int = 0
    """How many ticks there are from the entry to the end, both included; with `total`, their sum."""
    total: Decimal = Decimal(0)
    voided: frozenset[int] = frozenset()
    """The numbers of ticks that two operators voided."""


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


def absolute(contract: Contract, entry: Price) -> Contract:
    """Return the contract with its barriers as prices, now that its entry is known."""
    if not contract.is_relative:
        return contract
    barrier, low, high = (
        None if distance is None else entry.price + distance
        for distance in (contract.barrier, contract.low, contract.high)
    )
    return replace(contract, barrier=barrier, low=low, high=high, is_relative=False)


def reach(contract: Contract, entry: Price) -> Reach:
    """Return the prices at which the contract is decided on the way; none unless it watches the path."""
    if not KINDS[contract.kind].watches_path:
        return Reach(None, None)
    fixed = absolute(contract, entry)
    return reach_of(fixed.barrier, fixed.low, fixed.high, entry.price)


def decide(contract: Contract, history: History) -> Outcome | None:
    """Decide an order from what is stored; None while more of the market must be known.

    Anybody with the stored rows gets the same answer, however much later. The refunds come first, in this
    order: no_entry; voided; market_closed; feed_dead or feed_gap over the end; feed_gap where the source has
    changed since the entry, or where ticks on the way may be missing and count; no_exit; stale_exit; a tie
    where the terms say so.
    """
    entry = contract.entry or pending_entry(contract, history.first_after)
    if entry is None:
        after = contract.entry_after or contract.expires_at
        deadline = entry_deadline(after, contract.max_entry_wait, contract.expires_at)
        return _refund(contract, "no_entry", None, None) if history.known_until >= deadline else None
    decider = history.reached or history.nth
    if decider is None and history.known_until < contract.expires_at:
        return None
    if _rests_on_voided(contract, history, entry):
        return _refund(contract, "voided", entry, None)
    end_at = contract.expires_at if decider is None else decider.at
    return _without_price(contract, history, entry, end_at) or _by_price(contract, history, entry)


def _rests_on_voided(contract: Contract, history: History, entry: Price) -> bool:
    if not history.voided:
        return False
    last = history.reached or history.nth or history.last_before or entry
    deciding = range(entry.seq, last.seq + 1) if KINDS[contract.kind].averages else (entry.seq, last.seq)
    return any(seq in history.voided for seq in deciding)


def _without_price(contract: Contract, history: History, entry: Price, end_at: datetime) -> Outcome | None:
    """Refund what no price may decide."""
    if not history.open_at_end:
        return _refund(contract, "market_closed", entry, None)
    for gap in history.gaps:
        if gap.covers(end_at):
            return _refund(contract, "feed_dead" if gap.reason == "feed_dead" else "feed_gap", entry, None)
    for gap in history.gaps:
        is_missed = contract.needs_every_tick and gap.lies_between(entry.at, end_at)
        if is_missed or gap.parts(entry.at, end_at):
            return _refund(contract, "feed_gap", entry, None)
    return None


def _by_price(contract: Contract, history: History, entry: Price) -> Outcome:
    decider = history.reached or history.nth
    if contract.duration_ticks is not None:
        if decider is None:
            return _refund(contract, "no_exit", entry, None)
        last = decider
    else:
        last = decider or history.last_before or entry
        # A quiet market refunds rise/fall alone: elsewhere it would give the buyers a free option.
        if last.seq <= entry.seq:
            if contract.kind == "rise_fall":
                return _refund(contract, "no_exit", entry, None)
            last = entry
        elif contract.kind == "rise_fall" and contract.expires_at - last.at > contract.max_exit_age:
            return _refund(contract, "stale_exit", entry, last)
    winner = KINDS[contract.kind].winner(_end(contract, history, entry, last))
    if winner is None and contract.kind == "rise_fall" and contract.tie_policy == "refund":
        return _refund(contract, "tie", entry, last)
    if winner != contract.side:
        return Outcome("lost", money.ZERO, None, entry, last)
    profit = money.profit(contract.stake, contract.payout_rate, contract.scale)
    return Outcome("won", contract.stake + profit, None, entry, last)


def _end(contract: Contract, history: History, entry: Price, last: Price) -> End:
    fixed = absolute(contract, entry)
    return End(
        entry=entry.price,
        exit=last.price,
        barrier=fixed.barrier,
        low=fixed.low,
        high=fixed.high,
        digit=fixed.digit,
        decimals=contract.price_decimals,
        reached=history.reached is not None,
        ticks=history.ticks,
        total=history.total,
    )


def _refund(contract: Contract, reason: str, entry: Price | None, last: Price | None) -> Outcome:
    return Outcome("refunded", contract.stake, reason, entry, last)
