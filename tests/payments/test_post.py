"""The one verb: all or nothing, each id once, never below zero, never across books."""

from decimal import Decimal
from uuid import uuid4

import pytest
from django.db import connection, transaction

from config.core import outbox
from config.core.errors import Broken, Invalid
from payments.ledger import services
from payments.ledger.errors import AlreadyPosted, InsufficientFunds
from payments.ledger.facts import AccountChanged
from payments.ledger.models import Transfer
from payments.ledger.selectors import system_balances
from tests.payments import bank

D = Decimal


@pytest.mark.django_db(transaction=True)
def test_money_moves_only_inside_a_transaction():
    book = bank.book()
    alice = bank.account(book, holds="10.00")
    before = bank.everything()
    with pytest.raises(Broken, match="transaction"):
        services.post([bank.move(alice.pk, bank.system(book, "escrow"), "1.00")])
    assert bank.everything() == before


@pytest.mark.django_db
class TestOneTransfer:
    def test_leaves_versions_and_balances(self):
        book = bank.book()
        alice = bank.account(book, holds="100.00")
        escrow = bank.system(book, "escrow")
        new = bank.move(alice.pk, escrow, "30.25")
        [posted] = bank.post(new)
        stored = Transfer.objects.get(pk=new.id)
        for row in (posted, stored):
            assert (row.book_id, row.source_id, row.destination_id) == (book.pk, alice.pk, escrow)
            assert (row.amount, row.code, row.reference) == (D("30.25"), "stake", "test")
            assert (row.source_version, row.source_balance) == (2, D("69.75"))
            assert (row.destination_version, row.destination_balance) == (None, None)
        assert bank.holds(alice) == (D("69.75"), 2)
        assert system_balances(book) == {"escrow": D("30.25"), "house": D(0), "capital": D("-100")}

    def test_between_two_customers(self):
        book = bank.book()
        alice, bob = bank.account(book, holds="5.00"), bank.account(book, "bob")
        [row] = bank.post(bank.move(alice.pk, bob.pk, "5.00"))
        assert (row.source_version, row.source_balance) == (2, D(0))
        assert (row.destination_version, row.destination_balance) == (1, D("5.00"))

    def test_insufficient_funds_says_both_numbers_and_moves_nothing(self):
        book = bank.book()
        alice = bank.account(book, holds="10.00")
        before = bank.everything()
        with pytest.raises(InsufficientFunds) as refused:
            bank.post(bank.move(alice.pk, bank.system(book, "escrow"), "10.01"))
        assert refused.value.as_problem() == {
            "type": "/problems/insufficient_funds",
            "title": "There is not enough money on this account",
            "status": 422,
            "detail": "The balance is 10.00; 10.01 is needed.",
            "code": "insufficient_funds",
            "balance": "10.00",
            "amount": "10.01",
        }
        assert bank.everything() == before

    @pytest.mark.parametrize("scale", [0, 2, 8])
    def test_scale(self, scale):
        book = bank.book(f"scale-{scale}", scale=scale)
        alice = bank.account(book, holds="10")
        escrow = bank.system(book, "escrow")
        smallest = D(1).scaleb(-scale)
        bank.post(bank.move(alice.pk, escrow, smallest))
        assert bank.holds(alice) == (10 - smallest, 2)
        before = bank.everything()
        with pytest.raises(Invalid):
            bank.post(bank.move(alice.pk, escrow, smallest / 10))
        assert bank.everything() == before

    def test_more_decimals_than_the_currency_are_refused_not_rounded(self):
        book = bank.book()
        alice = bank.account(book, holds="10")
        with pytest.raises(Invalid) as refused:
            bank.post(bank.move(alice.pk, bank.system(book, "escrow"), "1.005"))
        assert refused.value.details == {"amount": "1.005", "scale": 2}

    @pytest.mark.parametrize("amount", ["0", "-1", "NaN", "Infinity", "-Infinity", "1e20"])
    def test_amounts_that_are_none_break(self, amount):
        book = bank.book()
        alice, escrow = bank.account(book, holds="10"), bank.system(book, "escrow")
        before = bank.everything()
        for source, destination in ((alice.pk, escrow), (escrow, alice.pk)):
            with pytest.raises(Broken):
                bank.post(bank.move(source, destination, amount))
        assert bank.everything() == before

    def test_unknown_account_itself_and_another_book_break(self):
        one, two = bank.book("one"), bank.book("two")
        alice = bank.account(one, holds="10")
        before = bank.everything()
        for destination, message in (
            (10**9, "names account 1000000000"),
            (alice.pk, "transfer_between_two"),
            (bank.system(two, "escrow"), "from one book to another"),
        ):
            with pytest.raises(Broken, match=message):
                bank.post(bank.move(alice.pk, destination, "1"))
        with pytest.raises(Broken, match="names account 1000000000"):
            bank.post(bank.move(10**9, alice.pk, "1"))
        assert bank.everything() == before


