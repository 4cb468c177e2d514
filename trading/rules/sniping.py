"""Sniping: whether orders know the next movement of the price, and what an instrument does about it."""

from math import sqrt

# Orders of these are better off the farther the price goes to their side.
DIRECTED = ("rise_fall", "higher_lower")
LEAST_ORDERS = 100
# Chance alone reaches it once in some 31,000 independent looks.
LEAST_SCORE = 4.0
FIRST_DELAY_MS, STEP_MS, LONGEST_DELAY_MS = 500, 250, 2_000


def timing_score(orders: int, ahead: int) -> float:
    """Return by how many standard deviations more orders than half went with the movement after them.

    z = (k − n/2) / √(n/4), with k of n: the one-sided test of a proportion against 1/2 by the normal
    approximation of the binomial distribution (NIST/SEMATECH e-Handbook of Statistical Methods, 7.2.4). It
    holds for independent orders: many that see one movement must be counted as one.
    """
    return (2 * ahead - orders) / sqrt(orders) if orders else 0.0


def is_sniped(orders: int, ahead: int) -> bool:
    """Tell whether orders knew the movement after them: at least LEAST_ORDERS and a score of LEAST_SCORE."""
    return orders >= LEAST_ORDERS and timing_score(orders, ahead) >= LEAST_SCORE


def later_entry(policy: str, delay_ms: int) -> int | None:
    """Return the entry delay one step above what an instrument has; None where it has the longest."""
    if policy == "latest_tick":
        return FIRST_DELAY_MS
    return min(delay_ms + STEP_MS, LONGEST_DELAY_MS) if delay_ms < LONGEST_DELAY_MS else None
