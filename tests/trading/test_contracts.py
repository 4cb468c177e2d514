"""Every contract by its rule, and against an oracle that looks at every tick."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.drills import model
from config.drills.oracle import Record, Tick
from tests.market import NOON
from trading.rules import KINDS, Contract, Gap, History, Price, decide, last_digit

D = Decimal
SECOND = timedelta(seconds=1)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def contract(kind: str, side: str, **agreed: object) -> Contract:
    values: dict[str, object] = {
        "kind": kind,
        "side": side,
        "stake": D(10),
        "payout_rate": D("0.85"),
        "scale": 2,
        "price_decimals": 2,
        "entry": Price(at(0), 1, D("100.00")),
        "entry_after": None,
        "expires_at": at(60),
        "tie_policy": "refund",
        "max_exit_age": timedelta(seconds=30),
        "max_entry_wait": timedelta(seconds=10),
        **agreed,
    }
    return Contract(**values)  # type: ignore[arg-type]


def history_of(
    agreed: Contract, ticks: Sequence[Price], *, known: float = 60, gaps: Sequence[Gap] = ()
) -> History:
    """Read from a list of ticks what the settler reads from the tables."""
    record = Record([Tick(tick.at, tick.seq, tick.price) for tick in ticks if tick.at <= at(known)])
    return replace(model.history_of(agreed, record, at(known)), gaps=gaps)


def ended(kind: str, side: str, prices: Sequence[str], **agreed: object) -> str:
    """Decide an order after these ticks, one a second from the first second on."""
    ticks = [Price(at(n), n + 1, D(price)) for n, price in enumerate(prices, start=1)]
    made = contract(kind, side, **{"max_exit_age": timedelta(minutes=5), **agreed})
    outcome = decide(made, history_of(made, ticks))
    assert outcome is not None
    return outcome.refund_reason or outcome.status


TABLE = [
    # contract, agreed, ticks, what the first side gets, what the second gets
    ("rise_fall", {}, ["100.01"], "won", "lost"),
    ("rise_fall", {}, ["99.99"], "lost", "won"),
    ("rise_fall", {}, ["101", "100.00"], "tie", "tie"),
    ("rise_fall", {"tie_policy": "lose"}, ["100.00"], "lost", "lost"),
    ("rise_fall", {}, [], "no_exit", "no_exit"),
    ("rise_fall", {"duration_ticks": 2}, ["99", "101", "98"], "won", "lost"),
    ("rise_fall", {"duration_ticks": 4}, ["99", "101", "98"], "no_exit", "no_exit"),
    ("higher_lower", {"barrier": D("100.50")}, ["100.51"], "won", "lost"),
    ("higher_lower", {"barrier": D("100.50")}, ["100.49"], "lost", "won"),
    ("higher_lower", {"barrier": D("100.50")}, ["100.50"], "lost", "lost"),
    ("higher_lower", {"barrier": D("100.50")}, [], "lost", "won"),
    ("higher_lower", {"barrier": D("0.50"), "is_relative": True}, ["100.51"], "won", "lost"),
    ("higher_lower", {"barrier": D("-0.50"), "is_relative": True}, ["99.50"], "lost", "lost"),
    ("higher_lower", {"barrier": D("100.50"), "duration_ticks": 1}, ["100.51", "1"], "won", "lost"),
    ("touch", {"barrier": D("101")}, ["100.99", "100"], "lost", "won"),
    ("touch", {"barrier": D("101")}, ["101.00", "100"], "won", "lost"),
    ("touch", {"barrier": D("101")}, ["150", "100"], "won", "lost"),
    ("touch", {"barrier": D("99")}, ["99.00"], "won", "lost"),
    ("touch", {"barrier": D("99")}, ["99.01", "120"], "lost", "won"),
    ("touch", {"barrier": D("100")}, ["120"], "won", "lost"),
    ("touch", {"barrier": D("101")}, [], "lost", "won"),
    ("touch", {"barrier": D("1"), "is_relative": True}, ["101"], "won", "lost"),
    ("touch", {"barrier": D("101"), "duration_ticks": 2}, ["100", "100", "101"], "lost", "won"),
    ("touch", {"barrier": D("101"), "duration_ticks": 2}, ["100", "101"], "won", "lost"),
    ("touch", {"barrier": D("101"), "duration_ticks": 9}, ["101"], "won", "lost"),
    ("touch", {"barrier": D("101"), "duration_ticks": 9}, ["100"], "no_exit", "no_exit"),
    ("ends_between", {"low": D("99"), "high": D("101")}, ["150", "100"], "won", "lost"),
    ("ends_between", {"low": D("99"), "high": D("101")}, ["101.01"], "lost", "won"),
    ("ends_between", {"low": D("99"), "high": D("101")}, ["98.99"], "lost", "won"),
    ("ends_between", {"low": D("99"), "high": D("101")}, ["101"], "lost", "lost"),
    ("ends_between", {"low": D("99"), "high": D("101")}, ["99"], "lost", "lost"),
    ("ends_between", {"low": D("99"), "high": D("101")}, [], "won", "lost"),
    ("ends_between", {"low": D("-1"), "high": D("1"), "is_relative": True}, ["100.99"], "won", "lost"),
    ("stays_between", {"low": D("99"), "high": D("101")}, ["100.99", "99.01"], "won", "lost"),
    ("stays_between", {"low": D("99"), "high": D("101")}, ["101", "100"], "lost", "won"),
    ("stays_between", {"low": D("99"), "high": D("101")}, ["99", "100"], "lost", "won"),
    ("stays_between", {"low": D("99"), "high": D("101")}, [], "won", "lost"),
    ("stays_between", {"low": D("99"), "high": D("101"), "duration_ticks": 1}, ["100", "101"], "won", "lost"),
    ("digit_match", {"digit": 7}, ["100.07"], "won", "lost"),
    ("digit_match", {"digit": 7}, ["100.70"], "lost", "won"),
    ("digit_match", {"digit": 0}, ["100.10"], "won", "lost"),
    ("digit_match", {"digit": 0}, [], "won", "lost"),
    ("digit_over", {"digit": 4}, ["100.05"], "won", "lost"),
    ("digit_over", {"digit": 4}, ["100.04"], "lost", "lost"),
    ("digit_over", {"digit": 4}, ["100.03"], "lost", "won"),
    ("digit_even", {}, ["100.02"], "won", "lost"),
    ("digit_even", {}, ["100.03"], "lost", "won"),
    ("digit_even", {"duration_ticks": 3}, ["100.01", "100.01", "100.02", "100.01"], "won", "lost"),
    # 3 × exit against 100 + 101 + exit: the last is above the average of all when 2 × exit > 201
    ("asian", {"duration_ticks": 2}, ["101", "100.51"], "won", "lost"),
    ("asian", {"duration_ticks": 2}, ["101", "100.50"], "lost", "lost"),
    ("asian", {"duration_ticks": 2}, ["101", "100.49"], "lost", "won"),
    ("asian", {"duration_ticks": 3}, ["101", "100.49"], "no_exit", "no_exit"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "agreed", "prices", "first", "second"), TABLE)
def test_the_table(kind: str, agreed: dict[str, object], prices: list[str], first: str, second: str) -> None:
    sides = KINDS[kind].sides
    assert (ended(kind, sides[0], prices, **agreed), ended(kind, sides[1], prices, **agreed)) == (
        first,
        second,
    )


def test_every_contract_has_rows() -> None:
    assert {row[0] for row in TABLE} == set(KINDS)


@pytest.mark.parametrize(
    ("kind", "side"), [(kind, side) for kind, row in KINDS.items() for side in row.sides]
)
def test_a_won_order_pays_its_rate_rounded_down(kind: str, side: str) -> None:
    for agreed, prices in [(row[1], row[2]) for row in TABLE if row[0] == kind]:
        if ended(kind, side, prices, **agreed) == "won":
            ticks = [Price(at(n), n + 1, D(price)) for n, price in enumerate(prices, start=1)]
            made = contract(kind, side, stake=D("1.01"), max_exit_age=timedelta(minutes=5), **agreed)
            outcome = decide(made, history_of(made, ticks))
            assert outcome is not None
            assert outcome.payout == D("1.86")  # 1.01 + 0.8585 rounded down
            return
    pytest.fail(f"no row in which {side} wins {kind}")


@pytest.mark.parametrize("number", range(10))
@pytest.mark.parametrize("decimals", [0, 2, 5])
def test_the_last_digit(number: int, decimals: int) -> None:
    assert last_digit(D(f"1234{number}").scaleb(-decimals), decimals) == number


# --- gaps, and what is not known yet ------------------------------------------------------------------

PATH = {"barrier": D("101")}


@pytest.mark.parametrize(
    ("starts", "ends", "expected"),
    [
        (5, 6, "feed_gap"),  # on the way, and before any tick that decides
        (-5, 0, "won"),  # over before the entry counts
        (-5, 1, "feed_gap"),
        (19, 21, "feed_gap"),  # over the deciding tick itself: it proves nothing
        (20, 25, "won"),  # begins with the deciding tick, which was the last known
        (30, 40, "won"),
    ],
)
def test_gaps_on_the_way_of_a_path(starts: float, ends: float, expected: str) -> None:
    made = contract("touch", "touch", **PATH)
    ticks = [Price(at(10), 2, D("100")), Price(at(20), 3, D("101")), Price(at(50), 4, D("100"))]
    outcome = decide(made, history_of(made, ticks, gaps=[Gap(at(starts), at(ends), "source_silent")]))
    assert outcome is not None
    assert (outcome.refund_reason or outcome.status) == expected


@pytest.mark.parametrize(
    ("kind", "agreed", "expected"),
    [
        ("higher_lower", {"barrier": D("100.50")}, "won"),
        ("higher_lower", {"barrier": D("100.50"), "duration_ticks": 2}, "feed_gap"),
        ("asian", {"duration_ticks": 2}, "feed_gap"),
        ("rise_fall", {}, "won"),
    ],
)
def test_a_gap_on_the_way_counts_where_every_tick_does(
    kind: str, agreed: dict[str, object], expected: str
) -> None:
    made = contract(kind, "up", **agreed)
    ticks = [Price(at(10), 2, D("100.10")), Price(at(50), 3, D("101"))]
    outcome = decide(made, history_of(made, ticks, gaps=[Gap(at(20), at(21), "source_silent")]))
    assert outcome is not None
    assert (outcome.refund_reason or outcome.status) == expected


def test_a_path_is_decided_by_the_touching_tick_and_not_before() -> None:
    made = contract("touch", "no_touch", **PATH)
    ticks = [Price(at(10), 2, D("100")), Price(at(20), 3, D("101"))]
    assert decide(made, history_of(made, ticks, known=19)) is None
    outcome = decide(made, history_of(made, ticks, known=20))
    assert outcome is not None
    assert (outcome.status, outcome.exit) == ("lost", ticks[1])


def test_ticks_are_counted_from_the_entry() -> None:
    made = contract("rise_fall", "up", duration_ticks=2)
    ticks = [Price(at(10), 2, D("99")), Price(at(20), 3, D("101")), Price(at(30), 4, D("98"))]
    assert decide(made, history_of(made, ticks, known=19)) is None
    outcome = decide(made, history_of(made, ticks, known=20))
    assert outcome is not None
    assert (outcome.status, outcome.exit) == ("won", ticks[1])


def test_nothing_is_final_before_the_watermark_is_at_the_expiry() -> None:
    made = contract("higher_lower", "up", barrier=D("100"))
    ticks = [Price(at(10), 2, D("101"))]
    assert decide(made, history_of(made, ticks, known=59.999999)) is None
    assert decide(made, history_of(made, ticks, known=60)) is not None


@pytest.mark.parametrize(
    ("kind", "agreed", "seq", "is_voided"),
    [
        ("rise_fall", {}, 1, True),
        ("rise_fall", {}, 2, False),
        ("rise_fall", {}, 3, True),
        ("touch", PATH, 3, True),
        ("touch", PATH, 2, False),
        ("asian", {"duration_ticks": 2}, 2, True),
    ],
)
def test_a_voided_tick_refunds_what_rests_on_it(
    kind: str, agreed: dict[str, object], seq: int, is_voided: bool
) -> None:
    made = contract(kind, KINDS[kind].sides[0], **agreed)
    ticks = [Price(at(10), 2, D("100")), Price(at(50), 3, D("102"))]
    outcome = decide(made, replace(history_of(made, ticks), voided=frozenset({seq})))
    assert outcome is not None
    assert (outcome.refund_reason or outcome.status) == ("voided" if is_voided else "won")


# --- the oracle ---------------------------------------------------------------------------------------


@settings(max_examples=1_500, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_the_rules_agree_with_an_oracle(seed: int) -> None:
    assert model.simulated(seed, 1)[1] == []


def test_the_oracle_has_seen_every_end() -> None:
    seen, differed = model.simulated(4, 8_000)
    assert differed == []
    ends = ("won", "lost", "feed_gap", "feed_dead", "voided", "no_entry", "too early")
    assert [f"{kind}: {end}" for kind in KINDS for end in ends if not seen[f"{kind}: {end}"]] == []
    assert all(seen[f"rise_fall: {end}"] for end in ("tie", "no_exit", "stale_exit"))


@settings(max_examples=500, deadline=None)
@given(seed=st.integers(0, 2**32), known=st.floats(0, 70))
def test_what_is_decided_early_stays_so(seed: int, known: float) -> None:
    """More of the market never changes an outcome, as no gap is recorded before the watermark."""
    made, record = model.any_order(seed, 0)
    begun = model.BEGINS_AT + timedelta(seconds=known)
    record.gaps = [gap for gap in record.gaps if gap.starts_at >= begun]
    early = model.end_of(model.contract_of(made), record.upto(begun), begun)
    if early is not None:
        assert model.end_of(model.contract_of(made), record, begun + timedelta(minutes=5)) == early
