"""The payout policy of rise/fall: what rate follows from how orders ended lately and what is open.

The rate is that at which the house keeps its margin if orders go on being won as often as they were, pulled
towards even odds while there are few of them, and never by who wins: a customer counts for a tenth at most.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal

EVEN = Decimal("0.5")
# So many orders at even odds are mixed in, that chance alone does not move the rate.
PRIOR_ORDERS = Decimal(20)
LEAST_CUSTOMERS = 10
PERCENT = Decimal("0.01")
EXACT = Decimal("0.00000001")


@dataclass(frozen=True, slots=True)
class Ended:
    """An order of the window: who placed it, its stake, and whether it was won."""

    customer: int
    stake: Decimal
    is_won: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the terms say of it. Rates and margin are parts of the stake; `skew` of the share of one side."""

    fixed_rate: Decimal
    min_rate: Decimal
    max_rate: Decimal
    margin: Decimal
    max_step: Decimal
    min_orders: int
    skew: Decimal


@dataclass(frozen=True, slots=True)
class Recalculated:
    """The new rate, a whole percent; `exact` is the one before rounding, from which the next run steps."""

    rate: Decimal
    exact: Decimal
    reason: str
    probability: Decimal | None = None
    effective_orders: Decimal | None = None
    skew: Decimal | None = None


def recalculated(
    policy: Policy, ended: Sequence[Ended], open_stakes: tuple[Decimal, Decimal], previous: Decimal | None
) -> Recalculated:
    """Return the rate for orders accepted from now on.

    `ended` are the won and lost orders of the window, refunds left out; `open_stakes` those of up and down;
    `previous` the exact rate of the last run. Below the least number of orders or of customers the fixed rate
    holds at once; else the exact rate moves by `max_step` at most, stays within the bounds and is rounded
    down to a whole percent.
    """
    customers = {order.customer for order in ended}
    if len(ended) < policy.min_orders or len(customers) < LEAST_CUSTOMERS:
        fixed = min(max(policy.fixed_rate, policy.min_rate), policy.max_rate)
        return Recalculated(fixed, fixed, "fixed rate")
    won, lost = _effective(ended)
    probability = (won + PRIOR_ORDERS * EVEN) / (won + lost + PRIOR_ORDERS)
    skew = _skew(policy.skew, open_stakes)
    wanted = (1 - policy.margin) / probability - 1 - skew
    if previous is not None:
        wanted = min(max(wanted, previous - policy.max_step), previous + policy.max_step)
    exact = min(max(wanted, policy.min_rate), policy.max_rate).quantize(EXACT, rounding=ROUND_FLOOR)
    rate = max(exact.quantize(PERCENT, rounding=ROUND_FLOOR), policy.min_rate)
    return Recalculated(
        rate, exact, "recalculated", probability.quantize(EXACT), (won + lost).quantize(EXACT), skew
    )


def _effective(ended: Sequence[Ended]) -> tuple[Decimal, Decimal]:
    """Return how many orders were won and lost, weighted by stake, no customer for more than a tenth."""
    mean = sum((order.stake for order in ended), Decimal(0)) / len(ended)
    weights: defaultdict[int, list[Decimal]] = defaultdict(lambda: [Decimal(0), Decimal(0)])
    for order in ended:
        weights[order.customer][order.is_won] += order.stake / mean
    most = _tenth([lost + won for lost, won in weights.values()])
    won = lost = Decimal(0)
    for lost_by, won_by in weights.values():
        share = min(Decimal(1), most / (lost_by + won_by))
        won, lost = won + won_by * share, lost + lost_by * share
    return won, lost


def _tenth(weights: Sequence[Decimal]) -> Decimal:
    """Return the cap that is a tenth of the sum of what it leaves of each; of ten weights at least."""
    rest = sum(weights, Decimal(0))
    most = rest
    for capped, weight in enumerate(sorted(weights, reverse=True)[:LEAST_CUSTOMERS]):
        # With so many at the cap m and the others at `rest` in all: m = (rest + capped · m) / 10.
        most = rest / (LEAST_CUSTOMERS - capped)
        if weight <= most:
            break
        rest -= weight
    return most


def _skew(weight: Decimal, open_stakes: tuple[Decimal, Decimal]) -> Decimal:
    """Return what the fuller side costs: both sides have one rate, so half of what it alone would."""
    total = sum(open_stakes)
    if total == 0:
        return Decimal(0)
    return (weight * (max(open_stakes) / total - EVEN) / 2).quantize(EXACT, rounding=ROUND_FLOOR)
