"""The thread on whose event loop the sources run, apart from the writer."""

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable

import structlog
from django.conf import settings

from quotes.intake import Intake, Subscription
from quotes.sources import Source
from quotes.sources.binance import BinanceSource
from quotes.sources.replay import ReplaySource
from quotes.sources.simulated import SimulatedSource

log = structlog.get_logger(__name__)
RESTART_SECONDS = 1.0

MAKERS: dict[str, Callable[[Intake], Source]] = {
    "simulated": SimulatedSource,
    "replay": lambda intake: ReplaySource(intake, settings.REPLAY_FOLDER, settings.REPLAY_SPEED),
    "binance": lambda intake: BinanceSource(intake, settings.BINANCE_URL),
}


class SourceThread:
    """Runs one source per name that some instrument asks for, and starts it again if it ever fails."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._sources: dict[str, Source] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def watch(self, subscriptions: Iterable[Subscription]) -> None:
        """Have the sources deliver exactly these; returns at once."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name="sources", daemon=True)
            self._thread.start()
        self._loop.call_soon_threadsafe(self._watch, list(subscriptions))

    def stop(self) -> None:
        """End every source and wait for it."""
        if self._loop is None or self._thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._cancel(), self._loop).result(timeout=10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.close()
        self._loop = self._thread = None
        self._sources = {}

    def _watch(self, subscriptions: list[Subscription]) -> None:
        by_source: dict[str, list[Subscription]] = defaultdict(list)
        for subscription in subscriptions:
            by_source[subscription.source].append(subscription)
        for name in by_source.keys() - self._sources.keys():
            source = self._sources[name] = MAKERS[name](self._intake)
            task = asyncio.get_running_loop().create_task(self._keep_running(source))
            self._tasks.add(task)
        for name, source in self._sources.items():
            source.watch(by_source[name])

    async def _keep_running(self, source: Source) -> None:
        while True:
            try:
                await source.run()
            except Exception:  # a failing source must not take the others with it
                log.exception("source failed", source=source.name)
            await asyncio.sleep(RESTART_SECONDS)

    async def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
