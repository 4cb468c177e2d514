"""Receipts: of every contract and every end; whatever is altered in one is seen."""

import html
import io
import json
import re
import subprocess
import sys
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from copy import deepcopy
from datetime import datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.test import Client
from rest_framework.test import APIClient

from config.core.errors import Unavailable
from config.core.ids import new_id
from config.embedded.environment import ROOT
from quotes.models import CalendarException, EvidenceTick, Gap, RecordPart, Tick
from quotes.services import IndependentPrice, approve_void, open_days, record_gap, request_void
from quotes.services.archive import retire_day, seal_day
from tests.cast import client_for
from tests.market import NOON, person, standing_clock
from tests.trading import test_contract_orders as hands
from tests.trading import test_resettle as hundreds
from tests.trading.conftest import Desk
from trading import errors
from trading.models import Order
from trading.receipts import form, keys
from trading.receipts import ticks as reading
from trading.receipts.building import receipt_of
from trading.receipts.checks import check_receipt_keys
from trading.receipts.form import NotAReceipt, canonical, read_document
from trading.receipts.judging import judge
from trading.receipts.signing import SigningKey
from trading.receipts.verification import Check
from trading.rules import KINDS
from trading.services import enter_pending, sell_order, settle_due
from trading.views import VERIFYING

D = Decimal
TERMS: dict[str, Any] = {"contracts": list(KINDS), "max_duration_ticks": 20, "offers_sale": True}
MakeDesk = Callable[..., Desk]


@pytest.fixture
def floor(db: None, make_desk: MakeDesk) -> Desk:
    """Every contract, ticks before the first order, and sales."""
    return opened(make_desk(**TERMS))


@pytest.fixture
def delayed(db: None, make_desk: MakeDesk) -> Desk:
    return opened(make_desk(**TERMS, entry_policy="delayed", entry_delay_ms=500))


def ticks(desk: Desk, *prices: str, every: float = 1) -> None:
    """Let prices come, each of which says that it is simulated."""
    hands.ticks(desk, *prices, every=every)
    hands.simulate(desk)


def opened(desk: Desk) -> Desk:
    ticks(desk, "100.01", "99.99", "100.00")
    hands.moves(desk, 0.003)
    return desk


def closed(desk: Desk, contract: str, side: str, *prices: str, every: float = 1, **asked: Any) -> Order:
    """Place an order of five seconds unless told otherwise, let prices come, and settle it."""
    asked.setdefault("duration_seconds", None if "duration_ticks" in asked else 5)
    placed = desk.place(side, contract=contract, **asked)
    ticks(desk, *prices, every=every)
    enter_pending()
    assert settle_due() == 1
    return desk.order(placed)


def written(desk: Desk, order: Order) -> bytes:
    return receipt_of(desk.alice.pk, order.pk)


def said(desk: Desk, order: Order) -> dict[str, Any]:
    return read_document(written(desk, order))


def results(given: bytes) -> dict[str, str]:
    return {check.name: check.result for check in judge(given).checks}


GOOD = dict.fromkeys(("Signature", "Terms", "Ticks", "Outcome", "Money", "Record", "Corrections"), "pass")


def verifies(desk: Desk, order: Order) -> dict[str, Any]:
    """See that an order's receipt verifies and is the same at every build; return it."""
    first = written(desk, order)
    assert written(desk, order) == first
    judged = judge(first)
    assert results(first) == {**GOOD, "Root": "unknown"}, judged.checks
    assert judged.is_good
    return read_document(first)


# --- every contract, every end ------------------------------------------------------------------------

AROUND = {"low": "-0.50", "high": "+0.50"}
WAYS: list[tuple[str, str, str, dict[str, Any], tuple[str, ...]]] = [
    # contract, the side that wins, the one that loses, what it takes, the prices that come
    ("rise_fall", "up", "down", {}, ("100.00", "101.00")),
    ("rise_fall", "down", "up", {"duration_ticks": 2}, ("101.00", "99.00")),
    ("higher_lower", "up", "down", {"barrier": "+0.50"}, ("100.20", "100.51")),
    ("higher_lower", "down", "up", {"barrier": "100.60"}, ("100.20", "100.51")),
    ("touch", "touch", "no_touch", {"barrier": "-0.50"}, ("99.80", "99.50")),
    ("touch", "no_touch", "touch", {"barrier": "100.50"}, ("100.49", "99.50", "99.00", "99.50", "100.00")),
    ("ends_between", "in", "out", AROUND, ("101.00", "100.49")),
    ("ends_between", "out", "in", {"low": "99.50", "high": "100.50"}, ("100.00", "100.51")),
    ("stays_between", "out", "in", AROUND, ("100.49", "100.50")),
    ("stays_between", "in", "out", AROUND, ("100.49", "99.51", "100.00", "100.01", "100.02")),
    ("digit_match", "matches", "differs", {"digit": 7}, ("100.07",)),
    ("digit_over", "under", "over", {"digit": 5, "duration_ticks": 3}, ("100.09", "100.09", "100.04")),
    ("digit_even", "odd", "even", {}, ("100.02", "100.01")),
    ("asian", "up", "down", {"duration_ticks": 3}, ("99.00", "99.50", "100.50")),
]


@pytest.mark.parametrize(("contract", "wins", "loses", "asked", "prices"), WAYS)
def test_won_and_lost(
    floor: Desk, contract: str, wins: str, loses: str, asked: dict[str, Any], prices: tuple[str, ...]
) -> None:
    every = 1 if len(prices) == 5 or "duration_ticks" in asked else 5 / len(prices)
    for side, status in ((wins, "won"), (loses, "lost")):
        ticks(floor, "100.00")
        order = closed(floor, contract, side, *prices, every=every, **asked)
        assert order.status == status
        told = verifies(floor, order)
        assert told["status"] == status
        assert told["terms"]["contract"] == contract
        assert (told["way"] is not None) is ("duration_ticks" in asked or KINDS[contract].watches_path)


