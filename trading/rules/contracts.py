"""The contracts: one table of pure functions that say which side of an ended order is right."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class End(NamedTuple):
    """What an order's outcome is read from, in the instrument's decimals."""

    entry: Decimal
    exit: Decimal
    barrier: Decimal | None
    low: Decimal | None
    high: Decimal | None
    digit: int | None
    decimals: int
    reached: bool
    """Whether some tick after the entry, up to the end, reached or crossed a barrier."""
    ticks: int
    """How many ticks there are from the entry to the exit, both included."""
    total: Decimal
    """The sum of their prices."""


Sides = tuple[str, str]
Winner = Callable[[End], str | None]


@dataclass(frozen=True, slots=True)
class Kind:
    """A contract's row in the table.

    `winner` names the side that is right; None where the prices are equal and neither is. `takes` are the
    parameters it needs, `lengths` how it may end: after seconds, at a clock expiry, or after ticks.
    """

    sides: Sides
    winner: Winner
    takes: tuple[str, ...] = ()
    lengths: frozenset[str] = frozenset({"seconds", "clock", "ticks"})
    watches_path: bool = False
    """Decided by the first tick that reaches a barrier, wherever on the way."""
    averages: bool = False
    needs_uniform_digits: bool = False
    """Offered only where prices are made at their decimals: half-even mids of real quotes are mostly even."""


def _compared(value: Decimal, other: Decimal, sides: Sides) -> str | None:
    if value == other:
        return None
    return sides[0] if value > other else sides[1]


def _rise_fall(end: End) -> str | None:
    return _compared(end.exit, end.entry, UP_DOWN)


def _higher_lower(end: End) -> str | None:
    return _compared(end.exit, _known(end.barrier), UP_DOWN)


def _touch(end: End) -> str:
    return "touch" if end.reached else "no_touch"


def _ends_between(end: End) -> str | None:
    low, high = _known(end.low), _known(end.high)
    if end.exit in (low, high):
        return None
    return "in" if low < end.exit < high else "out"


def _stays_between(end: End) -> str:
    return "out" if end.reached else "in"


def _digit_match(end: End) -> str:
    return "matches" if last_digit(end.exit, end.decimals) == end.digit else "differs"


def _digit_over(end: End) -> str | None:
    return _compared(Decimal(last_digit(end.exit, end.decimals)), Decimal(_known(end.digit)), OVER_UNDER)


def _digit_even(end: End) -> str:
    return "odd" if last_digit(end.exit, end.decimals) % 2 else "even"


def _asian(end: End) -> str | None:
    # Multiplied rather than divided: an average would have to be rounded.
    return _compared(end.ticks * end.exit, end.total, UP_DOWN)


def _known(value: T | None) -> T:
    if value is None:
        raise ValueError("this contract was agreed without its barrier or digit")
    return value


def last_digit(price: Decimal, decimals: int) -> int:
    """Return the last digit of a price written with that many decimals."""
    return int(price.scaleb(decimals)) % 10


UP_DOWN: Sides = ("up", "down")
OVER_UNDER: Sides = ("over", "under")
IN_OUT: Sides = ("in", "out")
TICKS_ONLY = frozenset({"ticks"})

KINDS: Mapping[str, Kind] = {
    "rise_fall": Kind(UP_DOWN, _rise_fall),
    "higher_lower": Kind(UP_DOWN, _higher_lower, takes=("barrier",)),
    "touch": Kind(("touch", "no_touch"), _touch, takes=("barrier",), watches_path=True),
    "ends_between": Kind(IN_OUT, _ends_between, takes=("low", "high")),
    "stays_between": Kind(IN_OUT, _stays_between, takes=("low", "high"), watches_path=True),
    "digit_match": Kind(("matches", "differs"), _digit_match, takes=("digit",), needs_uniform_digits=True),
    "digit_over": Kind(OVER_UNDER, _digit_over, takes=("digit",), needs_uniform_digits=True),
    "digit_even": Kind(("even", "odd"), _digit_even, needs_uniform_digits=True),
    "asian": Kind(UP_DOWN, _asian, lengths=TICKS_ONLY, averages=True),
}


def needs_every_tick(kind: str, duration_ticks: int | None) -> bool:
    """Tell whether an outcome rests on the ticks on the way, not on the last one alone."""
    return duration_ticks is not None or KINDS[kind].watches_path or KINDS[kind].averages


class Reach(NamedTuple):
    """Where a contract that watches the path is decided: at or below `low`, at or above `high`."""

    low: Decimal | None
    high: Decimal | None

    def is_reached_by(self, price: Decimal) -> bool:
        """Tell whether this price reaches or crosses either of them."""
        return (self.low is not None and price <= self.low) or (self.high is not None and price >= self.high)


def reach_of(barrier: Decimal | None, low: Decimal | None, high: Decimal | None, entry: Decimal) -> Reach:
    """Return where the path decides, given absolute barriers.

    A single barrier is reached from the side on which the entry stands; one that is the entry's own price is
    reached by whatever tick comes next that is not on its other side: at once.
    """
    if barrier is None:
        return Reach(low, high)
    if barrier == entry:
        return Reach(barrier, barrier)
    return Reach(None, barrier) if barrier > entry else Reach(barrier, None)


def slipped(side: str, asked: Decimal, price: Decimal, max_slippage: Decimal) -> bool:
    """Tell whether the price has moved against the customer by more than he accepts.

    A better price is his: for `up` a lower one, for `down` a higher one. Where neither way is better, every
    move counts.
    """
    moves = {"up": price - asked, "down": asked - price}
    return moves.get(side, abs(price - asked)) > max_slippage
