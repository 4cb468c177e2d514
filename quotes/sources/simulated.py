"""A market made by a generator: geometric Brownian motion, around the clock, labelled as simulated."""

import asyncio
import math
import random
import secrets
from collections.abc import Collection
from datetime import timedelta
from decimal import Decimal

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

from quotes.intake import Intake, Link, Subscription

SECONDS_PER_YEAR = 365 * 24 * 3600
BEAT_SECONDS = 0.1
# A loop that stood still for longer than this has made no prices meanwhile.
STALLED = timedelta(seconds=2)


class Keystream(random.Random):
    """Random numbers from the ChaCha20 stream of a 32-byte seed: what was tells nothing of what comes."""

    def __init__(self, seed: bytes) -> None:
        self._stream = Cipher(ChaCha20(seed, bytes(16)), mode=None).encryptor()
        super().__init__()

    def seed(self, *_: object) -> None:
        """Begin nothing: the stream has its seed from the start."""
        self.gauss_next = None

    def getrandbits(self, k: int) -> int:
        """Return k random bits."""
        size = (k + 7) // 8
        return int.from_bytes(self._stream.update(bytes(size)), "big") >> (size * 8 - k)

    def random(self) -> float:
        """Return a number in [0, 1) with 53 random bits."""
        return self.getrandbits(53) / (1 << 53)


class Simulation:
    """A price that moves by geometric Brownian motion without drift, on the grid of its decimals.

    S(t + dt) = S(t) · exp(σ √dt Z − σ² dt / 2), Z standard normal (Hull, Options, Futures, and Other
    Derivatives, "The behavior of stock prices"); `volatility` σ per year, `interval_ms` dt. Where a step is
    several units of the last decimal wide, each digit is equally likely whatever was seen before.
    """

    def __init__(
        self, *, price: Decimal, volatility: Decimal, interval_ms: int, price_decimals: int, seed: bytes
    ) -> None:
        self._unit = Decimal(1).scaleb(-price_decimals)
        # Kept in units of the grid, with their fraction: a step smaller than a unit is not lost.
        self._units = float(price / self._unit)
        years = interval_ms / 1000 / SECONDS_PER_YEAR
        self._deviation = float(volatility) * math.sqrt(years)
        self._drift = -(float(volatility) ** 2) * years / 2
        self._random = Keystream(seed)

    def next(self) -> Decimal:
        """Return the next price, never below one unit of the grid."""
        step = self._deviation * self._random.gauss(0.0, 1.0) + self._drift
        self._units = max(1.0, self._units * math.exp(step))
        return round(self._units) * self._unit


class SimulatedSource:
    """Makes the prices of every simulated instrument, each at its own interval."""

    name = "simulated"

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._tasks: dict[Subscription, asyncio.Task[None]] = {}
        self._link = Link(silence=STALLED, lag_ms=0, source=self.name)

    def watch(self, subscriptions: Collection[Subscription]) -> None:
        """Make exactly these; one whose settings have changed goes on from its last price."""
        wanted = set(subscriptions)
        for subscription in self._tasks.keys() - wanted:
            self._tasks.pop(subscription).cancel()
        for subscription in wanted - self._tasks.keys():
            self._tasks[subscription] = asyncio.get_running_loop().create_task(self._make(subscription))

    async def run(self) -> None:
        """Beat: what was made up to a beat is complete."""
        try:
            while True:
                self._intake.alive(self._link)
                await asyncio.sleep(BEAT_SECONDS)
        finally:
            for task in self._tasks.values():
                task.cancel()

    async def _make(self, subscription: Subscription) -> None:
        symbol = subscription.symbol
        start = self._intake.last_price(symbol) or subscription.simulated_price
        if start is None or subscription.simulated_volatility is None:
            return
        simulation = Simulation(
            price=start,
            volatility=subscription.simulated_volatility,
            interval_ms=subscription.simulated_interval_ms,
            price_decimals=subscription.price_decimals,
            seed=secrets.token_bytes(32),
        )
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            self._intake.price(symbol, simulation.next(), self._link)
            # Never in a rush to catch up: a step stands for its own interval.
            due = max(due + subscription.simulated_interval_ms / 1000, loop.time())
            await asyncio.sleep(due - loop.time())
