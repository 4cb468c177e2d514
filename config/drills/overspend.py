"""Drill 7, overspend race: 64 threads place at once where there is room for exactly k; exactly k succeed.

Each round a new customer has room for k orders of his book of real money: by his funds, by the number that
may be open, by a limit of the house on the side, or by his own limit of loss, which two accounts in two books
share. In every fifth round all sell one and the same order, which pays once. No balance falls below zero,
whoever is refused is told why, and after each round everything is settled. Sabotage: nothing is asked again
under the locks, neither in the functions that place and post nor when an order is sold.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any
from unittest.mock import patch
from uuid import UUID

from django.db import OperationalError, connections

from config.core import clock
from config.core.errors import Conflict, DomainError
from config.core.money import profit
from config.drills.books import ledger_amiss
from config.drills.floor import Clock, Quoted, fund, open_trading_book, person
from config.drills.stage import chance, report
from kyc.models import User
from payments.ledger.models import Account, Transfer
from quotes.services import open_days
from trading.models import Order
from trading.services import (
    PlaceOrder,
    estimate_volatility,
    lift_risk_limit,
    place_order,
    sell_order,
    selling,
    set_customer_limits,
    set_risk_limit,
    settle_due,
)

BEGINS_AT = datetime(2030, 6, 3, tzinfo=UTC)
THREADS = 64
CHECKED_EVERY = 50
PATIENCE_SECONDS = 60
LOCK_NOT_AVAILABLE = "55P03"
RATE = Decimal("0.85")


@dataclass
class Round:
    """Who places in a round, for how much, and how many are to succeed; `code` refuses the others."""

    customer: User
    accounts: list[Account]
    stake: Decimal
    room: int
    code: str
    symbol: str = "MANY"
    then: Callable[[], Any] = lambda: None


class Drill:
    """Two books of real money, an instrument that takes any number of orders and one that does not."""

    def __init__(self, seed: int) -> None:
        self.chance, self.clock = chance("overspend", seed), Clock(BEGINS_AT)
        self.broken: list[str] = []
        self.seen: Counter[str] = Counter()
        self.gate = threading.Barrier(THREADS)

    def run(self, rounds: int) -> None:
        """Race so many rounds, and check the ledger now and then and at the end."""
        open_days([(BEGINS_AT + timedelta(days=day)).date() for day in range(-1, 2 + rounds // 1_000)])
        self.books = [open_trading_book("first"), open_trading_book("second")]
        self.markets = [Quoted("MANY", is_simulated=True, offers_sale=True), Quoted("FEW", is_simulated=True)]
        self.operator = person("operator")
        with ThreadPoolExecutor(THREADS) as self.pool:
            for number in range(rounds):
                self.clock.move(seconds=1)
                for market in self.markets:
                    market.tick(Decimal(10_000 + self.chance.randint(-50, 50)) / 100)
                kind = KINDS[number % len(KINDS)]
                before = len(self.broken)
                kind(self, number)
                self.seen[f"broken {kind.__name__}"] += len(self.broken) > before
                self._close(number)
            self._at_once(lambda _: connections.close_all())
        self._check(whole=True)

    # --- rounds ---------------------------------------------------------------------------------------

    def funds(self, number: int) -> Round:
        """Hold the stakes of k orders, and not quite one more."""
        one = self._round(number, "insufficient_funds")
        spare = one.stake - Decimal("0.01")
        one.accounts = [fund(one.customer, self.books[0], one.stake * one.room + spare)]
        return one

    def open_orders(self, number: int) -> Round:
        """Allow k open orders on an account, by the terms or by the customer's own wish."""
        one = self._round(number, "too_many_open_orders", at_least=1)
        one.symbol = "FEW"
        own = one.room if number % 2 else None
        self.markets[1].set_terms(max_open_orders=1_000 if own else one.room)
        set_customer_limits(customer=one.customer, max_open_orders=own)
        return one

    def exposure(self, number: int) -> Round:
        """Let the house risk the profits of k orders on the side, and not quite one more."""
        one = self._round(number, "exposure_limit")
        each = profit(one.stake, RATE, 2)
        limit = set_risk_limit(
            book=self.books[0],
            instrument=self.markets[0].instrument,
            side="up",
            most=each * one.room + each - Decimal("0.01"),
            actor=self.operator,
            comment="drill",
        )
        one.then = lambda: lift_risk_limit(limit=limit, actor=self.operator, reason="drill")
        return one

    def daily_loss(self, number: int) -> Round:
        """Let the customer risk the stakes of k orders a day over two accounts, and not quite one more."""
        one = self._round(number, "own_limit_reached")
        one.accounts.append(fund(one.customer, self.books[1], Decimal(100_000)))
        spare = one.stake - Decimal("0.01")
        set_customer_limits(customer=one.customer, max_daily_loss=one.stake * one.room + spare)
        return one

    def race(self, one: Round, number: int) -> None:
        """Let all place at once; note what differs from exactly k."""
        held = {account.pk: Account.objects.get(pk=account.pk).balance or 0 for account in one.accounts}

        def place(thread: int) -> str:
            command = PlaceOrder(
                client_id=f"{number}-{thread}",
                account=one.accounts[thread % len(one.accounts)].pk,
                symbol=one.symbol,
                contract="rise_fall",
                side="up",
                stake=str(one.stake),
                duration_seconds=30,
            )
            place_order(customer_id=one.customer.pk, command=command)
            return "placed"

        answers = self._at_once(place)
        one.then()
        self._expect(number, one.code, answers, {"placed": one.room, one.code: THREADS - one.room})
        for account in Account.objects.filter(pk__in=held):
            orders = Order.objects.filter(account=account).count()
            left = held[account.pk] - one.stake * orders
            if account.balance != left or left < 0:
                self._amiss(number, f"{orders} orders left {account.balance} of {held[account.pk]}")
        if Order.objects.filter(customer=one.customer).count() != answers["placed"]:
            self._amiss(number, "not every order that was placed is there, or others are")

    def sale(self, number: int) -> None:
        """Let all sell one order at once: under one key all are answered, under many only one is."""
        one = self._round(number, "order_closed")
        (account,), is_one_key = one.accounts, bool(number % 2)
        command = PlaceOrder(
            client_id=f"{number}",
            account=account.pk,
            symbol="MANY",
            contract="rise_fall",
            side="up",
            stake=str(one.stake),
            duration_seconds=60,
        )
        order = UUID(place_order(customer_id=one.customer.pk, command=command).order.id)
        estimate_volatility()
        self.clock.move(seconds=9)
        self.markets[0].tick(Decimal(self.chance.randint(9_990, 10_010)) / 100)
        before = Account.objects.get(pk=account.pk).balance or Decimal(0)

        def sell(thread: int) -> str:
            key = f"{number}" if is_one_key else f"{number}-{thread}"
            sold = sell_order(customer_id=one.customer.pk, order_id=order, client_id=key)
            return "replayed" if sold.is_replayed else "sold"

        answers = self._at_once(sell)
        others = "replayed" if is_one_key else one.code
        self._expect(number, "sale", answers, {"sold": 1, others: THREADS - 1})
        paid = (Account.objects.get(pk=account.pk).balance or Decimal(0)) - before
        if paid != (Order.objects.get(pk=order).payout or 0):
            self._amiss(number, f"a sale paid {paid}")
        if Transfer.objects.filter(reference=str(order)).exclude(code="stake").count() != 2:
            self._amiss(number, "a sale moved money more or less often than twice")

    # --- what they share ------------------------------------------------------------------------------

    def _round(self, number: int, code: str, at_least: int = 0) -> Round:
        customer = person(f"customer-{number}")
        stake = Decimal(self.chance.randint(1_000, 9_999)) / 100
        account = [] if code == "insufficient_funds" else [fund(customer, self.books[0], Decimal(100_000))]
        return Round(customer, account, stake, self.chance.randint(at_least, 20), code)

    def _at_once(self, work: Callable[[int], Any]) -> Counter[Any]:
        """Run in all threads, which start together; return how often each answer came."""

        def run(thread: int) -> Any:
            for connection in connections.all():
                connection.ensure_connection()
            self.gate.wait(PATIENCE_SECONDS)
            return patiently(lambda: work(thread))

        return Counter(self.pool.map(run, range(THREADS)))

    def _expect(self, number: int, what: str, found: Counter[str], wanted: dict[str, int]) -> None:
        self.seen.update({f"{what}: {answer}": times for answer, times in found.items()})
        if found != Counter(wanted):
            self._amiss(number, f"{what}: {dict(sorted(found.items()))} instead of {wanted}")

    def _close(self, number: int) -> None:
        """Let time pass until everything is decided."""
        self.clock.move(seconds=61)
        for market in self.markets:
            market.tick(Decimal(10_000 + self.chance.randint(-50, 50)) / 100)
        settle_due()
        if left := Order.objects.filter(status=Order.Status.OPEN).count():
            self._amiss(number, f"{left} orders are still open")
        if number % CHECKED_EVERY == CHECKED_EVERY - 1:
            self._check(whole=False)

    def _check(self, *, whole: bool) -> None:
        self.broken += ledger_amiss(whole=whole)
        self.broken += [
            f"account {pk} is below zero"
            for pk in Account.objects.filter(balance__lt=0).values_list("pk", flat=True)
        ]

    def _amiss(self, number: int, what: str) -> None:
        self.broken.append(f"round {number}: {what}")


