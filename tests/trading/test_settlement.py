"""Orders end as the stored market says, each reason of a refund included."""

import json
from collections.abc import Callable, Iterator
from copy import copy
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection

from config.core.ids import new_id
from config.core.models import Fact
from payments.ledger.models import Transfer
from quotes.models import Gap
from quotes.services import record_gap
from tests.market import NOON
from tests.trading.conftest import Desk
from trading import rules
from trading.facts import OrderView
from trading.models import SHARDS, Order
from trading.rules import Contract, History, Outcome, Price, decide
from trading.selectors import OrderRow
from trading.services import enter_pending, settle_due, settlement, unpark_order
from trading.services.claims import DEAD_FEEDS


def finish(desk: Desk, price: str | None, *, after: float = 30, until: float = 60) -> None:
    """Let the price come `after` seconds from now, and the watermark reach `until` seconds."""
    start = desk.clock.at
    if price is not None:
        desk.market.tick(price, start + timedelta(seconds=after))
    desk.clock.at = start + timedelta(seconds=until)
    desk.market.quiet_until()


@pytest.mark.parametrize(
    ("side", "exit_price", "status", "payout", "balance"),
    [
        ("up", "100.01", "won", "18.50", "1008.50"),
        ("up", "99.99", "lost", "0.00", "990.00"),
        ("down", "99.99", "won", "18.50", "1008.50"),
        ("down", "100.01", "lost", "0.00", "990.00"),
        ("up", "100.00", "refunded", "10.00", "1000.00"),
        ("down", "100.00", "refunded", "10.00", "1000.00"),
    ],
)
def test_rise_fall(desk: Desk, side: str, exit_price: str, status: str, payout: str, balance: str) -> None:
    placed = desk.place(side)
    assert desk.balance() == "990.00"
    finish(desk, exit_price)
    assert settle_due() == 1
    order = desk.order(placed)
    assert (order.status, f"{order.payout:.2f}") == (status, payout)
    assert order.refund_reason == ("tie" if status == "refunded" else None)
    assert f"{order.exit_price:.2f}" == exit_price
    assert desk.balance() == balance
    assert settle_due() == 0


