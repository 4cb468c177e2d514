"""Hedging, for whoever switches it on: one leads, others stand by."""

import time
from typing import Any

from prometheus_client import Counter, Gauge

from config.core import clock, health
from config.core.workers import WorkerCommand
from trading import services
from trading.hedging.desk import Desk
from trading.models import HedgeOrder

DECIDE_SECONDS = 1.0
TURN_SECONDS = 0.1
DECIDED = Counter("hedge_orders_decided", "Orders to providers decided on.")
WAITING = Gauge("hedge_order_waiting_seconds", "Age of the oldest order to a provider that is not over.")
UNRECONCILED = Gauge(
    "hedge_orders_unreconciled", "Orders whose executions do not add up to what the provider told."
)


class Command(WorkerCommand):
    """Send hedges to their providers and record what comes of them, while leading; stand by otherwise."""

    help = "Hedge the open orders of instruments that hedging is switched on for, until SIGTERM."
    leader_name = "hedger"

    def handle(self, *args: Any, **options: Any) -> None:
        """Hedge until SIGTERM, then log out."""
        self.desk = Desk()
        self._decided = float("-inf")
        health.ready_when("providers", self.desk.complaint)
        try:
            super().handle(*args, **options)
        finally:
            self.desk.close()

    def elected(self) -> None:
        """Begin with sessions of our own reign: another leader may have spoken on the numbers of the last."""
        self.desk.part()

    def step(self) -> bool:
        """Decide once a second, and let the sessions work in between."""
        if time.monotonic() - self._decided >= DECIDE_SECONDS:
            self._decided = time.monotonic()
            self._decide()
        self.desk.turn(TURN_SECONDS)
        return True

    def _decide(self) -> None:
        DECIDED.inc(len(services.decide_hedges(providers=self.desk.up())))
        orders = services.hedges_by_provider()
        self.desk.follow(orders)
        UNRECONCILED.set(HedgeOrder.objects.filter(is_reconciled=False).count())
        waiting = [clock.now() - order.decided_at for each in orders.values() for order in each]
        WAITING.set(max(waiting).total_seconds() if waiting else 0)
