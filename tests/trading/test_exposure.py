"""What is at stake is counted exactly, and limits hold at the moment of placing, whoever comes at once."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connections
from django.db.models import F

from config.core.errors import DomainError, Invalid
from config.core.models import AuditEntry
from kyc.models import Jurisdiction
from payments.ledger.checks import check_ledger
from payments.ledger.models import Account
from quotes.services import open_days
from tests.market import NOON, funded_account, person, trading_book
from tests.trading.conftest import Desk
from tests.trading.test_contract_orders import moves, simulate, ticks
from trading.checks import exposure_is_that_of_open_orders
from trading.models import CustomerLimits, Exposure, Order, RiskLimit, Tally
from trading.rules import KINDS
from trading.services import (
    lift_risk_limit,
    sell_order,
    set_customer_limits,
    set_risk_limit,
    settle_due,
)

D = Decimal


def exposure(desk: Desk) -> dict[str, tuple[int, str, str]]:
    return {
        row.side: (row.open_orders, f"{row.stakes:.2f}", f"{row.profit:.2f}")
        for row in Exposure.objects.filter(instrument=desk.market.instrument)
    }


def refused(place: Callable[[], Any]) -> DomainError:
    orders, sums = Order.objects.count(), list(Exposure.objects.order_by("id").values())
    balances = list(Account.objects.order_by("id").values("id", "balance", "version"))
    with pytest.raises(DomainError) as caught:
        place()
    assert Order.objects.count() == orders
    assert list(Exposure.objects.order_by("id").values()) == sums
    assert list(Account.objects.order_by("id").values("id", "balance", "version")) == balances
    return caught.value


# --- exposure -----------------------------------------------------------------------------------------


def test_what_is_open_adds_up(desk: Desk) -> None:
    desk.place("up", "10.00")
    desk.place("up", "1.01")  # 0.8585, rounded down as it would be paid
    desk.place("down", "20.00")
    assert exposure(desk) == {"up": (2, "11.01", "9.35"), "down": (1, "20.00", "17.00")}
    ticks(desk, "101.00", every=60)
    assert settle_due() == 3
    assert exposure(desk) == {"up": (0, "0.00", "0.00"), "down": (0, "0.00", "0.00")}


def test_a_sale_lowers_it(db: None, make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(offers_sale=True)
    moves(desk)
    placed = desk.place("up", "10.00")
    desk.place("up", "5.00")
    ticks(desk, "100.50", every=30)
    sell_order(customer_id=desk.alice.pk, order_id=placed.order.id, client_id="sale")
    assert exposure(desk) == {"up": (1, "5.00", "4.25")}


def test_books_are_counted_apart(desk: Desk) -> None:
    desk.place("up", "10.00")
    other = funded_account(desk.alice.pk, trading_book("second"), "100.00")
    desk.place("up", "7.00", account=other.pk)
    assert sorted(f"{row.stakes:.2f}" for row in Exposure.objects.all()) == ["10.00", "7.00"]


@pytest.mark.django_db(transaction=True, databases=["default", "owner"])
def test_the_check_names_what_does_not_add_up(make_desk: Callable[..., Desk]) -> None:
    open_days([NOON.date()])
    desk = make_desk()
    desk.place("up", "10.00")
    assert list(exposure_is_that_of_open_orders()) == []
    assert check_ledger(whole=True).differences == []
    Exposure.objects.update(profit=9, open_orders=2)
    (found,) = exposure_is_that_of_open_orders()
    assert (found.book, found.expected, found.found) == (
        "practice",
        "1 orders, stakes 10.00, profit 8.50",
        "2 orders, stakes 10.00, profit 9.00",
    )
    assert found.what == f"exposure of up of instrument {desk.market.instrument.pk}"


# --- limits of the house ------------------------------------------------------------------------------


def limit(desk: Desk, most: str, **covers: Any) -> RiskLimit:
    return set_risk_limit(
        book=desk.account.book, most=D(most), actor=desk.alice, comment="a quiet week", **covers
    )


def test_a_side_is_limited_exactly(desk: Desk) -> None:
    limit(desk, "17.00", instrument=desk.market.instrument, side="up")
    desk.place("up", "10.00")
    found = refused(lambda: desk.place("up", "10.02"))
    assert (found.code, found.detail) == (
        "exposure_limit",
        "On up of VOL100 we take at most 10.00 USD now; you asked for 10.02.",
    )
    assert (found.details["largest_stake"], found.details["stake"]) == ("10.00", "10.02")
    desk.place("up", "10.00")
    full = refused(lambda: desk.place("up", "1.00"))
    assert (full.detail, full.details["largest_stake"]) == (
        "On up of VOL100 we take nothing more now; you asked for 1.00.",
        None,
    )
    desk.place("down", "100.00")
    ticks(desk, "101.00", every=60)
    settle_due()
    desk.place("up", "20.00")


@pytest.mark.parametrize(
    "covers",
    [
        {},
        {"instrument_class": "volatility"},
        {"side": "up"},
        {"instrument_class": "volatility", "side": "up"},
    ],
)
def test_sums_are_limited(desk: Desk, covers: dict[str, str]) -> None:
    limit(desk, "17.00", **covers)
    desk.place("up", "20.00")
    assert refused(lambda: desk.place("up", "1.00")).code == "exposure_limit"
    if "side" in covers:
        desk.place("down", "1.00")
    else:
        assert refused(lambda: desk.place("down", "1.00")).code == "exposure_limit"


@pytest.mark.parametrize("covers", [{"instrument_class": "fx"}, {"side": "down"}])
def test_what_a_limit_does_not_cover(desk: Desk, covers: dict[str, str]) -> None:
    limit(desk, "0", **covers)
    desk.place("up", "20.00")


def test_a_limit_of_another_book(desk: Desk) -> None:
    set_risk_limit(book=trading_book("second"), most=D(0), actor=desk.alice, comment="test")
    desk.place("up", "20.00")


def test_a_limit_holds_for_its_time(desk: Desk) -> None:
    made = limit(desk, "0", ends_at=desk.clock.at + timedelta(seconds=2))
    assert refused(lambda: desk.place("up", "20.00")).code == "exposure_limit"
    desk.clock.move(2)
    desk.place("up", "20.00")
    assert lift_risk_limit(limit=made, actor=desk.alice, reason="over") is False


def test_a_lifted_limit(desk: Desk) -> None:
    made = limit(desk, "0")
    assert lift_risk_limit(limit=made, actor=desk.alice, reason="all calm") is True
    desk.place("up", "20.00")
    assert lift_risk_limit(limit=made, actor=desk.alice, reason="again") is False
    assert list(
        AuditEntry.objects.filter(action__startswith="risk").order_by("id").values_list("action", "reason")
    ) == [
        ("risk_limit.set", "a quiet week"),
        ("risk_limit.lifted", "all calm"),
    ]


@pytest.mark.parametrize(
    "given",
    [
        {"most": D("0.001")},
        {"most": D(-1)},
        {"side": "sideways"},
        {"ends_at": "past"},
        {"instrument": "theirs", "instrument_class": "fx"},
    ],
)
def test_a_limit_that_makes_no_sense(desk: Desk, given: dict[str, Any]) -> None:
    if given.get("ends_at"):
        given = {"ends_at": desk.clock.at}
    if given.get("instrument"):
        given = {**given, "instrument": desk.market.instrument}
    with pytest.raises(Invalid):
        set_risk_limit(
            **{"book": desk.account.book, "most": D(1), "actor": desk.alice, "comment": "x", **given}
        )
    assert not RiskLimit.objects.exists()


@pytest.mark.django_db(transaction=True, databases=["default", "owner"])
def test_with_room_for_k_exactly_k_are_taken(make_desk: Callable[..., Desk]) -> None:
    """Forty customers at once, on a side with room for seven."""
    open_days([NOON.date()])
    desk = make_desk()
    book = desk.account.book
    limit(desk, "59.50", instrument=desk.market.instrument, side="up")
    accounts = [desk.account]
    for number in range(39):
        accounts.append(funded_account(person(f"c{number}@example.com").pk, book, "100.00"))

    def place(number: int) -> str:
        account = accounts[number]
        try:
            desk_of = Desk(desk.clock, desk.market, account.owner, account, iter([number]))
            return str(desk_of.place("up", "10.00").order.status)
        except DomainError as found:
            return found.code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(place, range(40)))
    assert (answers.count("open"), answers.count("exposure_limit")) == (7, 33)
    assert exposure(desk) == {"up": (7, "70.00", "59.50")}
    assert check_ledger(whole=True).differences == []


# --- tallies ------------------------------------------------------------------------------------------


def test_a_day_of_an_account(db: None, make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(offers_sale=True)
    moves(desk)
    for side, stake in (("up", "10.00"), ("up", "5.00"), ("down", "20.00")):
        desk.place(side, stake)
    ticks(desk, "101.00", every=60)
    settle_due()
    desk.place("up", "3.00", duration_seconds=20)
    desk.clock.move(20)
    desk.market.quiet_until()
    settle_due()  # nothing came: the stake is back
    ticks(desk, "101.00")
    sold = desk.place("up", "10.00")
    ticks(desk, "101.51", every=30)
    price = sell_order(customer_id=desk.alice.pk, order_id=sold.order.id, client_id="sale").order.payout
    tally = Tally.objects.get()
    assert (tally.orders, tally.won, tally.lost, tally.refunded, tally.sold) == (5, 2, 1, 1, 1)
    assert f"{tally.turnover:.2f}" == "45.00"
    assert tally.profit == D("12.75") - 20 + D(price or 0) - 10
    assert (tally.account_id, tally.instrument_id, tally.day.isoformat()) == (
        desk.account.pk,
        desk.market.instrument.pk,
        "2030-01-15",
    )
    assert f"{1000 + tally.profit:.2f}" == desk.balance()


# --- the customer's own limits ------------------------------------------------------------------------


@pytest.fixture
def real(db: None, make_desk: Callable[..., Desk]) -> Desk:
    """Alice with an account of real money in each of two books."""
    Jurisdiction.objects.update_or_create(
        country="AE", defaults={"allows_real": True, "licence_reference": "TEST"}
    )
    desk = make_desk()
    desk.account = funded_account(desk.alice.pk, trading_book("money", kind="real"), "100.00")
    return desk


def test_a_daily_loss_counts_what_is_lost_and_what_is_open(real: Desk) -> None:
    set_customer_limits(customer=real.alice, max_daily_loss=D("30.00"))
    real.place("down", "10.00")
    ticks(real, "101.00", every=60)
    settle_due()  # lost 10
    real.place("up", "15.00")  # open 15
    found = refused(lambda: real.place("up", "5.01"))
    assert (found.code, found.detail) == (
        "own_limit_reached",
        "Your own limit is to lose at most 30.00 USD a day; today's losses and open stakes are 25.00, and "
        "this order would add 5.01.",
    )
    real.place("up", "5.00")
    ticks(real, "102.00", every=60)
    settle_due()  # won 17: the day's net is +7
    real.place("up", "37.00")
    assert refused(lambda: real.place("up", "1.00")).code == "own_limit_reached"


def test_a_daily_loss_is_over_all_his_accounts_of_real_money(real: Desk) -> None:
    set_customer_limits(customer=real.alice, max_daily_loss=D("30.00"))
    second = funded_account(real.alice.pk, trading_book("money-2", kind="real"), "100.00")
    real.place("up", "20.00")
    assert refused(lambda: real.place("up", "10.01", account=second.pk)).code == "own_limit_reached"
    real.place("up", "10.00", account=second.pk)
    practice = Account.objects.get(owner=real.alice, book__code="practice")
    real.place("up", "500.00", account=practice.pk)


def test_a_new_day_begins_anew(real: Desk) -> None:
    set_customer_limits(customer=real.alice, max_daily_loss=D("10.00"))
    real.place("down", "10.00")
    ticks(real, "101.00", every=60)
    settle_due()
    assert refused(lambda: real.place("up", "1.00")).code == "own_limit_reached"
    Tally.objects.update(day=F("day") - timedelta(days=1))
    real.place("up", "10.00")


def test_the_largest_stake_and_the_most_orders(real: Desk) -> None:
    set_customer_limits(customer=real.alice, max_stake=D("20.00"), max_open_orders=2)
    found = refused(lambda: real.place("up", "20.01"))
    assert (found.code, found.detail) == (
        "own_limit_reached",
        "Your own limit is 20.00 USD an order; this one is 20.01.",
    )
    real.place("up", "20.00")
    real.place("up", "1.00")
    found = refused(lambda: real.place("up", "1.00"))
    assert (found.code, found.details["max_open_orders"]) == ("too_many_open_orders", 2)
    practice = Account.objects.get(owner=real.alice, book__code="practice")
    real.place("up", "500.00", account=practice.pk)


def test_the_newest_limits_are_in_force(real: Desk) -> None:
    set_customer_limits(customer=real.alice, max_stake=D("5.00"))
    set_customer_limits(customer=real.alice)
    real.place("up", "50.00")
    assert CustomerLimits.objects.count() == 2
    assert AuditEntry.objects.filter(action="customer_limits.set").count() == 2


@pytest.mark.django_db(transaction=True, databases=["default", "owner"])
def test_a_daily_loss_holds_on_two_accounts_at_once(make_desk: Callable[..., Desk]) -> None:
    open_days([NOON.date()])
    Jurisdiction.objects.update_or_create(
        country="AE", defaults={"allows_real": True, "licence_reference": "TEST"}
    )
    desk = make_desk(contracts=list(KINDS))
    simulate(desk)
    books = [trading_book(f"money-{number}", kind="real") for number in range(2)]
    accounts = [funded_account(desk.alice.pk, book, "1000.00") for book in books]
    set_customer_limits(customer=desk.alice, max_daily_loss=D("50.00"))

    def place(number: int) -> str:
        mine = Desk(desk.clock, desk.market, desk.alice, accounts[number % 2], iter([number]))
        try:
            return str(mine.place("up", "10.00").order.status)
        except DomainError as found:
            return found.code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(place, range(30)))
    assert (answers.count("open"), answers.count("own_limit_reached")) == (5, 25)
