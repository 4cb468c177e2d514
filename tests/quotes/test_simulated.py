"""The generator: its distribution, its digits, its secrecy."""

import math
from bisect import bisect
from decimal import ROUND_UP, Decimal, localcontext
from itertools import pairwise
from statistics import NormalDist

import pytest

from quotes.seeds import Keystream, Simulation


def simulation(seed: int = 1, **changed) -> Simulation:
    settings = {
        "price": Decimal("10000.00"),
        "volatility": Decimal("1.0000"),
        "interval_ms": 500,
        "price_decimals": 2,
        "seed": seed.to_bytes(32, "big"),
    }
    return Simulation(**{**settings, **changed})


def test_a_seed_tells_the_whole_hour_and_another_seed_another() -> None:
    first, same, other = simulation(1), simulation(1), simulation(2)
    prices = [first.next() for _ in range(1000)]
    assert [same.next() for _ in range(1000)] == prices
    assert [other.next() for _ in range(1000)] != prices


def test_prices_lie_on_the_grid_and_stay_positive() -> None:
    made = simulation(price=Decimal("0.03"), volatility=Decimal(99))
    prices = [made.next() for _ in range(5000)]
    assert min(prices) >= Decimal("0.01")
    assert all(price == price.quantize(Decimal("0.01")) for price in prices)


def test_the_volatility_is_the_one_that_was_asked_for() -> None:
    made = simulation()
    steps, last = [], Decimal("10000.00")
    for _ in range(40_000):
        price = made.next()
        steps.append(math.log(price / last))
        last = price
    deviation = math.sqrt(sum(step * step for step in steps) / len(steps))
    per_year = deviation * math.sqrt(2 * 365 * 24 * 3600)
    # The standard error of a deviation of n normal steps is 1/sqrt(2n): five of them.
    assert abs(per_year - 1) < 5 / math.sqrt(2 * len(steps))
    assert abs(sum(steps) / len(steps)) < 5 * deviation / math.sqrt(len(steps))


@pytest.mark.parametrize("volatility", ["1.0000", "0.5000"])
def test_every_last_digit_is_equally_likely_whatever_came_before(volatility: str) -> None:
    made = simulation(volatility=Decimal(volatility))
    digits = [int(made.next() * 100) % 10 for _ in range(50_000)]
    # 99.99 % quantiles of chi-square with 9 and with 90 degrees of freedom.
    assert chi_square([digits.count(digit) for digit in range(10)]) < 33.72
    pairs = [0] * 100
    for before, after in pairwise(digits):
        pairs[before * 10 + after] += 1
    assert chi_square(pairs) < 150.7


def chi_square(counts: list[int]) -> float:
    expected = sum(counts) / len(counts)
    return sum((count - expected) ** 2 / expected for count in counts)


def test_a_step_smaller_than_the_grid_is_not_lost() -> None:
    made = simulation(volatility=Decimal("0.01"), price=Decimal("100.00"))
    prices = {made.next() for _ in range(60_000)}
    assert len(prices) > 1


def test_the_keystream_is_chacha20() -> None:
    # RFC 8439, A.1: the first block of the zero key, counter and nonce.
    draws = Keystream(bytes(32))
    assert [draws.integer() for _ in range(3)] == [
        0x76B8E0ADA0F13D90,
        0x405D6AE55386BD28,
        0xBDD219B8A08DED1A - (1 << 64),
    ]


def test_normal_numbers_are_normal() -> None:
    draws = Keystream(bytes(32))
    numbers = [float(draws.normal()) for _ in range(40_000)]
    edges = [NormalDist().inv_cdf(part / 20) for part in range(1, 20)]
    counts = [0] * 20
    for number in numbers:
        counts[bisect(edges, number)] += 1
    # The 99.99 % quantile of chi-square with 19 degrees of freedom.
    assert chi_square(counts) < 52.39
    assert 3.5 < max(map(abs, numbers)) < 6


def test_the_decimal_context_of_the_caller_changes_no_price() -> None:
    plain = simulation()
    expected = [plain.next() for _ in range(50)]
    with localcontext(prec=5, rounding=ROUND_UP):
        made = simulation()
        assert [made.next() for _ in range(50)] == expected