def test_ties_lose_where_the_terms_say_so(db: None, make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(tie_policy="lose")
    placed = desk.place("up")
    finish(desk, "100.00")
    settle_due()
    assert desk.order(placed).status == "lost"
    assert desk.balance() == "990.00"


def test_profit_is_rounded_down(desk: Desk) -> None:
    desk.place("up", "1.01")  # 1.01 × 0.85 = 0.8585
    finish(desk, "101.00")
    settle_due()
    assert desk.balance() == "1000.85"


def test_an_order_waits_for_the_watermark(desk: Desk) -> None:
    placed = desk.place("up")
    desk.clock.move(60)
    desk.market.tick("101.00", desk.clock.at - timedelta(microseconds=1))
    assert settle_due() == 0  # a tick at the very expiry may still come
    desk.market.tick("99.00", desk.clock.at)
    assert settle_due() == 1
    assert desk.order(placed).exit_price == Decimal("99.00")
    assert desk.order(placed).status == "lost"


def test_ticks_after_the_expiry_do_not_count(desk: Desk) -> None:
    placed = desk.place("up")
    start = desk.clock.at
    desk.market.tick("101.00", start + timedelta(seconds=59))
    desk.market.tick("50.00", start + timedelta(seconds=60, microseconds=1))
    desk.clock.at = start + timedelta(seconds=61)
    settle_due()
    assert desk.order(placed).status == "won"


def test_a_late_tick_changes_nothing(desk: Desk) -> None:
    placed = desk.place("up")
    start = desk.clock.at
    desk.market.tick("101.00", start + timedelta(seconds=30))
    desk.clock.at = start + timedelta(seconds=60)
    desk.market.quiet_until()
    desk.market.append([(start + timedelta(seconds=59), Decimal("1.00"))], until=desk.clock.at)
    settle_due()
    assert desk.order(placed).exit_price == Decimal("101.00")


# --- refunds ------------------------------------------------------------------------------------------


def refunded(desk: Desk, placed: object, reason: str) -> None:
    order = desk.order(placed)  # type: ignore[arg-type]
    assert (order.status, order.refund_reason) == ("refunded", reason)
    assert order.payout == order.stake
    assert desk.balance() == "1000.00"


def test_nothing_is_decided_across_two_sources(desk: Desk) -> None:
    start = desk.clock.at
    parted, ended = desk.place(duration_seconds=60), desk.place(duration_seconds=5)
    desk.market.tick("101.00", start + timedelta(seconds=3))
    desk.market.quiet_until(start + timedelta(seconds=8))
    record_gap(
        instrument_id=desk.market.instrument.pk,
        ends_at=start + timedelta(seconds=10) - timedelta(microseconds=1),
        reason=Gap.Reason.SOURCE_CHANGED,
    )
    desk.clock.move(10)
    desk.market.tick("500.00")
    later = desk.place(duration_seconds=40)
    desk.clock.move(35)
    desk.market.tick("501.00")
    desk.clock.move(30)
    desk.market.quiet_until()
    assert settle_due() == 3
    order = desk.order(parted)
    assert (order.status, order.refund_reason, order.payout) == ("refunded", "feed_gap", order.stake)
    assert desk.order(ended).status == "won"
    assert desk.order(later).status == "won"


@pytest.mark.parametrize(
    ("starts", "ends", "reason", "status"),
    [
        (0, 10, "source_changed", "refunded"),  # the entry is the last price of the source before
        (50, 60, "source_changed", "refunded"),
        (59, 61, "source_changed", "refunded"),
        (60, 61, "source_changed", "won"),
        (-5, -1, "source_changed", "won"),
        (10, 20, "source_silent", "won"),
    ],
)
def test_a_changed_source_parts_entry_and_exit(starts: float, ends: float, reason: str, status: str) -> None:
    def at(seconds: float) -> datetime:
        return NOON + timedelta(seconds=seconds)

    contract = Contract(
        price_decimals=2,
        side="up",
        stake=Decimal(10),
        payout_rate=Decimal("0.85"),
        scale=2,
        entry=Price(at(0), 1, Decimal(100)),
        entry_after=None,
        expires_at=at(60),
        tie_policy="refund",
        max_exit_age=timedelta(seconds=30),
        max_entry_wait=timedelta(seconds=10),
    )
    gap = rules.Gap(at(starts), at(ends), reason)
    outcome = decide(
        contract, History(known_until=at(60), last_before=Price(at(55), 2, Decimal(101)), gaps=[gap])
    )
    assert (outcome.status, outcome.refund_reason) == (status, "feed_gap" if status == "refunded" else None)


def test_no_exit(desk: Desk) -> None:
    placed = desk.place(duration_seconds=20)
    finish(desk, None, until=20)
    settle_due()
    refunded(desk, placed, "no_exit")


def test_stale_exit(desk: Desk) -> None:
    placed = desk.place(duration_seconds=60)
    finish(desk, "101.00", after=29.9, until=60)  # 30.1 s before the expiry
    settle_due()
    refunded(desk, placed, "stale_exit")


def test_an_exit_at_the_edge_of_its_age_counts(desk: Desk) -> None:
    placed = desk.place(duration_seconds=60)
    finish(desk, "101.00", after=30, until=60)
    settle_due()
    assert desk.order(placed).status == "won"


def test_feed_gap_over_the_expiry(desk: Desk) -> None:
    placed = desk.place(duration_seconds=60)
    start = desk.clock.at
    desk.market.tick("101.00", start + timedelta(seconds=55))
    record_gap(
        instrument_id=desk.market.instrument.pk,
        ends_at=start + timedelta(seconds=60),
        reason=Gap.Reason.FEED_DOWN,
    )
    desk.clock.at = start + timedelta(seconds=61)
    settle_due()
    refunded(desk, placed, "feed_gap")


def test_a_gap_that_ends_before_the_expiry_does_not_refund(desk: Desk) -> None:
    placed = desk.place(duration_seconds=60)
    start = desk.clock.at
    record_gap(
        instrument_id=desk.market.instrument.pk,
        ends_at=start + timedelta(seconds=59),
        reason=Gap.Reason.FEED_DOWN,
    )
    desk.market.tick("101.00", start + timedelta(seconds=59, microseconds=1))
    desk.clock.at = start + timedelta(seconds=60)
    desk.market.quiet_until()
    settle_due()
    assert desk.order(placed).status == "won"


def test_feed_dead_past_the_grace(desk: Desk) -> None:
    placed = desk.place(duration_seconds=60)
    desk.clock.move(60 + 119.9)
    assert settle_due() == 0
    desk.clock.move(0.1)
    assert settle_due() == 1
    refunded(desk, placed, "feed_dead")
    gap = Gap.objects.get()
    order = desk.order(placed)
    assert (gap.reason, gap.ends_at) == ("feed_dead", order.expires_at)
    # The feed comes back and tells of the time it missed: it is late, and the outcome stands.
    desk.market.append([(order.expires_at, Decimal("200.00"))], until=desk.clock.at)
    assert settle_due() == 0
    refunded(desk, placed, "feed_dead")


def test_orders_that_wait_for_their_grace_are_not_read_one_by_one(desk: Desk) -> None:
    one = desk.order(desk.place(duration_seconds=60))
    Order.objects.bulk_create(_copies(one, 3_000))
    desk.clock.move(60 + 60)
    with connection.cursor() as cursor:
        values = {"now": desk.clock.at, "last_shard": SHARDS - 1}
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON, TIMING OFF) {DEAD_FEEDS}", values)
        plan = cursor.fetchone()[0]
    nodes = list(_nodes((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]))
    orders = next(node for node in nodes if node.get("Relation Name") == "trading_order")
    assert orders["Index Name"] == "order_due", orders
    assert "expires_at <=" in orders["Index Cond"]
    assert (orders["Actual Rows"], orders.get("Rows Removed by Filter", 0)) == (0, 0)