@pytest.mark.parametrize(("contract", "wins", "loses", "asked", "prices"), WAYS)
def test_won_with_a_delayed_entry(
    delayed: Desk, contract: str, wins: str, loses: str, asked: dict[str, Any], prices: tuple[str, ...]
) -> None:
    every = 1 if len(prices) == 5 or "duration_ticks" in asked else 5 / len(prices)
    # Where the entry comes later, barriers are distances from it: here always from 100.
    asked = {
        name: f"{Decimal(value) - 100:+.2f}"
        if name in ("barrier", "low", "high") and value[0] not in "+-"
        else value
        for name, value in asked.items()
    }
    placed = delayed.place(
        wins, contract=contract, **{"duration_seconds": None if "duration_ticks" in asked else 6, **asked}
    )
    ticks(delayed, "100.00")
    ticks(delayed, *prices, every=every)
    delayed.clock.move(1)
    delayed.market.quiet_until()
    enter_pending()
    assert settle_due() == 1
    order = delayed.order(placed)
    assert order.status == "won"
    told = verifies(delayed, order)
    assert told["entry"]["price"] == "100.00"
    assert told["terms"]["entry_after"] is not None


def test_what_a_receipt_says(floor: Desk) -> None:
    order = closed(floor, "rise_fall", "up", "100.20", "99.00", "100.85", every=2.5)
    told = said(floor, order)
    assert told["sentence"] == (
        "10.00 USD staked that VOL100 ends above its entry price, 5 seconds later, at "
        "2030-01-15T12:00:08.000000Z. 18.50 USD come back if so."
    )
    assert told["terms"] == {
        "symbol": "VOL100",
        "price_decimals": 2,
        "contract": "rise_fall",
        "side": "up",
        "stake": "10.00",
        "currency": "USD",
        "scale": 2,
        "payout_rate": "0.85",
        "duration_seconds": 5,
        "duration_ticks": None,
        "expires_at": "2030-01-15T12:00:08.000000Z",
        "barrier": None,
        "low": None,
        "high": None,
        "digit": None,
        "tie_policy": "refund",
        "max_exit_age_seconds": 30,
        "entry_policy": "latest_tick",
        "entry_after": None,
        "max_entry_wait_ms": 10_000,
        "version": 1,
    }
    assert [(row["seq"], row["price"]) for row in told["ticks"]] == [
        (1, "100.00"),
        (2, "100.01"),
        (3, "99.99"),
        (4, "100.00"),
        (5, "100.20"),
        (6, "99.00"),
        (7, "100.85"),
    ]
    assert (told["entry"]["seq"], told["exit"]["seq"], told["way"]) == (4, 6, None)
    assert told["known_until"] == told["closed_at"] == "2030-01-15T12:00:10.500000Z"
    assert (told["status"], told["refund_reason"], told["payout"]) == ("lost", None, "0.00")
    assert told["rule"] == (
        "The exit price is compared with the entry price; if they are equal, the stake comes back."
    )
    assert [(row["code"], row["amount"], row["from"], row["to"]) for row in told["transfers"]] == [
        ("stake", "10.00", "customer", "escrow"),
        ("stake_lost", "10.00", "escrow", "house"),
    ]
    assert (told["gaps"], told["open_at_end"], told["sale"]) == ([], True, None)
    assert (told["voided"], told["corrections"], told["record"]) == ([], [], [])
    assert set(told["signature"]) == {"algorithm", "key", "signature"}


@pytest.mark.parametrize(
    ("contract", "side", "asked", "claim"),
    [
        (
            "touch",
            "touch",
            {"barrier": "+0.50"},
            "VOL100 reaches 0.50 above its entry price within 5 seconds, by ",
        ),
        ("touch", "no_touch", {"barrier": "99.50"}, "VOL100 does not reach 99.50 within 5 seconds, by "),
        (
            "stays_between",
            "out",
            {"low": "-0.50", "high": "+0.40", "duration_ticks": 9},
            "VOL100 reaches 0.50 below its entry price or 0.40 above its entry price "
            "within 9 ticks after its entry and by ",
        ),
        (
            "digit_over",
            "over",
            {"digit": 4},
            "the last digit of VOL100 at the end is above 4, 5 seconds later, at ",
        ),
        (
            "asian",
            "down",
            {"duration_ticks": 3},
            "VOL100 ends below the average of its ticks from the entry to the end, "
            "3 ticks after its entry and by ",
        ),
    ],
)
def test_the_contract_in_plain_words(
    floor: Desk, contract: str, side: str, asked: dict[str, Any], claim: str
) -> None:
    order = closed(floor, contract, side, *["100.00"] * 9, **asked)
    told = said(floor, order)
    payout = f"{D('10') + (D('10') * order.payout_rate).quantize(D('0.01'), ROUND_DOWN)}"
    assert told["sentence"] == (
        f"10.00 USD staked that {claim}{told['terms']['expires_at']}. {payout} USD come back if so."
    )


def test_neighbours_are_three_before_and_three_after(floor: Desk) -> None:
    placed = floor.place("up", duration_seconds=30)
    ticks(floor, *["100.50"] * 70, every=0.5)
    assert settle_due() == 1
    told = verifies(floor, floor.order(placed))
    numbers = [row["seq"] for row in told["ticks"]]
    entry, exit_ = told["entry"]["seq"], told["exit"]["seq"]
    assert numbers == [*range(entry - 3, entry + 4), *range(exit_ - 3, exit_ + 4)]


def test_ticks_that_come_after_closing_change_nothing(floor: Desk) -> None:
    placed = floor.place("up", duration_seconds=5)
    ticks(floor, "100.50", every=5)
    assert settle_due() == 1
    before = written(floor, floor.order(placed))
    ticks(floor, "101.00", "102.00", every=0.2)
    assert written(floor, floor.order(placed)) == before