@pytest.mark.django_db
class TestBatches:
    def test_one_account_many_times_in_order(self):
        book = bank.book()
        alice, bob = bank.account(book, holds="10.00"), bank.account(book, "bob")
        escrow = bank.system(book, "escrow")
        rows = bank.post(
            bank.move(alice.pk, escrow, "10.00"),
            bank.move(escrow, alice.pk, "4.00"),
            bank.move(alice.pk, bob.pk, "3.00"),
            bank.move(bob.pk, escrow, "1.00"),
            bank.move(escrow, alice.pk, "2.00"),
        )
        assert [(r.source_version, r.source_balance) for r in rows] == [
            (2, D("0.00")),
            (None, None),
            (4, D("1.00")),
            (2, D("2.00")),
            (None, None),
        ]
        assert [(r.destination_version, r.destination_balance) for r in rows] == [
            (None, None),
            (3, D("4.00")),
            (1, D("3.00")),
            (None, None),
            (5, D("3.00")),
        ]
        assert bank.holds(alice) == (D("3.00"), 5)
        assert bank.holds(bob) == (D("2.00"), 2)

    def test_a_balance_may_not_dip_below_zero_on_the_way(self):
        book = bank.book()
        alice, escrow = bank.account(book, holds="10.00"), bank.system(book, "escrow")
        before = bank.everything()
        with pytest.raises(InsufficientFunds) as refused:
            bank.post(
                bank.move(alice.pk, escrow, "6.00"),
                bank.move(alice.pk, escrow, "6.00"),
                bank.move(escrow, alice.pk, "12.00"),
            )
        assert refused.value.details == {"balance": "4.00", "amount": "6.00"}
        assert bank.everything() == before

    def test_several_books_in_one_batch_keep_to_themselves(self):
        one, two = bank.book("one"), bank.book("two", scale=0)
        a, b = bank.account(one, holds="1.50"), bank.account(two, holds="3")
        bank.post(
            bank.move(a.pk, bank.system(one, "escrow"), "1.50"),
            bank.move(b.pk, bank.system(two, "escrow"), "2"),
        )
        assert (bank.holds(a), bank.holds(b)) == ((D(0), 2), (D(1), 2))
        with pytest.raises(Invalid):
            bank.post(bank.move(b.pk, bank.system(two, "escrow"), "0.5"))

    def test_rows_come_back_in_the_order_given(self):
        book = bank.book()
        alice, capital = bank.account(book), bank.system(book, "capital")
        new = [bank.move(capital, alice.pk, n) for n in range(1, 300)]
        with transaction.atomic():
            rows = services.post_rows(new)
        assert [row.id for row in rows] == [n.id for n in new]
        assert [row.destination_balance for row in rows] == [n * (n + 1) // 2 for n in range(1, 300)]
        assert {row.book for row in rows} == {book.pk}

    def test_nothing_is_nothing(self, django_assert_num_queries):
        with django_assert_num_queries(0):
            assert services.post([]) == []

    @pytest.mark.parametrize("size", [1, 10, 2000])
    def test_one_statement_whatever_the_size(self, size, django_assert_num_queries):
        book = bank.book()
        accounts = [bank.account(book, f"c{n}", "1000").pk for n in range(7)]
        escrow = bank.system(book, "escrow")
        batch = [bank.move(accounts[n % 7], escrow, "1") for n in range(size)]
        with django_assert_num_queries(1), connection.execute_wrapper(_refuse_other_statements):
            assert len(services.post(batch)) == size
        assert Transfer.objects.filter(code="stake").count() == size


def _refuse_other_statements(execute, sql, params, many, context):
    assert "ledger_post" in sql
    assert not many
    return execute(sql, params, many, context)


@pytest.mark.django_db
@pytest.mark.parametrize("text", ["", "NULL", 'a"b', "a\\b", "{a,b}", "a, b", "'; --", "%s", "é ü 円", " x "])
def test_references_are_stored_as_given(text):
    book = bank.book()
    alice = bank.account(book)
    new = bank.move(bank.system(book, "capital"), alice.pk, "1")._replace(reference=text)
    bank.post(new, bank.move(alice.pk, bank.system(book, "house"), "1"))
    assert Transfer.objects.get(pk=new.id).reference == text


@pytest.mark.django_db
class TestOnce:
    def test_a_repeat_is_refused_and_its_use_case_rolls_back(self):
        book = bank.book()
        alice, escrow = bank.account(book, holds="10.00"), bank.system(book, "escrow")
        first = bank.move(alice.pk, escrow, "1.00")
        bank.post(first)
        before = bank.everything()

        @transaction.atomic
        def use_case():
            services.post([bank.move(alice.pk, escrow, "2.00")])
            outbox.publish("operators", _fact(alice))
            services.post([bank.move(alice.pk, escrow, "3.00"), first])

        with pytest.raises(AlreadyPosted) as refused:
            use_case()
        assert (refused.value.status, refused.value.code) == (409, "already_posted")
        assert bank.everything() == before

    def test_twice_in_one_batch(self):
        book = bank.book()
        alice, escrow = bank.account(book, holds="10.00"), bank.system(book, "escrow")
        before, same = bank.everything(), uuid4()
        with pytest.raises(AlreadyPosted):
            bank.post(
                bank.move(alice.pk, escrow, "1", named=same), bank.move(alice.pk, escrow, "2", named=same)
            )
        assert bank.everything() == before


def _fact(account):
    return AccountChanged(
        account=account.pk, book="demo", kind="demo", currency="USD", balance="0", version=1, from_version=0
    )
