"""A market made by a generator: geometric Brownian motion, around the clock, labelled as simulated."""

import asyncio
from collections.abc import Collection
from datetime import timedelta
from decimal import Decimal

import structlog
from django.db import DatabaseError, InterfaceError

from config.core import clock
from config.core.workers import Backoff, close_connections
from quotes.intake import Intake, Link, Subscription
from quotes.seeds import Keystream, Simulation
from quotes.services.seeds import BegunRun, HourRevealed, SeedUnreadable, start_run

__all__ = ["Keystream", "SimulatedSource", "Simulation"]

log = structlog.get_logger(__name__)
BEAT_SECONDS = 0.1
POLL_SECONDS = 0.005
RESTART_SECONDS = 1.0
# A generator that stood still for longer than this has made no prices meanwhile.
STALLED = timedelta(seconds=2)


class SimulatedSource:
    """Makes the prices of every simulated instrument, each at its own interval, by the seed of each hour.

    No price is made before the commitment of its hour is durable. While it cannot be, the instrument is
    silent, and what follows is parted from it by a gap.
    """

    name = "simulated"

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._health = intake.health(self.name)
        self._tasks: dict[Subscription, asyncio.Task[None]] = {}
        # By symbol: each is silent for itself.
        self._links: dict[str, Link] = {}
        # Those that make prices now, for which a beat may speak.
        self._making: set[Subscription] = set()
        # By symbol: what its last run is begun by, in a thread that no cancelling ends.
        self._starting: dict[str, asyncio.Future[BegunRun]] = {}

    def watch(self, subscriptions: Collection[Subscription]) -> None:
        """Make exactly these; one whose settings have changed goes on from its last price."""
        wanted = set(subscriptions)
        for subscription in self._tasks.keys() - wanted:
            self._tasks.pop(subscription).cancel()
            self._making.discard(subscription)
        for symbol in self._links.keys() - {each.symbol for each in wanted}:
            del self._links[symbol]
        for subscription in wanted - self._tasks.keys():
            if subscription.symbol not in self._links:
                self._links[subscription.symbol] = Link(silence=STALLED, lag_ms=0, source=self.name)
            task = asyncio.get_running_loop().create_task(self._keep_making(subscription))
            self._tasks[subscription] = task

    async def run(self) -> None:
        """Beat: what was made up to a beat is complete."""
        self._health.connected()
        try:
            while True:
                for subscription in self._making:
                    self._intake.alive(self._links[subscription.symbol])
                await asyncio.sleep(BEAT_SECONDS)
        finally:
            for task in self._tasks.values():
                task.cancel()

    async def _keep_making(self, subscription: Subscription) -> None:
        while True:
            try:
                await self._make(subscription)
            except Exception as error:  # one instrument that fails must not stay silent about it
                self._health.complained(error)
                log.exception("simulation failed", symbol=subscription.symbol)
                await asyncio.sleep(RESTART_SECONDS)

    async def _make(self, subscription: Subscription) -> None:
        """Make the prices of one hour, or of what is left of it."""
        run = await self._begin(subscription)
        link = self._links[subscription.symbol]
        loop, interval = asyncio.get_running_loop(), subscription.simulated_interval_ms / 1000
        due = loop.time()
        self._making.add(subscription)
        try:
            while clock.now() < run.ends_at:
                self._intake.price(subscription.symbol, run.simulation.next(), link)
                # Never in a rush to catch up: a step stands for its own interval.
                due = max(due + interval, loop.time())
                await asyncio.sleep(due - loop.time())
        finally:
            self._making.discard(subscription)

    async def _begin(self, subscription: Subscription) -> BegunRun:
        """Return a run whose commitment is durable, however long that takes."""
        backoff, has_complained = Backoff(0.1, 2.0), False
        while True:
            # A feed that no longer reigns writes nothing, and its source begins nothing.
            while self._intake.waiting(subscription.symbol):  # noqa: ASYNC110 - another thread takes
                await asyncio.sleep(POLL_SECONDS)
            try:
                run = await self._start(subscription)
            except (DatabaseError, InterfaceError, SeedUnreadable, HourRevealed) as error:
                if not has_complained:
                    log.warning("simulation waits for its seed", symbol=subscription.symbol, error=str(error))
                    self._health.complained(error)
                has_complained = True
                await asyncio.sleep(backoff.seconds())
                continue
            while clock.now() < run.started_at:  # noqa: ASYNC110 - the clock says when
                await asyncio.sleep(POLL_SECONDS)
            return run

    async def _start(self, subscription: Subscription) -> BegunRun:
        symbol, loop = subscription.symbol, asyncio.get_running_loop()
        if (earlier := self._starting.get(symbol)) is not None and not earlier.done():
            # Of a task that was cancelled meanwhile: its run must not come to lie behind this one.
            await asyncio.wait([earlier])
        last_price = self._intake.last_price(symbol)
        self._starting[symbol] = loop.run_in_executor(None, _start, subscription, last_price)
        return await asyncio.shield(self._starting[symbol])


def _start(subscription: Subscription, last_price: Decimal | None) -> BegunRun:
    """Begin a run, in a thread that keeps no connection."""
    start, volatility = last_price or subscription.simulated_price, subscription.simulated_volatility
    if start is None or volatility is None:
        raise ValueError(f"{subscription.symbol} has no price or no volatility to be simulated by")
    try:
        return start_run(
            instrument_id=subscription.instrument_id,
            start_price=start,
            volatility=volatility,
            interval_ms=subscription.simulated_interval_ms,
            price_decimals=subscription.price_decimals,
        )
    finally:
        close_connections()
