"""Hedges: how much outweighs the open orders, when an order follows, and what is recorded of it."""

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from math import exp, log, pi, sqrt
from threading import Thread
from typing import Any
from uuid import UUID

import pytest
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st

from config.core.errors import Conflict, Invalid
from config.core.ids import new_id
from config.core.models import AuditEntry
from kyc.models import User
from quotes.models import Instrument, Quotation, Watermark
from quotes.services import open_days
from quotes.services.fix import NumberTaken, Withheld
from quotes.services.sources import create_source
from quotes.sources.fix.messages import Unreadable, read
from tests.cast import browser_for, enrolled
from tests.market import NOON, Clock, funded_account, person, trading_book
from tests.quotes.fix.wire import fix
from tests.trading.hedges import D, House, Outside, estimate, provider
from trading import services
from trading.hedging.messages import new_order, read_report, status_request
from trading.models import HedgeExecution, HedgeOrder, HedgeTerms, Order
from trading.rules import KINDS, Question, Volatility, hedging, probabilities, sale_value
from trading.rules.hedging import TRANSITIONS, Bounds, Report, digital_delta, state_after, to_order
from trading.services import PlaceOrder, place_order

MOVES = Volatility(0.0001, 0.5)
BOUNDS = Bounds(threshold=D(1000), lot=D(100), most=D(10_000))


# --- the delta ----------------------------------------------------------------------------------------


def test_the_delta_at_the_money_is_the_density_over_the_deviation() -> None:
    # d₂ = -σ√τ / 2 = -0.005 with σ√τ = 0.01: 185 × φ(0.005) / (100 × 0.01).
    question = Question(kind="rise_fall", spot=100.0, seconds=10_000, barrier=100.0)
    expected = 185 * exp(-(0.005**2) / 2) / sqrt(2 * pi)
    assert digital_delta(question, MOVES, "up", 185.0) == pytest.approx(expected, rel=1e-12)
    assert digital_delta(question, MOVES, "down", 185.0) == pytest.approx(-expected, rel=1e-12)


def test_between_two_levels_it_is_that_of_two_digitals() -> None:
    def above(level: float) -> float:
        question = Question(kind="higher_lower", spot=100.0, seconds=3_600, barrier=level)
        return digital_delta(question, MOVES, "up", 50.0)

    between = Question(kind="ends_between", spot=100.0, seconds=3_600, low=99.5, high=100.2)
    assert digital_delta(between, MOVES, "in", 50.0) == pytest.approx(above(99.5) - above(100.2), rel=1e-12)
    assert digital_delta(between, MOVES, "out", 50.0) == pytest.approx(above(100.2) - above(99.5), rel=1e-12)


def test_a_level_that_is_always_passed_moves_nothing() -> None:
    question = Question(kind="higher_lower", spot=100.0, seconds=60, barrier=-1.0)
    assert digital_delta(question, MOVES, "up", 50.0) == 0


def test_what_is_not_hedged_says_why() -> None:
    hedged = {kind for kind in KINDS if not hedging.not_hedged_because(kind, None)}
    assert hedged == {"rise_fall", "higher_lower", "ends_between"}
    assert hedging.not_hedged_because("touch", None).startswith("decided by the prices on the way")
    assert hedging.not_hedged_because("asian", 5).startswith("decided by an average")
    assert hedging.not_hedged_because("digit_even", 1).startswith("a last digit")
    assert hedging.not_hedged_because("rise_fall", 5).startswith("counted in ticks")


levels = st.floats(-2.5, 2.5)
markets = st.tuples(
    st.floats(1e-3, 1e5), st.floats(5, 86_400), st.floats(1e-6, 1e-3), st.floats(1, 1e6)
)  # spot, seconds, volatility, payout


@given(markets, levels, st.floats(0.01, 2), st.sampled_from(["rise_fall", "higher_lower", "ends_between"]))
def test_the_delta_is_the_slope_of_the_price_we_ask_and_buy_back_at(
    market: tuple[float, float, float, float], place: float, width: float, kind: str
) -> None:
    spot, seconds, sigma, payout = market
    moves, deviation = Volatility(sigma, 0.5), sigma * sqrt(seconds)
    level = spot * exp(place * deviation)
    shape = {"barrier": level}
    if kind == "ends_between":
        shape = {"low": level, "high": level * exp(width * deviation)}

    def question(at: float) -> Question:
        return Question(kind=kind, spot=at, seconds=seconds, **shape)

    step = spot * deviation * 1e-4
    for number, side in enumerate(KINDS[kind].sides):
        delta = digital_delta(question(spot), moves, side, payout)

        def bought_back(at: float, side: str = side) -> float:
            return payout * sale_value(question(at), moves, side, grid=0.0, ties_refund=False)[0]

        def asked(at: float, number: int = number) -> float:
            return payout * probabilities(question(at), moves)[number]

        # A fair probability that has no place for the level of rise/fall is asked once, at its entry.
        for worth in (bought_back,) if kind == "rise_fall" else (bought_back, asked):
            slope = (worth(spot + step) - worth(spot - step)) / (2 * step)
            assert delta == pytest.approx(slope, rel=1e-4, abs=1e-5 * payout / (spot * deviation))


