"""The providers there is something to do with, on an event loop that turns only while we lead."""

import asyncio
from collections.abc import Mapping, Sequence

import structlog

from quotes.lanes import Connection
from trading.hedging.session import Provider
from trading.models import HedgeOrder

log = structlog.get_logger(__name__)
# How long providers are given to take our leave.
PARTING_SECONDS = 5.0


class Desk:
    """Keeps a session with each provider. Nothing is sent or heard but while it turns."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._providers: dict[Connection, Provider] = {}
        self._tasks: dict[Connection, asyncio.Task[None]] = {}

    def follow(self, orders: Mapping[Connection, Sequence[HedgeOrder]]) -> None:
        """Keep sessions with exactly these, and have them send these orders; one changed is opened anew."""
        self._part([each for each in self._providers if each not in orders])
        for connection in orders:
            if connection not in self._providers:
                provider = self._providers[connection] = Provider(connection)
                self._tasks[connection] = self._loop.create_task(provider.run())
            self._providers[connection].orders = orders[connection]

    def turn(self, seconds: float) -> None:
        """Send and hear for so long. Raises what made a provider's task fail for good: a mistake of ours."""
        self._loop.run_until_complete(asyncio.sleep(seconds))
        for task in self._tasks.values():
            if task.done():
                task.result()

    def up(self) -> set[str]:
        """Name the providers to which orders can go now."""
        return {each.name for each in self._providers.values() if each.is_up}

    def complaint(self) -> str:
        """Say which providers cannot be reached, and why; "" when all can."""
        wrong = [
            f"{each.name}: {each.complaint}" for each in list(self._providers.values()) if each.complaint
        ]
        return "; ".join(wrong)

    def part(self) -> None:
        """Log out everywhere."""
        self._part(list(self._providers))

    def close(self) -> None:
        """Log out everywhere, for good."""
        self.part()
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    def _part(self, connections: Sequence[Connection]) -> None:
        tasks = [self._tasks.pop(each) for each in connections]
        for each in connections:
            del self._providers[each]
        for task in tasks:
            task.cancel()
        if tasks:
            self._loop.run_until_complete(asyncio.wait(tasks, timeout=PARTING_SECONDS))
