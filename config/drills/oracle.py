"""How an order ends, said by looking at every tick in turn: a second opinion on the platform's own rules.

It shares nothing with them but words: no table of contracts, other look-ups, other rounding. Where both say
the same, both read the published rules the same way.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

# Both sides of each contract, the first of them first.
SIDES = {
    "rise_fall": ("up", "down"),
    "higher_lower": ("up", "down"),
    "touch": ("touch", "no_touch"),
    "ends_between": ("in", "out"),
    "stays_between": ("in", "out"),
    "digit_match": ("matches", "differs"),
    "digit_over": ("over", "under"),
    "digit_even": ("even", "odd"),
    "asian": ("up", "down"),
}
WITH_BARRIER, WITH_TWO = ("higher_lower", "touch"), ("ends_between", "stays_between")
WITH_DIGIT = ("digit_match", "digit_over")
ON_THE_WAY = ("touch", "stays_between")


class Tick(NamedTuple):
    """A price of the record."""

    at: datetime
    seq: int
    price: Decimal


class Gap(NamedTuple):
    """A stretch after one instant, up to and with another, without provable prices."""

    starts_at: datetime
    ends_at: datetime
    reason: str


@dataclass
class Record:
    """What is stored of an instrument: ticks in order, gaps, and the numbers of voided ticks."""

    ticks: list[Tick] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    voided: set[int] = field(default_factory=set)

    def upto(self, known_until: datetime) -> "Record":
        """Return what had been recorded at an instant: a gap is known at its end."""
        ticks = [tick for tick in self.ticks if tick.at <= known_until]
        return Record(ticks, [gap for gap in self.gaps if gap.ends_at <= known_until], self.voided)


@dataclass(kw_only=True)
class Agreed:
    """What was agreed when an order was accepted; the fields are named as the rules name them."""

    kind: str
    side: str
    stake: Decimal
    payout_rate: Decimal
    entry: Tick | None
    expires_at: datetime
    entry_after: datetime | None = None
    duration_ticks: int | None = None
    barrier: Decimal | None = None
    low: Decimal | None = None
    high: Decimal | None = None
    is_relative: bool = False
    digit: int | None = None
    tie_policy: str = "refund"
    scale: int = 2
    price_decimals: int = 2
    max_exit_age: timedelta = timedelta(seconds=30)
    max_entry_wait: timedelta = timedelta(seconds=10)


class End(NamedTuple):
    """How an order ended: `payout` is what returns to the customer."""

    status: str
    reason: str | None
    payout: Decimal
    entry: Tick | None
    exit: Tick | None

    @property
    def word(self) -> str:
        """The status, or the reason of a refund."""
        return self.reason or self.status


def entry_of(agreed: Any, record: Record) -> Tick | None:
    """Return the tick an order enters at, as far as the record goes; None while there is none."""
    if agreed.entry is not None or agreed.entry_after is None:
        return agreed.entry
    for tick in record.ticks:
        if tick.at > agreed.entry_after:
            return tick if tick.at <= _entered_by(agreed) else None
    return None


def _entered_by(agreed: Any) -> datetime:
    return min(agreed.entry_after + agreed.max_entry_wait, agreed.expires_at)


def end_of(agreed: Any, record: Record, known_until: datetime) -> End | None:
    """Return how an order ends by a record that is whole up to an instant; None while that is too early."""
    entry = entry_of(agreed, record)
    if entry is None:
        return _refund(agreed, "no_entry") if known_until >= _entered_by(agreed) else None
    life = [tick for tick in record.ticks if entry.at < tick.at <= agreed.expires_at]
    decider, is_touched = _decider(agreed, entry, life)
    if decider is None and known_until < agreed.expires_at:
        return None
    if decider is not None:
        life = life[: life.index(decider) + 1]
    last = life[-1] if life else entry
    rests_on = [entry, *life] if agreed.kind == "asian" else [entry, last]
    if any(tick.seq in record.voided for tick in rests_on):
        return _refund(agreed, "voided", entry)
    if reason := _lacking(agreed, record.gaps, entry.at, decider.at if decider else agreed.expires_at):
        return _refund(agreed, reason, entry)
    if agreed.duration_ticks and decider is None:
        return _refund(agreed, "no_exit", entry)
    if agreed.kind == "rise_fall" and not life:
        return _refund(agreed, "no_exit", entry)
    is_old = agreed.expires_at - last.at > agreed.max_exit_age
    if agreed.kind == "rise_fall" and not agreed.duration_ticks and is_old:
        return _refund(agreed, "stale_exit", entry, last)
    right = _right_side(agreed, entry, life, is_touched)
    if right == "neither" and agreed.kind == "rise_fall" and agreed.tie_policy == "refund":
        return _refund(agreed, "tie", entry, last)
    if right != agreed.side:
        return End("lost", None, Decimal(0), entry, last)
    cents = int(agreed.stake * agreed.payout_rate * 10**agreed.scale)
    return End("won", None, agreed.stake + Decimal(cents).scaleb(-agreed.scale), entry, last)


def _refund(agreed: Any, reason: str, entry: Tick | None = None, last: Tick | None = None) -> End:
    return End("refunded", reason, agreed.stake, entry, last)


def _levels(agreed: Any, entry: Tick) -> tuple[Any, Any, Any]:
    base = entry.price if agreed.is_relative else Decimal(0)
    return tuple(  # type: ignore[return-value]
        None if level is None else base + level for level in (agreed.barrier, agreed.low, agreed.high)
    )


def _decider(agreed: Any, entry: Tick, life: Sequence[Tick]) -> tuple[Tick | None, bool]:
    """Return the tick that ends an order before its expiry, and whether it does so by touching a barrier."""
    barrier, low, high = _levels(agreed, entry)
    for number, tick in enumerate(life, start=1):
        if agreed.kind == "touch":
            from_below = entry.price < barrier <= tick.price
            from_above = entry.price > barrier >= tick.price
            if from_below or from_above or barrier == entry.price:
                return tick, True
        elif agreed.kind == "stays_between" and not low < tick.price < high:
            return tick, True
        if number == agreed.duration_ticks:
            return tick, False
    return None, False


def _lacking(agreed: Any, gaps: Sequence[Gap], entered: datetime, ended: datetime) -> str | None:
    """Return why no price may decide: the record is silent at the end, or where every tick counts."""
    for gap in gaps:
        if gap.starts_at < ended <= gap.ends_at:
            return "feed_dead" if gap.reason == "feed_dead" else "feed_gap"
    every_tick = agreed.duration_ticks or agreed.kind in (*ON_THE_WAY, "asian")
    for gap in gaps:
        is_on_the_way = gap.ends_at > entered and gap.starts_at < ended
        is_another_source = gap.reason == "source_changed" and entered <= gap.starts_at < ended
        if (every_tick and is_on_the_way) or is_another_source:
            return "feed_gap"
    return None


def _right_side(agreed: Any, entry: Tick, life: Sequence[Tick], is_touched: bool) -> str:
    price = life[-1].price if life else entry.price
    barrier, low, high = _levels(agreed, entry)
    digit = f"{price:.{agreed.price_decimals}f}"[-1]
    match agreed.kind:
        case "rise_fall":
            return _compare(price, entry.price, "up", "down")
        case "higher_lower":
            return _compare(price, barrier, "up", "down")
        case "touch":
            return "touch" if is_touched else "no_touch"
        case "stays_between":
            return "out" if is_touched else "in"
        case "ends_between":
            if price in (low, high):
                return "neither"
            return "in" if low < price < high else "out"
        case "digit_match":
            return "matches" if digit == str(agreed.digit) else "differs"
        case "digit_over":
            return _compare(digit, str(agreed.digit), "over", "under")
        case "digit_even":
            return "even" if digit in "02468" else "odd"
    prices = [Fraction(tick.price) for tick in (entry, *life)]
    return _compare(prices[-1], sum(prices) / len(prices), "up", "down")


def _compare(value: Any, other: Any, above: str, below: str) -> str:
    if value == other:
        return "neither"
    return above if value > other else below


# --- by chance ----------------------------------------------------------------------------------------


def any_record(chance: random.Random, starts_at: datetime) -> Record:
    """Return a random walk from 100.00 at an instant, tick 1, with ties, silences and gaps."""
    now, cents = 0.0, 10_000
    ticks = [Tick(starts_at, 1, Decimal(cents) / 100)]
    for seq in range(2, chance.choice([2, 3, 20, 60])):
        # Often at whole seconds: at the very expiry, and at the very entry's second.
        now += chance.choice([1, 1, 2, 5, 0.5, 0.000001, 40])
        cents += chance.choice([0, 0, 1, -1, 7, -7, 100, -100])
        ticks.append(Tick(starts_at + timedelta(seconds=now), seq, Decimal(cents) / 100))
    record = Record(ticks)
    if chance.random() < 0.3:
        start = starts_at + timedelta(seconds=chance.choice([-3, 0, 5, 30, 59, 60]))
        end = start + timedelta(seconds=chance.choice([1, 5, 30]))
        record.gaps.append(Gap(start, end, chance.choice(["source_silent", "feed_dead", "source_changed"])))
    if chance.random() < 0.1:
        record.voided.add(chance.choice(ticks).seq)
    return record


def any_agreed(chance: random.Random, entry: Tick) -> Agreed:
    """Return an order of a minute after its entry at most, its barriers where ticks may meet them."""
    kind = chance.choice(list(SIDES))
    is_relative = chance.random() < 0.5
    base = Decimal(0) if is_relative else entry.price
    agreed = Agreed(
        kind=kind,
        side=chance.choice(SIDES[kind]),
        stake=Decimal(chance.randint(100, 99_999)) / 100,
        payout_rate=Decimal(chance.randint(500, 99_99)) / 10_000,
        entry=entry,
        expires_at=entry.at + timedelta(seconds=60),
        tie_policy=chance.choice(["refund", "lose"]),
    )
    if kind in WITH_BARRIER:
        agreed.barrier = base + Decimal(chance.choice([-100, -7, -1, 0, 1, 7, 100])) / 100
    elif kind in WITH_TWO:
        agreed.low = base - Decimal(chance.choice([1, 7, 100])) / 100
        agreed.high = base + Decimal(chance.choice([1, 7, 100])) / 100
    elif kind in WITH_DIGIT:
        agreed.digit = chance.randint(0, 9)
    agreed.is_relative = is_relative and kind in (*WITH_BARRIER, *WITH_TWO)
    if kind == "asian" or chance.random() < 0.4:
        agreed.duration_ticks = chance.choice([1, 2, 5, 20])
    if chance.random() < 0.2:
        agreed.entry, agreed.entry_after = None, entry.at + timedelta(seconds=chance.choice([0, 1, 3, 50]))
    return agreed
