"""Deciding a day again finds what was settled, and names what was not settled so."""

import io
import random
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import pytest
from django.core.management import CommandError, call_command
from django.db import connections

from config.core.errors import DomainError
from quotes.models import EvidenceTick, Gap, Tick
from quotes.services import open_days, record_gap
from quotes.services.partitions import keep_evidence
from tests.market import NOON
from tests.trading.conftest import Desk
from tests.trading.test_contract_orders import moves, simulate, ticks
from trading.models import Order
from trading.rules import KINDS
from trading.services import enter_pending, sell_order, settle_due
from trading.services.resettle import Difference, resettle

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])
DAY = NOON.date()


@pytest.fixture(params=["latest_tick", "delayed"])
def lived(request: pytest.FixtureRequest, make_desk: Callable[..., Desk]) -> Desk:
    """A few minutes of random orders of every contract on a restless market."""
    open_days([DAY])
    desk = make_desk(
        contracts=list(KINDS), max_duration_ticks=20, entry_policy=request.param, offers_sale=True
    )
    chance, price = random.Random(7), Decimal("100.00")
    for step in range(130):
        moves(desk, 0.001)
        price += Decimal(chance.choice([-20, -7, -1, 0, 0, 1, 7, 20])) / 100
        ticks(desk, f"{price:.2f}", every=chance.choice([0.2, 0.5, 1, 3]))
        if step == 80:
            record_gap(
                instrument_id=desk.market.instrument.pk,
                ends_at=desk.clock.move(3),
                reason=Gap.Reason.SOURCE_SILENT,
            )
        simulate(desk)  # each tick says where it is from
        _place_some(desk, chance)
        enter_pending()
        settle_due()
    desk.clock.move(400)
    desk.market.quiet_until()
    enter_pending()
    settle_due()
    assert not Order.objects.filter(status="open").exists()
    return desk


def _place_some(desk: Desk, chance: random.Random) -> None:
    contract = chance.choice(list(KINDS))
    kind = KINDS[contract]
    shape = {"barrier": f"{chance.choice('+-')}0.{chance.randint(10, 60)}"} if "barrier" in kind.takes else {}
    if "low" in kind.takes:
        shape = {"low": f"-0.{chance.randint(10, 90)}", "high": f"+0.{chance.randint(10, 90)}"}
    if "digit" in kind.takes:
        shape = {"digit": chance.randint(1, 8)}
    length = {"duration_seconds": chance.randint(5, 30)}
    if kind.lengths == {"ticks"} or chance.random() < 0.4:
        length = {"duration_seconds": None, "duration_ticks": chance.randint(1, 10)}
    try:
        placed = desk.place(chance.choice(kind.sides), "1.00", contract=contract, **shape, **length)
        if chance.random() < 0.1:
            sell_order(customer_id=desk.alice.pk, order_id=placed.order.id, client_id="sale")
    except DomainError:
        pass  # barriers that are too certain or too far, and sales too near the entry


def told() -> str:
    out = io.StringIO()
    call_command("resettle", "--dry-run", DAY.isoformat(), stdout=out)
    return out.getvalue()


def test_settling_a_day_again_finds_no_difference(lived: Desk) -> None:
    report = resettle(DAY)
    assert report.differences == []
    assert report.orders == Order.objects.exclude(status="sold").count() > 50
    assert {"won", "lost", "feed_gap"} <= report.outcomes.keys()
    assert "0 differences." in told()


def test_what_was_settled_otherwise_is_named(lived: Desk) -> None:
    won = Order.objects.filter(status="won").first()
    assert won is not None
    _by_force("UPDATE trading_order SET status = 'lost', payout = 0 WHERE id = %s", won.pk)
    (found,) = resettle(DAY).differences
    assert isinstance(found, Difference)
    assert (found.order, found.settled[:6], found.decided[:4]) == (won.pk, "lost 0", "won ")
    with pytest.raises(CommandError, match="1 orders would end otherwise"):
        told()


def test_a_tick_that_was_changed_is_seen(lived: Desk) -> None:
    order = Order.objects.filter(contract="digit_match", status__in=["won", "lost"]).first()
    assert order is not None
    _by_force(
        "UPDATE quotes_tick SET price = price + 0.01 WHERE instrument_id = %s AND seq = %s",
        order.instrument_id,
        order.exit_seq,
    )
    assert order.pk in {found.order for found in resettle(DAY).differences}


def test_what_is_kept_of_an_archived_day_decides_it(lived: Desk) -> None:
    """With all ticks moved to the evidence the outcomes are the same."""
    rows = list(Tick.objects.filter(is_late=False).values("instrument_id", "at", "seq", "price"))
    _by_force("TRUNCATE quotes_tick")
    assert resettle(DAY).differences != []
    EvidenceTick.objects.bulk_create(EvidenceTick(**row) for row in rows)
    assert resettle(DAY).differences == []


def test_a_day_that_is_archived_and_not_yet_dropped(lived: Desk) -> None:
    """What is kept as evidence and still in the table counts once."""
    assert keep_evidence(DAY)
    assert resettle(DAY).differences == []


def test_a_day_without_orders(make_desk: Callable[..., Desk]) -> None:
    open_days([DAY])
    make_desk()
    report = resettle(DAY + timedelta(days=1))
    assert (report.orders, report.differences) == (0, [])


def _by_force(statement: str, *values: object) -> None:
    """Do what the application may not: as the owner, past the triggers."""
    with connections["owner"].cursor() as cursor:
        for table in ("trading_order", "quotes_tick"):
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        cursor.execute(statement, values)
        for table in ("trading_order", "quotes_tick"):
            cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")
