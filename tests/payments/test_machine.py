"""Random transfers in several books against a model in plain Python: they never disagree."""

from collections import defaultdict
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from django.db import transaction
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from config.core.errors import Broken, Invalid
from payments.ledger import checks, selectors
from payments.ledger.errors import AlreadyPosted, InsufficientFunds
from payments.ledger.models import Account, Transfer
from payments.ledger.services import NewTransfer
from tests.payments import bank

SCALES = (0, 2, 8)
CUSTOMERS = ("alice", "bob", "mallory")
UNITS = st.one_of(st.integers(1, 30), st.integers(1, 10**6))


class Model:
    """Three books of three customers each, as a child would keep them."""

    def __init__(self) -> None:
        self.balance: dict[int, Decimal] = defaultdict(Decimal)
        self.lines: dict[int, list[tuple[str, Decimal, Decimal]]] = defaultdict(list)
        self.posted: set[str] = set()
        self.book: dict[int, int] = {}
        self.scale: dict[int, int] = {}
        self.customers: set[int] = set()

    def accept(self, batch: list[NewTransfer]) -> list[type[Exception]]:
        """Return every reason to refuse the batch; with none, carry it out."""
        after, seen, reasons = dict(self.balance), set(self.posted), []
        for new in batch:
            if new.amount != round(new.amount, self.scale[new.source]):
                reasons.append(Invalid)
            if self.book[new.source] != self.book[new.destination] or new.source == new.destination:
                reasons.append(Broken)
            if str(new.id) in seen:
                reasons.append(AlreadyPosted)
            seen.add(str(new.id))
            after[new.source] = after.get(new.source, Decimal(0)) - new.amount
            after[new.destination] = after.get(new.destination, Decimal(0)) + new.amount
            if new.source in self.customers and after[new.source] < 0:
                reasons.append(InsufficientFunds)
        if not reasons:
            self._carry_out(batch, seen)
        return reasons

    def _carry_out(self, batch: list[NewTransfer], seen: set[str]) -> None:
        self.posted = seen
        for new in batch:
            for account, delta in ((new.source, -new.amount), (new.destination, new.amount)):
                self.balance[account] += delta
                self.lines[account].append((str(new.id), delta, self.balance[account]))


