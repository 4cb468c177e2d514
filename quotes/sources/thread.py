"""The thread on whose event loop the sources run, apart from the writer."""

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable

import structlog
from django.conf import settings

from quotes.intake import Intake, Subscription
from quotes.lanes import Connection
from quotes.sources import Source
from quotes.sources.binance import BinanceSource
from quotes.sources.fix import FixSource
from quotes.sources.json_socket import JsonSource
from quotes.sources.kraken import KrakenSource
from quotes.sources.oanda import OandaSource
from quotes.sources.replay import ReplaySource
from quotes.sources.simulated import SimulatedSource

log = structlog.get_logger(__name__)
RESTART_SECONDS = 1.0

Maker = Callable[[Intake, Connection], Source]
MAKERS: dict[str, Maker] = {
    "simulated": lambda intake, _: SimulatedSource(intake),
    "replay": lambda intake, _: ReplaySource(intake, settings.REPLAY_FOLDER, settings.REPLAY_SPEED),
    "binance": BinanceSource,
    "fix": FixSource,
    "kraken": KrakenSource,
    "oanda": OandaSource,
    "json": JsonSource,
}


class SourceThread:
    """Runs one source per name that some instrument asks for, and starts it again if it ever fails."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._sources: dict[Connection, Source] = {}
        self._tasks: dict[Connection, asyncio.Task[None]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def watch(self, subscriptions: Iterable[Subscription], connections: Iterable[Connection]) -> None:
        """Have these sources deliver exactly these; returns at once.

        A source whose connection was changed is started anew; one that has no connection delivers nothing.
        """
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name="sources", daemon=True)
            self._thread.start()
        self._loop.call_soon_threadsafe(self._watch, list(subscriptions), list(connections))

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

    def _watch(self, subscriptions: list[Subscription], connections: list[Connection]) -> None:
        by_source: dict[str, list[Subscription]] = defaultdict(list)
        for subscription in subscriptions:
            for each in subscription.by_source():
                by_source[each.source].append(each)
        wanted = {each for each in connections if each.kind in MAKERS}
        for connection in [each for each in self._sources if each not in wanted]:
            del self._sources[connection]
            self._tasks.pop(connection).cancel()
            self._intake.health(connection.code).idle()
        for connection in wanted:
            if connection not in self._sources and by_source[connection.code]:
                self._intake.health(connection.code)
                source = self._sources[connection] = MAKERS[connection.kind](self._intake, connection)
                task = asyncio.get_running_loop().create_task(self._keep_running(source))
                self._tasks[connection] = task
        for connection, source in self._sources.items():
            source.watch(by_source[connection.code])

    async def _keep_running(self, source: Source) -> None:
        while True:
            try:
                await source.run()
            except Exception as error:  # noqa: BLE001 - a failing source must not take the others with it
                hidden = getattr(source, "hidden", str)
                said = hidden(f"{type(error).__name__}: {error}")
                self._intake.health(source.name).failed(said)
                log.error("source failed", source=source.name, error=said)
            await asyncio.sleep(RESTART_SECONDS)

    async def _cancel(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.clear()
