"""Early sale: a fair price or a clear refusal, once, and never both sold and settled."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connections

from config.core.errors import DomainError
from config.core.models import Fact
from payments.ledger.checks import check_ledger
from payments.ledger.models import Transfer
from quotes.models import Gap, VoidedTick
from quotes.services import open_days, record_gap
from tests.market import NOON, person
from tests.trading.conftest import Desk
from tests.trading.test_contract_orders import moves, ticks
from trading.models import Order, VolatilityEstimate
from trading.rules import KINDS
from trading.services import sale_offer, sell_order, settle_due

D = Decimal
TERMS = {"contracts": list(KINDS), "max_duration_ticks": 20, "offers_sale": True, "sell_margin": D("0.05")}


@pytest.fixture
def floor(db: None, make_desk: Callable[..., Desk]) -> Desk:
    desk = make_desk(**TERMS)
    moves(desk)
    return desk


def sell(desk: Desk, order: Any, client_id: str = "sale", **asked: Any) -> Any:
    return sell_order(customer_id=desk.alice.pk, order_id=order.pk, client_id=client_id, **asked)


def refusal(desk: Desk, order: Any, **asked: Any) -> DomainError:
    before = desk.balance()
    with pytest.raises(DomainError) as caught:
        sell(desk, order, **asked)
    order.refresh_from_db()
    assert (desk.balance(), order.sale) == (before, None)
    return caught.value


def test_a_leading_order_is_sold_for_more_than_its_stake(floor: Desk) -> None:
    order = floor.order(floor.place("up", "10.00"))
    ticks(floor, "100.50", every=30)
    # Half of 60 s left, 0.5 % in the money at a deviation of 0.5477 %: won with 0.81560, a tie with 0.00482;
    # 0.81560 × 18.50 + 0.00482 × 10 = 15.1369, less 5 %.
    sold = sell(floor, order)
    order.refresh_from_db()
    assert (order.status, f"{order.payout:.2f}") == ("sold", "14.38")
    assert (sold.order.status, sold.order.payout, sold.order.exit.price) == ("sold", "14.38", "100.50")
    assert floor.balance() == "1004.38"
    moved = [(t.code, f"{t.amount:.2f}", t.source.code, t.destination.code) for t in moved_by(order)]
    assert moved == [
        ("stake", "10.00", "customer", "escrow"),
        ("sold", "10.00", "escrow", "customer"),
        ("profit", "4.38", "house", "customer"),
    ]


def moved_by(order: Order) -> list[Transfer]:
    found = list(Transfer.objects.filter(reference=str(order.pk)))
    return sorted(found, key=lambda t: ["stake", "sold", "stake_lost", "profit"].index(t.code))


def test_a_trailing_order_gives_part_of_its_stake_back(floor: Desk) -> None:
    order = floor.order(floor.place("up", "10.00"))
    ticks(floor, "99.50", every=30)
    sell(floor, order)
    order.refresh_from_db()
    assert f"{order.payout:.2f}" == "3.15"
    assert floor.balance() == "993.15"
    moved = [(t.code, f"{t.amount:.2f}", t.source.code, t.destination.code) for t in moved_by(order)]
    assert moved == [
        ("stake", "10.00", "customer", "escrow"),
        ("sold", "3.15", "escrow", "customer"),
        ("stake_lost", "6.85", "escrow", "house"),
    ]


def test_what_is_told_of_a_sale(floor: Desk) -> None:
    order = floor.order(floor.place("up", "10.00"))
    ticks(floor, "100.50", every=30)
    sell(floor, order)
    sold, changed = Fact.objects.order_by("-id")[:2][::-1]
    assert (sold.name, changed.name) == ("order.sold", "account.changed")
    assert sold.payload["order"]["payout"] == "14.38"
    assert (changed.payload["balance"], changed.payload["version"], changed.payload["from_version"]) == (
        "1004.38",
        4,
        2,
    )
    order.refresh_from_db()
    assert order.sale == {
        "probability": pytest.approx(0.8156015, abs=1e-6),
        "tie_probability": pytest.approx(0.0048236, abs=1e-6),
        "volatility": VolatilityEstimate.objects.get().pk,
        "margin": "0.05",
        "terms": 1,
        "at": "2030-01-15T12:00:30.000000Z",
        "min_price": None,
    }


@pytest.mark.parametrize(
    ("contract", "side", "asked"),
    [
        ("higher_lower", "down", {"barrier": "+0.50"}),
        ("ends_between", "in", {"low": "-1.00", "high": "+1.00"}),
        ("ends_between", "out", {"low": "-1.00", "high": "+1.00"}),
    ],
)
def test_at_its_own_entry_a_sale_costs_about_both_margins(
    floor: Desk, contract: str, side: str, asked: dict[str, str]
) -> None:
    order = floor.order(floor.place(side, "100.00", contract=contract, duration_seconds=3600, **asked))
    ticks(floor, "100.00", every=5)
    _, offer = sale_offer(customer_id=floor.alice.pk, order_id=order.pk)
    assert float(offer.price) == pytest.approx(100 * 0.95 * 0.95, abs=0.6)


def test_a_repeat_answers_as_before(floor: Desk) -> None:
    order = floor.order(floor.place("up"))
    ticks(floor, "100.50", every=30)
    first = sell(floor, order)
    ticks(floor, "120.00")
    again = sell(floor, order)
    assert (again.order, again.is_replayed, first.is_replayed) == (first.order, True, False)
    assert floor.balance() == "1004.38"
    with pytest.raises(DomainError) as caught:
        sell(floor, order, client_id="another")
    assert (caught.value.code, caught.value.details) == ("order_closed", {"order_status": "sold"})


def test_a_repeat_that_asks_for_another_price_is_another_command(floor: Desk) -> None:
    order = floor.order(floor.place("up"))
    ticks(floor, "100.50", every=30)
    sell(floor, order, min_price="14.00")
    assert sell(floor, order, min_price="14.00").is_replayed is True
    for other in (None, "14.01"):
        with pytest.raises(DomainError) as caught:
            sell(floor, order, min_price=other)
        assert caught.value.code == "idempotency_mismatch"
    assert floor.balance() == "1004.38"


def test_the_price_guard(floor: Desk) -> None:
    order = floor.order(floor.place("up"))
    ticks(floor, "100.50", every=30)
    found = refusal(floor, order, min_price="14.39")
    assert (found.code, found.detail) == (
        "sale_price_changed",
        "You asked for at least 14.39 USD; the order is worth 14.38 now.",
    )
    assert refusal(floor, order, min_price="x").code == "invalid"
    assert sell(floor, order, min_price="14.38").order.payout == "14.38"


def test_not_too_near_either_end(floor: Desk) -> None:
    order = floor.order(floor.place("up", duration_seconds=60))
    ticks(floor, "100.10", every=4.9)
    assert refusal(floor, order).detail == "An order can be sold from 5 s after its entry."
    ticks(floor, "100.10", every=50.2)
    assert refusal(floor, order).detail == "An order can be sold until 5 s before its end."


@pytest.mark.parametrize(
    ("contract", "side", "asked"),
    [
        ("touch", "touch", {"barrier": "+0.50"}),
        ("stays_between", "in", {"low": "-1", "high": "+1"}),
        ("rise_fall", "up", {"duration_ticks": 20, "duration_seconds": None}),
    ],
)
def test_what_runs_to_its_end(floor: Desk, contract: str, side: str, asked: dict[str, Any]) -> None:
    order = floor.order(floor.place(side, contract=contract, **asked))
    ticks(floor, "100.10", every=10)
    assert refusal(floor, order).code == "sale_not_offered"


def test_terms_that_offer_none(db: None, make_desk: Callable[..., Desk]) -> None:
    desk = make_desk()
    moves(desk)
    order = desk.order(desk.place("up"))
    ticks(desk, "100.10", every=10)
    assert refusal(desk, order).code == "sale_not_offered"


def test_no_sale_on_a_stale_price(floor: Desk) -> None:
    order = floor.order(floor.place("up"))
    ticks(floor, "100.10", every=10)
    floor.clock.move(floor.market.instrument.max_quote_age_ms / 1000 + 0.1)
    assert refusal(floor, order).code == "price_stale"


def test_no_sale_while_suspended_nor_without_an_estimate(floor: Desk) -> None:
    order = floor.order(floor.place("up"))
    ticks(floor, "100.10", every=10)
    moves(floor, age_seconds=601)
    assert refusal(floor, order).code == "sale_not_offered"
    moves(floor)
    floor.market.instrument.is_suspended = True
    floor.market.instrument.save()
    assert refusal(floor, order).code == "sale_not_offered"


@pytest.mark.parametrize("seq", [1, 2])
def test_no_sale_on_a_voided_tick(floor: Desk, seq: int) -> None:
    order = floor.order(floor.place("up"))
    ticks(floor, "100.10", every=10)
    other = person("oscar@example.com")
    VoidedTick.objects.create(
        instrument=floor.market.instrument,
        at=floor.clock.at,
        seq=seq,
        price=D("100"),
        independent_prices=[],
        deviation=D(1),
        limit=D("0.005"),
        reason="far off",
        requested_by_id=floor.alice.pk,
        requested_at=floor.clock.at,
        state="approved",
        decided_by_id=other.pk,
        decided_at=floor.clock.at,
    )
    assert refusal(floor, order).code == "sale_not_offered"


def test_no_sale_across_two_sources(floor: Desk) -> None:
    order = floor.order(floor.place("up"))
    ticks(floor, "100.10", every=5)
    record_gap(
        instrument_id=floor.market.instrument.pk,
        ends_at=floor.clock.move(1),
        reason=Gap.Reason.SOURCE_CHANGED,
    )
    ticks(floor, "101.00", every=1)
    assert refusal(floor, order).code == "sale_not_offered"


def test_no_sale_while_the_source_lags(floor: Desk) -> None:
    order = floor.order(floor.place("up"))
    ticks(floor, "100.10", every=10)
    late = floor.market.instrument.max_source_lag_ms + 1
    floor.market.append(until=floor.clock.move(0.1), lag_ms=late)
    assert refusal(floor, order).code == "price_stale"


def test_nobody_sells_what_is_anothers(floor: Desk) -> None:
    order = floor.order(floor.place("up"))
    ticks(floor, "100.10", every=10)
    with pytest.raises(DomainError) as caught:
        sell_order(customer_id=floor.alice.pk + 1, order_id=order.pk, client_id="mine")
    assert caught.value.code == "order_missing"


def test_a_closed_order_is_not_sold(floor: Desk) -> None:
    order = floor.order(floor.place("up", duration_seconds=20))
    ticks(floor, "100.10", every=20)
    settle_due()
    with pytest.raises(DomainError) as caught:
        sell(floor, order)
    assert (caught.value.code, caught.value.details) == ("order_closed", {"order_status": "won"})


@pytest.mark.django_db(transaction=True, databases=["default", "owner"])
def test_either_sold_or_settled(make_desk: Callable[..., Desk]) -> None:
    """Sellers and settlers meet on the same orders, at an instant at which both may have them."""
    open_days([NOON.date()])
    desk = make_desk(**TERMS, sell_cutoff_seconds=0)
    moves(desk)
    orders = [desk.order(desk.place("up", "10.00", duration_seconds=60)) for _ in range(40)]
    ticks(desk, "100.50", every=59.9)
    due = desk.clock.at + timedelta(seconds=0.1)
    desk.market.quiet_until(due)  # the watermark is there, the clock is not yet past the expiry

    def seller(order: Order) -> str:
        try:
            return str(sell(desk, order).order.status)
        except DomainError as refused:
            return refused.code
        finally:
            connections.close_all()

    def settler(_: int) -> str:
        try:
            desk.clock.at = due
            return f"settled {settle_due()}"
        finally:
            connections.close_all()

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(seller, orders[:5]))
        mixed = [pool.submit(seller, order) for order in orders[5:10]]
        settled = [pool.submit(settler, number) for number in range(4)]
        mixed += [pool.submit(seller, order) for order in orders[10:]]
        answers += [each.result() for each in mixed]
        assert sum(int(each.result().split()[1]) for each in settled) > 0
    ended = {order.pk: Order.objects.get(pk=order.pk).status for order in orders}
    assert set(ended.values()) == {"sold", "won"}
    for order, answer in zip(orders, answers, strict=True):
        assert (answer == "sold") == (ended[order.pk] == "sold")
        assert Transfer.objects.filter(reference=str(order.pk), source__code="escrow").count() == 1
    assert check_ledger(whole=True).differences == []
