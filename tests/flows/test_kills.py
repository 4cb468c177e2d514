"""kill -9 of every role while orders are placed and expire: nothing is lost, paid twice or left unsaid."""

import http.client
import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from itertools import count
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection

from config.core.ids import derived_id
from config.core.models import Fact
from config.core.outbox import customer_topic
from kyc.models import User
from kyc.services import issue_tokens
from payments.ledger.checks import check_ledger
from payments.ledger.models import Account, Transfer
from payments.ledger.selectors import system_balances
from quotes.models import Gap, Tick
from tests.cast import account_of, register
from tests.flows.clients import Answer, Api, Ear, listening, wait_until
from tests.flows.oracle import Oracle, Print, Rules, Wish
from tests.platform import Roles
from trading.models import Order

pytestmark = pytest.mark.django_db(transaction=True)

SYMBOLS = ("VOL100", "VOL50", "EURUSD")
PAUSE_SECONDS = 0.12
CLOSING = ("order.won", "order.lost", "order.refunded")
# What a client is told to try again: too many, busy, unavailable. Nothing else may come but refusals.
AGAIN = {409, 429, 503}
ENDED_BY_ITSELF = 137

# A role, and the fault point at which it ends by itself; none: kill -9 where it happens to be.
Kill = tuple[str, str | None]
SHORT: list[Kill] = [
    ("settler", None),
    ("settler", "settle.after_claim"),
    ("settler", "settle.before_commit"),
    ("relay", None),
    ("relay", "relay.before_mark"),
    ("web", None),
    ("feed", None),
]
ALL: list[Kill] = [
    *SHORT,
    ("relay", "relay.after_send"),
    ("feed", "feed.before_append"),
    ("feed", "feed.after_append"),
]


@dataclass
class Customer:
    """Somebody whose program places orders and repeats each command until it is answered."""

    user: User
    account: Account
    api: Api
    ear: Ear
    stopped: threading.Event
    acknowledged: dict[str, str] = field(default_factory=dict)
    commands: dict[str, dict[str, Any]] = field(default_factory=dict)
    refusals: Counter[str] = field(default_factory=Counter)
    retries: int = 0

    def trade(self) -> None:
        for number in count():
            if self.stopped.wait(PAUSE_SECONDS):
                return
            key = f"order-{number}"
            self.commands[key] = {
                "client_id": key,
                "account": self.account.pk,
                "symbol": SYMBOLS[number % 3],
                "contract": "rise_fall",
                "side": "up" if number % 2 else "down",
                "stake": f"{number % 4 + 1}.25",
                "duration_seconds": 5,
            }
            answer = self.send(key)
            if answer.status in {200, 201}:
                self.acknowledged[key] = answer.body["id"]
            else:
                assert answer.status == 422, answer
                self.refusals[answer.body["code"]] += 1

    def send(self, key: str) -> Answer:
        """Send a command until it is answered for good."""
        while True:
            try:
                answer = self.api.post("/orders", self.commands[key])
            except (OSError, http.client.HTTPException):
                answer = None
            if answer is not None and answer.status not in AGAIN:
                return answer
            self.retries += 1
            self.stopped.wait(0.1)


@dataclass
class Drill:
    """The platform under trade, and the one who kills."""

    roles: Roles
    customers: list[Customer]
    failures: list[BaseException]
    seen: Counter[str] = field(default_factory=Counter)

    def kill(self, role: str, fault: str | None) -> None:
        """End a role, where it is or at its fault point, and start it again once orders came in between."""
        self.roles.kill9(role)
        self.seen[f"{role} {fault or 'anywhere'}"] += 1
        if fault is not None:
            if role == "settler":  # the other one would take the orders before it
                self.roles.kill9("second settler")
            self.roles.start(role, wait=False, FAULTPOINT=f"{fault}:exit")
            process, _ = self.roles.running[role]
            wait_until(lambda: process.poll() is not None or self.failures, f"{role} at {fault}")
            assert process.returncode == ENDED_BY_ITSELF, self.roles.log(role)
            self.roles.kill9(role)
            if role == "settler":
                self.roles.start_another("settler", "second settler", wait=False)
        if role != "web":
            self.trade_on(4)
        self.roles.start(role, wait=False)

    def trade_on(self, orders: int) -> None:
        """Let the customers be answered so many times more."""
        enough = self.answered() + orders
        wait_until(lambda: self.answered() >= enough or self.failures, "answers")
        assert not self.failures, self.failures

    def answered(self) -> int:
        return sum(len(one.acknowledged) + one.refusals.total() for one in self.customers)


