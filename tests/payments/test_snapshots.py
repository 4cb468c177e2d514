"""What system accounts hold: a snapshot and what came after, each transfer counted once."""

import os
import threading
from decimal import Decimal
from uuid import uuid4

import psycopg
import pytest
from django.db import connection, transaction

from payments.ledger import selectors, services
from payments.ledger.models import Account, BalanceSnapshot
from tests.payments import bank

D = Decimal
pytestmark = pytest.mark.django_db(transaction=True)


def summed(account: int) -> D:
    """Add up every transfer of an account."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(sum(CASE WHEN destination_id = %(id)s THEN amount ELSE -amount END), 0)"
            " FROM ledger_transfer WHERE %(id)s IN (source_id, destination_id)",
            {"id": account},
        )
        return cursor.fetchone()[0]


def held(pk: int) -> D:
    return selectors.system_balance(Account.objects.get(pk=pk))


class Slow:
    """A transaction of somebody else that posts now and commits later."""

    def __init__(self):
        self.connection = psycopg.connect(os.environ["DATABASE_URL"])

    def post(self, source, destination, amount):
        self.connection.execute(
            "SELECT ledger_post(ARRAY[%s::uuid], ARRAY[%s::bigint], ARRAY[%s::bigint], ARRAY[%s::numeric],"
            " ARRAY['stake'], ARRAY['slow'], now())",
            [uuid4(), source, destination, amount],
        )
        return self

    def commit(self):
        self.connection.commit()
        self.connection.close()


@pytest.fixture
def world():
    book = bank.book()
    accounts = [bank.account(book, f"c{n}", "1000000").pk for n in range(8)]
    return book, accounts, bank.system(book, "escrow")


def test_a_late_committer_is_counted_once(world):
    book, (alice, bob, carol, *_), escrow = world
    slow = Slow().post(alice, escrow, 5)
    bank.post(bank.move(bob, escrow, "7"))
    services.take_snapshots()
    assert held(escrow) == 7
    bank.post(bank.move(carol, escrow, "11"))
    slow.commit()
    assert held(escrow) == 23
    bank.pass_horizon()
    services.take_snapshots()
    assert held(escrow) == 23
    assert BalanceSnapshot.objects.filter(account=escrow).first().balance == 23
    assert selectors.system_balances(book) == {"escrow": 23, "house": 0, "capital": -8_000_000}


def test_a_run_inside_the_transaction_that_posts_leaves_its_own_for_later(world):
    _, (alice, *_), escrow = world
    bank.pass_horizon()
    with transaction.atomic():
        services.post([bank.move(alice, escrow, "5")])
        services.take_snapshots()
        assert held(escrow) == 5
    assert held(escrow) == 5


def test_one_that_rolls_back_is_never_counted(world):
    _, (alice, bob, *_), escrow = world
    slow = Slow().post(alice, escrow, 5)
    bank.post(bank.move(bob, escrow, "7"))
    services.take_snapshots()
    slow.connection.rollback()
    slow.connection.close()
    bank.pass_horizon()
    services.take_snapshots()
    assert held(escrow) == 7


def test_only_what_moved_is_written_and_the_rest_keeps_counting(world):
    book, (alice, *_), escrow = world
    bank.pass_horizon()
    assert services.take_snapshots() == 1  # capital, which funded everybody
    assert services.take_snapshots() == 0
    bank.post(bank.move(alice, escrow, "1"))
    bank.pass_horizon()
    assert services.take_snapshots() == 1
    bank.post(bank.move(alice, bank.system(book, "house"), "2"))
    assert selectors.system_balances(book) == {"escrow": 1, "house": 2, "capital": -8_000_000}


def test_writers_and_snapshots_at_once_never_double_count(world):
    _, accounts, escrow = world
    writing = threading.Event()
    writing.set()

    def write(number):
        for turn in range(40):
            slow = Slow().post(accounts[number], escrow, turn + 1)
            bank.post(bank.move(accounts[7], escrow, "1"))
            slow.commit()

    def watch(_):
        taken = 0
        while writing.is_set():
            taken += services.take_snapshots()
            with connection.cursor() as cursor:
                cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
                agreed = held(escrow) == summed(escrow)
                cursor.execute("COMMIT")
            assert agreed
        return taken

    def write_all():
        assert bank.at_once(6, write) == [None] * 6
        writing.clear()

    writers = threading.Thread(target=write_all)
    writers.start()
    taken = bank.at_once(2, watch)
    writers.join()
    assert sum(taken) > 3
    bank.pass_horizon()
    services.take_snapshots()
    assert held(escrow) == summed(escrow) == 6 * (sum(range(1, 41)) + 40)


def test_snapshots_of_another_cluster_are_ignored(world):
    """A dump restored elsewhere meets transactions that count from lower."""
    _, (alice, *_), escrow = world
    bank.post(bank.move(alice, escrow, "3"))
    bank.post(bank.move(alice, escrow, "4"))
    for account, balance in ((escrow, 100), (bank.system(world[0], "capital"), -100)):
        BalanceSnapshot.objects.create(
            account_id=account, xid_before=10**15, balance=balance, taken_at="2020-01-01T00:00Z"
        )
    assert held(escrow) == 7
    bank.post(bank.move(alice, escrow, "1"))
    bank.pass_horizon()
    assert services.take_snapshots() == 2
    bank.post(bank.move(alice, escrow, "1"))
    assert selectors.system_balances(world[0]) == {"escrow": 9, "house": 0, "capital": -8_000_000}