# --- what to order ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "held", "is_open", "expected"),
    [
        ("999.99", "0", True, "0"),
        ("1000", "0", True, "1000"),
        ("1099.99", "0", True, "1000"),
        ("-1099.99", "0", True, "-1000"),
        ("1500", "600", True, "0"),
        ("1500", "500", True, "1000"),
        ("-500", "500", True, "-1000"),
        ("0", "500", True, "0"),
        # Nothing is open: the threshold does not count, lots do.
        ("0", "500", False, "-500"),
        ("0", "-150", False, "100"),
        ("0", "99", False, "0"),
        ("0", "0", False, "0"),
        # The most that is held, and the most of one order.
        ("50000", "0", True, "10000"),
        ("50000", "9500", True, "0"),
        ("-50000", "10000", True, "-10000"),
    ],
)
def test_an_order_follows_from_what_is_wanted_and_held(
    wanted: str, held: str, is_open: bool, expected: str
) -> None:
    assert to_order(wanted=D(wanted), held=D(held), is_open=is_open, bounds=BOUNDS) == D(expected)


amounts = st.decimals(-(10**6), 10**6, places=4)


@given(amounts, amounts, st.booleans(), st.integers(1, 1000), st.integers(1, 50), st.integers(1, 50))
def test_orders_are_lots_that_bring_what_is_held_nearer_and_never_past(
    wanted: Decimal, held: Decimal, is_open: bool, lot: int, lots: int, more: int
) -> None:
    bounds = Bounds(threshold=D(lot * lots), lot=D(lot), most=D(lot * lots * more))
    quantity = to_order(wanted=wanted, held=held, is_open=is_open, bounds=bounds)
    assert quantity % lot == 0
    assert abs(quantity) <= bounds.most
    target = max(-bounds.most, min(bounds.most, wanted))
    if quantity:
        assert abs(target - held) >= bounds.threshold or not is_open
        assert abs(target - (held + quantity)) < abs(target - held)
        assert (target - held) * (target - (held + quantity)) >= 0
    else:
        assert abs(target - held) < (bounds.threshold if is_open or not held else bounds.lot)


def test_a_limit_is_within_the_collar_and_on_the_grid() -> None:
    def limit(quantity: int, collar: str) -> str:
        return str(
            hedging.limit_price(price=D("1.08000"), quantity=D(quantity), collar=D(collar), decimals=5)
        )

    assert (limit(1, "0.001"), limit(-1, "0.001")) == ("1.08108", "1.07892")
    assert (limit(1, "0.00001"), limit(-1, "0.00001")) == ("1.08001", "1.07999")
    assert limit(1, "0") == "1.08000"


# --- what becomes of an order -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "ord_status", "filled", "after"),
    [
        ("sent", "A", "0", "acknowledged"),
        ("sent", "0", "0", "acknowledged"),
        ("sent", "2", "5", "filled"),
        ("sent", "8", "0", "rejected"),
        ("sent", "4", "0", "lapsed"),
        ("sent", "C", "3", "partly_filled"),
        ("acknowledged", "0", "0", "acknowledged"),
        ("acknowledged", "1", "3", "acknowledged"),
        ("acknowledged", "4", "3", "partly_filled"),
        ("acknowledged", "6", "0", "acknowledged"),
        ("filled", "0", "5", "filled"),
        ("filled", "8", "0", "filled"),
        ("lapsed", "0", "0", "lapsed"),
        ("lapsed", "2", "5", "filled"),
        ("lapsed", "1", "3", "partly_filled"),
        ("partly_filled", "2", "5", "filled"),
        ("partly_filled", "4", "3", "partly_filled"),
        ("rejected", "2", "5", "filled"),
        # Never without having been sent.
        ("intended", "2", "5", "intended"),
    ],
)
def test_a_report_moves_an_order_as_the_table_allows(
    state: str, ord_status: str, filled: str, after: str
) -> None:
    assert state_after(state, ord_status, D(filled)) == after


@given(st.sampled_from(sorted(TRANSITIONS)), st.text(max_size=1), st.integers(0, 3))
def test_no_report_leads_where_the_table_does_not(state: str, ord_status: str, filled: int) -> None:
    after = state_after(state, ord_status, D(filled))
    assert after == state or after in TRANSITIONS[state]


def test_the_table_knows_the_states_of_the_model() -> None:
    assert set(TRANSITIONS) == set(HedgeOrder.State.values)
    assert set().union(*TRANSITIONS.values()) <= set(HedgeOrder.State.values)
    assert {state for state, after in TRANSITIONS.items() if "sent" in after} == {"intended"}


# --- on the wire --------------------------------------------------------------------------------------


def test_an_order_is_a_limit_filled_at_once_or_not() -> None:
    order = HedgeOrder(
        id=UUID("018d0000-0000-7000-8000-000000000001"), source_symbol="EUR/USD", side="sell",
        quantity=D("12000.00000000"), limit_price=D("1.07892000"),
    )  # fmt: skip
    assert new_order(order, NOON) == [
        (11, "018d0000-0000-7000-8000-000000000001"), (55, "EUR/USD"), (54, "2"),
        (60, "20300115-12:00:00.000"), (38, "12000"), (40, "2"), (44, "1.07892"), (59, "3"),
    ]  # fmt: skip
    assert status_request(order) == [(11, str(order.pk)), (55, "EUR/USD"), (54, "2")]


