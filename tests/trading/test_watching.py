"""The risk watcher acts on what is nearly used up, tells it, and puts things right when calm has returned."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import ROUND_FLOOR, Decimal
from typing import Any

import pytest
from django.db import OperationalError, connections, transaction

from config.core import clock
from config.core.errors import Invalid
from config.core.models import AuditEntry, Fact
from kyc.models import Jurisdiction
from payments.ledger.models import Account
from quotes.services import open_days
from tests.market import NOON, fund, funded_account, trading_book
from tests.trading.conftest import Desk
from tests.trading.test_contract_orders import moves, ticks
from tests.trading.test_exposure import limit, refused
from trading.models import BookTerms, Curb, PayoutRate, RiskAlert
from trading.rules import house_level, level
from trading.selectors import worst_case
from trading.services import (
    lift_curb,
    lift_risk_limit,
    recalculate_payouts,
    set_floor,
    set_payout_rate,
    set_risk_limit,
    settle_due,
    watch_risk,
)

D = Decimal


@pytest.fixture
def desk(db: None, make_desk: Callable[..., Desk]) -> Desk:
    """Alice with 1,000.00 of real money."""
    return real(make_desk())


def real(desk: Desk) -> Desk:
    Jurisdiction.objects.update_or_create(
        country="AE", defaults={"allows_real": True, "licence_reference": "TEST"}
    )
    desk.account = funded_account(desk.alice.pk, trading_book("money", kind="real"), "1000.00")
    return desk


@pytest.mark.parametrize(
    ("used", "most", "least", "found"),
    [
        ("69.99", "100", "1", "calm"),
        ("70", "100", "1", "watched"),
        ("79.99", "100", "1", "watched"),
        ("80", "100", "1", "alerted"),
        ("89.99", "100", "1", "alerted"),
        ("90", "100", "1", "lowered"),
        ("99", "100", "1", "lowered"),
        ("99.01", "100", "1", "stopped"),
        ("120", "100", "0", "stopped"),
        ("5", "10", "6", "stopped"),
        ("0", "0", "1", "calm"),
    ],
)
def test_levels(used: str, most: str, least: str, found: str) -> None:
    assert level(D(used), D(most), D(least)) == found


@pytest.mark.parametrize(("held", "found"), [("99.99", "stopped"), ("100", "watched"), ("110", "calm")])
def test_levels_of_a_house(held: str, found: str) -> None:
    assert house_level(D(held), D(100)) == found


def curbs() -> list[tuple[str, str, bool]]:
    now = clock.now()
    return [
        (each.effect, each.side, each.ends_at is None or each.ends_at > now)
        for each in Curb.objects.order_by("id")
    ]


def rate(desk: Desk) -> str:
    return f"{PayoutRate.objects.filter(instrument=desk.market.instrument).latest('id').rate.normalize():f}"


def held(desk: Desk, **named: Any) -> None:
    """Limit the up side to a profit of 85: a stake of 100 uses it up."""
    limit(desk, "85.00", **{"instrument": desk.market.instrument, "side": "up", **named})


def test_step_by_step_up_and_down_again(desk: Desk) -> None:
    held(desk)
    desk.place("up", "79.00")
    assert watch_risk() == 0
    desk.place("up", "1.00")
    assert watch_risk() == 1
    (alert,) = RiskAlert.objects.all()
    assert (alert.used, alert.highest, alert.most, curbs()) == (D("68.00"), D("68.00"), D("85.00"), [])
    assert watch_risk() == 0
    desk.place("up", "10.00")
    assert watch_risk() == 1
    assert (curbs(), rate(desk)) == ([("lower_payouts", "up", True)], "0.75")
    desk.place("up", "11.33")  # at 0.75: 8.49; with it 84.99 of 85.00 are used
    assert watch_risk() == 1
    assert curbs() == [("lower_payouts", "up", True), ("stop_orders", "up", True)]
    alert.refresh_from_db()
    assert alert.highest == D("84.99")
    assert refused(lambda: desk.place("up", "1.00")).code == "trading_stopped"
    desk.place("down", "1.00")
    assert watch_risk() == 0
    ticks(desk, "101.00", every=60)
    assert settle_due() == 5
    assert watch_risk() == 3
    alert.refresh_from_db()
    assert alert.closed_at == desk.clock.at
    assert curbs() == [("lower_payouts", "up", False), ("stop_orders", "up", False)]
    assert rate(desk) == "0.85"
    desk.market.tick("101.00")
    desk.place("up", "10.00")
    assert list(
        AuditEntry.objects.filter(action__in=["risk.alerted", "risk.calmed", "curb.set", "curb.lifted"])
        .order_by("id")
        .values_list("action", "actor_name", "reason")
    ) == [
        ("risk.alerted", "system", ""),
        ("curb.set", "system", f"90% of limit {alert.limit_id} used"),
        ("curb.set", "system", f"100% of limit {alert.limit_id} used"),
        ("curb.lifted", "system", "calm again"),
        ("curb.lifted", "system", "calm again"),
        ("risk.calmed", "system", "calm again"),
    ]
    (told,) = Fact.objects.filter(name="risk.alerted")
    assert (told.topic, told.payload["used"], told.payload["most"]) == ("operators", "68.00", "85.00")


def test_what_an_operator_lifted_stays_lifted_while_the_alert_lasts(desk: Desk) -> None:
    held(desk)
    desk.place("up", "90.00")
    assert watch_risk() == 2
    assert lift_curb(curb=Curb.objects.get(), actor=desk.alice, reason="I know") is True
    assert rate(desk) == "0.85"
    assert watch_risk() == 0
    assert curbs() == [("lower_payouts", "up", False)]
    ticks(desk, "101.00", every=60)
    settle_due()
    assert watch_risk() == 1
    desk.market.tick("101.00")
    desk.place("up", "95.00")
    assert watch_risk() == 2
    assert curbs() == [("lower_payouts", "up", False), ("lower_payouts", "up", True)]


def test_the_sum_over_a_book_stops_the_book(desk: Desk) -> None:
    limit(desk, "85.00")
    desk.place("up", "60.00")
    desk.place("down", "40.00")
    assert watch_risk() == 3
    assert curbs() == [("lower_payouts", "", True), ("stop_orders", "", True)]
    assert refused(lambda: desk.place("down", "1.00")).code == "trading_stopped"


def test_an_ended_limit_calms_its_alert(desk: Desk) -> None:
    held(desk)
    desk.place("up", "90.00")
    watch_risk()
    lift_risk_limit(limit=RiskAlert.objects.get().limit, actor=desk.alice, reason="a new one comes")
    assert watch_risk() == 2
    assert (RiskAlert.objects.filter(closed_at=None).count(), rate(desk)) == (0, "0.85")


def test_the_worst_case_nets_one_strike_and_one_end_alone(db: None, make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(contracts=["rise_fall", "higher_lower", "touch"])
    moves(desk)
    book = desk.account.book
    assert worst_case(book) == 0
    desk.place("up", "100.00")
    assert worst_case(book) == D("85.00")
    desk.place("down", "30.00")  # the same strike and end: up wins 85 and down's 30 stay
    assert worst_case(book) == D("55.00")
    desk.place("down", "400.00")  # now down is the worse: 365.50 less the 100 of up
    assert worst_case(book) == D("265.50")
    desk.place("down", "10.00", duration_seconds=61)
    assert worst_case(book) == D("274.00")
    desk.clock.move(1)
    desk.market.tick("100.50")
    desk.place("up", "10.00", expires_at=NOON + timedelta(seconds=60))  # another strike: both can be won
    assert worst_case(book) == D("282.50")
    higher = desk.place("up", "10.00", contract="higher_lower", barrier="+0.50")
    won = D(higher.order.payout_rate) * 10
    assert worst_case(book) == D("282.50") + won.quantize(D("0.01"), ROUND_FLOOR)


def test_equal_sides_at_one_strike_are_no_risk(desk: Desk) -> None:
    desk.place("up", "100.00")
    desk.place("down", "100.00")
    assert worst_case(desk.account.book) == 0


def test_a_house_below_its_floor_takes_no_orders(desk: Desk) -> None:
    terms = BookTerms.objects.get(book=desk.account.book)
    house = Account.objects.get(book=desk.account.book, owner=None, code="house")
    fund(house, "100.00")
    set_floor(terms=terms, floor=D("20.00"), actor=desk.alice, reason="what we can lose")
    assert watch_risk() == 0
    placed = desk.place("up", "100.00")
    ticks(desk, "101.00", every=60)
    assert settle_due() == 1
    assert desk.order(placed).payout == D("185.00")
    assert watch_risk() == 2
    (alert,) = RiskAlert.objects.all()
    assert (alert.limit, alert.most, alert.used) == (None, D("20.00"), D("15.00"))
    assert Curb.objects.get().comment == "the house holds 15.00 and its floor is 20.00"
    desk.market.tick("101.00")
    assert refused(lambda: desk.place("up", "1.00")).code == "trading_stopped"
    fund(house, "6.00")  # above the floor, not yet a tenth above it
    assert watch_risk() == 0
    fund(house, "1.00")
    assert watch_risk() == 2
    desk.place("up", "1.00")
    set_floor(terms=terms, floor=None, actor=desk.alice, reason="no floor")
    assert watch_risk() == 0
    assert list(
        AuditEntry.objects.filter(action="floor.set")
        .order_by("id")
        .values_list("before__floor", "after__floor")
    ) == [(None, "20.00"), ("20.00000000", None)]


@pytest.mark.parametrize("floor", ["0", "-1"])
def test_a_floor_is_above_zero(desk: Desk, floor: str) -> None:
    terms = BookTerms.objects.get(book=desk.account.book)
    with pytest.raises(Invalid):
        set_floor(terms=terms, floor=D(floor), actor=desk.alice, reason="nothing to lose")
    terms.refresh_from_db()
    assert terms.floor is None


def test_a_limit_of_demo_money_lowers_nobody_elses_payout(desk: Desk) -> None:
    demo = funded_account(desk.alice.pk, trading_book("playground"), "1000.00")
    set_risk_limit(
        book=demo.book,
        most=D("85.00"),
        actor=desk.alice,
        comment="x",
        instrument=desk.market.instrument,
        side="up",
    )
    desk.place("up", "90.00", account=demo.pk)
    assert watch_risk() == 2
    assert (rate(desk), desk.place("up", "1.00").order.payout_rate) == ("0.85", "0.85")


def test_the_operators_rate_is_lowered_at_once_where_payouts_are(desk: Desk) -> None:
    held(desk)
    desk.place("up", "90.00")
    watch_risk()
    set_payout_rate(
        instrument=desk.market.instrument, rate=D("0.86"), actor=desk.alice, reason="a better one"
    )
    assert rate(desk) == "0.76"


@pytest.mark.django_db(transaction=True, databases=["default", "owner"])
def test_a_locked_instrument_blinds_no_house_and_no_other_limit(make_desk: Callable[..., Desk]) -> None:
    open_days([NOON.date()])
    desk = real(make_desk())
    house = Account.objects.get(book=desk.account.book, owner=None, code="house")
    fund(house, "15.00")
    set_floor(
        terms=BookTerms.objects.get(book=desk.account.book), floor=D("20.00"), actor=desk.alice, reason="x"
    )
    held(desk)
    desk.place("up", "90.00")
    with transaction.atomic(using="owner"), connections["owner"].cursor() as cursor:
        cursor.execute("SELECT FROM quotes_instrument FOR NO KEY UPDATE")
        with pytest.raises(OperationalError):
            watch_risk()
    assert curbs() == [("stop_orders", "", True), ("lower_payouts", "up", True)]
    assert rate(desk) == "0.85"
    assert recalculate_payouts() == 1  # as the beat does
    assert rate(desk) == "0.75"


@pytest.mark.django_db(transaction=True, databases=["default", "owner"])
def test_many_watchers_act_once(make_desk: Callable[..., Desk]) -> None:
    open_days([NOON.date()])
    desk = real(make_desk())
    held(desk)
    desk.place("up", "99.99")

    def watch(_: int) -> int:
        try:
            return watch_risk()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(watch, range(6))) == 3
    assert (RiskAlert.objects.count(), len(curbs())) == (1, 2)
    assert AuditEntry.objects.filter(action__in=["risk.alerted", "curb.set"]).count() == 3
