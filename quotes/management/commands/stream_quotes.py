"""The feed role."""

from typing import Any

from config.core import health
from config.core.workers import WorkerCommand
from quotes.feed import Feed


class Command(WorkerCommand):
    """Write what the sources deliver, while leading; stand by otherwise."""

    help = "Stream quotes from the sources into the record."
    leader_name = "feed"
    # Ticks wait this long at most for others to share a transaction with.
    idle_seconds = 0.02

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until SIGTERM, then write what was received before it."""
        self.feed = Feed()
        health.ready_when("feed", self.feed.complaint)
        super().handle(*args, **options)
        self.feed.stop()

    def elected(self) -> None:
        """Take the watermarks over."""
        self.feed.take_over()

    def step(self) -> bool:
        """Write one batch."""
        return self.feed.step()