def test_reports_are_read_strictly() -> None:
    fill = [(11, "X"), (17, "E1"), (150, "F"), (39, "2"), (32, "100"), (31, "1.08"), (14, "100"), (6, "1.08")]
    report = read_report(read(fix("8", 7, *fill)))
    assert (report.quantity, report.price, report.cum_quantity) == (D(100), D("1.08"), D(100))
    assert (report.exec_id, report.exec_type, report.ord_status) == ("E1", "F", "2")
    # What a report of something else says of a last fill is not a fill.
    other = read_report(read(fix("8", 7, (11, "X"), (17, "E"), (150, "4"), (39, "4"), (32, "9"), (14, "0"))))
    assert (other.quantity, other.cum_quantity) == (0, 0)
    for missing in (11, 17, 150, 39, 32, 31, 14):
        with pytest.raises(Unreadable):
            read_report(read(fix("8", 7, *(pair for pair in fill if pair[0] != missing))))
    # The last ones are rounded up to more than a column holds, or than decimals are computed with.
    for wrong in ("much", "-1", "1e3", "1000000000000", "999999999999.999999999", f"{'9' * 20}.{'9' * 20}"):
        with pytest.raises(Unreadable):
            read_report(read(fix("8", 7, *(pair for pair in fill if pair[0] != 32), (32, wrong))))


# --- services -----------------------------------------------------------------------------------------


@pytest.fixture
def house(db: None, standing: Clock) -> House:
    house = House(standing)
    standing.at = NOON
    return house.open()


def held(house: House) -> Decimal:
    kept = services.hedging.held_of(house.market.instrument.pk)
    signed = [
        each.quantity if each.order.side == "buy" else -each.quantity
        for each in HedgeExecution.objects.select_related("order")
    ]
    assert kept == sum(signed)
    return kept


# 185 × φ(-0.0005) / (1.08 × 0.001), for 100 s at 0.0001 per √s.
AT_THE_MONEY = 185 * exp(-(0.0005**2) / 2) / sqrt(2 * pi) / (1.08 * 0.001)


def test_open_orders_are_outweighed_by_one_order(house: House) -> None:
    order_id = house.place()
    entry = Order.objects.get(pk=order_id).entry_price
    assert entry == D("1.08")
    (order,) = house.decide()
    assert (order.side, order.quantity, order.limit_price) == ("buy", D(68_300), D("1.08108"))
    assert (order.state, order.source_symbol, order.provider_id) == ("intended", "EUR/USD", "lp")
    assert order.good_until - order.decided_at == timedelta(seconds=5)
    assert order.inputs == {
        "price": "1.08000000", "seq": 1, "volatility": house.estimate.pk, "orders": 1, "ending": 0,
        "not_hedged": {}, "wanted": f"{AT_THE_MONEY:.8f}", "held": "0", "threshold": "1000.00000000",
        "lot": "100.00000000", "max_quantity": "1000000.00000000",
    }  # fmt: skip
    # Unfinished: nothing is decided on top of it.
    assert house.decide() == []
    assert HedgeOrder.objects.count() == 1


def test_sides_are_netted_over_customers(house: House) -> None:
    bob = person("bob@example.com")
    his = funded_account(bob.pk, house.book, "1000.00")
    house.place("up", "100.00")
    command = PlaceOrder(
        client_id="one", account=his.pk, symbol="EURUSD", contract="rise_fall", side="down", stake="30.00",
        duration_seconds=100,
    )  # fmt: skip
    place_order(customer_id=bob.pk, command=command)
    (order,) = house.decide()
    assert D(order.inputs["wanted"]) == pytest.approx(D(AT_THE_MONEY * 0.7), rel=D("1e-9"))
    assert (order.side, order.quantity, order.inputs["orders"]) == ("buy", D(47_800), 2)


def test_only_real_money_in_the_currency_of_the_price_counts(house: House) -> None:
    practice = funded_account(house.alice.pk, trading_book(), "1000.00")
    euros = funded_account(house.alice.pk, trading_book("eur", kind="real", currency="EUR"), "1000.00")
    house.place(account=practice.pk)
    house.place(account=euros.pk)
    house.place(contract="touch", side="touch", barrier="+0.00100")
    house.place(duration_seconds=None, duration_ticks=5)
    house.place(duration_seconds=5)
    house.clock.move(1)
    house.market.quiet_until()
    assert house.decide() == []
    assert held(house) == 0
    house.place()
    (order,) = house.decide()
    assert order.inputs["not_hedged"] == {
        "in a book of another currency": 1,
        "decided by the prices on the way, not by the last one": 1,
        "counted in ticks: it ends at no known instant": 1,
    }
    assert (order.inputs["orders"], order.inputs["ending"]) == (1, 1)


