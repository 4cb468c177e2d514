"""Real threads on real connections: whoever comes first, promises about money and orders hold.

A wait for a lock that outlasts `lock_timeout`, or the two seconds a placement may take, is an answer by
design ("try again"): `patiently` does what a client told so does. Any other error fails the test.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import OperationalError, connections
from django.db.models import Sum

from config.core import clock
from config.core.errors import Conflict, DomainError
from config.core.ids import derived_id
from config.core.models import Fact
from kyc.models import RefreshFamily
from kyc.services import issue_tokens, restrict
from payments.ledger.checks import check_ledger
from payments.ledger.models import Account, Book, Transfer
from payments.ledger.selectors import system_balances
from quotes.services import open_days, suspend_instrument, take_over
from tests.market import NOON, Clock, Market, funded_account, person, standing_clock, trading_book
from tests.payments.bank import at_once
from trading.models import Order
from trading.services import PlaceOrder, enter_pending, place_order, settle_due
from trading.services.placement import Placed
from trading.tasks import SWEPT, sweep_orders

# The owner opens days of ticks.
pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])

LOCK_NOT_AVAILABLE = "55P03"
PATIENCE_SECONDS = 60


def patiently(work: Callable[[], Any]) -> Any:
    """Do it again while the answer is "busy, try again"."""
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return work()
        except Conflict:
            if time.monotonic() > until:
                raise
        except OperationalError as error:
            state = getattr(error.__cause__, "sqlstate", None)
            if state != LOCK_NOT_AVAILABLE or time.monotonic() > until:
                raise


@dataclass
class Floor:
    """One market and one book, for threads to meet on."""

    clock: Clock
    market: Market
    book: Book

    def account(self, name: str, amount: str) -> Account:
        return funded_account(person(f"{name}@example.com").pk, self.book, amount)


def ask(account: Account, client_id: str, **asked: Any) -> PlaceOrder:
    wanted = {"symbol": "VOL100", "contract": "rise_fall", "side": "up", "stake": "10.00", **asked}
    return PlaceOrder(client_id=client_id, account=account.pk, **{"duration_seconds": 60, **wanted})


def place(account: Account, client_id: str, **asked: Any) -> Placed:
    command = ask(account, client_id, **asked)
    return patiently(lambda: place_order(customer_id=account.owner_id, command=command))


def balance(account: Account) -> Decimal:
    return Account.objects.get(pk=account.pk).balance


def assert_sound(book: Book) -> None:
    """The ledger proves itself, and escrow holds exactly the open stakes."""
    assert check_ledger(whole=True).differences == []
    open_stakes = Order.objects.filter(status="open").aggregate(sum=Sum("stake"))["sum"] or 0
    assert system_balances(book)["escrow"] == open_stakes


def assert_settled_once() -> None:
    """Every order is closed, by exactly the transfers its outcome calls for and one closing fact."""
    expected: set[Any] = set()
    for order in Order.objects.all():
        assert order.status in {"won", "lost", "refunded"}, order.status
        expected |= {derived_id(order.pk, "stake"), derived_id(order.pk, "release")}
        if order.status == "won":
            expected.add(derived_id(order.pk, "profit"))
    assert set(Transfer.objects.exclude(code="deposit").values_list("id", flat=True)) == expected
    closing = Fact.objects.filter(name__in=["order.won", "order.lost", "order.refunded"])
    told = Counter(fact.payload["order"]["id"] for fact in closing)
    assert told == Counter({str(pk): 1 for pk in Order.objects.values_list("pk", flat=True)})


@pytest.fixture
def floor(request: pytest.FixtureRequest) -> Iterator[Floor]:
    open_days([NOON.date()])
    with standing_clock(NOON - timedelta(seconds=1)) as stands:
        market = Market()
        market.terms(**{"max_open_orders": 10_000, **getattr(request, "param", {})})
        stands.at = NOON
        market.tick("100.00")
        yield Floor(stands, market, trading_book())


# --- placing ------------------------------------------------------------------------------------------


def test_200_placements_with_funds_for_exactly_20(floor: Floor) -> None:
    alice = floor.account("alice", "200.00")
    results = at_once(200, lambda number: place(alice, f"order-{number}"))
    kinds = Counter(getattr(result, "code", type(result).__name__) for result in results)
    assert kinds == Counter({"Placed": 20, "insufficient_funds": 180})
    assert balance(alice) == 0
    assert Order.objects.count() == Transfer.objects.filter(code="stake").count() == 20
    assert {str(pk) for pk in Order.objects.values_list("pk", flat=True)} == {
        result.order.id for result in results if isinstance(result, Placed)
    }
    assert_sound(floor.book)


def test_one_client_id_50_times_at_once(floor: Floor) -> None:
    alice = floor.account("alice", "1000.00")
    results = at_once(50, lambda _: place(alice, "the-same"))
    assert Counter(type(result) for result in results) == Counter({Placed: 50})
    assert sorted(result.is_replayed for result in results) == [False] + [True] * 49
    first = results[0].order
    assert all(result.order == first for result in results)
    assert Order.objects.count() == 1
    assert balance(alice) == Decimal("990.00")
    assert Fact.objects.filter(name="order.opened").count() == 1


def test_one_client_id_with_50_different_bodies_at_once(floor: Floor) -> None:
    alice = floor.account("alice", "1000.00")
    results = at_once(50, lambda number: place(alice, "the-same", stake=f"{number + 1}.00"))
    kinds = Counter(getattr(result, "code", type(result).__name__) for result in results)
    assert kinds == Counter({"Placed": 1, "idempotency_mismatch": 49})
    won = next(number for number, result in enumerate(results) if isinstance(result, Placed))
    order = Order.objects.get()
    assert order.stake == won + 1
    assert balance(alice) == 1000 - order.stake
    again = place(alice, "the-same", stake=f"{won + 1}.00")
    assert (again.is_replayed, again.order.id) == (True, str(order.pk))


@pytest.mark.parametrize("floor", [{"max_open_orders": 7}], indirect=True)
def test_the_number_of_open_orders_is_exact_under_50_threads(floor: Floor) -> None:
    alice = floor.account("alice", "1000.00")
    results = at_once(50, lambda number: place(alice, f"order-{number}"))
    kinds = Counter(getattr(result, "code", type(result).__name__) for result in results)
    assert kinds == Counter({"Placed": 7, "too_many_open_orders": 43})
    assert {result.details["open_orders"] for result in results if isinstance(result, DomainError)} == {7}
    assert balance(alice) == Decimal("930.00")


# --- an operator steps in -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("measure", "code"),
    [
        ("trading", "customer_restricted"),
        ("sign_in", "unauthenticated"),
        ("suspension", "instrument_suspended"),
    ],
)
def test_no_order_that_begins_after_a_measure_is_accepted(floor: Floor, measure: str, code: str) -> None:
    alice, olga = floor.account("alice", "9000.00"), person("olga@example.com")
    issue_tokens(user=alice.owner)
    sign_in = RefreshFamily.objects.get(user=alice.owner).pk
    enough, done = threading.Event(), threading.Event()
    accepted: list[tuple[float, str]] = []
    in_force_at: list[float] = []

    def customer(number: int) -> str:
        for turn in range(10_000):
            began = time.monotonic()
            command = ask(alice, f"order-{number}-{turn}", stake="1.00")
            try:
                placed = patiently(
                    lambda c=command: place_order(customer_id=alice.owner_id, command=c, sign_in=sign_in)
                )
            except DomainError as refused:
                return refused.code
            accepted.append((began, placed.order.id))
            if len(accepted) >= 40:
                enough.set()
        return "never refused"

    def operator() -> str:
        assert enough.wait(60)
        if measure == "suspension":
            suspend_instrument(instrument=floor.market.instrument, actor=olga, reason="test")
        else:
            restrict(customer=alice.owner, scope=measure, reason="test", actor=olga)
        in_force_at.append(time.monotonic())
        done.set()
        return code

    results = at_once(13, lambda number: operator() if number == 12 else customer(number))
    assert results == [code] * 13
    assert done.is_set()
    assert not [order for began, order in accepted if began > in_force_at[0]]
    assert balance(alice) == 9000 - len(accepted)
    assert {str(pk) for pk in Order.objects.values_list("pk", flat=True)} == {order for _, order in accepted}
    assert_sound(floor.book)


# --- settling -----------------------------------------------------------------------------------------


def test_two_settlers_and_the_sweep_on_the_same_500_orders(floor: Floor) -> None:
    accounts = [floor.account(f"customer-{number}", "10000.00") for number in range(5)]
    for number in range(500):
        side = "up" if number % 2 else "down"
        place(accounts[number % 5], f"order-{number}", side=side, stake=f"{number % 9 + 1}.00")
    floor.market.tick("101.00", floor.clock.move(30))
    floor.clock.move(40)
    floor.market.quiet_until()
    swept_before = SWEPT._value.get()
    doors = [lambda: settle_due(first_shard=0), lambda: settle_due(first_shard=8), sweep_orders]

    def settler(number: int) -> int:
        closed = 0
        while Order.objects.filter(status="open").exists():
            closed += patiently(doors[number])
        return closed

    results = at_once(3, settler)
    assert all(isinstance(result, int) for result in results), results
    assert sum(results) == 500
    assert SWEPT._value.get() - swept_before == results[2]
    assert_settled_once()
    won = Order.objects.filter(status="won")
    assert set(won.values_list("side", flat=True)) == {"up"}
    assert won.count() == 250
    for account in accounts:
        outcome = Order.objects.filter(account=account).aggregate(paid=Sum("payout"), staked=Sum("stake"))
        assert balance(account) == 10000 - outcome["staked"] + outcome["paid"]
    assert_sound(floor.book)


def test_placing_feeding_and_settling_at_once_never_deadlock() -> None:
    open_days([clock.now().date(), (clock.now() + timedelta(minutes=5)).date()])
    markets = [Market("VOL100"), Market("VOL50")]
    short = {"min_duration_seconds": 1, "max_open_orders": 10_000}
    markets[0].terms(**short)
    markets[1].terms(**short, entry_policy="delayed", entry_delay_ms=50, max_entry_wait_ms=500)
    epoch = markets[1].epoch
    markets[0].epoch = epoch  # the later reign holds both
    take_over([market.instrument.pk for market in markets], epoch=epoch)
    book = trading_book()
    accounts = [funded_account(person(f"c{number}@example.com").pk, book, "9000.00") for number in range(4)]
    for market in markets:
        market.tick("100.00")
    placers, settlers = 8, 3
    left = threading.Semaphore(0)
    all_placed, all_settled = threading.Event(), threading.Event()

    def feed() -> str:
        price = 0
        while not all_settled.is_set():
            price = (price * 7 + 3) % 11
            for market in markets:
                market.tick(f"{100 + price}.00")
            all_settled.wait(0.02)
        return "fed"

    def customer(number: int) -> str:
        for turn in range(40):
            place(
                accounts[(number + turn) % 4],
                f"order-{number}-{turn}",
                symbol=markets[turn % 2].instrument.symbol,
                side="up" if turn % 3 else "down",
                stake="1.00",
                duration_seconds=1,
            )
        left.release()
        return "placed"

    def settler(number: int) -> str:
        doors = [sweep_orders] if number == 0 else [lambda: settle_due(first_shard=number), enter_pending]
        while not all_settled.is_set():
            for door in doors:
                patiently(door)
            if all_placed.is_set() and not Order.objects.filter(status="open").exists():
                all_settled.set()
        return "settled"

    def watch() -> str:
        for _ in range(placers):
            assert left.acquire(timeout=90)
        all_placed.set()
        return "watched"

    def work(number: int) -> str:
        try:
            if number < placers:
                return customer(number)
            if number < placers + settlers:
                return settler(number - placers)
            return feed() if number == placers + settlers else watch()
        except BaseException:
            all_settled.set()  # the others need not wait for what will not come
            raise

    results = at_once(placers + settlers + 2, work)
    assert results == ["placed"] * placers + ["settled"] * settlers + ["fed", "watched"]
    assert Order.objects.count() == 320
    assert_settled_once()
    assert_sound(book)
    connections.close_all()
