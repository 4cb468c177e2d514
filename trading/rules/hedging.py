"""What the house holds of an instrument against its customers' open orders, and the order that follows.

The value of a digital moves with the price of its instrument: by payout × φ(d₂) / (S σ √τ) for each unit of
price (cash-or-nothing, zero interest; Hull, Options, Futures, and Other Derivatives, ch. 26), which is how
many units of the instrument outweigh it. Deltas are floats, as every statistic; amounts to trade are Decimal.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, Decimal
from math import log, sqrt
from statistics import NormalDist

from trading.rules.contracts import KINDS
from trading.rules.pricing import Question, Volatility

_DENSITY = NormalDist().pdf
ZERO = Decimal(0)
ON_THE_WAY = "decided by the prices on the way, not by the last one"
DIGIT = "a last digit does not move with the price"
# The kinds of contracts that are not hedged, and why.
NOT_HEDGED: Mapping[str, str] = {
    "touch": ON_THE_WAY,
    "stays_between": ON_THE_WAY,
    "asian": "decided by an average of prices",
    "digit_match": DIGIT,
    "digit_over": DIGIT,
    "digit_even": DIGIT,
}
TICKS = "counted in ticks: it ends at no known instant"


def not_hedged_because(kind: str, duration_ticks: int | None) -> str:
    """Say why an order of this kind is not hedged; "" for one that is."""
    return NOT_HEDGED.get(kind) or (TICKS if duration_ticks is not None else "")


def digital_delta(question: Question, volatility: Volatility, side: str, payout: float) -> float:
    """Return how much the value of an open order moves with the price: so many units outweigh it.

    Rise/fall is asked as a barrier at its entry. `payout` is what returns if it is won, in the price's
    currency. Requires a kind that is hedged, and a positive life and volatility.
    """
    deviation = volatility.per_sqrt_second * sqrt(question.life(volatility))

    def density(level: float | None) -> float:
        if level is None or level <= 0:
            # The price is always above it.
            return 0.0
        d2 = (log(question.spot / level) - deviation**2 / 2) / deviation
        return _DENSITY(d2) / (question.spot * deviation)

    if question.kind == "ends_between":
        first = density(question.low) - density(question.high)
    else:
        first = density(question.barrier)
    return payout * (first if side == KINDS[question.kind].sides[0] else -first)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What an operator sets: the least change worth an order, its step, and the most held or ordered."""

    threshold: Decimal
    lot: Decimal
    most: Decimal


def to_order(*, wanted: Decimal, held: Decimal, is_open: bool, bounds: Bounds) -> Decimal:
    """Return what to buy, or below zero to sell, in whole lots rounded toward zero; often nothing.

    `is_open` says whether any order is open that is hedged: when none is, what is held is given back however
    little it is.
    """
    difference = _within(_within(wanted, bounds.most) - held, bounds.most)
    if abs(difference) < bounds.threshold and (is_open or not held):
        return ZERO
    return (difference / bounds.lot).to_integral_value(ROUND_DOWN) * bounds.lot


def limit_price(*, price: Decimal, quantity: Decimal, collar: Decimal, decimals: int) -> Decimal:
    """Return the worst price to take: a part `collar` above it for a purchase, below it for a sale."""
    exact = price * (1 + collar if quantity > 0 else 1 - collar)
    rounding = ROUND_FLOOR if quantity > 0 else ROUND_CEILING
    return exact.quantize(Decimal(1).scaleb(-decimals), rounding=rounding)


def _within(value: Decimal, most: Decimal) -> Decimal:
    return max(-most, min(most, value))


# --- what becomes of an order -------------------------------------------------------------------------

UNFINISHED = ("intended", "sent", "acknowledged")
# An order that was given up may have been filled all the same: what is heard late still counts.
TRANSITIONS: Mapping[str, frozenset[str]] = {
    "intended": frozenset({"sent", "lapsed"}),
    "sent": frozenset({"acknowledged", "filled", "partly_filled", "rejected", "lapsed"}),
    "acknowledged": frozenset({"filled", "partly_filled", "rejected", "lapsed"}),
    "lapsed": frozenset({"filled", "partly_filled"}),
    "rejected": frozenset({"filled", "partly_filled"}),
    "partly_filled": frozenset({"filled"}),
    "filled": frozenset(),
}
# By OrdStatus (39); what is not here changes nothing.
WORKING, DONE, REFUSED, FILLED = frozenset("A01"), frozenset("34C"), "8", "2"


def state_after(state: str, ord_status: str, filled: Decimal) -> str:
    """Return where an order stands after a report: its OrdStatus, and what has been filled in all.

    A report that the table of transitions does not allow from here changes nothing.
    """
    after = state
    if ord_status == FILLED:
        after = "filled"
    elif ord_status in DONE or ord_status == REFUSED:
        after = "rejected" if ord_status == REFUSED else "lapsed"
        after = "partly_filled" if filled > 0 else after
    elif ord_status in WORKING:
        # One that was thought to be over and works on: what it has filled is known, the rest is not.
        after = "acknowledged" if state in UNFINISHED or filled <= 0 else "partly_filled"
    return after if after in TRANSITIONS[state] else state


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """An ExecutionReport as it was received.

    `quantity` and `price` are of its own fill, zero where it reports none; `cum_quantity` and `average_price`
    of all so far. `refers_to` is the ExecID of an earlier fill that it takes back or corrects.
    """

    cl_ord_id: str
    exec_id: str
    exec_type: str
    ord_status: str
    quantity: Decimal = ZERO
    price: Decimal = ZERO
    cum_quantity: Decimal = ZERO
    average_price: Decimal = ZERO
    refers_to: str = ""
    text: str = ""
    raw: tuple[tuple[int, str], ...] = ()

    @property
    def is_status_only(self) -> bool:
        """Whether it only answers a question: nothing has happened."""
        return self.exec_type == "I"

    @property
    def takes_back(self) -> bool:
        """Whether an earlier fill does not count any more; a corrected one counts as this one says."""
        return self.exec_type in ("G", "H")


def storable(text: str) -> str:
    """Return a text as a database can hold it: without zero bytes and halves of characters."""
    return text.replace("\0", "?").encode("utf-8", "replace").decode()