def _copies(order: Order, count: int) -> Iterator[Order]:
    for number in range(count):
        order.pk, order.client_id, order.shard = new_id(), f"copy-{number}", number % SHARDS
        yield copy(order)


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for inner in node.get("Plans", ()):
        yield from _nodes(inner)


def test_market_closed_at_the_expiry(desk: Desk) -> None:
    from quotes.models import CalendarException

    placed = desk.place(duration_seconds=60)
    CalendarException.objects.create(
        calendar=desk.market.instrument.calendar,
        starts_at=desk.clock.at + timedelta(seconds=50),
        ends_at=desk.clock.at + timedelta(seconds=500),
        is_open=False,
        recorded_at=desk.clock.at,
    )
    finish(desk, "101.00", after=45, until=60)
    settle_due()
    refunded(desk, placed, "market_closed")


# --- delayed entry ------------------------------------------------------------------------------------


@pytest.fixture
def delayed(db: None, make_desk: Callable[..., Desk]) -> Desk:
    return make_desk(entry_policy="delayed", entry_delay_ms=500)


def test_a_delayed_entry_is_the_first_tick_after_the_delay(delayed: Desk) -> None:
    desk = delayed
    placed = desk.place("up", duration_seconds=60)
    assert placed.order.entry is None
    assert placed.order.expires_at == "2030-01-15T12:01:00.500000Z"
    start = desk.clock.at
    desk.market.tick("150.00", start + timedelta(milliseconds=500))  # at the delay's end, not after it
    assert enter_pending() == 0
    seq = desk.market.tick("100.50", start + timedelta(milliseconds=501))
    desk.market.quiet_until(start + timedelta(milliseconds=600))
    assert enter_pending() == 1
    order = desk.order(placed)
    assert (order.entry_seq, order.entry_price) == (seq, Decimal("100.50"))
    entered = Fact.objects.get(name="order.entered")
    assert entered.payload["order"]["entry"]["price"] == "100.50"
    desk.clock.at = start + timedelta(seconds=50)
    finish(desk, "100.51", after=5, until=10.5)
    settle_due()
    assert desk.order(placed).status == "won"


def test_no_entry_in_time(delayed: Desk) -> None:
    desk = delayed
    placed = desk.place("up", duration_seconds=60)
    desk.clock.move(10.4)
    desk.market.quiet_until()
    assert enter_pending() == 0
    desk.clock.move(0.1)
    desk.market.quiet_until()
    assert enter_pending() == 1
    refunded(desk, placed, "no_entry")


