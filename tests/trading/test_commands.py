"""The settler role and the sweep behind it: what they close, what they count, how they end."""

import urllib.request
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from config.celery import app
from config.core import clock
from payments.ledger.models import Account
from quotes.models import Gap
from quotes.services import open_days
from tests.flows.clients import wait_until
from tests.market import Market, funded_account, person, trading_book
from tests.platform import Roles
from tests.trading.conftest import Desk
from trading import services
from trading.management.commands import settle_orders
from trading.models import SHARDS, Order
from trading.selectors import settlement_lag
from trading.services import PlaceOrder, place_order
from trading.tasks import MISSED_AFTER, SWEPT, sweep_orders


@pytest.fixture
def settler(db: None) -> settle_orders.Command:
    command = settle_orders.Command()
    command.first_shard = 0
    return command


def due(desk: Desk, orders: int, *, seconds_ago: float = 0) -> None:
    """Place orders, win them all, and let them be due for so long."""
    for _ in range(orders):
        desk.place("up", duration_seconds=10)
    desk.market.tick("101.00", desk.clock.move(5))
    desk.clock.move(5 + seconds_ago)
    desk.market.quiet_until()


def counted(metric: Any) -> float:
    return float(metric._value.get())


# --- the settler --------------------------------------------------------------------------------------


def test_a_step_closes_what_is_due_and_says_whether_it_did(
    desk: Desk, settler: settle_orders.Command
) -> None:
    assert settler.step() is False
    due(desk, 3)
    before = counted(settle_orders.CLOSED)
    assert settler.step() is True
    assert counted(settle_orders.CLOSED) == before + 3
    assert set(Order.objects.values_list("status", flat=True)) == {"won"}
    assert settler.step() is False
    assert counted(settle_orders.CLOSED) == before + 3


def test_a_step_gives_delayed_orders_their_entry(
    db: None, make_desk: Callable[..., Desk], settler: settle_orders.Command
) -> None:
    desk = make_desk(entry_policy="delayed", entry_delay_ms=500)
    placed = desk.place("up", duration_seconds=60)
    desk.market.tick("100.50", desk.clock.move(1))
    desk.market.quiet_until(desk.clock.move(0.1))
    assert settler.step() is True
    assert f"{desk.order(placed).entry_price:.2f}" == "100.50"


@pytest.mark.parametrize("first_shard", range(0, SHARDS, 5))
def test_a_settler_that_starts_anywhere_closes_everything(
    desk: Desk, settler: settle_orders.Command, first_shard: int
) -> None:
    bob = person("bob@example.com")
    his = funded_account(bob.pk, desk.account.book, "10.00")
    command = PlaceOrder(
        client_id="his",
        account=his.pk,
        symbol="VOL100",
        contract="rise_fall",
        side="up",
        stake="10.00",
        duration_seconds=10,
    )
    place_order(customer_id=bob.pk, command=command)
    due(desk, 2)
    assert Order.objects.values("shard").distinct().count() == 2
    settler.first_shard = first_shard
    settler.step()
    assert not Order.objects.filter(status="open").exists()


@pytest.mark.parametrize("wrong", ["-1", str(SHARDS), "first"])
def test_a_shard_that_is_none(wrong: str) -> None:
    with pytest.raises(CommandError, match="first-shard"):
        call_command("settle_orders", f"--first-shard={wrong}")


def test_the_lag_is_the_age_of_the_oldest_order_that_waits(
    desk: Desk, settler: settle_orders.Command
) -> None:
    assert settlement_lag() == 0
    desk.place("up", duration_seconds=10)
    desk.clock.move(9)
    assert settlement_lag() == 0
    desk.clock.move(8)
    assert settlement_lag() == 0  # the watermark has not passed the expiry: nobody could have closed it
    desk.market.quiet_until()
    assert settlement_lag() == 7
    settler.step()
    assert settlement_lag() == 0
    assert counted(settle_orders.LAG) == 0


# --- the sweep ----------------------------------------------------------------------------------------


def test_the_sweep_leaves_to_the_settlers_what_is_fresh(desk: Desk) -> None:
    before = counted(SWEPT)
    due(desk, 2, seconds_ago=MISSED_AFTER.total_seconds() - 0.001)
    assert sweep_orders() == 0
    assert Order.objects.filter(status="open").count() == 2
    assert counted(SWEPT) == before