def test_it_waits_until_the_record_is_complete_around_the_end(floor: Desk) -> None:
    placed = floor.place("up", duration_seconds=5)
    ticks(floor, "100.50", every=5)
    floor.clock.move(0.4)  # the settler comes; the feed has not written so far
    assert settle_due() == 1
    with pytest.raises(errors.ReceiptNotReady) as caught:
        written(floor, floor.order(placed))
    assert (caught.value.code, caught.value.retry_after_seconds) == ("receipt_not_ready", 1)
    floor.market.append([(floor.clock.at - timedelta(seconds=0.1), D("100.60"))], until=floor.clock.at)
    told = verifies(floor, floor.order(placed))
    assert told["ticks"][-1]["price"] == "100.60"


def gap(desk: Desk, reason: str, seconds: float = 0) -> None:
    record_gap(instrument_id=desk.market.instrument.pk, ends_at=desk.clock.move(seconds), reason=reason)


def test_a_tie_is_refunded_or_lost_as_the_terms_say(floor: Desk, make_desk: MakeDesk) -> None:
    order = closed(floor, "rise_fall", "up", "101.00", "100.00", every=2.5)
    assert verifies(floor, order)["refund_reason"] == "tie"
    floor.market.terms(**TERMS, tie_policy="lose")
    order = closed(floor, "rise_fall", "up", "101.00", "100.00", every=2.5)
    told = verifies(floor, order)
    assert (told["status"], told["terms"]["version"]) == ("lost", 2)
    assert told["rule"].endswith("if they are equal, both sides lose.")


def test_refunded_without_an_entry(delayed: Desk) -> None:
    placed = delayed.place("up", duration_seconds=60)
    delayed.clock.move(10.5)
    delayed.market.quiet_until()
    assert enter_pending() == 1
    told = verifies(delayed, delayed.order(placed))
    assert (told["refund_reason"], told["entry"], told["exit"]) == ("no_entry", None, None)
    assert told["known_until"] == "2030-01-15T12:00:13.500000Z"
    ticks(delayed, "100.00")
    relative = delayed.place("touch", contract="touch", barrier="+0.50", duration_seconds=5)
    delayed.clock.move(6)
    delayed.market.quiet_until()
    assert enter_pending() == 1
    told = verifies(delayed, delayed.order(relative))
    assert told["terms"]["barrier"] == {"agreed": "+0.50", "price": None}


@pytest.mark.parametrize("asked", [{}, {"duration_ticks": 2}])
def test_refunded_without_an_exit(floor: Desk, asked: dict[str, Any]) -> None:
    placed = floor.place("up", **{"duration_seconds": None if asked else 5, **asked})
    if asked:
        ticks(floor, "101.00")
    floor.clock.move(300)
    floor.market.quiet_until()
    assert settle_due() == 1
    assert verifies(floor, floor.order(placed))["refund_reason"] == "no_exit"


def test_refunded_for_a_stale_exit(floor: Desk) -> None:
    placed = floor.place("up", duration_seconds=60)
    ticks(floor, "101.00", every=29)
    floor.clock.move(31)
    floor.market.quiet_until()
    assert settle_due() == 1
    told = verifies(floor, floor.order(placed))
    assert (told["refund_reason"], told["exit"]["price"]) == ("stale_exit", "101.00")


def test_refunded_for_a_gap_over_the_end(floor: Desk) -> None:
    placed = floor.place("up", duration_seconds=5)
    ticks(floor, "101.00", every=4)
    gap(floor, Gap.Reason.FEED_DOWN, 2)
    assert settle_due() == 1
    told = verifies(floor, floor.order(placed))
    assert told["refund_reason"] == "feed_gap"
    assert [row["reason"] for row in told["gaps"]] == ["feed_down"]


def test_refunded_for_a_gap_before_a_touch_that_came_early(floor: Desk) -> None:
    placed = floor.place("touch", contract="touch", barrier="+0.50", duration_seconds=60)
    ticks(floor, "100.10")
    gap(floor, Gap.Reason.SOURCE_SILENT, 5)
    ticks(floor, "100.50", "100.60", every=2)
    assert settle_due() == 1
    told = verifies(floor, floor.order(placed))
    assert (told["refund_reason"], told["exit"]) == ("feed_gap", None)
    assert told["known_until"] == told["ticks"][-1]["at"] < told["terms"]["expires_at"]
    assert told["ticks"][-1]["price"] == "100.50"


def test_refunded_for_a_changed_source(floor: Desk) -> None:
    placed = floor.place("up", duration_seconds=5)
    ticks(floor, "100.10")
    gap(floor, Gap.Reason.SOURCE_CHANGED, 0.5)
    ticks(floor, "100.50", every=4)
    assert settle_due() == 1
    assert verifies(floor, floor.order(placed))["refund_reason"] == "feed_gap"


def test_a_gap_that_does_not_matter_is_told(floor: Desk) -> None:
    placed = floor.place("up", duration_seconds=10)
    gap(floor, Gap.Reason.FEED_DOWN, 2)
    ticks(floor, "101.00", every=8)
    assert settle_due() == 1
    told = verifies(floor, floor.order(placed))
    assert (told["status"], len(told["gaps"])) == ("won", 1)


def test_refunded_for_a_dead_feed(floor: Desk) -> None:
    placed = floor.place("up", duration_seconds=5)
    floor.clock.move(125)
    assert settle_due() == 1
    assert verifies(floor, floor.order(placed))["refund_reason"] == "feed_dead"


def test_refunded_when_the_market_was_closed(floor: Desk) -> None:
    placed = floor.place("up", duration_seconds=5)
    CalendarException.objects.create(
        calendar=floor.market.instrument.calendar,
        starts_at=floor.clock.at + timedelta(seconds=4),
        ends_at=floor.clock.at + timedelta(seconds=500),
        is_open=False,
        recorded_at=floor.clock.at,
    )
    ticks(floor, "101.00", every=5)
    assert settle_due() == 1
    told = verifies(floor, floor.order(placed))
    assert (told["refund_reason"], told["open_at_end"]) == ("market_closed", False)