def _placing(prepare: Callable[[Drill, int], Round]) -> Callable[[Drill, int], None]:
    def run(drill: Drill, number: int) -> None:
        drill.race(prepare(drill, number), number)

    run.__name__ = prepare.__name__
    return run


KINDS: tuple[Callable[[Drill, int], None], ...] = (
    _placing(Drill.funds),
    _placing(Drill.open_orders),
    _placing(Drill.exposure),
    _placing(Drill.daily_loss),
    Drill.sale,
)


def patiently(work: Callable[[], Any]) -> Any:
    """Try again while told so, as a client does; return the answer, the code of a refusal, or an error."""
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return work()
        except Conflict as busy:
            if time.monotonic() > until:
                return busy.code
        except DomainError as refusal:
            return refusal.code
        except OperationalError as error:
            state = getattr(error.__cause__, "sqlstate", None)
            if state != LOCK_NOT_AVAILABLE or time.monotonic() > until:
                return type(error).__name__
        except Exception as error:  # noqa: BLE001 - whatever it is, it is no answer
            return type(error).__name__


# --- sabotage -----------------------------------------------------------------------------------------

# Of each function what holds under its locks, and what stands in its place.
GUARDS = {
    "trading_place": (
        ("IF open_orders >= max_open THEN", "IF false THEN"),
        ("IF amount + new_stake > most_loss THEN", "IF false THEN"),
        ("WHERE most_profit IS NULL OR e.profit + excluded.profit <= most_profit", ""),
    ),
    "ledger_post": (("AND a.balance >= amounts[1]", ""),),
}
BALANCE_CHECK = """
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE conrelid = 'ledger_account'::regclass AND pg_get_constraintdef(oid) LIKE '%balance >=%'
"""


