"""Books and accounts: opened once, with what the book gives; refilled with demo money alone."""

from decimal import Decimal

import pytest
from django.db import transaction

from config.core import outbox
from config.core.errors import Invalid, Missing
from config.core.models import Fact
from kyc.facts import CustomerRegistered
from payments.ledger import selectors, services
from payments.ledger.errors import NothingToRefill, NotRefillable
from payments.ledger.models import Account, Book
from tests.payments import bank

D = Decimal
pytestmark = pytest.mark.django_db


def facts(of: int) -> list[dict]:
    topic = outbox.customer_topic(of)
    return list(Fact.objects.filter(topic=topic).order_by("id").values_list("payload", flat=True))


class TestBooks:
    def test_opening_again_changes_nothing(self):
        book = bank.book(opening="1000")
        again = services.open_book(
            code="demo", name="Other", kind="real", currency="EUR", scale=8, opening_balance=None
        )
        assert again.pk == book.pk
        again.refresh_from_db()
        assert (again.name, again.kind, again.currency, again.scale) == ("Demo", "demo", "USD", 2)
        assert Account.objects.filter(book=book).count() == 3

    def test_the_opening_balance_fits_the_currency(self):
        with pytest.raises(Invalid):
            bank.book(opening="0.001")

    def test_real_money_is_never_given(self):
        with pytest.raises(Exception, match="book_real_money_is_never_given"), transaction.atomic():
            bank.book("usd", kind="real", opening="1")

    def test_more_system_accounts(self):
        book = bank.book()
        found = services.open_system_accounts(book=book, codes=("house", "prizes"))
        assert set(found) == {"house", "prizes"}
        assert found["house"].pk == bank.system(book, "house")
        assert selectors.system_balances(book) == dict.fromkeys(("escrow", "house", "capital", "prizes"), 0)


class TestOpening:
    def test_with_the_books_opening_balance(self):
        book, alice = bank.book(opening="1000"), bank.customer()
        account = services.open_account(owner_id=alice.pk, book=book)
        assert (account.balance, account.version) == (D(1000), 1)
        assert bank.holds(account) == (D(1000), 1)
        assert account.counter_id == bank.system(book, "house")
        assert selectors.system_balances(book)["capital"] == D(-1000)
        [line] = selectors.statement(account)
        assert (line["code"], line["amount"], line["reference"]) == (
            "opening",
            "1000.00",
            f"account {account.pk}",
        )
        assert facts(alice.pk) == [
            {
                "v": 1,
                "account": account.pk,
                "book": "demo",
                "kind": "demo",
                "currency": "USD",
                "balance": "1000.00",
                "version": 1,
                "from_version": 0,
            }
        ]

    def test_again_returns_the_same_and_gives_nothing(self):
        book, alice = bank.book(opening="1000"), bank.customer()
        first = services.open_account(owner_id=alice.pk, book=book)
        bank.post(bank.move(first.pk, bank.system(book, "escrow"), "999"))
        before = bank.everything()
        again = services.open_account(owner_id=alice.pk, book=book)
        assert (again.pk, again.balance, again.version) == (first.pk, D(1), 2)
        assert bank.everything() == before

    def test_without_one_it_is_empty(self):
        book, alice = bank.book("usd", kind="real"), bank.customer()
        account = services.open_account(owner_id=alice.pk, book=book)
        assert bank.holds(account) == (D(0), 0)
        assert [fact["balance"] for fact in facts(alice.pk)] == ["0.00"]
        assert selectors.statement(account) == []

    def test_not_in_a_book_without_system_accounts(self):
        book = Book.objects.create(code="raw", name="Raw", kind="demo", currency="USD", scale=2)
        with pytest.raises(Missing):
            services.open_account(owner_id=bank.customer().pk, book=book)