def test_a_quiet_market_ends_at_its_entry(floor: Desk) -> None:
    placed = floor.place("no_touch", contract="touch", barrier="+0.50", duration_seconds=5)
    floor.clock.move(5)
    floor.market.quiet_until()
    assert settle_due() == 1
    told = verifies(floor, floor.order(placed))
    assert (told["status"], told["exit"]) == ("won", told["entry"])
    assert told["way"]["ticks"] == 1


def test_a_clock_expiry(floor: Desk) -> None:
    placed = floor.place("up", expires_at=NOON + timedelta(seconds=60))
    ticks(floor, "101.00", every=57)
    assert settle_due() == 1
    told = verifies(floor, floor.order(placed))
    assert told["sentence"].startswith(
        "10.00 USD staked that VOL100 ends above its entry price, at 2030-01-15T12:01:00.000000Z."
    )


@pytest.mark.parametrize(
    ("contract", "side", "asked", "price"),
    [
        ("rise_fall", "up", {}, "100.50"),
        ("rise_fall", "up", {}, "99.50"),
        ("rise_fall", "down", {}, "100.00"),
        ("higher_lower", "down", {"barrier": "+0.50"}, "100.20"),
        ("ends_between", "in", {"low": "-1.00", "high": "+1.00"}, "100.30"),
        ("ends_between", "out", {"low": "-1.00", "high": "+1.00"}, "100.30"),
    ],
)
@pytest.mark.parametrize("entry", ["latest_tick", "delayed"])
def test_sold(
    db: None, make_desk: MakeDesk, entry: str, contract: str, side: str, asked: dict[str, Any], price: str
) -> None:
    desk = opened(make_desk(**TERMS, entry_policy=entry))
    placed = desk.place(side, contract=contract, duration_seconds=60, **asked)
    ticks(desk, "100.00")
    enter_pending()
    ticks(desk, price, every=29)
    sell_order(customer_id=desk.alice.pk, order_id=placed.order.id, client_id="sale")
    told = verifies(desk, desk.order(placed))
    assert (told["status"], told["exit"]["price"]) == ("sold", price)
    assert told["sale"]["at"] == told["closed_at"]
    assert told["sale"]["volatility"]["per_sqrt_second"] == "0.003"
    codes = [row["code"] for row in told["transfers"]]
    assert codes in (["stake", "sold", "profit"], ["stake", "sold", "stake_lost"])


def void(desk: Desk, seq: int, at: datetime) -> None:
    prices = [IndependentPrice("kraken", D("50")), IndependentPrice("coinbase", D("50"))]
    request = request_void(
        instrument=desk.market.instrument,
        at=at,
        seq=seq,
        independent_prices=prices,
        actor=person(f"anna-{seq}@example.com"),
        reason="half of it everywhere else",
    )
    approve_void(request=request, actor=person(f"otto-{seq}@example.com"), reason="seen")


@pytest.mark.parametrize(("after", "told_of"), [(1, 5), (8, 5)])
def test_refunded_because_the_deciding_tick_was_voided(floor: Desk, after: float, told_of: int) -> None:
    placed = floor.place("up", duration_seconds=10)
    ticks(floor, "101.00", every=after)
    void(floor, floor.market.seq, floor.clock.at)
    floor.clock.move(10)
    floor.market.quiet_until()
    assert settle_due() == 1
    told = verifies(floor, floor.order(placed))
    assert (told["refund_reason"], told["exit"]) == ("voided", None)
    assert [row["seq"] for row in told["voided"]] == [told_of]
    kept = deepcopy(told)
    kept["voided"] = []
    assert results(resigned(kept))["Outcome"] == "fail"


def test_what_was_voided_after_it_closed_changes_nothing(floor: Desk) -> None:
    order = closed(floor, "rise_fall", "up", "101.00", every=5)
    before = written(floor, order)
    floor.clock.move(1)
    void(floor, floor.market.seq, order.exit_at)
    assert written(floor, order) == before
    assert judge(before).is_good


lived = hundreds.lived


@pytest.mark.django_db(transaction=True, databases=["default", "owner"])
def test_hundreds_of_orders_on_a_restless_market(lived: Desk) -> None:
    ends = Counter()
    for order in Order.objects.exclude(status="open"):
        told = verifies(lived, order)
        ends[told["refund_reason"] or told["status"]] += 1
    assert {"won", "lost", "feed_gap"} <= ends.keys()
    assert sum(ends.values()) > 80


# --- ways too long to be told whole -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("contract", "side", "asked", "status"),
    [
        ("touch", "touch", {"barrier": "+0.90"}, "lost"),
        ("touch", "no_touch", {"barrier": "+0.90"}, "won"),
        ("stays_between", "out", {"low": "-0.90", "high": "+1.50"}, "won"),
        ("rise_fall", "up", {"duration_ticks": 20}, "won"),
        ("asian", "down", {"duration_ticks": 20}, "lost"),
    ],
)
def test_of_a_long_way_the_deciding_and_extreme_ticks_are_told(
    floor: Desk, monkeypatch: pytest.MonkeyPatch, contract: str, side: str, asked: dict[str, Any], status: str
) -> None:
    monkeypatch.setattr(reading, "MOST_WAY_TICKS", 8)
    placed = floor.place(
        side, contract=contract, **{"duration_seconds": None if "duration_ticks" in asked else 20, **asked}
    )
    path = [*["100.10"] * 9, "99.61" if contract != "stays_between" else "99.10", *["100.10"] * 5, "100.80"]
    ticks(floor, *path, *["100.10"] * 3, "100.20", "100.30")
    assert settle_due() == 1
    told = verifies(floor, floor.order(placed))
    count = 11 if contract == "stays_between" else 21
    assert (told["status"], told["way"]["is_whole"], told["way"]["ticks"]) == (status, False, count)
    assert told["way"]["lowest"]["price"] == ("99.10" if contract == "stays_between" else "99.61")
    assert len(told["ticks"]) < count + 6
    altered = deepcopy(told)
    altered["way"]["lowest"] = altered["ticks"][0]
    assert results(resigned(altered))["Ticks"] == "fail"