def test_levels_count_from_the_entry_where_they_were_agreed_so(house: House) -> None:
    house.place(contract="higher_lower", barrier="+0.00050")
    house.place(contract="ends_between", side="in", low="1.07900", high="1.08100")
    rates = dict(Order.objects.values_list("contract", "payout_rate"))
    deviation = 0.0001 * sqrt(100)

    def digital(level: float, rate: Decimal) -> float:
        d2 = (log(1.08 / level) - deviation**2 / 2) / deviation
        payout = 100 + int(rate * 10_000) / 100
        return payout * exp(-(d2**2) / 2) / sqrt(2 * pi) / (1.08 * deviation)

    inside = digital(1.079, rates["ends_between"]) - digital(1.081, rates["ends_between"])
    (order,) = house.decide()
    expected = digital(1.0805, rates["higher_lower"]) + inside
    assert float(order.inputs["wanted"]) == pytest.approx(expected, rel=1e-9)


def test_an_order_without_its_entry_has_no_level_yet(house: House) -> None:
    house.market.terms(entry_policy="delayed", entry_delay_ms=500, contracts=["rise_fall"])
    house.place()
    assert house.decide() == []
    house.clock.move(1)
    house.market.tick("1.08000")
    services.enter_pending()
    assert len(house.decide()) == 1


def test_below_the_threshold_nothing_is_ordered(house: House) -> None:
    house.place(stake="1.00")  # outweighed by 683 units
    assert house.decide() == []
    house.place(stake="1.00")
    (order,) = house.decide()
    assert order.quantity == D(1300)


def test_what_is_held_is_given_back_when_nothing_is_open_any_more(house: House) -> None:
    house.place(stake="1.50")
    bought = house.filled()
    assert (bought.state, bought.quantity, held(house)) == ("filled", D(1000), D(1000))
    assert house.decide() == []
    house.clock.move(96)
    house.market.tick("1.08000")
    (order,) = house.decide()
    assert (order.side, order.quantity, order.limit_price) == ("sell", D(1000), D("1.07892"))
    assert (order.inputs["orders"], order.inputs["ending"], order.inputs["held"]) == (0, 1, "1000.00000000")
    house.send(order, 2)
    house.hear(order)
    assert held(house) == 0
    assert house.decide() == []


def test_a_smaller_rest_is_given_back_as_well(house: House) -> None:
    house.place(stake="1.50")
    house.filled()
    house.terms = services.set_hedge_terms(
        instrument=house.market.instrument, actor=house.olga, reason="coarser", threshold=D(5000)
    )
    assert house.terms.is_on
    house.clock.move(96)
    house.market.tick("1.08000")
    (order,) = house.decide()
    assert (order.side, order.quantity) == ("sell", D(1000))


# --- when nothing is decided --------------------------------------------------------------------------


def off(house: House) -> None:
    services.switch_hedging(terms=house.terms, is_on=False, actor=house.olga, reason="test")


def stale(house: House) -> None:
    house.clock.move(5.001)


def still(house: House) -> None:
    house.clock.move(601)
    house.market.tick("1.08000")
    house.place()


def made_here(house: House) -> None:
    Watermark.objects.update(source="simulated")


def unreconciled(house: House) -> None:
    (order,) = house.decide()
    house.send(order)
    house.hear(order, quantity=D(100))


@pytest.mark.parametrize("why", [off, stale, still, made_here, unreconciled])
def test_nothing_is_decided(house: House, why: Callable[[House], None]) -> None:
    house.place()
    why(house)
    assert house.decide() == []


def test_it_is_off_until_it_is_switched_on_and_nobody_decides_for_a_provider_out_of_reach(
    house: House,
) -> None:
    house.place()
    assert not HedgeTerms._meta.get_field("is_on").default
    assert services.decide_hedges(providers=()) == []
    assert services.decide_hedges(providers={"other"}) == []
    assert len(house.decide()) == 1


# --- claiming -----------------------------------------------------------------------------------------


def test_an_order_gets_one_number(house: House) -> None:
    house.place()
    (order,) = house.decide()
    house.send(order, 1)
    order.refresh_from_db()
    assert (order.state, order.sent_seq, order.sent_at) == ("sent", 1, NOON)
    with pytest.raises(Withheld):
        house.send(order, 2)
    # A repeat after a lost answer finds it, and only under its own number.
    house.send(order, 1, is_repeat=True)
    with pytest.raises(Withheld):
        house.send(order, 2, is_repeat=True)


def test_a_claim_is_undone_with_the_number_it_was_for(house: House) -> None:
    house.place()
    (order,) = house.decide()
    with pytest.raises(NumberTaken):
        house.send(order, 7)
    order.refresh_from_db()
    assert (order.state, order.sent_seq) == ("intended", None)


@pytest.mark.parametrize("why", ["old", "off"])
def test_what_is_old_or_switched_off_is_not_sent_and_lapses(house: House, why: str) -> None:
    house.place()
    (order,) = house.decide()
    if why == "off":
        off(house)
    else:
        house.clock.move(5)
    with pytest.raises(Withheld):
        house.send(order)
    house.clock.move(5)
    assert house.decide() == []
    order.refresh_from_db()
    assert (order.state, order.sent_seq) == ("lapsed", None)


def test_an_order_that_never_arrived_is_sent_again_while_it_is_fresh(house: House) -> None:
    house.place()
    (order,) = house.decide()
    assert not services.resend_hedge_order(order_id=order.pk)
    house.send(order)
    house.clock.move(4)
    assert services.resend_hedge_order(order_id=order.pk)
    house.clock.move(1)
    assert not services.resend_hedge_order(order_id=order.pk)
    order.refresh_from_db()
    assert order.state == "lapsed"
    assert not services.resend_hedge_order(order_id=order.pk)


