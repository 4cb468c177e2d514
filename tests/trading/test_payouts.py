"""The payout policy: what the rate follows, what it does not, and that every change says why."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.core.models import Fact
from kyc.models import Jurisdiction
from quotes.models import Watermark
from tests.market import funded_account, person, trading_book
from tests.trading.conftest import Desk
from tests.trading.test_contract_orders import moves, ticks
from trading.models import PayoutRate, Terms
from trading.rules import Ended, Policy, recalculated
from trading.services import recalculate_payouts, sell_order, settle_due
from trading.services.payouts import ended, open_stakes

D = Decimal
NONE_OPEN = (D(0), D(0))


def policy(**changes: Any) -> Policy:
    values: dict[str, Any] = {
        "fixed_rate": D("0.85"),
        "min_rate": D("0.50"),
        "max_rate": D("0.95"),
        "margin": D("0.05"),
        "max_step": D("1"),
        "min_orders": 10,
        "skew": D("0.1"),
    }
    return Policy(**{**values, **changes})


def orders(won: int, lost: int, stake: str = "10") -> list[Ended]:
    """Each of another customer."""
    return [Ended(number, D(stake), number < won) for number in range(won + lost)]


def rate(won: int, lost: int, previous: str | None = None, **changes: Any) -> str:
    found = recalculated(
        policy(**changes), orders(won, lost), NONE_OPEN, None if previous is None else D(previous)
    )
    return f"{found.rate:.2f}"


@pytest.mark.parametrize(
    ("won", "lost", "expected"),
    [
        (20, 20, "0.90"),  # p = 30/60: 0.95 / 0.5 - 1
        (24, 16, "0.67"),  # p = 34/60: 0.95 / 0.56667 - 1 = 0.6765
        (16, 24, "0.95"),  # p = 26/60: 1.1923, clamped
        (40, 0, "0.50"),  # p = 50/60: 0.14, clamped
        (5, 5, "0.90"),
        (10, 0, "0.50"),  # p = 20/30: 0.425, clamped
        (6, 3, "0.85"),  # nine orders: the fixed rate
    ],
)
def test_the_rate_follows_the_odds(won: int, lost: int, expected: str) -> None:
    assert rate(won, lost) == expected


def test_nine_customers_are_not_enough() -> None:
    few = [Ended(number % 9, D(10), True) for number in range(90)]
    assert recalculated(policy(), few, NONE_OPEN, None).reason == "fixed rate"


def test_a_fixed_rate_keeps_to_the_bounds() -> None:
    assert recalculated(policy(fixed_rate=D("0.99")), (), NONE_OPEN, None).rate == D("0.95")


def test_no_customer_counts_for_more_than_a_tenth() -> None:
    """Somebody who wins forty times as much as all others together moves the rate like a tenth of them."""
    others = [Ended(number, D(10), number % 2 == 0) for number in range(20)]
    whale = [Ended(99, D(1000), True) for _ in range(20)]
    found = recalculated(policy(), others + whale, NONE_OPEN, None)
    # Of the others 20 × 10/505 = 0.39604, half of it won; the whale a tenth of all, 0.04400: 0.24202 won of
    # 0.44004, and 20 at even odds.
    assert found.effective_orders == D("0.44004400")
    assert found.probability == D("0.50107643")
    assert f"{found.rate:.2f}" == "0.89"


def test_stakes_weigh() -> None:
    mixed = orders(10, 10) + [Ended(100 + number, D(30), True) for number in range(10)]
    found = recalculated(policy(), mixed, NONE_OPEN, None)
    # Mean stake 16.67: won 10 × 0.6 + 10 × 1.8 = 24, lost 6; p = 34/50.
    assert (found.probability, f"{found.rate:.2f}") == (D("0.68000000"), "0.50")


@pytest.mark.parametrize(
    ("previous", "expected_exact", "expected"),
    [
        ("0.80", "0.82000000", "0.82"),
        ("0.895", "0.90000000", "0.90"),
        ("0.95", "0.93000000", "0.93"),
        ("0.8049", "0.82490000", "0.82"),
    ],
)
def test_a_step_at_a_time_from_the_exact_rate(previous: str, expected_exact: str, expected: str) -> None:
    found = recalculated(policy(max_step=D("0.02")), orders(20, 20), NONE_OPEN, D(previous))
    assert (found.exact, f"{found.rate:.2f}") == (D(expected_exact), expected)


@pytest.mark.parametrize(
    ("up", "down", "skew", "expected"),
    [
        ("100", "0", "0.02500000", "0.87"),
        ("75", "25", "0.01250000", "0.88"),
        ("50", "50", "0.00000000", "0.90"),
        ("0", "100", "0.02500000", "0.87"),
    ],
)
def test_a_fuller_side_costs(up: str, down: str, skew: str, expected: str) -> None:
    found = recalculated(policy(), orders(20, 20), (D(up), D(down)), None)
    assert (found.skew, f"{found.rate:.2f}") == (D(skew), expected)


@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 10_000), st.booleans()), max_size=80),
    st.tuples(st.integers(0, 1000), st.integers(0, 1000)),
    st.none() | st.decimals("0.5", "0.95", places=8),
)
def test_whatever_happens_the_rate_stays_within_its_bounds_and_steps(
    lately: Sequence[tuple[int, int, bool]], opened: tuple[int, int], previous: Decimal | None
) -> None:
    rules = policy(max_step=D("0.02"))
    found = recalculated(
        rules, [Ended(c, D(s), w) for c, s, w in lately], (D(opened[0]), D(opened[1])), previous
    )
    assert rules.min_rate <= found.rate <= found.exact <= rules.max_rate < 1
    if found.reason == "recalculated":
        assert found.rate == found.rate.quantize(D("0.01"))
        if previous is not None:
            assert abs(found.exact - previous) <= D("0.02")


# --- with the tables ----------------------------------------------------------------------------------


@pytest.fixture
def floor(db: None, make_desk: Callable[..., Desk]) -> Desk:
    """Twelve customers with real money."""
    Jurisdiction.objects.update_or_create(
        country="AE", defaults={"allows_real": True, "licence_reference": "TEST"}
    )
    desk = make_desk(payout_policy="window", payout_max_step=D("0.5"), offers_sale=True)
    book = trading_book("money", kind="real")
    desk.everybody = [  # type: ignore[attr-defined]
        funded_account(person(f"customer{number}@example.com").pk, book, "100.00") for number in range(12)
    ]
    return desk


def all_place(desk: Desk, sides: str, stake: str = "10.00") -> list[Any]:
    """Each of the customers places on his side, u or d."""
    placed = []
    for account, side in zip(desk.everybody, sides, strict=True):  # type: ignore[attr-defined]
        desk.alice, desk.account = account.owner, account
        placed.append(desk.place("up" if side == "u" else "down", stake))
    return placed


def test_the_orders_of_the_window_make_the_rate(floor: Desk) -> None:
    all_place(floor, "uuuuuuuudddd")
    assert open_stakes(floor.market.instrument.pk) == (D(80), D(40))
    ticks(floor, "101.00", every=60)
    settle_due()
    assert recalculate_payouts() == 1
    newest = PayoutRate.objects.latest("id")
    # 8 of 12 won: p = 18/32 = 0.5625; 0.95 / p - 1 = 0.6889.
    assert (f"{newest.rate:.2f}", newest.reason) == ("0.68", "recalculated")
    assert newest.inputs == {
        "policy": "window",
        "exact": "0.68888888",
        "probability": "0.56250000",
        "effective_orders": "12.00000000",
        "skew": "0",
        "terms": 1,
    }
    told = Fact.objects.filter(name="payout.changed").latest("id").payload
    assert (told["payout_rate"], told["previous_rate"], told["reason"]) == ("0.68", "0.85", "recalculated")
    assert recalculate_payouts() == 0
    ticks(floor, "101.00")
    assert floor.place("up", "10.00").order.payout_rate == "0.68"


def test_what_is_older_than_the_window_counts_no_more(floor: Desk) -> None:
    all_place(floor, "uuuuuuuudddd")
    ticks(floor, "101.00", every=60)
    settle_due()
    recalculate_payouts()
    floor.clock.move(30 * 60 + 1)
    assert recalculate_payouts() == 1
    newest = PayoutRate.objects.latest("id")
    assert (newest.rate, newest.reason) == (D("0.85"), "fixed rate")


def test_refunds_and_other_contracts_and_practice_do_not_count(floor: Desk) -> None:
    all_place(floor, "u" * 12)
    ticks(floor, "100.00", every=60)  # ties
    settle_due()
    assert ended(floor.market.instrument.pk, floor.clock.at - timedelta(minutes=30)) == []


def test_a_sold_order_counts_as_it_would_have_ended(floor: Desk) -> None:
    moves(floor)
    first, *_ = all_place(floor, "uuuuuuuudddd")
    ticks(floor, "99.00", every=30)
    seller = floor.everybody[0]  # type: ignore[attr-defined]
    sell_order(customer_id=seller.owner_id, order_id=first.order.id, client_id="sale")
    instrument, since = floor.market.instrument.pk, floor.clock.at - timedelta(minutes=30)
    assert ended(instrument, since) == []  # not yet known
    ticks(floor, "101.00", every=30)
    settle_due()
    found = ended(instrument, since)
    assert len(found) == 12
    assert Ended(seller.owner_id, D(10), True) in found


def test_a_simulated_instrument_keeps_its_fixed_rate(floor: Desk) -> None:
    all_place(floor, "uuuuuuuudddd")
    ticks(floor, "101.00", every=60)
    settle_due()
    Watermark.objects.update(source="simulated")
    assert recalculate_payouts() == 0


def test_terms_that_say_fixed(db: None, make_desk: Callable[..., Desk]) -> None:
    desk = make_desk()
    assert Terms.objects.get().payout_policy == "fixed"
    assert recalculate_payouts() == 0
    assert desk.place("up").order.payout_rate == "0.85"


def test_the_exact_rate_goes_on_where_the_last_run_left_it(db: None, make_desk: Callable[..., Desk]) -> None:
    """Steps of half a percent add up, though each is rounded down to a whole one."""
    Jurisdiction.objects.update_or_create(
        country="AE", defaults={"allows_real": True, "licence_reference": "TEST"}
    )
    desk = make_desk(payout_policy="window", payout_max_step=D("0.005"))
    book = trading_book("money", kind="real")
    desk.everybody = [  # type: ignore[attr-defined]
        funded_account(person(f"customer{number}@example.com").pk, book, "100.00") for number in range(12)
    ]
    all_place(desk, "uuuuuudddddd")
    ticks(desk, "101.00", every=60)
    settle_due()
    seen = []
    for _ in range(4):
        recalculate_payouts()
        newest = PayoutRate.objects.latest("id")
        seen.append((f"{newest.rate:.2f}", newest.inputs["exact"]))
    assert seen == [
        ("0.85", "0.85500000"),
        ("0.86", "0.86000000"),
        ("0.86", "0.86500000"),
        ("0.87", "0.87000000"),
    ]
    assert Fact.objects.filter(name="payout.changed").count() == 3  # the first of all, 0.86, 0.87