class TestRegistration:
    @pytest.fixture(autouse=True)
    def books(self):
        bank.book("demo", opening="10000")
        bank.book("usd", kind="real")
        bank.book("cup", kind="tournament", opening="500")

    @pytest.mark.parametrize(
        ("real_allowed", "rows"),
        [
            (False, [("demo", "demo", "10000.00")]),
            (True, [("demo", "demo", "10000.00"), ("real", "usd", "0.00")]),
        ],
    )
    def test_opens_what_the_law_allows(self, real_allowed, rows):
        alice = bank.customer()
        fact = CustomerRegistered(customer=alice.pk, country="AE", real_allowed=real_allowed)
        with transaction.atomic():
            outbox.publish("operators", fact)
        found = selectors.account_rows(alice.pk)
        assert [(row["kind"], row["book"], row["balance"]) for row in found] == rows
        before = bank.everything()
        with transaction.atomic():
            outbox.publish("somebody", fact)
            Fact.objects.filter(topic="somebody").delete()
        assert bank.everything() == before


class TestRefill:
    def refill(self, account, client_id="one", owner=None):
        return services.refill_account(
            owner_id=owner or account.owner_id, account_id=account.pk, client_id=client_id
        )

    def test_tops_up_to_the_opening_balance(self):
        book = bank.book(opening="100")
        alice = bank.account(book)
        bank.post(bank.move(alice.pk, bank.system(book, "house"), "40.01"))
        refilled = self.refill(alice)
        assert not refilled.is_replayed
        assert (refilled.account.balance, refilled.account.version) == (D(100), 3)
        assert bank.holds(alice) == (D(100), 3)
        assert selectors.system_balances(book) == {"escrow": 0, "house": D("40.01"), "capital": D("-140.01")}
        line = selectors.statement(alice)[0]
        assert (line["code"], line["amount"], line["balance"]) == ("refill", "40.01", "100.00")
        assert facts(alice.owner_id)[-1] | {"account": 0} == {
            "v": 1,
            "account": 0,
            "book": "demo",
            "kind": "demo",
            "currency": "USD",
            "balance": "100.00",
            "version": 3,
            "from_version": 2,
        }

    def test_a_repeat_answers_as_before(self):
        book = bank.book(opening="100")
        alice, house = bank.account(book), bank.system(book, "house")
        bank.post(bank.move(alice.pk, house, "40"))
        self.refill(alice)
        bank.post(bank.move(alice.pk, house, "5"))
        before = bank.everything()
        again = self.refill(alice)
        assert again.is_replayed
        assert (again.account.balance, again.account.version) == (D(100), 3)
        assert bank.everything() == before
        assert self.refill(alice, "two").account.version == 5

    def test_keys_of_two_accounts_do_not_meet(self):
        book = bank.book(opening="100")
        accounts = bank.account(book), bank.account(book, "bob")
        for account in accounts:
            bank.post(bank.move(account.pk, bank.system(book, "house"), "1"))
            assert not self.refill(account).is_replayed

    def test_refuses_what_is_not_below(self):
        alice = bank.account(bank.book(opening="100"))
        before = bank.everything()
        with pytest.raises(NothingToRefill) as refused:
            self.refill(alice)
        assert refused.value.details == {"opening_balance": "100.00"}
        assert bank.everything() == before

    @pytest.mark.parametrize(("kind", "opening"), [("real", None), ("tournament", "100"), ("demo", None)])
    def test_refuses_other_money(self, kind, opening):
        alice = bank.account(bank.book("book", kind=kind, opening=opening))
        before = bank.everything()
        with pytest.raises(NotRefillable):
            self.refill(alice)
        assert bank.everything() == before

    def test_somebody_else_finds_nothing(self):
        book = bank.book(opening="100")
        alice, mallory = bank.account(book), bank.customer("mallory")
        with pytest.raises(Missing):
            self.refill(alice, owner=mallory.pk)

    @pytest.mark.parametrize("key", ["", "x" * 65])
    def test_needs_a_key(self, key):
        alice = bank.account(bank.book(opening="100"))
        with pytest.raises(Invalid):
            self.refill(alice, key)