# --- whatever is altered is seen ----------------------------------------------------------------------


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Name every value of a document that holds no further ones."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = False
    for name, each in inner:
        found = True
        yield from leaves(each, (*path, name))
    if not found:
        yield path


def changed(value: Any) -> Any:
    """Return another value as near as one can be made."""
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case str():
            flipped = "0" if value[-1:] != "0" else "1"
            return value[:-1] + flipped
        case None:
            return "1"
        case _:
            return ["1"]


def at(document: Any, path: tuple[Any, ...]) -> Any:
    for name in path:
        document = document[name]
    return document


def resigned(told: dict[str, Any], key: SigningKey | None = None) -> bytes:
    said = {name: value for name, value in told.items() if name != "signature"}
    return canonical((key or keys.signing_key()).sign(said))


@pytest.fixture
def papers(floor: Desk) -> list[dict[str, Any]]:
    """A receipt of a touched barrier after a gap that ends before its entry, and one of a sale."""
    touched = closed(floor, "touch", "touch", "100.20", "100.50", "100.40", barrier="+0.50")
    sold = floor.place("up", duration_seconds=60)
    ticks(floor, "100.50", every=30)
    sell_order(customer_id=floor.alice.pk, order_id=sold.order.id, client_id="sale")
    return [said(floor, touched), said(floor, floor.order(sold))]


def test_every_field_that_is_altered_is_seen(papers: list[dict[str, Any]]) -> None:
    tried = 0
    for told in papers:
        for path in leaves(told):
            altered = deepcopy(told)
            at(altered, path[:-1])[path[-1]] = changed(at(told, path))
            assert altered != told
            judged = judge(canonical(altered))
            assert judged.checks[0].result == "fail", path
            assert not judged.is_good
            assert "pass" not in [check.result for check in judged.checks if check.name in {"Record", "Root"}]
            tried += 1
    assert tried > 150


def test_a_field_left_out_or_added_is_seen(papers: list[dict[str, Any]]) -> None:
    for told in papers:
        for name in told:
            if name != "signature":
                fewer = {each: value for each, value in told.items() if each != name}
                assert not judge(canonical(fewer)).is_good
        assert not judge(canonical({**told, "note": "paid twice"})).is_good
        assert not judge(resigned({**told, "note": "paid twice"})).is_good


def test_the_same_receipt_written_otherwise_is_the_same(papers: list[dict[str, Any]]) -> None:
    spaced = json.dumps(papers[0], indent=2, ensure_ascii=True).replace("\n", "\r\n").encode()
    assert judge(spaced).is_good
    assert judge(b"\xef\xbb\xbf" + spaced).is_good


def test_another_key_is_seen(papers: list[dict[str, Any]]) -> None:
    other = SigningKey(b"\x07" * 32)
    assert results(resigned(papers[0], other))["Signature"] == "fail"
    # Under the name of the right one.
    forged = json.loads(resigned(papers[0], other))
    forged["signature"]["key"] = keys.signing_key().public.id
    assert results(canonical(forged))["Signature"] == "fail"


@pytest.mark.parametrize(
    ("changes", "fails"),
    [
        ({"status": "lost", "payout": "0.00"}, "Outcome"),
        ({"payout": "19.62"}, "Outcome"),
        ({"exit": {"at": "2030-01-15T12:00:04.000000Z", "seq": 5, "price": "100.20"}}, "Outcome"),
        ({"open_at_end": False}, "Outcome"),
        ({"known_until": "2030-01-15T12:00:04.000000Z"}, "Ticks"),
        ({"sentence": "10.00 USD staked."}, "Terms"),
        ({"rule": "The house decides."}, "Terms"),
    ],
)
def test_one_signed_by_us_that_its_ticks_do_not_bear_out_is_seen(
    papers: list[dict[str, Any]], changes: dict[str, Any], fails: str
) -> None:
    assert results(resigned({**papers[0], **changes}))[fails] == "fail"


def test_a_consistent_lie_signed_by_us_is_seen(floor: Desk) -> None:
    """A lost order told as a won one: status, payout, rule and transfers fit together; the ticks do not."""
    won = said(floor, closed(floor, "rise_fall", "up", "101.00", every=5))
    ticks(floor, "100.00")
    lost = said(floor, closed(floor, "rise_fall", "up", "99.00", every=5))
    lie = {**won, **{name: lost[name] for name in ("terms", "sentence", "ticks", "entry", "exit")}}
    lie |= {name: lost[name] for name in ("accepted_at", "closed_at", "known_until")}
    found = results(resigned(lie))
    assert (found["Signature"], found["Terms"], found["Ticks"], found["Money"]) == ("pass",) * 4
    assert (found["Outcome"], found["Record"]) == ("fail", "unknown")
    (line,) = (check.words for check in judge(resigned(lie)).checks if check.name == "Outcome")
    assert line == "By its own ticks and terms the order ends otherwise: lost, 0.00 USD."


def test_a_price_changed_in_all_places_is_seen_by_the_record(floor: Desk) -> None:
    told = said(floor, closed(floor, "rise_fall", "down", "99.50", "99.00", "99.20", every=2))
    lie = json.loads(json.dumps(told).replace('"99.00"', '"98.00"'))
    found = results(resigned(lie))
    assert (found["Outcome"], found["Record"]) == ("pass", "fail")
    fewer = deepcopy(told)
    del fewer["ticks"][0]
    (line,) = (check.words for check in judge(resigned(fewer)).checks if check.name == "Record")
    assert line == "Tick 1 at 100 is in the record and not in the receipt."


def test_a_tick_left_out_of_the_way_is_seen(papers: list[dict[str, Any]]) -> None:
    fewer = deepcopy(papers[0])
    del fewer["ticks"][4]
    assert results(resigned(fewer))["Ticks"] == "fail"