def test_the_sweep_closes_what_was_missed_and_counts_it(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    before = counted(SWEPT)
    due(desk, 2, seconds_ago=MISSED_AFTER.total_seconds())
    assert sweep_orders() == 2
    assert not Order.objects.filter(status="open").exists()
    assert counted(SWEPT) == before + 2
    assert desk.balance() == "1017.00"
    assert [record.levelname for record in caplog.records if "sweep" in record.getMessage()] == ["ERROR"]
    caplog.clear()
    assert sweep_orders() == 0
    assert counted(SWEPT) == before + 2
    assert not caplog.records


def test_the_sweep_ends_the_wait_for_a_dead_feed(desk: Desk) -> None:
    placed = desk.place("up", duration_seconds=10)
    desk.clock.move(10 + 119.999)
    assert sweep_orders() == 0
    desk.clock.move(0.001)
    assert sweep_orders() == 1
    order = desk.order(placed)
    assert (order.status, order.refund_reason) == ("refunded", "feed_dead")
    gap = Gap.objects.get()
    assert (gap.reason, gap.ends_at) == ("feed_dead", order.expires_at)
    assert desk.balance() == "1000.00"


def test_the_sweep_refunds_an_entry_that_did_not_come(db: None, make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(entry_policy="delayed", entry_delay_ms=500)
    placed = desk.place("up", duration_seconds=60)
    desk.market.quiet_until(desk.clock.move(10.5))
    sweep_orders()
    assert desk.order(placed).refund_reason == "no_entry"


def test_beat_knows_its_work() -> None:
    app.loader.import_default_modules()
    scheduled = {entry["task"]: entry["schedule"] for entry in settings.CELERY_BEAT_SCHEDULE.values()}
    assert scheduled["trading.sweep_orders"] == 10.0
    assert scheduled["trading.recalculate_payouts"] == 60.0
    assert scheduled.keys() <= app.tasks.keys()


# --- the process --------------------------------------------------------------------------------------


@pytest.fixture
def overdue(django_db_setup: None, transactional_db: None) -> Account:
    """Three orders in the wall clock's own past, due for half a second."""
    from django.db import connections

    before = clock.now() - timedelta(seconds=1.5)
    with clock.ticking(lambda: before):
        market = Market(max_quote_age_ms=60_000)
        market.terms(min_duration_seconds=1)
        open_days([clock.now().date()])
        connections["owner"].close()
    start = clock.now() - timedelta(seconds=1.4)
    with clock.ticking(lambda: start):
        market.tick("100.00")
        account = funded_account(person("alice@example.com").pk, trading_book(), "100.00")
        for number in range(3):
            command = PlaceOrder(
                client_id=f"order-{number}",
                account=account.pk,
                symbol="VOL100",
                contract="rise_fall",
                side="up",
                stake="10.00",
                duration_seconds=1,
            )
            place_order(customer_id=account.owner_id, command=command)
    market.tick("101.00", start + timedelta(seconds=0.5))
    market.quiet_until(start + timedelta(seconds=1.1))
    return account


@pytest.mark.django_db(transaction=True, databases=["default", "owner"])
def test_the_role_settles_counts_and_stops_when_told(overdue: Account, roles: Roles) -> None:
    roles.start("settler")
    wait_until(lambda: not Order.objects.filter(status="open").exists(), "the settler closed everything")
    overdue.refresh_from_db()
    assert f"{overdue.balance:.2f}" == "125.50"
    url = f"http://127.0.0.1:{roles.metrics_ports['settler']}/metrics"

    def shown() -> bool:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return b"orders_closed_total 3.0" in answer.read()

    wait_until(shown, "the count is shown")
    assert roles.stop("settler") == 0


def test_a_sweep_that_cannot_enter_settles_all_the_same(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> int:
        raise RuntimeError("entering is broken")

    monkeypatch.setattr(services, "enter_pending", fails)
    due(desk, 2, seconds_ago=MISSED_AFTER.total_seconds())
    with pytest.raises(RuntimeError, match="entering is broken"):
        sweep_orders()
    assert set(Order.objects.values_list("status", flat=True)) == {"won"}