@pytest.fixture
def drill(roles: Roles) -> Iterator[Drill]:
    call_command("seed_platform")
    roles.start("web", "gateway", "feed", "settler", "relay")
    roles.start_another("settler", "second settler")
    stopped, failures = threading.Event(), []

    def run(customer: Customer) -> None:
        try:
            customer.trade()
        except BaseException as failure:  # noqa: BLE001 - the test's own thread asks for it
            failures.append(failure)

    with ExitStack() as stack:
        customers = []
        for name in ("alice", "bob", "mallory"):
            user = register(name)
            token = issue_tokens(user=user).access
            ear = stack.enter_context(listening(roles.socket_url, token, "account"))
            customers.append(Customer(user, account_of(user, "demo"), Api(roles.url, token), ear, stopped))
        threads = [threading.Thread(target=run, args=(customer,)) for customer in customers]
        for thread in threads:
            thread.start()
        try:
            yield Drill(roles, customers, failures)
        finally:
            stopped.set()
            for thread in threads:
                thread.join(60)


def finish(drill: Drill, capsys: pytest.CaptureFixture[str]) -> None:
    """Stop placing, let the platform come to rest, and look at everything."""
    drill.trade_on(20)
    drill.customers[0].stopped.set()
    drill.roles.wait_ready(*drill.roles.running)
    wait_until(lambda: not Order.objects.filter(status="open").exists(), "every order closed")
    wait_until(lambda: not Fact.objects.filter(published_at=None).exists(), "every fact delivered")
    assert not drill.failures, drill.failures
    for customer in drill.customers:
        assert_commands_had_one_effect(customer)
        assert_everything_was_heard(customer)
    assert_settled_once()
    assert_outcomes_follow_from_the_record()
    assert_money_is_whole(drill.customers)
    with capsys.disabled():
        outcomes = Counter(Order.objects.values_list("status", flat=True))
        reasons = Counter(Order.objects.filter(status="refunded").values_list("refund_reason", flat=True))
        refusals = sum((customer.refusals for customer in drill.customers), Counter())
        print(f"\nkills: {dict(drill.seen)}; {Gap.objects.count()} gaps;")
        print(f"  orders {dict(outcomes)}, refunds {dict(reasons)}, refusals {dict(refusals)},")
        print(f"  {sum(customer.retries for customer in drill.customers)} requests sent again")