def test_one_that_was_heard_of_is_never_sent_again(house: House) -> None:
    house.place()
    (order,) = house.decide()
    house.send(order)
    house.hear(order, status="0", exec_type="0", quantity=D(0), cum_quantity=D(0))
    assert not services.resend_hedge_order(order_id=order.pk)
    order.refresh_from_db()
    assert order.state == "acknowledged"


# --- what comes of it ---------------------------------------------------------------------------------


def test_an_execution_counts_once_whatever_comes_again(house: House) -> None:
    house.place()
    (order,) = house.decide()
    house.send(order)
    assert house.hear(order, price=D("1.08108"), average_price=D("1.08108"), raw=((17, "E1"), (58, "ok")))
    assert not house.hear(order, price=D("1.08108"))
    assert not house.hear(order, status="0", quantity=D(5))
    order.refresh_from_db()
    assert (order.state, order.cum_quantity, order.average_price) == ("filled", D(68_300), D("1.08108"))
    assert (order.is_reconciled, held(house)) == (True, D(68_300))
    (execution,) = HedgeExecution.objects.all()
    assert execution.fields == [[17, "E1"], [58, "ok"]]


def test_parts_add_up_and_the_rest_is_cancelled(house: House) -> None:
    house.place()
    (order,) = house.decide()
    house.send(order)
    house.hear(order, "E1", "0", exec_type="0", quantity=D(0), cum_quantity=D(0))
    house.hear(order, "E2", "1", quantity=D(300), cum_quantity=D(300))
    house.hear(order, "E3", "1", quantity=D(200), cum_quantity=D(500))
    house.hear(order, "E4", "4", exec_type="4", quantity=D(0), cum_quantity=D(500), text="no more")
    order.refresh_from_db()
    assert (order.state, order.cum_quantity, order.said) == ("partly_filled", D(500), "no more")
    assert held(house) == 500
    # The rest is decided on anew.
    (next_one,) = house.decide()
    assert (next_one.quantity, next_one.inputs["held"]) == (D(67_800), "500.00000000")


@pytest.mark.parametrize(("exec_type", "corrected", "left"), [("H", "0", "0"), ("G", "250", "250")])
def test_a_fill_may_be_taken_back_or_corrected(
    house: House, exec_type: str, corrected: str, left: str
) -> None:
    house.place()
    (order,) = house.decide()
    house.send(order)
    house.hear(order, "E1", "2", quantity=D(300), cum_quantity=D(300))
    house.hear(
        order, "E2", "4", exec_type=exec_type, refers_to="E1", quantity=D(corrected), cum_quantity=D(left)
    )
    order.refresh_from_db()
    assert (held(house), order.is_reconciled) == (D(left), True)


@pytest.mark.parametrize("second", ["E2", "E1"])  # by the correction's own ExecID, or by the first fill's
@pytest.mark.parametrize(("exec_type", "left"), [("G", "90"), ("H", "0")])
def test_a_correction_may_be_corrected(house: House, second: str, exec_type: str, left: str) -> None:
    house.place()
    (order,) = house.decide()
    house.send(order)
    house.hear(order, "E0", "1", quantity=D(7), cum_quantity=D(7))
    house.hear(order, "E1", "1", quantity=D(100), cum_quantity=D(107))
    house.hear(order, "E2", "1", exec_type="G", refers_to="E1", quantity=D(80), cum_quantity=D(87))
    total = D(left) + 7
    house.hear(order, "E3", "4", exec_type=exec_type, refers_to=second, quantity=D(left), cum_quantity=total)
    order.refresh_from_db()
    assert (held(house), order.is_reconciled) == (total, True)


@pytest.mark.parametrize("exec_ids", [("E1", "E1"), ("E1", "E2")])
def test_corrections_may_refer_to_each_other(house: House, exec_ids: tuple[str, str]) -> None:
    """A provider that makes no sense is not hedged with, and everybody else is heard."""
    house.place()
    (order,) = house.decide()
    house.send(order)
    one, other = exec_ids
    house.hear(order, one, "1", exec_type="G", refers_to=other, quantity=D(10), cum_quantity=D(10))
    house.hear(order, other, "1", exec_type="G", refers_to=one, quantity=D(20), cum_quantity=D(20))
    house.hear(order, "E3", "4", exec_type="G", refers_to=one, quantity=D(30), cum_quantity=D(30))
    order.refresh_from_db()
    assert (held(house), order.is_reconciled) == (D(30), True)


def test_a_report_that_the_database_cannot_hold_is_kept_all_the_same(house: House) -> None:
    house.place()
    (order,) = house.decide()
    house.send(order)
    assert house.hear(order, raw=((17, "E1"), (58, "a\0b\ud800")), text="a\0b")
    assert HedgeExecution.objects.get().fields == [[17, "E1"], [58, "a?b?"]]


def of_ours(_: object) -> None:
    raise ZeroDivisionError