@contextmanager
def guards_off() -> Iterator[None]:
    """Sabotage: believe what was read before the locks, as nobody may."""
    functions = {name: str(_owner("SELECT pg_get_functiondef(%s::regproc)", name)[0][0]) for name in GUARDS}
    ((check, condition),) = _owner(BALANCE_CHECK)
    try:
        for name, guards in GUARDS.items():
            _owner(_unguarded(name, functions[name], guards))
        _owner("ALTER TABLE ledger_transfer DISABLE TRIGGER ledger_transfer_funds")
        _owner(f"ALTER TABLE ledger_account DROP CONSTRAINT {check}")
        with patch.object(selling, "claim_one", partial(selling.claim_one, locks=False)):
            yield
    finally:
        for text in functions.values():
            _owner(text)
        _owner("ALTER TABLE ledger_transfer ENABLE TRIGGER ledger_transfer_funds")
        _owner(f"ALTER TABLE ledger_account DROP CONSTRAINT IF EXISTS {check}")
        # Of what the sabotage has left, nothing would pass.
        _owner(f"ALTER TABLE ledger_account ADD CONSTRAINT {check} {condition} NOT VALID")


def _unguarded(name: str, text: str, guards: tuple[tuple[str, str], ...]) -> str:
    for guard, nothing in guards:
        if guard not in text:
            raise RuntimeError(f"{name} no longer says {guard!r}: the sabotage must follow it")
        text = text.replace(guard, nothing)
    return text


def _owner(statement: str, *values: str) -> list[Any]:
    with connections["owner"].cursor() as cursor:
        # Without values a percent sign is none.
        cursor.execute(statement, values or None)
        return list(cursor.fetchall()) if cursor.description else []


def run(seed: int, dose: int = 1_000, sabotage: bool = False) -> dict[str, Any]:
    """Race `dose` rounds; return what was seen, with what did not hold under `broken`."""
    drill = Drill(seed)
    with clock.ticking(drill.clock), guards_off() if sabotage else nullcontext():
        drill.run(dose)
    return report(
        "overspend",
        seed,
        sabotage,
        drill.broken,
        rounds=dose,
        answers=dict(sorted(drill.seen.items())),
    )