def test_a_sale_for_another_price_is_seen(papers: list[dict[str, Any]]) -> None:
    sold = papers[1]
    price = f"{D(sold['payout']) + D('0.01'):.2f}"
    assert results(resigned({**sold, "payout": price}))["Outcome"] == "fail"
    sale = {**sold["sale"], "volatility": {**sold["sale"]["volatility"], "per_sqrt_second": "0.0031"}}
    assert results(resigned({**sold, "sale": sale}))["Outcome"] == "fail"


def test_transfers_of_another_end_are_seen(papers: list[dict[str, Any]]) -> None:
    for told in papers:
        for number in range(len(told["transfers"])):
            for name in ("id", "code", "amount", "from", "to"):
                altered = deepcopy(told)
                altered["transfers"][number][name] = changed(altered["transfers"][number][name])
                assert results(resigned(altered))["Money"] == "fail", (number, name)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (b"", "It is not JSON in UTF-8."),
        (b"\xff\xfe", "It is not JSON in UTF-8."),
        (b"[]", "It is not a JSON object with a signature."),
        (b'{"signature": "x"}', "It is not a JSON object with a signature."),
        (b'{"signature": {}, "a": 1, "a": 2}', "It has a name twice in one object."),
        (
            b'{"signature": {}, "payout": 18.5}',
            "It has the number 18.5; receipts write fractions as strings.",
        ),
        (b'{"signature": {}, "payout": NaN}', "It has the number NaN; receipts write fractions as strings."),
        (b"[" * 100_000, "It is not JSON in UTF-8."),
        (b'{"signature": {}, "a": ' + b"9" * 5000 + b"}", "It is not JSON in UTF-8."),
        (b" " * (form.LARGEST + 1), "It has more than 2 MB; no receipt has."),
    ],
)
def test_what_is_no_receipt_is_refused_with_the_reason(given: bytes, words: str) -> None:
    with pytest.raises(NotAReceipt) as caught:
        judge(given)
    assert str(caught.value) == words


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("terms", "stake"), "1e3"),
        (("terms", "stake"), "9" * 20 + ".00"),
        (("terms", "payout_rate"), "9" * 20 + "." + "9" * 30),
        (("terms", "expires_at"), "2030-02-30T00:00:00.000000Z"),
        (("terms", "expires_at"), "2030-01-15T12:00:08Z"),
        (("terms", "contract"), "sideways"),
        (("terms", "low"), {"agreed": "+1.00", "price": "101.00"}),
        (("terms", "digit"), 3),
        (("order",), "1"),
        (("ticks",), []),
        (("exit",), None),
        (("entry",), None),
        (("sentence",), "\ud800"),
        (("version",), 2),
        (("version",), 10**400),
    ],
)
def test_nothing_that_is_signed_makes_a_check_fall_over(
    papers: list[dict[str, Any]], path: tuple[str, ...], value: Any
) -> None:
    for told in deepcopy(papers):
        at(told, path[:-1])[path[-1]] = value
        if value == "\ud800":
            assert not judge(json.dumps(told).encode()).is_good
        elif value == 10**400:
            assert not judge(canonical(told)).is_good
        else:
            assert not judge(resigned(told)).is_good


# --- the record ---------------------------------------------------------------------------------------


def test_what_was_kept_of_a_day_bears_the_receipt_out(floor: Desk) -> None:
    """The same bytes while a day's ticks are stored twice, and when only the evidence is left."""
    orders = [
        closed(floor, "rise_fall", "up", "101.00", "100.50", every=2.5),
        closed(floor, "touch", "touch", "100.20", "101.00", barrier="+0.50"),
        closed(floor, "asian", "down", "100.20", "101.00", "99.00", duration_ticks=3),
    ]
    before = [written(floor, order) for order in orders]
    EvidenceTick.objects.bulk_create(
        EvidenceTick(instrument_id=tick.instrument_id, at=tick.at, seq=tick.seq, price=tick.price)
        for tick in Tick.objects.filter(is_late=False)
    )
    assert [written(floor, order) for order in orders] == before
    for each in before:
        assert judge(each).is_good


@pytest.fixture
def archived(transactional_db: None, tmp_path: Path, settings: Any) -> Iterator[Path]:
    """An archive of the test's own; the day is there again afterwards."""
    settings.ARCHIVE_URL = str(tmp_path / "archive")
    yield tmp_path / "archive"
    with standing_clock(NOON):
        open_days([NOON.date(), NOON.date() + timedelta(days=1)])


@pytest.mark.django_db(transaction=True, databases=["default", "owner"])
def test_once_its_day_is_sealed_it_names_the_root(
    archived: Path, make_desk: MakeDesk, tmp_path: Path
) -> None:
    open_days([NOON.date()])
    desk = opened(make_desk(**TERMS))
    orders = [
        closed(desk, "rise_fall", "up", "101.00", "100.50", every=2.5),
        closed(desk, "touch", "no_touch", *["100.20"] * 5, barrier="+0.50"),
    ]
    early = written(desk, orders[0])
    open_days([NOON.date() + timedelta(days=1)])
    desk.clock.move(86_400)
    desk.market.quiet_until()
    sealed = seal_day(day=NOON.date())
    late = [written(desk, order) for order in orders]
    part = RecordPart.objects.get()
    for given in late:
        told = read_document(given)
        assert told["record"] == [
            {
                "day": "2030-01-15",
                "symbol": "VOL100",
                "ticks": part.ticks,
                "head": bytes(part.head).hex(),
                "root": bytes(sealed.root).hex(),
                "page": "/record/2030-01-15/",
                "file": "/api/v1/record/2030-01-15/VOL100",
            }
        ]
        assert results(given) == {**GOOD, "Root": "pass"}
    # But for the day the early one says the same.
    assert {**read_document(early), "record": [], "signature": None} == {
        **read_document(late[0]),
        "record": [],
        "signature": None,
    }
    assert results(early)["Root"] == "pass"
    root = deepcopy(told)
    root["record"][0]["root"] = "0" * 64
    assert results(resigned(root))["Root"] == "fail"
    (file,) = (archived / "2030-01-15").glob("VOL100-*.parquet")
    paper = tmp_path / "receipt.json"
    paper.write_bytes(late[0])
    assert run(programs()[1], paper, file) == "every tick is in the file"
    paper.write_bytes(late[0].replace(b'"100.50"', b'"100.40"'))
    assert "AssertionError" in run(programs()[1], paper, file)
    # The day leaves the database: the same bytes, and they verify.
    assert retire_day(day=NOON.date()) == 0
    assert not Tick.objects.filter(at__lt=NOON + timedelta(hours=12)).exists()
    assert [written(desk, order) for order in orders] == late
    assert results(late[0]) == {**GOOD, "Root": "pass"}


