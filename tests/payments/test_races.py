"""Real threads on one account: the lock holds, whoever comes first."""

import random
from collections import Counter
from decimal import Decimal

import pytest

from config.core import outbox
from config.core.models import Fact
from payments.ledger import services
from payments.ledger.errors import AlreadyPosted, InsufficientFunds
from payments.ledger.models import Account, Transfer
from tests.payments import bank

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("room", [0, 1, 7, 63])
def test_64_threads_overspend_with_room_for_some(room):
    book = bank.book()
    alice = bank.account(book, holds=str(room * 10 + 9))
    escrow = bank.system(book, "escrow")
    results = bank.at_once(64, lambda _: bank.post(bank.move(alice.pk, escrow, "10.00")))
    assert Counter(type(result) for result in results) == Counter({list: room, InsufficientFunds: 64 - room})
    assert bank.holds(alice) == (Decimal(9), room + 1)
    assert Transfer.objects.filter(code="stake").count() == room


def test_one_id_from_16_threads_is_posted_once():
    book = bank.book()
    alice = bank.account(book, holds="1000")
    same = bank.move(alice.pk, bank.system(book, "escrow"), "10.00")
    results = bank.at_once(16, lambda _: bank.post(same))
    assert Counter(type(result) for result in results) == Counter({list: 1, AlreadyPosted: 15})
    assert bank.holds(alice) == (Decimal(990), 2)


def test_batches_over_the_same_accounts_in_any_order_never_deadlock():
    book = bank.book()
    accounts = [bank.account(book, f"c{n}", "1000").pk for n in range(6)]

    def shuffle(seed):
        order = random.Random(seed)
        for _ in range(15):
            pairs = [order.sample(accounts, 2) for _ in range(8)]
            bank.post(*(bank.move(source, destination, "0.01") for source, destination in pairs))

    assert bank.at_once(12, shuffle) == [None] * 12
    held = [bank.holds(pk) for pk in accounts]
    assert sum(balance for balance, _ in held) == 6000
    assert sum(version for _, version in held) == 6 + 2 * 12 * 15 * 8


def test_two_threads_open_one_account_with_one_opening_balance():
    book, alice = bank.book(opening="1000"), bank.customer()
    results = bank.at_once(8, lambda _: services.open_account(owner_id=alice.pk, book=book).pk)
    assert len(set(results)) == 1
    assert isinstance(results[0], int)
    assert bank.holds(results[0]) == (Decimal(1000), 1)
    assert Fact.objects.filter(name="account.changed", topic=outbox.customer_topic(alice.pk)).count() == 1


def test_two_threads_open_one_book():
    results = bank.at_once(8, lambda _: bank.book("usd").pk)
    assert len(set(results)) == 1
    assert sorted(Account.objects.filter(book=results[0]).values_list("code", flat=True)) == [
        "capital",
        "escrow",
        "house",
    ]


def test_refills_with_one_key_refill_once():
    book = bank.book(opening="100")
    alice = bank.account(book)
    bank.post(bank.move(alice.pk, bank.system(book, "escrow"), "40"))
    results = bank.at_once(
        8,
        lambda _: services.refill_account(owner_id=alice.owner_id, account_id=alice.pk, client_id="again"),
    )
    assert sorted(result.is_replayed for result in results) == [False] + [True] * 7
    assert {(result.account.balance, result.account.version) for result in results} == {(Decimal(100), 3)}
    assert bank.holds(alice) == (Decimal(100), 3)
