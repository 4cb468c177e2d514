"""What the database itself refuses of orders, whoever asks."""

from decimal import Decimal
from typing import Any

import psycopg
import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction

from config.core.ids import new_id
from tests.market import NOON
from tests.trading.conftest import Desk
from trading.models import Order
from trading.services import settle_due


def application(statement: str, *values: Any) -> None:
    """Run it as the application role, and keep the transaction of the test alive."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement, values)


@pytest.fixture
def closed(desk: Desk) -> Order:
    placed = desk.place("up", "10.00", duration_seconds=10)
    desk.market.tick("101.00", desk.clock.move(5))
    desk.clock.move(5)
    desk.market.quiet_until()
    assert settle_due() == 1
    return desk.order(placed)


@pytest.mark.parametrize(
    "change",
    [
        "stake = stake + 1",
        "payout_rate = 0.9",
        "expires_at = expires_at + interval '1 minute'",
        "accepted_at = accepted_at - interval '1 minute'",
        "side = 'down'",
        "account_id = account_id + 1",
        "terms_id = terms_id + 1",
        "client_id = 'another'",
    ],
)
def test_what_was_agreed_cannot_be_changed(desk: Desk, change: str) -> None:
    placed = desk.place()
    with pytest.raises(DatabaseError, match="permission denied"):
        application(f"UPDATE trading_order SET {change} WHERE id = %s", placed.order.id)


def test_no_order_can_be_deleted(desk: Desk) -> None:
    desk.place()
    with pytest.raises(DatabaseError, match="permission denied"):
        application("DELETE FROM trading_order")


def test_an_open_order_can_be_locked_and_parked(desk: Desk) -> None:
    placed = desk.place()
    application("SELECT FROM trading_order WHERE id = %s FOR UPDATE SKIP LOCKED", placed.order.id)
    application("UPDATE trading_order SET parked_because = 'test' WHERE id = %s", placed.order.id)


@pytest.mark.parametrize(
    "change",
    [
        "status = 'open', payout = NULL, closed_at = NULL",
        "payout = payout - 1",
        "exit_price = 1",
        "closed_at = closed_at + interval '1 second'",
        "parked_at = closed_at",
        "status = status",
    ],
)
def test_a_closed_order_stays_as_it_is(closed: Order, change: str) -> None:
    with pytest.raises(IntegrityError, match=f"order {closed.pk} is closed"):
        application(f"UPDATE trading_order SET {change} WHERE id = %s", closed.pk)
    closed.refresh_from_db()
    assert (closed.status, closed.payout) == ("won", Decimal("18.50"))


TICK = "{0}_at = accepted_at, {0}_seq = 1, {0}_price = 1"
ENTRY, EXIT = TICK.format("entry"), TICK.format("exit")


REASON, SALE = "refund_reason = 'tie'", "sale_client_id = 'k', sale = '{}'"


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (f"status = 'won', payout = 18.51, {ENTRY}, {EXIT}", "order_won_returns_the_stake"),
        (f"status = 'won', payout = 9.99, {ENTRY}, {EXIT}", "order_won_returns_the_stake"),
        (f"status = 'won', payout = 18.50, {ENTRY}", "order_decided_by_two_ticks"),
        ("status = 'lost', payout = 0, entry_at = NULL, exit_at = accepted_at", "order_decided_by_two_ticks"),
        (f"status = 'lost', payout = 0, {ENTRY}, exit_at = accepted_at", "order_decided_by_two_ticks"),
        (f"status = 'lost', payout = 0.01, {ENTRY}, {EXIT}", "order_lost_pays_nothing"),
        (f"status = 'lost', payout = 0, {REASON}, {ENTRY}, {EXIT}", "order_refund_has_reason"),
        ("status = 'refunded', payout = 10", "order_refund_has_reason"),
        (f"status = 'refunded', payout = 9.99, {REASON}", "order_refund_has_reason"),
        (f"status = 'refunded', payout = 10, {REASON}, {SALE}", "order_sold_for_a_price"),
        (f"status = 'sold', payout = 5, {ENTRY}, {EXIT}", "order_sold_for_a_price"),
        (f"status = 'sold', payout = 5, sale_client_id = 'k', {ENTRY}, {EXIT}", "order_sold_for_a_price"),
        (f"status = 'sold', payout = 5, sale = '{{}}', {ENTRY}, {EXIT}", "order_sold_for_a_price"),
        (f"status = 'sold', payout = 0, {SALE}, {ENTRY}, {EXIT}", "order_sold_for_a_price"),
        (f"status = 'sold', payout = 18.51, {SALE}, {ENTRY}, {EXIT}", "order_sold_for_a_price"),
        (f"status = 'sold', payout = 5, {SALE}, {EXIT}, entry_seq = NULL", "order_decided_by_two_ticks"),
        (f"status = 'won', {ENTRY}, {EXIT}", "order_closed_has_payout"),
        ("status = 'open'", "order_closed_has_payout"),
        ("status = 'open', payout = 0, closed_at = NULL", "order_closed_has_payout"),
        (f"status = 'drawn', payout = 0, {ENTRY}, {EXIT}", "order_status"),
        (f"closed_at = NULL, {REASON}", "order_refund_has_reason"),
        (f"closed_at = NULL, {SALE}", "order_sold_for_a_price"),
    ],
)
def test_outcomes_that_cannot_be(desk: Desk, change: str, name: str) -> None:
    placed = desk.place("up", "10.00")
    if "closed_at" not in change:
        change = f"closed_at = accepted_at, {change}"
    with pytest.raises(IntegrityError, match=name) as refused:
        application(f"UPDATE trading_order SET {change} WHERE id = %s", placed.order.id)
    cause = refused.value.__cause__
    assert isinstance(cause, psycopg.errors.CheckViolation)
    assert cause.diag.constraint_name == name


SHAPE = "order_has_its_contracts_shape"


def inserted(desk: Desk, shape: dict[str, Any]) -> None:
    """Write another order like an accepted one, but for this."""
    order = desk.order(desk.place("up", "10.00"))
    order.pk, order.client_id = new_id(), "another"
    for name, value in shape.items():
        setattr(order, name, value)
    with transaction.atomic():
        order.save(force_insert=True)


@pytest.mark.parametrize(
    ("shape", "name"),
    [
        ({"contract": "rise_fall", "payout_rate": 1}, "order_rate"),
        ({"payout_rate": 0}, "order_rate"),
        ({"stake": 0}, "order_stake_positive"),
        ({"expires_at": NOON}, "order_expires_later"),
        ({"contract": "lottery"}, SHAPE),
        ({"contract": "rise_fall", "digit": 1}, SHAPE),
        ({"contract": "higher_lower"}, SHAPE),
        ({"contract": "touch", "barrier": 1, "low": 1}, SHAPE),
        ({"contract": "ends_between", "low": 1}, SHAPE),
        ({"contract": "ends_between", "low": 2, "high": 2}, SHAPE),
        ({"contract": "stays_between", "low": 1, "high": 2, "barrier": 1}, SHAPE),
        ({"contract": "digit_match"}, SHAPE),
        ({"contract": "digit_over", "digit": 10}, SHAPE),
        ({"contract": "digit_even", "low": 1}, SHAPE),
        ({"contract": "asian", "high": 1}, SHAPE),
    ],
)
def test_orders_that_cannot_be(desk: Desk, shape: dict[str, Any], name: str) -> None:
    with pytest.raises(IntegrityError, match=name):
        inserted(desk, shape)


@pytest.mark.parametrize(
    "shape",
    [
        {"contract": "higher_lower", "barrier": -1, "payout_rate": 3},
        {"contract": "stays_between", "low": 1, "high": 2},
        {"contract": "digit_over", "digit": 9},
        {"contract": "asian", "duration_ticks": 5},
    ],
)
def test_orders_that_can_be(desk: Desk, shape: dict[str, Any]) -> None:
    inserted(desk, shape)
    assert Order.objects.count() == 2


def test_the_highest_payout(desk: Desk) -> None:
    placed = desk.place("up", "10.00")
    application(
        f"UPDATE trading_order SET closed_at = accepted_at, status = 'won', payout = 18.50, {ENTRY}, {EXIT}"
        " WHERE id = %s",
        placed.order.id,
    )
