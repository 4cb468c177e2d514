"""What rests on a voided tick and is open is refunded; what was settled before stays, and is told apart."""

import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from config.core import clock
from payments.ledger.checks import check_ledger
from quotes.models import VoidedTick
from quotes.services import IndependentPrice, approve_void, decline_void, open_days, request_void
from quotes.services.partitions import drop_day
from tests.laws.test_races import Floor, assert_settled_once, assert_sound, patiently
from tests.laws.test_races import place as place_at
from tests.market import NOON, Clock, Market, person, standing_clock, trading_book
from tests.payments.bank import at_once
from tests.trading.conftest import Desk
from tests.trading.test_contract_orders import again, moves, place, simulate, ticks
from trading.models import Order
from trading.rules import KINDS
from trading.services import enter_pending, settle_due, settlement
from trading.services.resettle import resettle

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])
D = Decimal


@pytest.fixture
def floor(transactional_db: None, make_desk: Callable[..., Desk]) -> Desk:
    """Every contract, on an instrument that says it is simulated; tick 1 is at 100.00."""
    desk = make_desk(contracts=list(KINDS), max_duration_ticks=20)
    simulate(desk)
    moves(desk)
    return desk


class Operators:
    """One who asks and one who decides."""

    def __init__(self, desk: Any) -> None:
        self._clock, self._market = desk.clock, desk.market
        self._anna, self._otto = person("anna@example.com"), person("otto@example.com")

    def ask(self, seq: int, at: datetime) -> VoidedTick:
        return request_void(
            instrument=self._market.instrument,
            at=at,
            seq=seq,
            independent_prices=[IndependentPrice("kraken", D("50")), IndependentPrice("coinbase", D("50"))],
            actor=self._anna,
            reason="half of it everywhere else",
        )

    def approve(self, request: VoidedTick) -> datetime:
        """Return when."""
        decided_at = approve_void(request=request, actor=self._otto, reason="seen").decided_at
        assert decided_at is not None
        return decided_at

    def decline(self, request: VoidedTick) -> None:
        decline_void(request=request, actor=self._otto, reason="the market moved")

    def void(self, seq: int, at: datetime) -> None:
        self._clock.move(0.25)
        self.approve(self.ask(seq, at))


@pytest.fixture
def operators(floor: Desk) -> Operators:
    return Operators(floor)


def refunded(desk: Desk, order: Order) -> None:
    """It was refunded because of a voided tick, whole, and deciding it again says so."""
    closed = again(order)
    assert (closed.status, closed.refund_reason, closed.payout) == ("refunded", "voided", order.stake)
    assert (closed.exit_at, closed.exit_seq, closed.exit_price) == (None, None, None)
    sound(desk)


def sound(desk: Desk) -> None:
    assert check_ledger(whole=True).differences == []
    assert resettle(NOON.date()).differences == []


# --- which orders -------------------------------------------------------------------------------------


def test_the_entry(floor: Desk, operators: Operators) -> None:
    order = place(floor, "rise_fall", "up")
    operators.void(1, NOON)
    ticks(floor, "101.00", every=59)
    floor.clock.move(1)
    floor.market.quiet_until()
    assert settle_due() == 1
    refunded(floor, order)
    assert (again(order).entry_seq, floor.balance()) == (1, "1000.00")


def test_the_exit(floor: Desk, operators: Operators) -> None:
    order = place(floor, "rise_fall", "up")
    ticks(floor, "101.00", every=58)
    operators.void(2, floor.clock.at)
    floor.clock.move(2)
    floor.market.quiet_until()
    assert settle_due() == 1
    refunded(floor, order)
    assert floor.balance() == "1000.00"


