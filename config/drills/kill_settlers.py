"""Drill 1, kill -9 settlers: nothing is paid twice, lost, or left unsettled, wherever a settler is ended.

Customers open 250 orders a second, and as many expire. Of three settlers each has one life after the other,
which ends at a fault point after the claim or before the commit, or by kill -9 at any instant. Every order
must have moved exactly what the stored ticks, computed anew, say. Sabotage: nothing makes a settlement unique
any more. It takes four walls away, for they stand behind each other: claims lock nothing, closing does not
ask whether the order is open, the database lets a closed order close again, a transfer's id is always new.
"""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from decimal import Decimal
from random import Random
from statistics import median
from typing import Any

from django.core.management import call_command
from django.db import connection, connections, transaction

from config.bench.stage import Market, funded_accounts
from config.core import clock
from config.core.ids import derived_id, new_id
from config.core.workers import TRANSIENT, close_connections
from config.drills import stage
from payments.ledger.models import Account
from payments.ledger.services import NewTransfer, post_rows
from quotes.models import Watermark
from trading.models import SHARDS, Order, Terms
from trading.services import claims, settlement

SETTLERS, CUSTOMERS = 3, 60
ORDERS_PER_SECOND, BATCH = 250, 25
DURATIONS_SECONDS = (5, 6)
SETTLED_WITHIN_SECONDS = 30
# How a life ends: at a fault point, or ("") by kill -9 where it happens to be.
ENDS = ["settle.after_claim", "settle.before_commit", "", ""]
LONGEST_LIFE_SECONDS = 2.0
# Armed, a settler ends at its first batch; one that gets none is killed.
PATIENCE_SECONDS = 15.0
EXPOSE = """
INSERT INTO trading_exposure AS e (book_id, instrument_id, side, open_orders, stakes, profit)
SELECT a.book_id, o.instrument_id, o.side, count(*), sum(o.stake), sum(trunc(o.stake * o.payout_rate, 2))
FROM trading_order o JOIN ledger_account a ON a.id = o.account_id
WHERE o.id = ANY (%s) GROUP BY a.book_id, o.instrument_id, o.side ORDER BY 1, 2, 3
ON CONFLICT (book_id, instrument_id, side) DO UPDATE SET open_orders = e.open_orders + excluded.open_orders,
    stakes = e.stakes + excluded.stakes, profit = e.profit + excluded.profit
"""
WITHOUT_GUARDS = (
    'python -c "import django; django.setup(); '
    'from config.drills.kill_settlers import settle_without_guards; settle_without_guards()"'
)


class Place:
    """A settler's place: one life after the other, each with the end that chance has chosen."""

    def __init__(self, chance: Random, command: str) -> None:
        self.chance, self.role = chance, stage.Role("settler", command)
        self.begin()

    def begin(self) -> None:
        """Start a life."""
        self.fault = self.chance.choice(ENDS)
        self.role.start(FAULTPOINT=f"{self.fault}:exit" if self.fault else "")
        self.ends_at = time.monotonic() + PATIENCE_SECONDS if self.fault else 0.0

    def ended(self) -> str:
        """Go on with this life; return how it ended once it has, and "" before."""
        if self.fault and self.role.ended() == stage.ENDED_BY_ITSELF:
            return self.fault
        self.role.require_running()
        if not self.ends_at and self.role.is_ready():
            self.ends_at = time.monotonic() + self.chance.uniform(0, LONGEST_LIFE_SECONDS)
        if self.ends_at and time.monotonic() > self.ends_at:
            self.role.kill()
            return "anywhere"
        return ""