def test_of_an_instrument_that_is_not_here_nothing_is_known(papers: list[dict[str, Any]]) -> None:
    text = json.dumps(papers[0]).replace("VOL100", "VOL999")
    judged = judge(resigned(json.loads(text)))
    assert judged.is_good
    assert judged.checks[-1] == Check("Record", "unknown", "This platform has no VOL999.")


# --- without us ---------------------------------------------------------------------------------------


def programs() -> list[str]:
    text = (ROOT / "docs" / "receipts.md").read_text()
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def run(program: str, *files: Path) -> str:
    """Run a program of the documents, with nothing of the platform's; return what it says, or its error."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", program, *map(str, files)], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else done.stderr


def test_the_program_in_the_documents_decides_every_contract_again(
    floor: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paper, published = tmp_path / "receipt.json", tmp_path / "keys.json"
    published.write_bytes(client_for().get("/api/v1/receipt-keys").content)
    program = compile(programs()[0], "receipts.md", "exec")
    assert len(programs()[0].splitlines()) <= 35

    def judged(given: bytes) -> str:
        paper.write_bytes(given)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(sys, "argv", ["receipt.py", str(paper), str(published)])
            capsys.readouterr()
            exec(program, {})
        return capsys.readouterr().out

    for contract, wins, loses, asked, prices in WAYS:
        every = 1 if len(prices) == 5 or "duration_ticks" in asked else 5 / len(prices)
        for side, status in ((wins, "won"), (loses, "lost")):
            ticks(floor, "100.00")
            given = written(floor, closed(floor, contract, side, *prices, every=every, **asked))
            said = read_document(given)
            payout, key = said["payout"], said["signature"]["key"]
            assert judged(given).splitlines() == ["signed by", key, said["sentence"], status, payout]
            with pytest.raises(AssertionError, match="it ended otherwise"):
                judged(resigned({**said, "status": {"won": "lost", "lost": "won"}[status]}))
            with pytest.raises(InvalidSignature):
                judged(given.replace(b'"status":"won"', b'"status":"WON"').replace(b'"lost"', b'"LOST"'))
    ticks(floor, "100.00")
    given = written(floor, closed(floor, "rise_fall", "up", "101.00", "100.00", every=2.5))
    assert judged(given).endswith("come back if so.\nrefunded\n10.00\n")


# --- API, command, page -------------------------------------------------------------------------------


def signed_in(user: Any) -> APIClient:
    client = APIClient()
    client.force_authenticate(user)
    return client


def test_a_receipt_is_downloaded(floor: Desk) -> None:
    order = closed(floor, "rise_fall", "up", "101.00", every=5)
    answer = signed_in(floor.alice).get(f"/api/v1/orders/{order.pk}/receipt")
    assert (answer.status_code, answer["Content-Type"]) == (200, "application/json")
    assert answer["Content-Disposition"] == f'attachment; filename="receipt-{order.pk}.json"'
    assert answer["Cache-Control"] == "no-store"
    assert answer.content == written(floor, order)


def test_of_an_open_order_there_is_none(floor: Desk) -> None:
    placed = floor.place("up")
    answer = signed_in(floor.alice).get(f"/api/v1/orders/{placed.order.id}/receipt")
    assert (answer.status_code, answer.json()["code"]) == (422, "receipt_not_ready")
    assert answer.json()["detail"] == "The order is open; there is a receipt once it is closed."
    assert floor.order(placed).status == "open"


def test_of_another_customers_order_there_is_none(floor: Desk) -> None:
    order = closed(floor, "rise_fall", "up", "101.00", every=5)
    for client, status, code in (
        (signed_in(person("mallory@example.com")), 404, "order_missing"),
        (client_for(), 401, "unauthenticated"),
    ):
        answer = client.get(f"/api/v1/orders/{order.pk}/receipt")
        assert (answer.status_code, answer.json()["code"]) == (status, code)
    answer = signed_in(floor.alice).get(f"/api/v1/orders/{new_id()}/receipt")
    assert (answer.status_code, answer.json()["code"]) == (404, "order_missing")


def test_the_command_says_line_by_line(floor: Desk, tmp_path: Path) -> None:
    order = closed(floor, "rise_fall", "up", "101.00", every=5)
    file, out = tmp_path / "receipt.json", io.StringIO()
    file.write_bytes(written(floor, order))
    call_command("verify_receipt", str(file), stdout=out)
    lines = out.getvalue().splitlines()
    assert lines[0].startswith("10.00 USD staked that VOL100 ends above its entry price")
    assert lines[4] == "pass    Outcome: Decided again from its own ticks: won, 18.50 USD."
    assert [line.split()[0] for line in lines[1:]] == ["pass"] * 6 + ["unknown", "pass"]
    file.write_bytes(file.read_bytes().replace(b'"101.00"', b'"102.00"'))
    with pytest.raises(CommandError, match="not to be believed"):
        call_command("verify_receipt", str(file), stdout=io.StringIO())
    file.write_text("{}")
    with pytest.raises(CommandError, match=r"receipt.json is not a receipt. It is not a JSON object"):
        call_command("verify_receipt", str(file))
    with pytest.raises(CommandError, match="cannot be read: No such file"):
        call_command("verify_receipt", str(tmp_path / "nothing"))


def plain(answer: Any) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", answer.content.decode())).split())


def test_anybody_checks_a_receipt_on_the_page(floor: Desk) -> None:
    given = written(floor, closed(floor, "touch", "touch", "100.20", "100.50", barrier="+0.50"))
    browser = Client(enforce_csrf_checks=True)
    page = browser.get("/receipt/")
    assert page.status_code == 200
    assert "<script nonce" not in page.content.decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.content.decode())[1]
    pasted = {"csrfmiddlewaretoken": token, "receipt": given.decode()}
    upload = {"csrfmiddlewaretoken": token, "file": SimpleUploadedFile("r.json", given)}
    for form_ in (pasted, upload):
        answer = browser.post("/receipt/", form_)
        assert answer.status_code == 200
        words = plain(answer)
        assert "Nothing speaks against this receipt" in words
        assert "pass Outcome Decided again from its own ticks: won, 26.95 USD." in words
        assert "4 2030-01-15T12:00:03.000000Z 100.00 entry" in words
        assert "6 2030-01-15T12:00:05.000000Z 100.50 exit" in words
        assert "barrier +0.50 = 100.50" in words
    altered = {**pasted, "receipt": given.decode().replace('"lost"', '"won"').replace("100.20", "100.21")}
    answer = browser.post("/receipt/", altered)
    assert answer.status_code == 200
    assert "This receipt is not to be believed" in plain(answer)
    assert "fail Signature The signature does not fit" in plain(answer)
    assert browser.post("/receipt/", {"receipt": given.decode()}).status_code == 403


@pytest.mark.parametrize(
    ("given", "status", "words"),
    [
        ("", 422, "This is not a receipt. It is not JSON in UTF-8."),
        ("<script>alert(1)</script>", 422, "This is not a receipt. It is not JSON in UTF-8."),
        ('{"signature": {}, "<b>": 1}', 200, "It cannot be read: Object"),
        (" " * (form.LARGEST + 1), 422, "It has more than 2 MB; no receipt has."),
        (" " * (form.LARGEST + 70_000), 413, "No receipt is larger than 2 MB."),
    ],
)
def test_what_the_page_refuses(db: None, given: str, status: int, words: str) -> None:
    for sent in ({"receipt": given}, {"file": SimpleUploadedFile("r.json", given.encode() or b" ")}):
        answer = Client().post("/receipt/", sent)
        assert answer.status_code == status
        assert words in plain(answer)
        assert "<script>alert" not in answer.content.decode()
        assert "<b>" not in answer.content.decode()


def test_checks_on_the_page_are_counted_by_address(db: None) -> None:
    answers = [Client().post("/receipt/", {"receipt": "x"})]
    while answers[-1].status_code == 422 and len(answers) < 3 * VERIFYING.burst:  # some come back meanwhile
        answers.append(Client().post("/receipt/", {"receipt": "x"}))
    assert len(answers) > VERIFYING.burst
    assert answers[-1].status_code == 429
    assert int(answers[-1]["Retry-After"]) >= 1
    assert Client().post("/receipt/", {"receipt": "x"}, REMOTE_ADDR="192.0.2.9").status_code == 422
    assert Client().get("/receipt/").status_code == 200


# --- keys ---------------------------------------------------------------------------------------------

SEED = b64encode(b"\x01" * 32).decode()
OLD_SEED = b"\x02" * 32
OLD = SigningKey(OLD_SEED)


def test_keys_are_published_and_outlive_their_use(
    papers: list[dict[str, Any]], settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = keys.signing_key()
    derived = client_for().get("/api/v1/receipt-keys").json()
    assert derived == {
        "results": [
            {
                "key": before.public.id,
                "algorithm": "Ed25519",
                "public_key": before.public.text,
                "valid_from": None,
            }
        ],
        "next": None,
    }
    monkeypatch.setenv("SECRET_RECEIPT_SIGNING_KEY", SEED)
    now = keys.signing_key().public
    assert now == SigningKey(b"\x01" * 32).public
    assert results(canonical(papers[0]))["Signature"] == "fail"
    settings.RECEIPT_PUBLIC_KEYS = [f"2030-01-01:{before.public.text}", f"2030-02-01:{now.text}"]
    assert results(canonical(papers[0]))["Signature"] == "pass"
    rows = client_for().get("/api/v1/receipt-keys").json()["results"]
    assert [(row["key"], row["valid_from"]) for row in rows] == [
        (now.id, "2030-02-01"),
        (before.public.id, "2030-01-01"),
    ]


def test_a_secret_in_a_file(settings: Any, tmp_path: Path) -> None:
    (tmp_path / "receipt-signing-key").write_text(f"{b64encode(OLD_SEED).decode()}\n")
    settings.SECRETS_DIR = str(tmp_path)
    assert keys.signing_key().public == OLD.public


def test_production_does_not_start_without_a_key(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_receipt_keys() == []
    settings.ENVIRONMENT = "production"
    (missing,) = check_receipt_keys()
    assert missing.id == "tickhouse.E009"
    assert "there is no secret receipt-signing-key" in missing.msg
    with pytest.raises(Unavailable):
        keys.signing_key()
    for wrong in ("c2hvcnQ=", "not base64!", f"{SEED}x"):
        monkeypatch.setenv("SECRET_RECEIPT_SIGNING_KEY", wrong)
        (found,) = check_receipt_keys()
        assert found.msg == "The secret receipt-signing-key is not 32 bytes in base64."
    monkeypatch.setenv("SECRET_RECEIPT_SIGNING_KEY", SEED)
    assert check_receipt_keys() == []
    for wrong in (SEED, f"yesterday:{SEED}", "2030-01-31:c2hvcnQ="):
        settings.RECEIPT_PUBLIC_KEYS = [wrong]
        (found,) = check_receipt_keys()
        assert found.msg == f"RECEIPT_PUBLIC_KEYS has {wrong!r}; write 2030-01-31:<32 bytes in base64>."


def test_a_key_is_called_by_its_hash() -> None:
    assert OLD.public.id == sha256(OLD.public.raw).hexdigest()[:16]
