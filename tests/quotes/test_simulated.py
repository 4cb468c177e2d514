"""The generator: its distribution, its digits, its secrecy; and the source that runs it."""

import asyncio
import math
from decimal import Decimal
from itertools import pairwise

import pytest

from quotes.intake import Intake
from quotes.sources.simulated import Keystream, SimulatedSource, Simulation
from tests.quotes.test_binance import subscription


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
    assert Keystream(bytes(32)).getrandbits(64) == 0x76B8E0ADA0F13D90
    draws = Keystream(bytes(32))
    numbers = [draws.random() for _ in range(1000)]
    assert 0 <= min(numbers) < max(numbers) < 1


def simulated(symbol: str, identifier: int, price: str = "100.00"):
    from dataclasses import replace

    return replace(
        subscription(symbol, "", instrument_id=identifier),
        source="simulated",
        simulated_price=Decimal(price),
        simulated_volatility=Decimal("0.5"),
        simulated_interval_ms=20,
    )


async def test_the_source_goes_on_from_the_last_price_and_beats_between_ticks() -> None:
    intake = Intake()
    one, two = simulated("VOL100", 1), simulated("VOL50", 2, "50.00")
    intake.follow([one, two], {"VOL100": Decimal("250.00")})
    source = SimulatedSource(intake)
    running = asyncio.create_task(source.run())
    source.watch([one, two])
    await asyncio.sleep(0.3)
    found = intake.collect()
    assert abs(found[1].stretch.ticks[0][1] - 250) < 1
    assert abs(found[2].stretch.ticks[0][1] - 50) < 1
    assert len(found[1].stretch.ticks) >= 8
    assert found[1].stretch.source_lag_ms == 0
    source.watch([two])
    await asyncio.sleep(0.25)
    after = intake.collect()
    assert after[1].stretch.ticks == []
    assert after[1].stretch.until > found[1].stretch.until
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