class Crowd:
    """Customers who open orders at an even pace, as placement would, many in one transaction.

    So the load leaves the machine to those who are killed.
    """

    def __init__(self, chance: Random) -> None:
        self.chance, self.accounts = chance, funded_accounts(CUSTOMERS)
        self.escrow = Account.objects.get(book=self.accounts[0].book, code="escrow", owner=None).pk
        self.terms = dict(Terms.objects.values_list("instrument_id", "pk"))

    def trade(self, stopped: threading.Event) -> None:
        """Open orders until told to stop."""
        due = time.monotonic()
        while not stopped.wait(max(0.0, due - time.monotonic())):
            due += BATCH / ORDERS_PER_SECOND
            try:
                self._open()
            except TRANSIENT:  # it waited too long for those who settle, and is undone
                close_connections()

    def _open(self) -> None:
        marks = list(Watermark.objects.all())
        orders = [self._order(self.chance.choice(marks)) for _ in range(BATCH)]
        stakes = [
            NewTransfer(
                derived_id(order.pk, "stake"),
                order.account_id,
                self.escrow,
                order.stake,
                "stake",
                str(order.pk),
            )
            for order in orders
        ]
        with transaction.atomic(), connection.cursor() as cursor:
            post_rows(stakes)
            Order.objects.bulk_create(orders)
            cursor.execute(EXPOSE, [[order.pk for order in orders]])

    def _order(self, mark: Watermark) -> Order:
        account, seconds = self.chance.choice(self.accounts), self.chance.choice(DURATIONS_SECONDS)
        accepted_at = max(clock.now(), mark.last_at or mark.at)
        return Order(
            id=new_id(),
            account=account,
            client_id=str(new_id()),
            request_sha256=b"",
            customer_id=account.owner_id or 0,
            shard=account.pk % SHARDS,
            instrument_id=mark.instrument_id,
            terms_id=self.terms[mark.instrument_id],
            contract="rise_fall",
            side=self.chance.choice(["up", "down"]),
            stake=Decimal(self.chance.randint(100, 9999)) / 100,
            payout_rate=Decimal("0.85"),
            accepted_at=accepted_at,
            duration_seconds=seconds,
            expires_at=accepted_at + timedelta(seconds=seconds),
            entry_at=mark.last_at,
            entry_seq=mark.last_seq,
            entry_price=mark.last_price,
        )


def settle_without_guards() -> None:
    """Be a settler of the negative control."""
    claims.CLAIM_FIRST = claims.CLAIM_FIRST.replace("FOR UPDATE SKIP LOCKED", "")
    claims.CLAIM_EXPIRED = claims.CLAIM_EXPIRED.replace("FOR UPDATE SKIP LOCKED", "")
    settlement.CLOSE = settlement.CLOSE.replace("AND o.status = 'open'", "")
    settlement.derived_id = lambda cause, what: new_id()
    call_command("settle_orders", first_shard=0)


@contextmanager
def closed_orders_may_change() -> Iterator[None]:
    """Sabotage: the database does not mind that an order is closed twice."""
    with connections["owner"].cursor() as cursor:
        cursor.execute("ALTER TABLE trading_order DISABLE TRIGGER trading_order_closed_once")
    try:
        yield
    finally:
        with connections["owner"].cursor() as cursor:
            cursor.execute("ALTER TABLE trading_order ENABLE TRIGGER trading_order_closed_once")


def run(seed: int, dose: int = 100, sabotage: bool = False) -> dict[str, Any]:
    """Kill settlers `dose` times; return what was seen, with what did not hold under `broken`."""
    market = Market(4)
    market.tick("100.00")
    crowd = Crowd(stage.chance(seed))
    with (
        closed_orders_may_change() if sabotage else nullcontext(),
        stage.working(stage.moving(market, stage.chance(seed, "prices"))),
    ):
        with stage.working(crowd.trade):
            kills = _kill(seed, dose, WITHOUT_GUARDS if sabotage else "")
        settled_after = _settle(WITHOUT_GUARDS if sabotage else "")
    broken = stage.money_amiss() + stage.outcomes_amiss()
    expiries = Order.objects.values_list("expires_at", flat=True)
    of_seconds = Counter(int(at.timestamp()) for at in expiries)
    return stage.report(
        "kill-settlers",
        seed,
        sabotage,
        broken,
        kills=dict(sorted(kills.items())),
        orders=len(expiries),
        expiries_per_second=median(of_seconds.values()),
        outcomes=stage.outcomes(),
        settled_after_seconds=settled_after,
    )


def _kill(seed: int, dose: int, command: str) -> Counter[str]:
    """End lives until there were enough; then none is left."""
    kills: Counter[str] = Counter()
    places = [Place(stage.chance(seed, "settler", n), command) for n in range(SETTLERS)]
    with stage.killed_at_the_end(*(place.role for place in places)):
        while kills.total() < dose:
            for place in places:
                if end := place.ended():
                    kills[end] += 1
                    place.begin()
            time.sleep(0.02)
    return kills


def _settle(command: str) -> float:
    """Let two settlers close what is left; return after how many seconds it was, or they had no more time."""
    settlers = [stage.Role("settler", command) for _ in range(2)]
    with stage.killed_at_the_end(*settlers):
        for settler in settlers:
            settler.start()
        return stage.settled_after(SETTLED_WITHIN_SECONDS)