class Ledger(RuleBasedStateMachine):
    """Does to the ledger and to the model the same, and compares."""

    @initialize()
    def open(self) -> None:
        self.example = transaction.atomic()
        self.example.__enter__()
        self.model, self.pools = Model(), []
        for scale in SCALES:
            book = bank.book(f"scale-{scale}", scale=scale)
            customers = [bank.account(book, name).pk for name in CUSTOMERS]
            system = [bank.system(book, code) for code in ("escrow", "house", "capital")]
            self.pools.append([*customers, *system])
            self.model.customers |= set(customers)
            for account in self.pools[-1]:
                self.model.book[account], self.model.scale[account] = book.pk, scale

    def post(self, batch: list[NewTransfer]) -> None:
        reasons = self.model.accept(batch)
        if reasons:
            with pytest.raises(tuple(reasons)):
                bank.post(*batch)
        else:
            for new, row in zip(batch, bank.post(*batch), strict=True):
                for account, version, balance in (
                    (new.source, row.source_version, row.source_balance),
                    (new.destination, row.destination_version, row.destination_balance),
                ):
                    if account in self.model.customers:
                        assert self.model.lines[account][version - 1][0] == str(new.id)
                        assert self.model.lines[account][version - 1][2] == balance
                    else:
                        assert version is balance is None

    @rule(data=st.data(), which=st.integers(0, 2), size=st.integers(1, 8))
    def move_in_one_book(self, data: st.DataObject, which: int, size: int) -> None:
        """Any accounts, also one with itself; overdrafts happen by chance."""
        place = st.integers(0, 5)
        self.post(
            [self.transfer(which, data.draw(place), data.draw(place), data.draw(UNITS)) for _ in range(size)]
        )

    @rule(which=st.integers(0, 2), customer=st.integers(0, 2), units=UNITS)
    def deposit(self, which: int, customer: int, units: int) -> None:
        self.post([self.transfer(which, 5, customer, units)])

    @rule(which=st.integers(0, 2), customer=st.integers(0, 2), over=st.sampled_from([0, 1]))
    def spend_everything_or_one_unit_more(self, which: int, customer: int, over: int) -> None:
        scale = SCALES[which]
        has = self.model.balance[self.pools[which][customer]]
        units = int(has.scaleb(scale)) + over
        if units:
            self.post([self.transfer(which, customer, 3, units)])

    @rule(which=st.integers(0, 2), data=st.data())
    def move_in_three_books_at_once(self, which: int, data: st.DataObject) -> None:
        self.post(
            [self.transfer(book, 5, data.draw(st.integers(0, 2)), data.draw(UNITS)) for book in range(3)]
        )

    @rule(which=st.integers(0, 2), customer=st.integers(0, 2), places=st.integers(1, 3))
    def too_many_decimals(self, which: int, customer: int, places: int) -> None:
        amount = Decimal(1).scaleb(-SCALES[which] - places)
        pool = self.pools[which]
        self.post([NewTransfer(uuid4(), pool[5], pool[customer], amount, "machine", "x")])

    @rule(source=st.integers(0, 2), destination=st.integers(0, 2), customer=st.integers(0, 5))
    def across_books(self, source: int, destination: int, customer: int) -> None:
        if source != destination:
            new = NewTransfer(
                uuid4(), self.pools[source][5], self.pools[destination][customer], Decimal(1), "machine", "x"
            )
            self.post([self.transfer(source, 5, 0, 1), new])

    @rule(data=st.data(), which=st.integers(0, 2))
    def repeat(self, data: st.DataObject, which: int) -> None:
        if self.model.posted:
            known = data.draw(st.sampled_from(sorted(self.model.posted)))
            pool = self.pools[which]
            again = NewTransfer(UUID(known), pool[5], pool[0], Decimal(1), "machine", "x")
            self.post([self.transfer(which, 5, 1, 7), again])

    def transfer(self, which: int, source: int, destination: int, units: int) -> NewTransfer:
        pool = self.pools[which]
        amount = Decimal(units).scaleb(-SCALES[which])
        return NewTransfer(uuid4(), pool[source], pool[destination], amount, "machine", "x")

    @invariant()
    def balances_agree(self) -> None:
        if not hasattr(self, "model"):
            return
        stored = Account.objects.filter(pk__in=self.model.customers).values_list("pk", "balance", "version")
        for pk, balance, version in stored:
            assert (balance, version) == (self.model.balance[pk], len(self.model.lines[pk]))
            assert balance >= 0

    def teardown(self) -> None:
        """Compare what is slower to read: statements, system accounts, and the ledger's own check."""
        if not hasattr(self, "model"):
            return
        try:
            self.everything_agrees()
        finally:
            transaction.set_rollback(True)
            self.example.__exit__(None, None, None)

    def everything_agrees(self) -> None:
        assert Transfer.objects.count() == len(self.model.posted)
        for pool in self.pools:
            for account in Account.objects.select_related("book").filter(pk__in=pool):
                if account.pk in self.model.customers:
                    self.statement_agrees(account)
                else:
                    assert selectors.system_balance(account) == self.model.balance[account.pk]
        assert list(checks._differences(0)) == []

    def statement_agrees(self, account: Account) -> None:
        lines = selectors.statement(account, limit=10_000)
        assert [
            (line["id"], Decimal(line["amount"]), Decimal(line["balance"])) for line in reversed(lines)
        ] == self.model.lines[account.pk]


@pytest.mark.django_db
def test_the_ledger_and_the_model_never_disagree(monkeypatch):
    monkeypatch.setattr(checks, "_registered", [])
    run_state_machine_as_test(Ledger, settings=settings(max_examples=60, stateful_step_count=30))


@pytest.mark.long
@pytest.mark.django_db
def test_the_ledger_and_the_model_never_disagree_for_long(monkeypatch):
    monkeypatch.setattr(checks, "_registered", [])
    run_state_machine_as_test(Ledger, settings=settings(max_examples=1000, stateful_step_count=50))