def of_the_database(_: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 1")
        cursor.execute("SELECT pg_sleep(10)")


@pytest.mark.parametrize("fail", [of_ours, of_the_database])
def test_an_instrument_that_fails_stops_no_other(
    house: House, monkeypatch: pytest.MonkeyPatch, fail: Callable[[object], None]
) -> None:
    other = Outside("GBPUSD", price_decimals=5, max_quote_age_ms=5_000)
    other.terms()
    house.clock.move(1)
    other.tick("1.25000")
    estimate(other)
    terms = services.set_hedge_terms(
        instrument=other.instrument, actor=house.olga, reason="test", provider=house.lp,
        source_symbol="GBP/USD", currency="USD", threshold=D(1000), lot=D(100), max_quantity=D(1_000_000),
    )  # fmt: skip
    services.switch_hedging(terms=terms, is_on=True, actor=house.olga, reason="test")
    house.place()
    house.place(symbol="GBPUSD")
    market = services.hedging._market

    def failing(instrument: Instrument, now: datetime) -> object:
        if instrument == house.market.instrument:
            fail(instrument)
        return market(instrument, now)

    monkeypatch.setattr(services.hedging, "_market", failing)
    before = services.hedging.FAILED._value.get()
    # It is the first to be decided for.
    assert house.market.instrument.pk < other.instrument.pk
    assert [order.instrument for order in house.decide()] == [other.instrument]
    assert services.hedging.FAILED._value.get() == before + 1
    monkeypatch.undo()
    assert [order.instrument for order in house.decide()] == [house.market.instrument]


@pytest.mark.django_db(transaction=True, databases=["default", "owner"])
def test_an_order_closed_by_hand_meanwhile_is_not_sent(standing: Clock) -> None:
    open_days([NOON.date()])
    house = House(standing)
    standing.at = NOON
    house.open().place()
    (order,) = house.decide()
    answers: list[bool] = []

    def claim() -> None:
        answers.append(services.hedging.claim_hedge_order(order.pk, 1, False))
        connection.close()

    def is_waiting() -> bool:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_stat_clear_snapshot()")
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE pg_backend_pid() = ANY(pg_blocking_pids(pid))"
            )
            return bool(cursor.fetchone()[0])

    sender = Thread(target=claim)
    with transaction.atomic():
        services.close_hedge_order(order=order, actor=house.olga, reason="by telephone")
        sender.start()
        while not is_waiting():
            assert sender.is_alive()
            sender.join(0.01)
    sender.join()
    assert answers == [False]
    order.refresh_from_db()
    assert (order.state, order.sent_seq) == ("lapsed", None)


def test_what_does_not_add_up_stops_hedging_until_it_does(house: House) -> None:
    house.place()
    (order,) = house.decide()
    house.send(order)
    house.hear(order, "E2", "2", quantity=D(300))
    order.refresh_from_db()
    assert (order.is_reconciled, held(house), order.cum_quantity) == (False, D(300), D(68_300))
    assert house.decide() == []
    house.hear(order, "E1", "2", quantity=D(68_000))
    order.refresh_from_db()
    assert order.is_reconciled
    assert held(house) == D(68_300)


def test_an_answer_about_the_status_is_no_execution(house: House) -> None:
    house.place()
    (order,) = house.decide()
    house.send(order)
    said = {"exec_type": "I", "quantity": D(0), "cum_quantity": D(0)}
    assert house.hear(order, "0", "8", text="unknown order", **said)
    assert house.hear(order, "0", "8", **said)
    order.refresh_from_db()
    assert (order.state, order.said) == ("rejected", "unknown order")
    assert not HedgeExecution.objects.exists()


def test_a_fill_heard_after_an_order_lapsed_still_counts(house: House) -> None:
    house.place()
    (order,) = house.decide()
    house.send(order)
    house.clock.move(5)
    services.resend_hedge_order(order_id=order.pk)
    house.hear(order)
    order.refresh_from_db()
    assert (order.state, held(house)) == ("filled", order.quantity)


def test_reports_of_what_is_not_ours_change_nothing(house: House) -> None:
    house.place()
    (order,) = house.decide()
    # Not sent yet: nobody can know of it.
    assert not house.hear(order)
    house.send(order)
    for name in ("no uuid", str(new_id())):
        report = Report(cl_ord_id=name, exec_id="E", exec_type="F", ord_status="2", quantity=D(1))
        assert not services.record_execution(provider="lp", report=report)
    mine = Report(cl_ord_id=str(order.pk), exec_id="E", exec_type="F", ord_status="2", quantity=D(1))
    assert not services.record_execution(provider="other", report=mine)
    order.refresh_from_db()
    assert (order.state, held(house)) == ("sent", 0)


def test_an_order_that_is_not_taken_is_over(house: House) -> None:
    house.place()
    (order,) = house.decide()
    assert not services.refuse_hedge_order(order_id=order.pk, text="no")
    house.send(order)
    assert services.refuse_hedge_order(order_id=order.pk, text="no\0such symbol")
    order.refresh_from_db()
    assert (order.state, order.said) == ("rejected", "no?such symbol")
    assert not services.refuse_hedge_order(order_id=order.pk, text="again")


# --- operators ----------------------------------------------------------------------------------------


