"""An order's life is the table: the database allows its steps and no others, and each is told by its fact."""

import ast
from itertools import product
from pathlib import Path

import pytest
from django.db import DatabaseError, connections, transaction

from quotes.services import open_days
from tests.market import NOON
from tests.trading.conftest import Desk
from trading import facts as said
from trading import services
from trading.models import Order
from trading.rules import TRANSITIONS, may_become

STATUSES = [status.value for status in Order.Status]
# What a row of each status must hold, in SQL; the exit is the entry's own tick.
SHAPES = {
    "open": "payout = NULL, closed_at = NULL, exit_at = NULL, exit_seq = NULL, exit_price = NULL, "
    "refund_reason = NULL, sale_client_id = NULL, sale = NULL",
    "won": "payout = stake, refund_reason = NULL, sale_client_id = NULL, sale = NULL",
    "lost": "payout = 0, refund_reason = NULL, sale_client_id = NULL, sale = NULL",
    "refunded": "payout = stake, refund_reason = 'tie', sale_client_id = NULL, sale = NULL",
    "sold": "payout = 1, refund_reason = NULL, sale_client_id = 'x', sale = '{}'",
}
CLOSES = "closed_at = accepted_at, exit_at = entry_at, exit_seq = entry_seq, exit_price = entry_price"


def become(placed: str, status: str) -> None:
    """Write a status past every service, as the owner of the tables."""
    shape = SHAPES[status] + ("" if status == "open" else f", {CLOSES}")
    with transaction.atomic(using="owner"), connections["owner"].cursor() as cursor:
        cursor.execute(f"UPDATE trading_order SET status = %s, {shape} WHERE id = %s", [status, placed])


@pytest.mark.django_db(transaction=True, databases=["default", "owner"])
def test_the_database_allows_what_the_table_says(make_desk: object) -> None:
    open_days([NOON.date()])
    desk: Desk = make_desk()  # type: ignore[operator]
    for source, target in product(STATUSES, STATUSES):
        placed = str(desk.place("up", "1.00").order.id)
        if source != "open":
            become(placed, source)
        if may_become(source, target):
            become(placed, target)
        else:
            with pytest.raises(DatabaseError, match="is closed"):
                become(placed, target)
        ended = Order.objects.get(pk=placed).status
        assert ended == (target if may_become(source, target) else source)
    # The test ends with rows no service would have written.
    with connections["owner"].cursor() as cursor:
        cursor.execute("TRUNCATE trading_order CASCADE")


def test_every_step_has_its_fact_and_its_service() -> None:
    declared = {
        kind.fact_name
        for kind in vars(said).values()
        if isinstance(kind, type) and hasattr(kind, "fact_name")
    }
    assert {step.fact for step in TRANSITIONS} <= declared
    assert {step.target for step in TRANSITIONS} == set(STATUSES)
    assert all(callable(getattr(services, step.service)) for step in TRANSITIONS)


def _writes_status(node: ast.AST) -> bool:
    if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "update":
        return any(keyword.arg == "status" for keyword in node.keywords)
    text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
    return "UPDATE trading_order" in text and "status =" in text


def test_only_the_services_of_the_table_write_a_status() -> None:
    """Elsewhere no statement says `status=` of an order."""
    writers = set()
    for path in Path(services.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if _writes_status(node):
                writers.add(path.stem)
    assert writers == {"selling", "settlement"}
