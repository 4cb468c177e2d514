"""Drill 4, connection storm: every 100 ms somebody's connection ends, and hardly a customer notices.

Orders are placed over HTTP and settled while `pg_terminate_backend` ends a random connection of the
application: of the web role, the two settlers, the relay with its lead, or whoever writes the ticks.
Customers send a command up to five times, when they are told to try again. Sabotage: they send it once.
"""

import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from random import Random
from typing import Any

from django.conf import settings
from django.db import connections

from config.bench.stage import Market
from config.core.workers import close_connections
from config.drills import stage
from trading.models import Order

CUSTOMERS = 24
TRIES = 5
STORM_SECONDS, PAUSE_SECONDS = 0.1, 0.3
BACK_WITHIN = timedelta(seconds=5)
SETTLED_WITHIN_SECONDS = 30
MOST_ERRORS = 0.01
ROLES = ("web", "settler", "settler", "relay")

BACKENDS = """
SELECT pid, application_name, backend_start FROM pg_stat_activity
WHERE datname = current_database() AND usename = %s ORDER BY pid
"""


Backend = tuple[int, str, datetime]


class Storm:
    """Ends connections, and watches how soon each has a successor."""

    def __init__(self, chance: Random, seconds: int) -> None:
        self.chance, self.seconds = chance, seconds
        self.known: set[Backend] = set()
        self.gone: set[Backend] = set()
        self.ended: Counter[str] = Counter()
        # By role, when those were ended that nobody has followed yet.
        self.waiting: defaultdict[str, list[datetime]] = defaultdict(list)
        self.longest: defaultdict[str, float] = defaultdict(float)
        self.broken: list[str] = []

    def spare(self) -> None:
        """Leave alone whoever was here before: nobody of the drill's, and he may not come back."""
        with connections["owner"].cursor() as cursor:
            cursor.execute(BACKENDS, [settings.DATABASES["default"]["USER"]])
            self.gone.update(cursor.fetchall())
        self.known.update(self.gone)

    def blow(self) -> None:
        """End a connection every 100 ms; then only watch, until everybody is back or late."""
        until = time.monotonic() + self.seconds
        while (goes_on := time.monotonic() < until) or any(self.waiting.values()):
            began = time.monotonic()
            with connections["owner"].cursor() as cursor:
                cursor.execute(BACKENDS, [settings.DATABASES["default"]["USER"]])
                backends: list[Backend] = cursor.fetchall()
                cursor.execute("SELECT clock_timestamp()")
                now = cursor.fetchone()[0]
                self._watch(backends, now)
                if goes_on and (left := [backend for backend in backends if backend not in self.gone]):
                    chosen = self.chance.choice(left)
                    cursor.execute("SELECT pg_terminate_backend(%s)", [chosen[0]])
                    self._note(chosen, now)
            time.sleep(max(0.0, began + STORM_SECONDS - time.monotonic()))

    def _note(self, chosen: Backend, now: datetime) -> None:
        self.gone.add(chosen)
        role = chosen[1]
        self.ended[role or "another"] += 1
        if role:  # those without a name come for one question and go
            self.waiting[role].append(now)

    def _watch(self, backends: list[Backend], now: datetime) -> None:
        for backend in backends:
            _, role, began = backend
            if backend not in self.known and self.waiting[role]:
                waited = (began - self.waiting[role].pop(0)).total_seconds()
                self.longest[role] = max(self.longest[role], round(waited, 2))
        self.known.update(backends)
        for role, since in self.waiting.items():
            while since and now - since[0] > BACK_WITHIN:
                self.broken.append(f"{role} has no new connection {now - since.pop(0)} after it lost one")


def run(seed: int, dose: int = 600, sabotage: bool = False) -> dict[str, Any]:
    """End connections for `dose` seconds; return what was seen, with what did not hold under `broken`."""
    market = Market(2)
    market.tick("100.00")
    roles = [stage.Role(name) for name in ROLES]
    tries = 1 if sabotage else TRIES
    customers = stage.customers(
        CUSTOMERS, market, roles[0].url, duration_seconds=5, pause_seconds=PAUSE_SECONDS, tries=tries
    )
    storm = Storm(stage.chance(seed), dose)
    storm.spare()
    with (
        stage.killed_at_the_end(*roles),
        stage.working(stage.moving(market, stage.chance(seed, "prices"))),
    ):
        for role in roles:
            role.start()
        for role in roles:
            stage.wait_until(role.is_ready, f"{role.name} ready")
        close_connections()  # this thread's own must not be among them
        with stage.working(*(customer.trade for customer in customers)):
            storm.blow()
        settled_after = stage.settled_after(SETTLED_WITHIN_SECONDS)
    commands = sum(len(customer.answers) + len(customer.errors) for customer in customers)
    errors = Counter(error for customer in customers for error in customer.errors)
    broken = storm.broken + [found for customer in customers for found in _amiss(customer)]
    if errors.total() > MOST_ERRORS * commands:
        broken.append(f"{errors.total()} of {commands} commands failed")
    broken += stage.money_amiss() + stage.outcomes_amiss()
    return stage.report(
        "connection-storm",
        seed,
        sabotage,
        broken,
        ended=dict(sorted(storm.ended.items())),
        longest_reconnect_seconds=dict(sorted(storm.longest.items())),
        commands=commands,
        sent_again=sum(customer.retries for customer in customers),
        errors=dict(errors.most_common(5)),
        orders=Order.objects.count(),
        outcomes=stage.outcomes(),
        settled_after_seconds=settled_after,
    )


def _amiss(customer: stage.Customer) -> Iterator[str]:
    """Name every acknowledged order that is not there, and every command with more than one effect."""
    mine = Order.objects.filter(account=customer.account)
    stored = {str(pk) for pk in mine.values_list("pk", flat=True)}
    for answer in customer.answers.values():
        if (order := json.loads(answer.body)["id"]) not in stored:
            yield f"order {order} was acknowledged and is lost"
    for stake, count in Counter(mine.values_list("stake", flat=True)).items():
        if count > 1:
            yield f"the command of account {customer.account.pk} for {stake} had {count} effects"