def test_terms_are_audited_and_new_ones_are_off(house: House) -> None:
    services.set_hedge_terms(
        instrument=house.market.instrument, actor=house.olga, reason="wider", collar=D("0.002")
    )
    entry = AuditEntry.objects.latest("id")
    assert (entry.action, entry.actor_id, entry.reason) == ("hedge_terms.changed", house.olga.pk, "wider")
    assert (entry.before, entry.after) == ({"collar": "0.00100"}, {"collar": "0.002"})
    other = Outside("GBPUSD")
    terms = services.set_hedge_terms(
        instrument=other.instrument, actor=house.olga, reason="test", provider=house.lp,
        source_symbol="GBP/USD", currency="USD", threshold=D(1), lot=D(1), max_quantity=D(1),
    )  # fmt: skip
    assert not terms.is_on
    with pytest.raises(Invalid):
        services.set_hedge_terms(instrument=other.instrument, actor=house.olga, reason=" ", collar=D("0.002"))
    with pytest.raises(Invalid):
        services.set_hedge_terms(instrument=other.instrument, actor=house.olga, reason="test", is_on=True)


def test_switching_is_audited_once(house: House) -> None:
    def switch(*, is_on: bool) -> bool:
        return services.switch_hedging(terms=house.terms, is_on=is_on, actor=house.olga, reason="calm")

    assert not switch(is_on=True)
    assert (switch(is_on=False), switch(is_on=False), switch(is_on=True)) == (True, False, True)
    last = AuditEntry.objects.filter(action__startswith="hedging.").order_by("id").values_list("action")
    assert [action for (action,) in last] == [
        "hedging.switched_on", "hedging.switched_off", "hedging.switched_on",
    ]  # fmt: skip


def test_prices_that_are_made_here_are_not_hedged(house: House) -> None:
    off(house)
    Watermark.objects.update(source="simulated")
    with pytest.raises(Invalid, match="made here"):
        services.switch_hedging(terms=house.terms, is_on=True, actor=house.olga, reason="test")


def quoting(house: House) -> dict[str, Any]:
    Quotation.objects.create(instrument=house.market.instrument, rank=1, source="lp", source_symbol="E")
    return {"collar": D("0.002")}


def resetting(house: House) -> dict[str, Any]:
    return {"provider": provider(house.olga, "resets", reset_on_logon=True)}


def of_another_kind(house: House) -> dict[str, Any]:
    made = create_source(
        code="kraken", kind="kraken", name="K", url="wss://ws.kraken.com/v2", actor=house.olga, reason="test"
    )
    return {"provider": made}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (quoting, "Orders need a session of their own"),
        (resetting, "reset_on_logon"),
        (of_another_kind, "over FIX"),
        ({"lot": D(0)}, "Above zero"),
        ({"lot": D(2000)}, "Above zero"),
        ({"max_quantity": D(10)}, "Above zero"),
        ({"collar": D(1)}, "A part of the price"),
        ({"max_age_seconds": 0}, "At least a second"),
        ({"currency": "EUR"}, "No book"),
        ({"source_symbol": "EUR\x01USD"}, "plain characters"),
        ({"source_symbol": ""}, "plain characters"),
    ],
)
def test_terms_that_cannot_be_are_refused(house: House, changes: Any, said: str) -> None:
    values = changes(house) if callable(changes) else changes
    with pytest.raises(Invalid, match=said), transaction.atomic():
        services.set_hedge_terms(
            instrument=house.market.instrument, actor=house.olga, reason="test", **values
        )


def test_a_provider_is_not_left_with_something_held(house: House) -> None:
    other = provider(house.olga, "other")

    def move() -> HedgeTerms:
        return services.set_hedge_terms(
            instrument=house.market.instrument, actor=house.olga, reason="test", provider=other
        )

    house.place()
    house.filled()
    with pytest.raises(Invalid, match="Something is held"), transaction.atomic():
        move()
    house.clock.move(96)
    house.market.tick("1.08000")
    house.filled()
    assert held(house) == 0
    assert move().provider == other


def test_an_order_nothing_is_heard_of_is_closed_by_hand(house: House) -> None:
    house.place()
    (order,) = house.decide()
    house.send(order)
    house.hear(order, "E1", "1", quantity=D(300), cum_quantity=D(400))
    closed = services.close_hedge_order(order=order, actor=house.olga, reason="asked them")
    assert (closed.state, closed.cum_quantity, closed.is_reconciled) == ("partly_filled", D(300), True)
    entry = AuditEntry.objects.latest("id")
    assert (entry.action, entry.reason) == ("hedge_order.closed", "asked them")
    with pytest.raises(Conflict):
        services.close_hedge_order(order=order, actor=house.olga, reason="again")
    assert len(house.decide()) == 1


# --- the console ---------------------------------------------------------------------------------------


@pytest.fixture
def console(house: House) -> Client:
    User.objects.filter(pk=house.olga.pk).update(is_superuser=True)
    house.olga.refresh_from_db()
    enrolled(house.olga)
    return browser_for(house.olga, verified=True)


TYPED = {
    "provider": "lp", "source_symbol": "GBP/USD", "currency": "USD", "threshold": "1000", "lot": "100",
    "max_quantity": "5000", "collar": "0.001", "max_age_seconds": "5", "cutoff_seconds": "5",
}  # fmt: skip


