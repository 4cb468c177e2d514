"""Orders of every contract from placement to settlement, through the services."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from config.core.errors import DomainError, Invalid
from config.core.models import Fact
from quotes.models import Gap, Watermark
from quotes.services import record_gap
from tests.trading.conftest import Desk
from trading import errors, evidence
from trading.models import Order, VolatilityEstimate
from trading.rules import KINDS
from trading.services import enter_pending, estimate_volatility, preview_order, settle_due
from trading.services.drafts import PlaceOrder

D = Decimal
ALL = list(KINDS)


@pytest.fixture
def floor(db: None, make_desk: Callable[..., Desk]) -> Desk:
    """Every contract, on an instrument that says it is simulated."""
    desk = make_desk(contracts=ALL, max_duration_ticks=20)
    simulate(desk)
    moves(desk)
    return desk


@pytest.fixture
def delayed(db: None, make_desk: Callable[..., Desk]) -> Desk:
    desk = make_desk(contracts=ALL, max_duration_ticks=20, entry_policy="delayed", entry_delay_ms=500)
    simulate(desk)
    moves(desk)
    return desk


def simulate(desk: Desk) -> None:
    Watermark.objects.filter(instrument=desk.market.instrument).update(source="simulated")


def moves(desk: Desk, per_sqrt_second: float = 0.001, age_seconds: float = 0) -> None:
    VolatilityEstimate.objects.create(
        instrument=desk.market.instrument,
        at=desk.clock.at - timedelta(seconds=age_seconds),
        per_sqrt_second=per_sqrt_second,
        tick_seconds=0.5,
        samples=100,
    )


def ticks(desk: Desk, *prices: str, every: float = 1) -> None:
    for price in prices:
        desk.market.tick(price, desk.clock.move(every))


def place(desk: Desk, contract: str, side: str, **asked: Any) -> Order:
    return desk.order(desk.place(side, contract=contract, **asked))


def again(order: Order) -> Order:
    return Order.objects.get(pk=order.pk)


def refused(desk: Desk, contract: str, side: str, **asked: Any) -> DomainError:
    before = desk.balance()
    with pytest.raises(DomainError) as caught:
        desk.place(side, contract=contract, **asked)
    assert desk.balance() == before
    assert not Order.objects.exists()
    return caught.value


# --- prices -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("contract", "side", "asked", "rate"),
    [
        # 60 s at 0.001 per √s: a deviation of 0.7746 %; margin 5 %.
        ("higher_lower", "up", {"barrier": "100.00"}, "0.9058"),  # Φ(-0.00387) = 0.49845
        ("higher_lower", "down", {"barrier": "100.00"}, "0.8941"),
        ("higher_lower", "up", {"barrier": "+0.50"}, "2.674"),
        ("higher_lower", "up", {"barrier": "100.50"}, "2.674"),
        ("touch", "touch", {"barrier": "+0.50"}, "0.961"),
        ("touch", "no_touch", {"barrier": "+0.50"}, "0.8426"),
        ("ends_between", "in", {"low": "-0.50", "high": "+0.50"}, "0.9734"),
        ("stays_between", "out", {"low": "-0.50", "high": "+0.50"}, "0.0575"),
        ("digit_match", "matches", {"digit": 7}, "8.5"),
        ("digit_match", "differs", {"digit": 7}, "0.0555"),
        ("digit_over", "over", {"digit": 4}, "0.9"),
        ("digit_over", "under", {"digit": 4}, "1.375"),
        ("digit_even", "odd", {}, "0.9"),
    ],
)
def test_what_a_contract_pays(
    floor: Desk, contract: str, side: str, asked: dict[str, Any], rate: str
) -> None:
    placed = floor.place(side, contract=contract, **asked)
    assert placed.order.payout_rate == rate
    order = floor.order(placed)
    by_model = "digit" not in contract
    assert (order.volatility_id is not None) == by_model


def test_an_average_pays_like_a_coin(floor: Desk) -> None:
    placed = floor.place("up", contract="asian", duration_ticks=5, duration_seconds=None)
    assert (placed.order.payout_rate, placed.order.duration_ticks) == ("0.9", 5)


def test_rise_fall_pays_what_its_policy_says(floor: Desk) -> None:
    assert floor.place("up").order.payout_rate == "0.85"


@pytest.mark.parametrize(
    ("asked", "detail"),
    [
        ({"barrier": "+9.00"}, "This almost never happens; 0.05 to 20 are offered."),
        ({"barrier": "-2.00"}, "This would pay -0.0456 of the stake; 0.05 to 20 are offered."),
        ({"barrier": "+1.90"}, "This would pay 126.1475 of the stake; 0.05 to 20 are offered."),
    ],
)
def test_what_is_too_certain_or_too_far_is_not_offered(
    floor: Desk, asked: dict[str, Any], detail: str
) -> None:
    found = refused(floor, "higher_lower", "up", **asked)
    assert isinstance(found, errors.BarrierOutOfRange)
    assert found.detail == f"{detail} Choose another barrier, digit or duration."


def test_a_digit_nothing_is_over_is_not_offered(floor: Desk) -> None:
    assert refused(floor, "digit_over", "over", digit=9).code == "barrier_out_of_range"
    assert refused(floor, "digit_over", "under", digit=0).code == "barrier_out_of_range"


def test_an_old_estimate_prices_nothing(floor: Desk) -> None:
    moves(floor, age_seconds=601)
    assert refused(floor, "touch", "touch", barrier="+0.50").code == "payout_unavailable"
    assert floor.place("matches", contract="digit_match", digit=3).order.status == "open"


def test_the_payout_guard_holds_for_priced_contracts(floor: Desk) -> None:
    found = refused(floor, "touch", "touch", barrier="+0.50", min_payout_rate="0.9611")
    assert (found.code, found.details["payout_rate"]) == ("payout_changed", "0.961")
    assert (
        floor.place("touch", contract="touch", barrier="+0.50", min_payout_rate="0.961").order.status
        == "open"
    )


# --- shapes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("contract", "asked", "field"),
    [
        ("touch", {}, "barrier"),
        ("touch", {"barrier": "101", "low": "99"}, "low"),
        ("touch", {"barrier": "x"}, "barrier"),
        ("touch", {"barrier": "+"}, "barrier"),
        ("touch", {"barrier": "+-1"}, "barrier"),
        ("touch", {"barrier": "101.001"}, "barrier"),
        ("touch", {"barrier": "0"}, "barrier"),
        ("touch", {"barrier": "-100"}, "barrier"),
        ("touch", {"barrier": "100.00"}, "barrier"),
        ("touch", {"barrier": "+0"}, "barrier"),
        ("touch", {"barrier": "1000000000000"}, "barrier"),
        ("ends_between", {"low": "99"}, "high"),
        ("ends_between", {"low": "101", "high": "99"}, "low"),
        ("ends_between", {"low": "99", "high": "99"}, "low"),
        ("ends_between", {"low": "-1", "high": "101"}, "high"),
        ("digit_match", {}, "digit"),
        ("digit_match", {"digit": 10}, "digit"),
        ("digit_match", {"digit": -1}, "digit"),
        ("digit_even", {"digit": 2}, "digit"),
        ("asian", {}, "duration_ticks"),
        ("asian", {"duration_ticks": 0, "duration_seconds": None}, "duration_ticks"),
        ("rise_fall", {"duration_ticks": 2_000_000, "duration_seconds": None}, "duration_ticks"),
    ],
)
def test_an_order_has_its_contracts_shape(
    floor: Desk, contract: str, asked: dict[str, Any], field: str
) -> None:
    found = refused(floor, contract, KINDS[contract].sides[0], **asked)
    assert isinstance(found, Invalid)
    assert field in found.details["errors"]


@pytest.mark.parametrize("contract", ALL)
def test_a_side_of_another_contract(floor: Desk, contract: str) -> None:
    row = KINDS[contract]
    shape = {name: {"digit": 3, "low": "99", "high": "101"}.get(name, "101") for name in row.takes}
    found = refused(floor, contract, "sideways", **shape)
    assert (found.code, found.detail) == (
        "invalid",
        f"The side of {contract} is {row.sides[0]} or {row.sides[1]}.",
    )


def test_ticks_within_the_terms(floor: Desk) -> None:
    found = refused(floor, "rise_fall", "up", duration_ticks=21, duration_seconds=None)
    assert (found.code, found.detail) == (
        "duration_out_of_range",
        "The duration is 21 ticks; 1 to 20 ticks are offered.",
    )


def test_digits_only_where_prices_are_made(db: None, make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(contracts=ALL)
    assert refused(desk, "digit_match", "matches", digit=3).code == "contract_not_offered"


# --- endings ------------------------------------------------------------------------------------------


def test_a_touch_closes_at_the_touching_tick(floor: Desk) -> None:
    order = place(floor, "touch", "touch", barrier="+0.50")
    against = place(floor, "touch", "no_touch", barrier="100.50")
    assert (order.reach_high, order.reach_low, order.due_seq) == (D("100.50"), None, None)
    ticks(floor, "100.49", "99.00")
    assert settle_due() == 0
    ticks(floor, "100.50", "100.00")
    assert settle_due() == 2
    won, lost = again(order), again(against)
    assert (won.status, won.exit_price, lost.status) == ("won", D("100.50"), "lost")
    assert won.exit_at < won.expires_at
    assert floor.balance() == "999.61"  # 990 + 10 + 9.61, less the other 10
    assert settle_due() == 0


def test_a_touch_that_does_not_come(floor: Desk) -> None:
    moves(floor, 0.003)
    order = place(floor, "touch", "no_touch", barrier="-0.50", duration_seconds=5)
    ticks(floor, "99.51", "120.00", "99.60", "99.70", "99.80")
    assert settle_due() == 1
    assert (again(order).status, again(order).exit_price) == ("won", D("99.80"))


def test_a_touch_after_the_expiry_does_not_count(floor: Desk) -> None:
    moves(floor, 0.003)
    order = place(floor, "touch", "touch", barrier="+0.50", duration_seconds=5)
    ticks(floor, "100.00", every=4)
    floor.market.append([(floor.clock.at + timedelta(seconds=1.5), D("150"))], until=floor.clock.move(2))
    assert settle_due() == 1
    assert again(order).status == "lost"


def test_a_late_tick_touches_nothing(floor: Desk) -> None:
    moves(floor, 0.003)
    order = place(floor, "touch", "touch", barrier="+0.50", duration_seconds=5)
    ticks(floor, "100.00", every=3)
    floor.market.append([(floor.clock.at - timedelta(seconds=1), D("150"))], until=floor.clock.move(3))
    settle_due()
    assert again(order).status == "lost"


def test_staying_between_ends_at_once_where_it_leaves(floor: Desk) -> None:
    order = place(floor, "stays_between", "in", low="-0.80", high="+0.80", duration_seconds=60)
    ticks(floor, "99.21", "100.79")
    assert settle_due() == 0
    ticks(floor, "99.20")
    assert settle_due() == 1
    assert (again(order).status, again(order).exit_price) == ("lost", D("99.20"))


def test_an_order_counted_in_ticks(floor: Desk) -> None:
    order = place(floor, "rise_fall", "up", duration_ticks=3, duration_seconds=None)
    assert order.due_seq == order.entry_seq + 3
    assert order.expires_at == order.accepted_at + timedelta(seconds=300)
    ticks(floor, "99.00", "98.00")
    assert settle_due() == 0
    ticks(floor, "101.00", "1.00")
    assert settle_due() == 1
    assert (again(order).status, again(order).exit_price) == ("won", D("101.00"))


def test_ticks_that_do_not_come_give_the_stake_back(floor: Desk) -> None:
    order = place(floor, "digit_even", "even", duration_ticks=2, duration_seconds=None)
    ticks(floor, "100.01")
    floor.clock.move(299)
    floor.market.quiet_until()
    assert settle_due() == 1
    assert (again(order).status, again(order).refund_reason) == ("refunded", "no_exit")
    assert floor.balance() == "1000.00"


def test_the_tick_after_the_longest_wait_does_not_count(floor: Desk) -> None:
    order = place(floor, "digit_even", "even", duration_ticks=1, duration_seconds=None)
    floor.clock.move(301)
    floor.market.tick("100.02")
    assert settle_due() == 1
    assert again(order).refund_reason == "no_exit"


@pytest.mark.parametrize(
    ("prices", "status"), [(["101.00", "100.51"], "won"), (["101.00", "100.50"], "lost")]
)
def test_an_average(floor: Desk, prices: list[str], status: str) -> None:
    order = place(floor, "asian", "up", duration_ticks=2, duration_seconds=None)
    ticks(floor, *prices)
    assert settle_due() == 1
    assert again(order).status == status


def test_a_quiet_market_settles_what_has_a_barrier(floor: Desk) -> None:
    order = place(floor, "higher_lower", "down", barrier="100.10", duration_seconds=5)
    floor.clock.move(5)
    floor.market.quiet_until()
    assert settle_due() == 1
    closed = again(order)
    assert (closed.status, closed.exit_seq) == ("won", closed.entry_seq)


def test_a_digit(floor: Desk) -> None:
    order = place(floor, "digit_match", "matches", digit=7, duration_seconds=5)
    ticks(floor, "100.07", every=5)
    settle_due()
    assert again(order).status == "won"
    assert floor.balance() == "1085.00"


def test_a_gap_on_the_way_gives_the_stake_back(floor: Desk) -> None:
    order = place(floor, "touch", "touch", barrier="+0.50", duration_seconds=20)
    ticks(floor, "100.00")
    record_gap(
        instrument_id=floor.market.instrument.pk,
        ends_at=floor.clock.move(5),
        reason=Gap.Reason.SOURCE_SILENT,
    )
    floor.market.quiet_until(floor.clock.at)
    ticks(floor, "100.50", every=2)
    assert settle_due() == 1
    assert (again(order).status, again(order).refund_reason) == ("refunded", "feed_gap")


# --- delayed entries ----------------------------------------------------------------------------------


def test_distances_become_prices_with_the_entry(delayed: Desk) -> None:
    placed = delayed.place("touch", contract="touch", barrier="+0.50")
    assert placed.order.barrier is None
    assert placed.order.distances is not None
    assert placed.order.distances.barrier == "+0.50"
    order = delayed.order(placed)
    assert (order.reach_high, order.barrier, order.is_relative) == (None, D("0.50"), True)
    ticks(delayed, "100.20")
    assert enter_pending() == 1
    entered = again(order)
    assert (entered.entry_price, entered.reach_high) == (D("100.20"), D("100.70"))
    told = Fact.objects.get(name="order.entered").payload["order"]
    assert (told["barrier"], told["distances"]) == ("100.70", {"barrier": "+0.50"})
    ticks(delayed, "100.50", "100.70")
    assert settle_due() == 1
    assert again(order).status == "won"


def test_ticks_are_counted_from_a_delayed_entry(delayed: Desk) -> None:
    order = place(delayed, "rise_fall", "up", duration_ticks=2, duration_seconds=None)
    assert (order.due_seq, order.expires_at) == (None, order.accepted_at + timedelta(seconds=300))
    ticks(delayed, "50.00", every=0.4)  # before the delay is over
    ticks(delayed, "100.00")
    assert enter_pending() == 1
    ticks(delayed, "99.00", "100.01")
    assert settle_due() == 1
    assert (again(order).status, again(order).exit_price) == ("won", D("100.01"))


def test_an_entry_nobody_noted_is_found_by_a_path_too(delayed: Desk) -> None:
    moves(delayed, 0.003)
    order = place(delayed, "touch", "touch", barrier="-0.50", duration_seconds=5)
    ticks(delayed, "100.20", "99.70", "100.00", every=2)
    assert settle_due() == 1
    closed = again(order)
    assert (closed.status, closed.entry_price, closed.exit_price) == ("won", D("100.20"), D("99.70"))


# --- what is kept, and what is told -------------------------------------------------------------------


def test_the_whole_way_is_kept_where_it_decides(floor: Desk) -> None:
    order = place(floor, "touch", "touch", barrier="+0.50")
    ticks(floor, *["100.00"] * 20, "100.50")
    settle_due()
    start, end = order.accepted_at - timedelta(hours=12), order.accepted_at + timedelta(hours=12)
    (span,) = evidence.spans(start, end)
    assert (span.starts_at, span.ends_at) == (
        order.entry_at - timedelta(seconds=5),
        order.entry_at + timedelta(seconds=26),
    )


def test_a_preview_is_what_placing_would_answer(floor: Desk) -> None:
    asked = {
        "account": floor.account.pk,
        "symbol": floor.market.instrument.symbol,
        "contract": "touch",
        "side": "touch",
        "stake": "10.00",
        "barrier": "+0.50",
        "duration_seconds": 60,
    }
    seen = preview_order(customer_id=floor.alice.pk, command=PlaceOrder(client_id="preview", **asked))
    placed = floor.place("touch", contract="touch", barrier="+0.50")
    assert (f"{seen.payout_rate:f}", placed.order.payout_rate) == ("0.9610", "0.961")
    assert (seen.profit, seen.payout, seen.levels, seen.refusals) == (
        D("9.61"),
        D("19.61"),
        {"barrier": D("100.50")},
        [],
    )


def test_a_preview_names_all_that_stands_against_it(floor: Desk) -> None:
    command = PlaceOrder(
        client_id="preview",
        account=floor.account.pk,
        symbol=floor.market.instrument.symbol,
        contract="touch",
        side="touch",
        stake="1000.00",
        barrier="+0.50",
        duration_seconds=60,
        min_payout_rate="0.97",
    )
    floor.place("up", "1.00")
    seen = preview_order(customer_id=floor.alice.pk, command=command)
    assert [refusal.code for refusal in seen.refusals] == ["payout_changed", "insufficient_funds"]
    assert (seen.payout_rate, seen.price) == (D("0.9610"), D("100.00"))
    assert Order.objects.count() == 1


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"stake": "5000"}, "stake_out_of_range"),
        ({"stake": "9000000000000000000"}, "stake_out_of_range"),
        ({"barrier": "+9.00"}, "barrier_out_of_range"),
        ({"duration_seconds": 0}, "duration_out_of_range"),
        ({"duration_seconds": -5}, "duration_out_of_range"),
        ({"duration_seconds": 10**9}, "duration_out_of_range"),
        (
            {"contract": "digit_even", "side": "odd", "barrier": None, "duration_seconds": -5},
            "duration_out_of_range",
        ),
    ],
)
def test_a_preview_stops_where_nothing_more_can_be_said(
    floor: Desk, changes: dict[str, Any], code: str
) -> None:
    asked: dict[str, Any] = {
        "client_id": "preview",
        "account": floor.account.pk,
        "symbol": floor.market.instrument.symbol,
        "contract": "touch",
        "side": "touch",
        "stake": "10.00",
        "barrier": "+0.50",
        "duration_seconds": 60,
        **changes,
    }
    seen = preview_order(customer_id=floor.alice.pk, command=PlaceOrder(**asked))
    assert code in [refusal.code for refusal in seen.refusals]
    assert seen.payout_rate is None


def test_distances_alone_where_the_entry_comes_later(delayed: Desk) -> None:
    found = refused(delayed, "higher_lower", "up", barrier="100.50")
    assert (found.code, found.details["errors"]) == ("invalid", {"barrier": ["With a sign, + or -."]})


def test_a_profit_too_small_to_count(floor: Desk) -> None:
    found = refused(floor, "digit_match", "differs", digit=3, stake="9.00")
    assert (found.code, found.details["min_stake"]) == ("stake_out_of_range", "9.01")
    assert floor.place("differs", "9.01", contract="digit_match", digit=3).order.status == "open"


def test_every_move_counts_where_there_is_a_barrier(floor: Desk) -> None:
    for seen in ("99.80", "100.20"):
        found = refused(floor, "higher_lower", "up", barrier="+0.10", price=seen, max_slippage="0.10")
        assert found.code == "price_moved"
    assert floor.place("up", price="100.20", max_slippage="0.10").order.status == "open"
    assert not Order.objects.exclude(contract="rise_fall").exists()


def test_one_wrong_price_does_not_make_everything_dear(db: None, make_desk: Callable[..., Desk]) -> None:
    desk = make_desk()
    for number in range(300):  # a hundredth of a percent up and down, and once two percent
        price = "100.01" if number % 2 else "100.00"
        desk.market.tick("102.00" if number == 150 else price, desk.clock.move(5))
    estimate_volatility()
    found = VolatilityEstimate.objects.get()
    assert found.per_sqrt_second == pytest.approx(0.0001 / 5**0.5, rel=0.05)


# --- volatility ---------------------------------------------------------------------------------------


def test_volatility_from_the_stored_ticks(db: None, make_desk: Callable[..., Desk]) -> None:
    desk = make_desk()
    for number in range(30):  # 1 % up and down every five seconds, two ticks each time
        desk.market.tick("101.00" if number % 2 else "100.00", desk.clock.move(2.5))
        desk.market.tick("101.00" if number % 2 else "100.00", desk.clock.move(2.5))
    assert estimate_volatility() == 1
    found = VolatilityEstimate.objects.get()
    assert found.per_sqrt_second == pytest.approx(0.00995033 / 5**0.5, rel=0.03)  # ln 1.01 per √5 s
    assert found.tick_seconds == pytest.approx(2.5, rel=0.05)
    assert found.samples >= 24


def test_a_market_that_stands_still_has_none(db: None, make_desk: Callable[..., Desk]) -> None:
    desk = make_desk()
    for _ in range(60):
        desk.market.tick("100.00", desk.clock.move(5))
    assert estimate_volatility() == 0


def test_a_simulation_is_known_from_its_start(db: None, make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(instrument={"simulated_volatility": D("1.0"), "simulated_interval_ms": 500})
    simulate(desk)
    assert estimate_volatility() == 1
    found = VolatilityEstimate.objects.get()
    assert found.per_sqrt_second == pytest.approx(1 / (365 * 86400) ** 0.5)
    assert (found.tick_seconds, found.samples) == (0.5, 0)


def test_a_simulation_is_known_before_its_first_tick(db: None, make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(instrument={"simulated_volatility": D("1.0"), "simulated_interval_ms": 500})
    assert estimate_volatility() == 0
    assert estimate_volatility(simulated=[desk.market.instrument.pk]) == 1


def test_a_simulation_is_priced_by_what_it_is_made_of(db: None, make_desk: Callable[..., Desk]) -> None:
    """Whoever knows the published figure would buy wherever an estimate is off."""
    desk = make_desk(instrument={"simulated_volatility": D("1.0"), "simulated_interval_ms": 500})
    for number in range(60):
        desk.market.tick("101.00" if number % 2 else "100.00", desk.clock.move(5))
    simulate(desk)
    assert estimate_volatility() == 1
    assert VolatilityEstimate.objects.get().samples == 0
