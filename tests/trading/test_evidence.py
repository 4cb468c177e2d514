"""What is kept of old ticks proves how each order came in, how it ended, and that no later tick counted."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.market import NOON
from tests.trading.conftest import Desk
from trading import evidence
from trading.models import Order
from trading.services import settle_due

DAY = (NOON - timedelta(hours=12), NOON + timedelta(hours=12))


def seconds(at: datetime) -> float:
    return (at - NOON).total_seconds()


def spans(start: datetime = DAY[0], end: datetime = DAY[1]) -> list[tuple[float, float, bool]]:
    return [
        (seconds(span.starts_at), seconds(span.ends_at), span.is_settled)
        for span in evidence.spans(start, end)
    ]


def test_from_the_entry_to_the_acceptance_and_from_the_exit_to_the_expiry(desk: Desk) -> None:
    desk.clock.move(2)  # the entry is the tick at NOON
    desk.place("up", duration_seconds=60)
    desk.market.tick("101.00", NOON + timedelta(seconds=40))
    desk.clock.at = NOON + timedelta(seconds=63)
    desk.market.quiet_until()
    assert settle_due() == 1
    assert spans() == [(-5, 7, True), (35, 67, True)]


def test_an_open_order_needs_everything(desk: Desk) -> None:
    desk.clock.move(2)
    desk.place("up", duration_seconds=60)
    assert spans() == [(-5, 67, False)]


def test_an_entry_that_did_not_come_is_proved_up_to_its_deadline(
    db: None, make_desk: Callable[..., Desk]
) -> None:
    desk = make_desk(entry_policy="delayed", entry_delay_ms=500)
    placed = desk.place("up", duration_seconds=60)
    desk.clock.move(61)
    desk.market.quiet_until()
    settle_due()
    assert desk.order(placed).refund_reason == "no_entry"
    assert spans() == [(-5, 15.5, True), (55.5, 65.5, True)]


@pytest.mark.parametrize(
    ("start", "end", "found"),
    [
        (-60, -5, []),
        (-60, -4.999, [(-5, 67, False)]),  # the entry comes before the acceptance
        (67, 90, [(-5, 67, False)]),
        (67.001, 90, []),
        (30, 31, [(-5, 67, False)]),
    ],
)
def test_only_what_touches_the_day(desk: Desk, start: float, end: float, found: list[object]) -> None:
    desk.clock.move(2)
    desk.place("up", duration_seconds=60)
    assert spans(NOON + timedelta(seconds=start), NOON + timedelta(seconds=end)) == found


def test_the_longest_order_is_found_on_the_day_it_ends(db: None, make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(max_duration_seconds=7 * 86_400)
    desk.place("up", duration_seconds=7 * 86_400)
    last = NOON + timedelta(days=7)
    assert len(spans(last, last + timedelta(days=1))) == 1
    assert spans(last + timedelta(seconds=6), last + timedelta(days=1)) == []


def test_pages_along_the_index(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "PAGE", 3)
    for number in range(7):
        if number % 2:
            desk.clock.move(0.5)
        desk.place("up", duration_seconds=60)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
    with CaptureQueriesContext(connection) as queries:
        assert len(spans()) == Order.objects.count() == 7
    pages = [query["sql"] for query in queries if "LIMIT 3" in query["sql"]]
    assert len(pages) == 4
    with connection.cursor() as cursor:
        for page in pages:
            assert "request_sha256" not in page
            cursor.execute(f"EXPLAIN {page}")
            assert "order_accepted" in str(cursor.fetchall())