def test_terms_are_typed_in_the_console_and_switched_on_with_a_reason(house: House, console: Client) -> None:
    pound = Outside("GBPUSD").instrument
    add = reverse("admin:trading_hedgeterms_add")
    assert "This field is required" in console.post(add, {**TYPED, "instrument": pound.pk}).content.decode()
    wrong = {**TYPED, "instrument": pound.pk, "reason": "a new hedge", "lot": "2000"}
    assert "at most the threshold" in console.post(add, wrong).content.decode()
    assert not HedgeTerms.objects.filter(pk=pound.pk).exists()
    console.post(add, {**TYPED, "instrument": pound.pk, "reason": "a new hedge"})
    terms = HedgeTerms.objects.get(pk=pound.pk)
    assert (terms.is_on, terms.max_quantity, terms.source_symbol) == (False, D(5000), "GBP/USD")
    assert AuditEntry.objects.latest("id").reason == "a new hedge"
    change = reverse("admin:trading_hedgeterms_change", args=[pound.pk])
    console.post(change, {**TYPED, "max_quantity": "6000", "reason": "more", "is_on": "on"})
    terms.refresh_from_db()
    assert (terms.is_on, terms.max_quantity) == (False, D(6000))
    switch = reverse("admin:trading_hedgeterms_switch_on", args=[pound.pk])
    assert "with real money" in console.post(switch, {}).content.decode()
    console.post(switch, {"_reasoned": "1", "reason": "agreed with the desk"})
    terms.refresh_from_db()
    assert terms.is_on
    off = reverse("admin:trading_hedgeterms_switch_off", args=[pound.pk])
    answer = console.post(off, {"_reasoned": "1", "reason": "enough"}, follow=True)
    assert "GBPUSD is not hedged any more." in answer.content.decode()
    terms.refresh_from_db()
    assert not terms.is_on


def test_what_is_held_keeps_its_provider_in_the_console_as_well(house: House, console: Client) -> None:
    house.place()
    house.filled()
    provider(house.olga, "other")
    change = reverse("admin:trading_hedgeterms_change", args=[house.terms.pk])
    typed = {**TYPED, "provider": "other", "source_symbol": "EUR/USD", "reason": "cheaper"}
    assert "Something is held" in console.post(change, typed).content.decode()
    assert HedgeTerms.objects.get(pk=house.terms.pk).provider_id == "lp"


def test_orders_and_executions_are_read_in_the_console_and_closed_by_hand(
    house: House, console: Client
) -> None:
    house.place()
    (order,) = house.decide()
    house.send(order)
    house.hear(order, "E1", "1", quantity=D(300), cum_quantity=D(300))
    execution = HedgeExecution.objects.get()
    for model, pk in (("hedgeorder", order.pk), ("hedgeexecution", execution.pk)):
        page, found = reverse(f"admin:trading_{model}_changelist"), {"q": str(order.pk)}
        assert f"/{model}/{pk}/change/" in console.get(page, found).content.decode()
        assert f"/{model}/{pk}/change/" not in console.get(page, {"q": str(new_id())}).content.decode()
        one = reverse(f"admin:trading_{model}_change", args=[pk])
        assert console.get(one).status_code == 200
        assert console.post(one, {"quantity": "1"}).status_code == 403
        assert console.get(reverse(f"admin:trading_{model}_add")).status_code == 403
        assert console.post(reverse(f"admin:trading_{model}_delete", args=[pk])).status_code == 403
    close = reverse("admin:trading_hedgeorder_close", args=[order.pk])
    console.post(close, {"_reasoned": "1", "reason": "they say it is over"})
    order.refresh_from_db()
    assert (order.state, order.cum_quantity) == ("partly_filled", D(300))


# --- what the database refuses ------------------------------------------------------------------------


def test_one_unfinished_order_an_instrument(house: House) -> None:
    house.place()
    (order,) = house.decide()
    order.pk = new_id()
    with pytest.raises(IntegrityError, match="hedge_order_unfinished_once"), transaction.atomic():
        order.save(force_insert=True)


def test_an_execution_is_recorded_once_and_never_edited(house: House) -> None:
    house.place()
    order = house.filled()
    (execution,) = HedgeExecution.objects.all()
    execution.pk = None
    with pytest.raises(IntegrityError, match="hedge_execution_once"), transaction.atomic():
        execution.save(force_insert=True)
    for statement in (
        "UPDATE trading_hedgeexecution SET quantity = 1",
        "DELETE FROM trading_hedgeexecution",
        "UPDATE trading_hedgeorder SET quantity = 1",
        "UPDATE trading_hedgeorder SET id = gen_random_uuid()",
        "DELETE FROM trading_hedgeorder",
        "DELETE FROM trading_hedgeterms",
    ):
        with pytest.raises(Exception, match="permission denied"), transaction.atomic():
            connection.cursor().execute(statement)
    order.refresh_from_db()
    assert order.quantity == D(68_300)


def test_what_was_sent_has_its_number(house: House) -> None:
    house.place()
    (order,) = house.decide()
    rows = HedgeOrder.objects.filter(pk=order.pk)
    for wrong in ({"state": "sent"}, {"state": "filled"}, {"sent_seq": 1, "sent_at": NOON}):
        with pytest.raises(IntegrityError, match="hedge_order_sent_has_its_number"), transaction.atomic():
            rows.update(**wrong)
