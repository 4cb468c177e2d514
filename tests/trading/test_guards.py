"""What the database itself refuses of orders, whoever asks."""

from decimal import Decimal
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction

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


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (f"status = 'won', payout = 18.51, {ENTRY}, {EXIT}", "order_won_returns_the_stake"),
        (f"status = 'won', payout = 9.99, {ENTRY}, {EXIT}", "order_won_returns_the_stake"),
        (f"status = 'won', payout = 18.50, {ENTRY}", "order_decided_by_two_ticks"),
        ("status = 'lost', payout = 0, entry_at = NULL, exit_at = accepted_at", "order_decided_by_two_ticks"),
        (f"status = 'lost', payout = 0, {ENTRY}, exit_at = accepted_at", "order_decided_by_two_ticks"),
    ],
)
def test_outcomes_that_cannot_be(desk: Desk, change: str, name: str) -> None:
    placed = desk.place("up", "10.00")
    with pytest.raises(DatabaseError, match=name):
        application(
            f"UPDATE trading_order SET closed_at = accepted_at, {change} WHERE id = %s", placed.order.id
        )


def test_the_highest_payout(desk: Desk) -> None:
    placed = desk.place("up", "10.00")
    application(
        f"UPDATE trading_order SET closed_at = accepted_at, status = 'won', payout = 18.50, {ENTRY}, {EXIT}"
        " WHERE id = %s",
        placed.order.id,
    )
