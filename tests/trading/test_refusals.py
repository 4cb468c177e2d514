"""Refusals are counted by their code, with numbers and without people."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from config.core import clock
from config.core.errors import DomainError
from tests.market import NOON
from tests.trading.conftest import Desk
from trading.models import Refusals
from trading.services import sell_order, trim_refusals


def counts() -> list[tuple[str, str, str, int]]:
    return list(
        Refusals.objects.order_by("code", "symbol").values_list("code", "symbol", "contract", "times")
    )


def refuse(place: Callable[[], object]) -> None:
    with pytest.raises(DomainError):
        place()


def test_each_is_counted_with_what_was_asked_and_what_was_allowed(desk: Desk) -> None:
    for stake in ("0.50", "2000.00", "0.25"):
        refuse(lambda stake=stake: desk.place("up", stake))
    assert counts() == [("stake_out_of_range", "VOL100", "rise_fall", 3)]
    (row,) = Refusals.objects.all()
    assert (row.hour, row.last_at) == (NOON, NOON)
    assert [each["stake"] for each in row.recent] == ["0.25", "2000.00", "0.50"]
    assert row.recent[0] == {
        "at": "2030-01-15T12:00:00.000000Z",
        "side": "up",
        "stake": "0.25",
        "duration_seconds": "60",
        "answer_stake": "0.25",
        "answer_min_stake": "1.00",
        "answer_max_stake": "1000.00",
    }


def test_the_last_ten_are_kept_and_each_hour_counts_anew(desk: Desk) -> None:
    for _ in range(12):
        refuse(lambda: desk.place("up", "0.50"))
    (row,) = Refusals.objects.all()
    assert (row.times, len(row.recent)) == (12, 10)
    desk.clock.move(3600)
    desk.market.tick("100.00")
    refuse(lambda: desk.place("up", "0.50"))
    assert list(Refusals.objects.order_by("hour").values_list("times", flat=True)) == [12, 1]


def test_nobody_is_named(desk: Desk) -> None:
    refuse(lambda: desk.place(account=desk.account.pk + 1))
    refuse(lambda: desk.place("up", "ten"))
    refuse(lambda: desk.place(symbol="NOWHERE" * 30, contract="swap" * 30))
    assert counts() == [
        ("account_missing", "VOL100", "rise_fall", 1),
        ("invalid", "VOL100", "rise_fall", 1),
        ("unknown_instrument", "", "", 1),
    ]
    asked = {"at": clock.iso(NOON), "side": "up", "stake": "10.00", "duration_seconds": "60"}
    unread = {name: value for name, value in asked.items() if name != "stake"}
    assert [row.recent for row in Refusals.objects.order_by("code")] == [[asked], [unread], [asked]]


def test_what_somebody_has_and_allows_himself_is_not_kept(desk: Desk) -> None:
    desk.place("up", "600.00")
    refuse(lambda: desk.place("up", "500.00"))
    (row,) = Refusals.objects.all()
    assert row.code == "insufficient_funds"
    assert row.recent == [{"at": clock.iso(NOON), "side": "up", "stake": "500.00", "duration_seconds": "60"}]


def test_a_sale_that_is_refused_counts_too(desk: Desk) -> None:
    placed = desk.place("up", "10.00")
    refuse(lambda: sell_order(customer_id=desk.alice.pk, order_id=placed.order.id, client_id="sale"))
    assert counts() == [("sale_not_offered", "", "", 1)]


def test_an_accepted_order_counts_nothing(desk: Desk) -> None:
    desk.place("up", "10.00")
    assert counts() == []


def test_old_counts_go(desk: Desk) -> None:
    refuse(lambda: desk.place("up", "0.50"))
    desk.clock.at = NOON + timedelta(days=90)
    assert trim_refusals() == 0
    desk.clock.move(1)
    assert trim_refusals() == 1
    assert counts() == []