def test_an_entry_that_nobody_noted_is_found_at_settlement(delayed: Desk) -> None:
    desk = delayed
    placed = desk.place("down", duration_seconds=30)
    start = desk.clock.at
    desk.market.tick("100.00", start + timedelta(seconds=1))
    desk.market.tick("99.00", start + timedelta(seconds=20))
    desk.clock.at = start + timedelta(seconds=31)
    desk.market.quiet_until()
    assert settle_due() == 1
    order = desk.order(placed)
    assert (order.status, order.entry_price, order.exit_price) == ("won", Decimal("100.00"), Decimal("99.00"))


# --- money and facts ----------------------------------------------------------------------------------


def test_the_transfers_of_a_won_order(desk: Desk) -> None:
    placed = desk.place("up", "10.00")
    finish(desk, "101.00")
    settle_due()
    moved = Transfer.objects.filter(reference=placed.order.id).order_by("created_at", "destination_version")
    assert [(t.code, f"{t.amount:.2f}", t.source.code, t.destination.code) for t in moved] == [
        ("stake", "10.00", "customer", "escrow"),
        ("stake_returned", "10.00", "escrow", "customer"),
        ("profit", "8.50", "house", "customer"),
    ]


def test_the_facts_of_a_batch(desk: Desk) -> None:
    for side in ("up", "down", "up"):
        desk.place(side)
    finish(desk, "101.00")
    assert settle_due() == 3
    facts = [(f.name, f.topic) for f in Fact.objects.order_by("id")]
    topic = f"customer:{desk.alice.pk}"
    closing = [name for name, where in facts if where == topic and name.startswith(("order.w", "order.l"))]
    assert closing == ["order.won", "order.lost", "order.won"]
    changed = Fact.objects.filter(name="account.changed").order_by("id").last()
    # The deposit, three stakes, then twice stake and profit: versions 5 to 8 in one fact.
    assert changed.payload == {
        "v": 1,
        "account": desk.account.pk,
        "book": "practice",
        "kind": "demo",
        "currency": "USD",
        "balance": "1007.00",
        "version": 8,
        "from_version": 4,
    }
    won = Fact.objects.filter(name="order.won").order_by("id").first()
    assert won.payload["version"] == 6
    assert won.payload["order"]["payout"] == "18.50"


def test_one_bad_pending_order_is_parked_and_the_rest_are_entered(
    delayed: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = delayed
    good, bad, late = desk.place("up"), desk.place("up", "13.00"), desk.place("up")
    entered = settlement.order_view

    def view_or_fail(row: OrderRow) -> OrderView:
        if row.stake == 13:
            raise ValueError("no words for this one")
        return entered(row)

    monkeypatch.setattr(settlement, "order_view", view_or_fail)
    desk.market.tick("100.50", desk.clock.move(1))
    desk.market.quiet_until(desk.clock.move(0.1))
    assert enter_pending() == 2
    assert [desk.order(order).entry_price for order in (good, late)] == [Decimal("100.50")] * 2
    parked = desk.order(bad)
    assert (parked.entry_seq, parked.parked_because) == (None, "ValueError: no words for this one")
    assert enter_pending() == 0


def test_one_bad_order_is_parked_and_the_rest_go_on(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.place("up")
    bad = desk.place("up", "13.00")
    desk.place("up")

    def decide_or_fail(contract: Contract, history: History) -> Outcome:
        if contract.stake == 13:
            raise ValueError("no rule for this one")
        return decide(contract, history)

    monkeypatch.setattr(settlement, "decide", decide_or_fail)
    finish(desk, "101.00")
    assert settle_due() == 2
    parked = desk.order(bad)
    assert (parked.status, parked.parked_because) == ("open", "ValueError: no rule for this one")
    assert desk.balance() == "1004.00"
    assert settle_due() == 0
    monkeypatch.undo()
    unpark_order(order_id=parked.pk, actor=desk.alice, reason="the rule was mended")
    assert settle_due() == 1
    assert desk.order(bad).status == "won"
