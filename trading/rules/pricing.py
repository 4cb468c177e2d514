"""What a contract is worth: fair probabilities on a market without drift, and the rate that follows.

The logarithm of the price is a Brownian motion with the drift -σ²/2, so that the price itself is a
martingale (Black-Scholes with zero interest; Hull, Options, Futures, and Other Derivatives, ch. 15 and 26).
Barriers are watched tick by tick, not continuously: they are moved outwards by 0.5826 σ √(time between
ticks) (Broadie, Glasserman & Kou, Mathematical Finance 7, 1997).

Probabilities are floats, as every statistic here; money and rates are Decimal from `payout_rate` on.
"""

from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from math import ceil, exp, log, sqrt
from statistics import NormalDist

_PHI = NormalDist().cdf
# -ζ(1/2) / √(2π), from the overshoot of a random walk over a barrier.
BARRIER_SHIFT = 0.5826
RATE_STEP = Decimal("0.0001")
# Beyond so many widths a walk is sure to have left: exp(-π²/2 · 25) is nothing.
WIDEST = 5.0


@dataclass(frozen=True, slots=True)
class Volatility:
    """How an instrument moves: standard deviation of log returns per √second, and seconds between ticks."""

    per_sqrt_second: float
    tick_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A contract as the pricing model sees it, its barriers as prices. Exactly one of the lengths is set."""

    kind: str
    spot: float
    seconds: float | None = None
    ticks: int | None = None
    barrier: float | None = None
    low: float | None = None
    high: float | None = None
    digit: int | None = None

    def life(self, volatility: Volatility) -> float:
        """Return the seconds to its end; of ticks as many as they take on average."""
        return self.seconds if self.seconds is not None else (self.ticks or 0) * volatility.tick_seconds


def probabilities(question: Question, volatility: Volatility) -> tuple[float, float]:
    """Return the fair probability of each side, in the order of the contract's sides.

    They add up to less than one where equality loses for both. Requires a positive life and volatility.
    """
    deviation = volatility.per_sqrt_second * sqrt(question.life(volatility))
    step = volatility.per_sqrt_second * sqrt(volatility.tick_seconds)
    digit = question.digit if question.digit is not None else 0
    match question.kind:
        case "higher_lower":
            first = above(_distance(question.barrier, question.spot), deviation)
        case "touch":
            first = touches(_distance(question.barrier, question.spot), deviation, step)
        case "ends_between":
            low, high = (_distance(each, question.spot) for each in (question.low, question.high))
            first = above(low, deviation) - above(high, deviation)
        case "stays_between":
            low, high = (_distance(each, question.spot) for each in (question.low, question.high))
            first = stays(low, high, deviation, step)
        case "digit_match":
            first = 0.1
        case "digit_over":
            return (9 - digit) / 10, digit / 10
        case _:  # rise/fall, even/odd and asian: symmetric
            first = 0.5
    first = min(1.0, max(0.0, first))
    return first, 1 - first


def above(distance: float, deviation: float) -> float:
    """Return P(the price ends above a level at this log distance): Φ(d₂)."""
    return _PHI((-distance - deviation**2 / 2) / deviation)


def touches(distance: float, deviation: float, step: float) -> float:
    """Return P(the price reaches a level at this log distance at some tick): the one-touch without drift."""
    if distance == 0:
        return 1.0
    shift = BARRIER_SHIFT * step
    moved = distance + shift if distance > 0 else distance - shift
    away, drift = abs(moved), -(deviation**2) / 2 * (1 if distance > 0 else -1)
    # exp(2 μ b / σ²) with μ = -σ²/2, seen from the barrier's side.
    weight = exp(-moved)
    reached = _PHI((-away + drift) / deviation) + weight * _PHI((-away - drift) / deviation)
    return min(1.0, reached)


def stays(low: float, high: float, deviation: float, step: float) -> float:
    """Return P(no tick reaches either level, at log distances low < 0 < high): the double no-touch.

    By reflection in both barriers (Cox & Miller, The Theory of Stochastic Processes, 5.7); the images beyond
    eight deviations add nothing.
    """
    if low >= 0 or high <= 0:
        return 0.0
    shift = BARRIER_SHIFT * step
    low, high = low - shift, high + shift
    width, drift = high - low, -(deviation**2) / 2
    if deviation > WIDEST * width:
        return 0.0
    total = 0.0
    # With the drift μ an image at c weighs exp(μ c / σ²) = exp(-c / 2), and its mean moves by the drift too.
    for number in range(-(most := ceil(8 * deviation / width) + 1), most + 1):
        for sign, centre in ((1, -2 * number * width), (-1, 2 * high - 2 * number * width)):
            inside = _PHI((high - centre - drift) / deviation) - _PHI((low - centre - drift) / deviation)
            total += sign * exp(-centre / 2) * inside if inside else 0.0
    return min(1.0, max(0.0, total))


def sale_value(
    question: Question, volatility: Volatility, side: str, *, grid: float, ties_refund: bool
) -> tuple[float, float]:
    """Return the fair probabilities that an open order is won, and that it ends in a tie that refunds.

    Rise/fall is asked as a barrier at its entry. `grid` is the smallest move of the price: equality has the
    width of one step.
    """
    deviation = volatility.per_sqrt_second * sqrt(question.life(volatility))

    def beyond(level: float) -> float:
        return above(log(level / question.spot), deviation)

    if question.kind == "ends_between":
        low, high = question.low or 0.0, question.high or 0.0
        inside = beyond(low + grid / 2) - beyond(high - grid / 2)
        outside = 1 - (beyond(low - grid / 2) - beyond(high + grid / 2))
        return max(0.0, inside if side == "in" else outside), 0.0
    level = question.barrier or 0.0
    over, under = beyond(level + grid / 2), 1 - beyond(level - grid / 2)
    won = over if side == "up" else under
    return max(0.0, won), max(0.0, 1 - over - under) if ties_refund else 0.0


def _distance(level: float | None, spot: float) -> float:
    if level is None or level <= 0:
        raise ValueError("a level must be a positive price")
    return log(level / spot)


def payout_rate(probability: float, margin: Decimal) -> Decimal:
    """Return the profit per unit of stake: (1 - margin) / probability - 1, rounded down to four decimals.

    May be zero or less where the outcome is nearly certain. Requires a positive probability.
    """
    fair = Decimal(probability).quantize(Decimal("1e-12"))
    return ((1 - margin) / fair - 1).quantize(RATE_STEP, rounding=ROUND_DOWN)