def assert_commands_had_one_effect(customer: Customer) -> None:
    """Each acknowledged order is there under its key, a refused one is not, a repeat says the same."""
    stored = {
        key: str(pk)
        for key, pk in Order.objects.filter(account=customer.account).values_list("client_id", "pk")
    }
    assert stored == customer.acknowledged
    for key in list(stored)[:: max(1, len(stored) // 5)]:
        again = customer.send(key)
        assert (again.status, again.headers.get("idempotency-replayed")) == (200, "true")
        assert again.body["id"] == stored[key]
    assert Order.objects.filter(account=customer.account).count() == len(stored)


def assert_everything_was_heard(customer: Customer) -> None:
    """The socket carried every fact of every order, in order at its first hearing."""
    facts = Fact.objects.filter(topic=customer_topic(customer.user.pk))
    first = customer.ear.wait(lambda message: message["type"] == "order.opened")["id"]
    expected = set(facts.filter(pk__gte=first).values_list("pk", flat=True))

    def heard() -> list[int]:
        return [message["seq"] for message in customer.ear.heard(lambda message: "seq" in message)]

    wait_until(lambda: expected <= set(heard()), "every fact heard")
    opened = {message["order"]["id"] for message in customer.ear.heard(lambda m: m["type"] == "order.opened")}
    closed = {message["order"]["id"] for message in customer.ear.heard(lambda m: m["type"] in CLOSING)}
    assert opened == closed == set(customer.acknowledged.values())
    once = list(dict.fromkeys(heard()))
    assert once == sorted(once)


def assert_settled_once() -> None:
    """Exactly the transfers and the facts that its outcome calls for, for every order."""
    transfers: set[Any] = set()
    told: Counter[tuple[str, str]] = Counter()
    for order in Order.objects.all():
        transfers |= {derived_id(order.pk, "stake"), derived_id(order.pk, "release")}
        if order.status == "won":
            transfers.add(derived_id(order.pk, "profit"))
        told[str(order.pk), "order.opened"] += 1
        told[str(order.pk), f"order.{order.status}"] += 1
    assert set(Transfer.objects.exclude(code="opening").values_list("id", flat=True)) == transfers
    facts = Fact.objects.filter(name__in=["order.opened", *CLOSING])
    assert Counter((fact.payload["order"]["id"], fact.name) for fact in facts) == told


def assert_outcomes_follow_from_the_record() -> None:
    """The second opinion, given the stored ticks and gaps, says the same of every order."""
    orders = list(Order.objects.select_related("instrument"))
    for symbol in SYMBOLS:
        mine = [order for order in orders if order.instrument.symbol == symbol]
        ticks = Tick.objects.filter(instrument__symbol=symbol, is_late=False).order_by("at")
        gaps = Gap.objects.filter(instrument__symbol=symbol)
        oracle = Oracle(
            [Print(*row) for row in ticks.values_list("at", "seq", "price")],
            mine[0].accepted_at,
            {},
            gaps=list(gaps.values_list("starts_at", "ends_at", "reason")),
        )
        for order in mine:
            entry = oracle.ticks[order.entry_seq - 1]
            assert (entry.at, entry.price) == (order.entry_at, order.entry_price)
            assert entry.at <= order.accepted_at
            assert order.expires_at == order.accepted_at + timedelta(seconds=5)
            wish = Wish(
                client_id=order.client_id,
                account="",
                scale=2,
                side=order.side,
                stake=order.stake,
                rules=Rules(order.payout_rate),
                accepted_at=order.accepted_at,
                expires_at=order.expires_at,
                entry=entry,
            )
            oracle.decide(wish)
            assert (order.status, order.refund_reason, order.payout) == (
                wish.status,
                wish.reason,
                wish.payout,
            )


def assert_money_is_whole(customers: list[Customer]) -> None:
    check = check_ledger(whole=True)
    assert check.differences == []
    for customer in customers:
        customer.account.refresh_from_db()
        orders = Order.objects.filter(account=customer.account)
        gained = sum(payout - stake for payout, stake in orders.values_list("payout", "stake"))
        assert customer.account.balance == Decimal(10_000) + gained
    assert system_balances(customers[0].account.book)["escrow"] == 0


def test_roles_are_killed_while_orders_expire(drill: Drill, capsys: pytest.CaptureFixture[str]) -> None:
    drill.trade_on(10)
    for role, fault in SHORT:
        drill.kill(role, fault)
    finish(drill, capsys)


def test_all_roles_are_killed_at_once(drill: Drill, capsys: pytest.CaptureFixture[str]) -> None:
    drill.trade_on(30)
    for role in ("settler", "second settler", "relay", "feed", "web"):
        drill.roles.kill9(role)
    drill.roles.start("settler", "relay", "feed", "web", wait=False)
    drill.roles.start_another("settler", "second settler", wait=False)
    drill.seen["all at once"] += 1
    finish(drill, capsys)


@pytest.mark.long
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("seed", [1, 2])
def test_roles_are_killed_again_and_again(
    drill: Drill, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(seed)
    drill.trade_on(10)
    for role, fault in chance.choices(ALL, k=40):
        drill.kill(role, fault)
        drill.trade_on(chance.randint(1, 30))
    finish(drill, capsys)
    connection.close()
