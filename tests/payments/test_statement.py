"""The statement proves itself, page by page, and is read from its indexes."""

import random
from decimal import Decimal

import psycopg
import pytest
from django.db import connection

from payments.ledger import selectors
from tests.payments import bank

D = Decimal


def wander(book, accounts, steps, seed=1):
    """Move money at random between customers and system accounts."""
    order = random.Random(seed)
    pool = [*accounts, bank.system(book, "escrow"), bank.system(book, "house")]
    moves = []
    for _ in range(steps):
        source, destination = order.sample(pool, 2)
        moves.append(bank.move(source, destination, D(order.randint(1, 300)).scaleb(-2)))
    bank.post(*moves)


@pytest.mark.django_db
def test_it_proves_itself():
    book = bank.book()
    alice = bank.account(book, holds="1000")
    bob = bank.account(book, "bob", "1000")
    wander(book, [alice.pk, bob.pk], 150)
    account = selectors.account_for(alice.owner_id, alice.pk)
    lines, before = [], None
    while page := selectors.statement(account, before_version=before, limit=7):
        lines += page
        before = page[-1]["version"]
    assert [line["version"] for line in lines] == list(range(account.version, 0, -1))
    assert lines[0]["balance"] == f"{account.balance:.2f}"
    running = D(0)
    for line in reversed(lines):
        running += D(line["amount"])
        assert D(line["balance"]) == running >= 0
    assert selectors.statement(account, limit=1000) == lines
    assert {line["code"] for line in lines} == {"deposit", "stake"}


@pytest.mark.django_db(transaction=True)
def test_it_reads_no_more_than_it_shows():
    import os

    book = bank.book()
    accounts = [bank.account(book, f"c{n}", "100000").pk for n in range(5)]
    wander(book, accounts, 4000)
    with psycopg.connect(os.environ["DATABASE_OWNER_URL"], autocommit=True) as owner:
        owner.execute("ANALYZE ledger_transfer")
    parameters = {"account": accounts[0], "before": 500, "limit": 20}
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN (ANALYZE, COSTS OFF) " + selectors._STATEMENT, parameters)
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "Seq Scan" not in plan
    assert "transfer_source_version" in plan
    assert "transfer_destination_version" in plan
    assert "Rows Removed" not in plan
