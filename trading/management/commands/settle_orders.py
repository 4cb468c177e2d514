"""The settler role: any number may run."""

import random
import time
from argparse import ArgumentParser
from datetime import datetime, timedelta
from typing import Any

import structlog
from prometheus_client import Counter, Gauge

from config.core import clock
from config.core.workers import WorkerCommand
from trading import services
from trading.models import SHARDS
from trading.selectors import settlement_lag

log = structlog.get_logger(__name__)
OVERLAP = timedelta(seconds=5)
CLOSED = Counter("orders_closed", "Orders closed by this settler.")
LAG = Gauge("orders_settlement_lag_seconds", "Age of the oldest order that could be closed and is not.")


class Command(WorkerCommand):
    help = "Close what is due, give delayed orders their entry and watch the risk, until SIGTERM."
    idle_seconds = 0.05
    _lag_taken = _watched = 0.0
    _begun: tuple[datetime | None, datetime | None] = (None, None)

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the shard to start at: settlers that start apart do not wait for each other's accounts."""
        anywhere = random.randrange(SHARDS)  # noqa: S311
        parser.add_argument("--first-shard", type=int, choices=range(SHARDS), default=anywhere)

    def handle(self, *args: Any, **options: Any) -> None:
        """Settle until SIGTERM."""
        self.first_shard: int = options["first_shard"]
        super().handle(*args, **options)

    def step(self) -> bool:
        """Close everything that is due.

        Barriers are compared with the ticks since the last step but one, and OVERLAP more: an order may
        become visible, or get its entry, a little after the tick that decides it. The first looks at all.
        """
        (before, last), begun = self._begun, clock.now()
        since = None if before is None else before - OVERLAP
        closed = services.settle_due(first_shard=self.first_shard, since=since)
        self._begun = (last, begun)  # a step that failed is looked at again
        if closed:
            CLOSED.inc(closed)
        entered = services.enter_pending()
        self._watch()
        if time.monotonic() - self._lag_taken > 1:
            self._lag_taken = time.monotonic()
            LAG.set(settlement_lag())
        return closed + entered > 0

    def _watch(self) -> None:
        """Watch the risk once a second, whatever other settlers do; a failure must not stop settling."""
        if time.monotonic() - self._watched < 1:
            return
        self._watched = time.monotonic()
        try:
            services.watch_risk()
        except Exception as failure:
            log.exception("the risk was not watched", error=str(failure))