def test_an_entry_that_came_later(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(entry_policy="delayed", entry_delay_ms=500)
    operators = Operators(desk)
    order = desk.order(desk.place("up"))
    ticks(desk, "100.00")
    assert enter_pending() == 1
    assert again(order).entry_seq == 2
    operators.void(2, desk.clock.at)
    ticks(desk, "101.00", every=58)
    desk.clock.move(5)
    desk.market.quiet_until()
    assert settle_due() == 1
    refunded(desk, order)
    assert (again(order).entry_seq, desk.balance()) == (2, "1000.00")


def test_the_tick_that_touches(floor: Desk, operators: Operators) -> None:
    order = place(floor, "touch", "touch", barrier="+0.50")
    against = place(floor, "touch", "no_touch", barrier="+0.50")
    ticks(floor, "100.10", "100.50")
    operators.void(3, floor.clock.at)
    assert settle_due() == 2
    refunded(floor, order)
    refunded(floor, against)
    assert floor.balance() == "1000.00"


def test_a_tick_in_the_middle_of_an_average(floor: Desk, operators: Operators) -> None:
    order = place(floor, "asian", "up", duration_ticks=3, duration_seconds=None)
    ticks(floor, "100.10")
    middle = floor.clock.at
    ticks(floor, "100.20", "100.30")
    operators.void(2, middle)
    assert settle_due() == 1
    refunded(floor, order)


def test_the_last_of_counted_ticks(floor: Desk, operators: Operators) -> None:
    order = place(floor, "rise_fall", "up", duration_ticks=2, duration_seconds=None)
    ticks(floor, "100.10", "100.20")
    operators.void(3, floor.clock.at)
    assert settle_due() == 1
    refunded(floor, order)


def test_a_tick_that_decides_nothing_changes_nothing(floor: Desk, operators: Operators) -> None:
    """One on the way of rise/fall and of an untouched barrier, one between counted ticks."""
    rise = place(floor, "rise_fall", "up", duration_seconds=5)
    path = place(floor, "touch", "touch", barrier="+1.20", duration_seconds=60)
    counted = place(floor, "higher_lower", "up", barrier="+0.05", duration_seconds=None, duration_ticks=3)
    ticks(floor, "100.50")
    middle = floor.clock.at
    operators.void(2, middle)
    ticks(floor, "100.60", "101.30", every=1.5)
    floor.clock.move(5)
    floor.market.quiet_until()
    assert settle_due() == 3
    assert [again(order).status for order in (rise, path, counted)] == ["won", "won", "won"]
    sound(floor)


def test_the_same_number_of_another_instrument_changes_nothing(
    floor: Desk, operators: Operators, standing: Clock
) -> None:
    other = Market("VOL50", calendar=floor.market.instrument.calendar)
    other.tick("100.00", standing.move(0.001))
    order = place(floor, "rise_fall", "up")
    request = VoidedTick.objects.create(
        instrument=other.instrument, at=standing.at, seq=1, price=100, independent_prices=[], deviation=1,
        limit="0.005", reason="test", requested_by_id=1, requested_at=standing.at,
    )  # fmt: skip
    approve_void(request=request, actor=person("olga@example.com"), reason="seen")
    ticks(floor, "101.00", every=58)
    floor.clock.move(5)
    floor.market.quiet_until()
    assert settle_due() == 1
    assert again(order).status == "won"
    sound(floor)


@pytest.mark.parametrize("decision", ["none", "declined"])
def test_what_is_not_approved_changes_nothing(floor: Desk, operators: Operators, decision: str) -> None:
    order = place(floor, "rise_fall", "up")
    request = operators.ask(1, NOON)
    if decision == "declined":
        operators.decline(request)
    ticks(floor, "101.00", every=58)
    floor.clock.move(5)
    floor.market.quiet_until()
    assert settle_due() == 1
    assert (again(order).status, floor.balance()) == ("won", "1008.50")
    sound(floor)


# --- before and after ---------------------------------------------------------------------------------


def test_what_was_settled_before_stays_settled(floor: Desk, operators: Operators) -> None:
    """Two orders with the same entry: one closes before it is voided, one after."""
    early = place(floor, "rise_fall", "up", duration_seconds=10)
    late = place(floor, "rise_fall", "up", duration_seconds=60)
    request = operators.ask(1, NOON)
    ticks(floor, "101.00", every=9)
    floor.clock.move(1)
    floor.market.quiet_until()
    assert settle_due() == 1
    floor.clock.move(1)
    operators.approve(request)
    won = again(early)
    assert (won.status, won.payout, floor.balance()) == ("won", D("18.50"), "998.50")
    floor.clock.move(60)
    floor.market.quiet_until()
    assert settle_due() == 1
    assert again(early).closed_at == won.closed_at < request_of(request) < again(late).closed_at
    refunded(floor, late)
    assert (again(early).status, floor.balance()) == ("won", "1008.50")


def request_of(request: VoidedTick) -> datetime:
    request.refresh_from_db()
    assert request.decided_at is not None
    return request.decided_at


def test_an_order_that_should_have_been_refunded_is_named(floor: Desk, operators: Operators) -> None:
    """Deciding again does know what was voided before an order closed."""
    order = place(floor, "rise_fall", "up")
    ticks(floor, "101.00", every=58)
    floor.clock.move(5)
    floor.market.quiet_until()
    with pytest.MonkeyPatch.context() as forgetful:
        forgetful.setattr("trading.services.histories._voided", lambda batch: {})
        operators.void(1, NOON)
        assert settle_due() == 1
    (found,) = resettle(NOON.date()).differences
    assert (found.order, found.settled[:4], found.decided[:7]) == (order.pk, "won ", "voided ")


@pytest.mark.parametrize("size", [1, 5])
def test_a_batch_asks_once_what_is_voided(floor: Desk, operators: Operators, size: int) -> None:
    for _ in range(size):
        floor.place("up")
    operators.void(1, NOON)
    floor.clock.move(61)
    floor.market.quiet_until()
    with CaptureQueriesContext(connection) as seen:
        assert settle_due() == size
    assert sum("quotes_voidedtick" in each["sql"] for each in seen.captured_queries) == 1


def test_a_refund_stays_provable_when_the_day_has_left(make_desk: Callable[..., Desk]) -> None:
    """The voided exit is long before the expiry: it is kept for being voided."""
    open_days([NOON.date()])
    desk = make_desk(max_exit_age_seconds=120)
    operators = Operators(desk)
    order = desk.order(desk.place("up"))
    ticks(desk, "101.00", every=20)
    operators.void(2, desk.clock.at)
    desk.clock.move(60)
    desk.market.quiet_until()
    assert settle_due() == 1
    refunded(desk, order)
    try:
        assert drop_day(NOON.date()) == 2
        sound(desk)
    finally:
        open_days([NOON.date()])


# --- at once ------------------------------------------------------------------------------------------


@pytest.fixture
def running() -> Iterator[Floor]:
    """A market and a clock that never shows the same instant twice, for threads to meet on."""
    open_days([NOON.date()])
    with standing_clock(NOON - timedelta(seconds=1)) as stands:
        market = Market()
        market.terms(max_open_orders=10_000)
        stands.at = NOON
        market.tick("100.00")
        yield Floor(stands, market, trading_book())


def test_an_approval_meets_two_settlers(running: Floor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each order is settled before it or refunded after it, by the instants they bear."""
    monkeypatch.setattr(settlement, "BATCH", 10)
    monkeypatch.setattr(settlement, "TRICKLE", 10)
    operators = Operators(running)
    accounts = [running.account(f"customer-{number}", "10000.00") for number in range(4)]
    for number in range(200):
        place_at(accounts[number % 4], f"order-{number}", side="up" if number % 3 else "down")
    request = operators.ask(1, NOON)
    running.market.tick("101.00", running.clock.move(59))
    running.market.quiet_until(running.clock.move(5))
    some_closed, steps, base = threading.Event(), count(1), running.clock.at
    batch = settlement.settle_batch

    def settler(first_shard: int) -> int:
        closed = 0
        while Order.objects.filter(status="open").exists():
            closed += patiently(lambda: settle_due(first_shard=first_shard))
        return closed

    def counted(claim: settlement.Claim) -> int:
        size = batch(claim)
        if Order.objects.exclude(status="open").count() >= 20:
            some_closed.set()
        return size

    monkeypatch.setattr(settlement, "settle_batch", counted)

    def approver() -> datetime:
        assert some_closed.wait(60)
        return patiently(lambda: operators.approve(request))

    with clock.ticking(lambda: base + timedelta(microseconds=next(steps))):
        doors: list[Callable[[], Any]] = [lambda: settler(0), lambda: settler(8), approver]
        results = at_once(3, lambda number: doors[number]())
    assert results[0] + results[1] == 200, results
    decided_at = results[2]
    assert decided_at == request_of(request)
    before = Order.objects.filter(closed_at__lt=decided_at)
    after = Order.objects.filter(closed_at__gt=decided_at)
    assert before.count() + after.count() == 200
    assert before.count() >= 20
    assert after.count() >= 20
    assert set(before.values_list("side", "status")) == {("up", "won"), ("down", "lost")}
    assert set(after.values_list("status", "refund_reason")) == {("refunded", "voided")}
    assert_settled_once()
    assert_sound(running.book)
    report = resettle(NOON.date())
    assert (report.orders, report.differences) == (200, [])
