"""The ledger's check: silent on what is right, and a name for everything that is not."""

import os
import threading
from decimal import Decimal
from io import StringIO

import psycopg
import pytest
from django.core.management import CommandError, call_command
from structlog.testing import capture_logs

from config.core.models import Fact
from payments.ledger import checks, services, tasks
from payments.ledger.checks import check_ledger
from payments.ledger.facts import Difference
from payments.ledger.models import LedgerCheck, Transfer
from tests.payments import bank
from tests.payments.test_statement import wander

D = Decimal
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def the_ledgers_own_checks_alone(monkeypatch):
    monkeypatch.setattr(checks, "_registered", [])


@pytest.fixture
def world():
    """Two books in use, with snapshots."""
    ids = {}
    for code, scale in (("demo", 2), ("usd", 2)):
        book = bank.book(code, scale=scale)
        accounts = [bank.account(book, name, "1000").pk for name in ("alice", "bob")]
        wander(book, accounts, 60)
        bank.pass_horizon()
        services.take_snapshots()
        wander(book, accounts, 20, seed=2)
        ids[code] = book.pk
        ids |= {f"{code}.alice": accounts[0], f"{code}.bob": accounts[1]}
        ids |= {f"{code}.{name}": bank.system(book, name) for name in ("escrow", "house", "capital")}
    return ids


def tamper(statement, *parameters):
    """Do as a superuser would who passes the triggers and the foreign keys."""
    with psycopg.connect(os.environ["DATABASE_OWNER_URL"]) as owner:
        owner.execute("ALTER TABLE ledger_transfer DISABLE TRIGGER USER")
        owner.execute("ALTER TABLE ledger_balancesnapshot DISABLE TRIGGER USER")
        owner.execute("ALTER TABLE ledger_account DISABLE TRIGGER USER")
        found = owner.execute(statement, parameters)
        row = found.fetchone() if found.description else None
        owner.execute("ALTER TABLE ledger_transfer ENABLE TRIGGER USER")
        owner.execute("ALTER TABLE ledger_balancesnapshot ENABLE TRIGGER USER")
        owner.execute("ALTER TABLE ledger_account ENABLE TRIGGER USER")
    return row


def named(whole=True):
    """Check and return (what, account) of each difference."""
    return [(found["what"], found["account"]) for found in check_ledger(whole=whole).differences]


def test_silent_on_what_is_right(world):
    with capture_logs() as logs:
        assert check_ledger(whole=True).differences == []
        assert check_ledger(whole=False).differences == []
    assert not [entry for entry in logs if entry["log_level"] == "error"]
    assert list(LedgerCheck.objects.values_list("is_whole", flat=True)) == [False, True]
    assert not Fact.objects.filter(name="ledger.differed").exists()


def test_the_first_check_of_what_changed_is_whole(world):
    assert check_ledger(whole=False).is_whole


def test_an_empty_ledger_is_right():
    assert named() == []


class TestPlanted:
    """One difference of each kind, planted by the owner with the triggers off."""

    def test_stored_balance(self, world):
        alice = world["demo.alice"]
        balance, _ = bank.holds(alice)
        tamper("UPDATE ledger_account SET balance = balance + 5 WHERE id = %s", alice)
        found = check_ledger(whole=True).differences
        assert found == [
            {
                "what": "stored balance",
                "book": "demo",
                "account": alice,
                "expected": f"{balance:.8f}",
                "found": f"{balance + 5:.8f}",
            },
            {
                "what": "sum of transfers",
                "book": "demo",
                "account": alice,
                "expected": f"{balance:.8f}",
                "found": f"{balance + 5:.8f}",
            },
            {"what": "book sum", "book": "demo", "account": None, "expected": "0", "found": "5.00000000"},
        ]

    def test_stored_version(self, world):
        tamper("UPDATE ledger_account SET version = version + 1 WHERE id = %s", world["usd.bob"])
        assert named() == [("stored version", world["usd.bob"])]

    def test_amount(self, world):
        """The line no longer adds up, nor does the book: the customer has what the house has not given."""
        alice, capital = world["demo.alice"], world["demo.capital"]
        tamper(
            "UPDATE ledger_transfer SET amount = amount + 1 WHERE destination_id = %s AND code = 'deposit'",
            alice,
        )
        assert set(named()) == {
            ("running balance", alice),
            ("sum of transfers", alice),
            ("snapshot", capital),
        }

    def test_running_balance(self, world):
        bob = world["demo.bob"]
        tamper(
            "UPDATE ledger_transfer SET source_balance = source_balance + 1"
            " WHERE source_id = %s AND source_version = 30 RETURNING id",
            bob,
        ) or tamper(
            "UPDATE ledger_transfer SET destination_balance = destination_balance + 1"
            " WHERE destination_id = %s AND destination_version = 30",
            bob,
        )
        assert named() == [("running balance", bob)] * 2

    def test_deleted_transfer(self, world):
        alice = world["demo.alice"]
        tamper("DELETE FROM ledger_transfer WHERE destination_id = %s AND code = 'deposit'", alice)
        found = named()
        assert ("version", alice) in found
        assert ("sum of transfers", alice) in found
        assert ("snapshot", world["demo.capital"]) in found

    def test_deleted_last_transfer(self, world):
        alice = world["demo.alice"]
        _, version = bank.holds(alice)
        tamper("DELETE FROM ledger_transfer WHERE (source_id, source_version) = (%s, %s)", alice, version)
        tamper(
            "DELETE FROM ledger_transfer WHERE (destination_id, destination_version) = (%s, %s)",
            alice,
            version,
        )
        found = named()
        assert {("stored version", alice), ("stored balance", alice), ("sum of transfers", alice)} <= set(
            found
        )

    def test_planted_transfer_between_system_accounts(self, world):
        """Behind a snapshot's back: it would change what the house is thought to hold."""
        tamper(
            "INSERT INTO ledger_transfer"
            " (id, book_id, source_id, destination_id, amount, code, reference, created_at, xid)"
            " VALUES (gen_random_uuid(), %s, %s, %s, 1, 'x', 'x', now(), '3')",
            world["demo"],
            world["demo.escrow"],
            world["demo.house"],
        )
        assert named() == [("snapshot", world["demo.escrow"]), ("snapshot", world["demo.house"])]

    def test_snapshot(self, world):
        tamper(
            "UPDATE ledger_balancesnapshot SET balance = balance + 7 WHERE account_id = %s",
            world["usd.escrow"],
        )
        assert set(named()) == {("snapshot", world["usd.escrow"]), ("book sum", None)}

    @pytest.mark.parametrize(
        ("change", "what"),
        [
            ("amount = 1.005", "transfer amount"),
            ("source_version = NULL, source_balance = NULL", "transfer marks"),
        ],
    )
    def test_transfer(self, world, change, what):
        alice = world["demo.alice"]
        tamper(f"UPDATE ledger_transfer SET {change} WHERE source_id = %s AND source_version = 5", alice)
        if what == "transfer amount":
            tamper(f"UPDATE ledger_transfer SET {change} WHERE destination_id = %s", alice)
            assert what in {name for name, _ in named()}
        else:
            tamper(
                "UPDATE ledger_transfer SET destination_version = NULL, destination_balance = NULL"
                " WHERE destination_id = %s AND destination_version = 5",
                alice,
            )
            assert {what, "version"} <= {name for name, _ in named()}

    def test_transfer_across_books(self, world):
        with psycopg.connect(os.environ["DATABASE_OWNER_URL"]) as owner:
            owner.execute("ALTER TABLE ledger_transfer DROP CONSTRAINT transfer_destination_in_book")
        try:
            tamper(
                "INSERT INTO ledger_transfer"
                " (id, book_id, source_id, destination_id, amount, code, reference, created_at)"
                " VALUES (gen_random_uuid(), %s, %s, %s, 1, 'x', 'x', now())",
                world["demo"],
                world["demo.escrow"],
                world["usd.house"],
            )
            assert ("transfer across books", world["demo.escrow"]) in named()
            assert ("book sum", None) in named()
        finally:
            tamper("DELETE FROM ledger_transfer WHERE code = 'x'")
            with psycopg.connect(os.environ["DATABASE_OWNER_URL"]) as owner:
                owner.execute(
                    "ALTER TABLE ledger_transfer ADD CONSTRAINT transfer_destination_in_book"
                    " FOREIGN KEY (destination_id, book_id) REFERENCES ledger_account (id, book_id)"
                )

    def test_below_zero(self, world):
        with psycopg.connect(os.environ["DATABASE_OWNER_URL"]) as owner:
            definition = owner.execute(
                "SELECT pg_get_constraintdef(oid) FROM pg_constraint"
                " WHERE conname = 'account_never_below_zero'"
            ).fetchone()[0]
            owner.execute("ALTER TABLE ledger_account DROP CONSTRAINT account_never_below_zero")
        try:
            tamper("UPDATE ledger_account SET balance = -1 WHERE id = %s", world["usd.alice"])
            assert ("below zero", world["usd.alice"]) in named()
        finally:
            tamper("UPDATE ledger_account SET balance = 0 WHERE balance < 0")
            with psycopg.connect(os.environ["DATABASE_OWNER_URL"]) as owner:
                owner.execute(
                    f"ALTER TABLE ledger_account ADD CONSTRAINT account_never_below_zero {definition}"
                )


class TestChanged:
    def test_sees_only_what_is_new(self, world):
        check_ledger(whole=True)
        alice, escrow = world["demo.alice"], world["demo.escrow"]
        _, version = bank.holds(alice)
        old = "UPDATE ledger_transfer SET source_balance = source_balance + 1 WHERE source_id = %s"
        tamper(old + " AND source_version < 20", alice)
        assert named(whole=False) == []
        bank.post(*(bank.move(escrow, alice, "1") for _ in range(3)))
        assert named(whole=False) == []
        bank.post(*(bank.move(escrow, alice, "1") for _ in range(3)))
        tamper(
            "UPDATE ledger_transfer SET destination_balance = 0 WHERE destination_id = %s"
            " AND destination_version = %s",
            alice,
            version + 5,
        )
        assert named(whole=False) == [("running balance", alice)] * 2
        assert named(whole=True) != []

    def test_a_difference_stays_until_it_is_gone(self, world):
        check_ledger(whole=True)
        alice, escrow = world["demo.alice"], world["demo.escrow"]
        bank.post(bank.move(escrow, alice, "1"))
        tamper("UPDATE ledger_account SET version = version + 1 WHERE id = %s", alice)
        assert named(whole=False) == [("stored version", alice)]
        assert named(whole=False) == [("stored version", alice)]
        tamper("UPDATE ledger_account SET version = version - 1 WHERE id = %s", alice)
        assert named(whole=False) == []

    def test_a_book_that_does_not_sum_to_zero_is_searched_whole(self, world):
        check_ledger(whole=True)
        tamper("UPDATE ledger_account SET balance = balance + 5 WHERE id = %s", world["demo.alice"])
        check = check_ledger(whole=False)
        assert check.is_whole
        assert [row["what"] for row in check.differences] == [
            "stored balance",
            "sum of transfers",
            "book sum",
        ]

    def test_after_a_restore_elsewhere_it_starts_over(self, world):
        LedgerCheck.objects.create(
            started_at="2020-01-01T00:00Z", finished_at="2020-01-01T00:00Z", is_whole=True, xid_before=10**15
        )
        assert check_ledger(whole=False).is_whole


def test_money_may_move_while_it_looks(world):
    writing = threading.Event()
    writing.set()
    demo = {name: world[f"demo.{name}"] for name in ("alice", "bob", "escrow", "house")}

    def write(number):
        for _ in range(60):
            here = demo["alice"] if number % 2 else demo["bob"]
            bank.post(bank.move(demo["escrow"], here, "2"), bank.move(here, demo["house"], "1"))

    def look(number):
        count = 0
        while writing.is_set():
            assert check_ledger(whole=bool(number)).differences == []
            services.take_snapshots()
            count += 1
        return count

    def write_all():
        assert bank.at_once(4, write) == [None] * 4
        writing.clear()

    writers = threading.Thread(target=write_all)
    writers.start()
    looks = bank.at_once(2, look)
    writers.join()
    assert min(looks) > 2
    assert named() == []


class TestAlarm:
    def test_is_logged_counted_and_told_once(self, world):
        alice = world["demo.alice"]
        tamper("UPDATE ledger_account SET version = version + 1 WHERE id = %s", alice)
        with capture_logs() as logs:
            first = check_ledger(whole=True)
            check_ledger(whole=True)
        entries = [entry for entry in logs if entry["event"] == "ledger difference"]
        assert len(entries) == 2
        assert entries[0]["log_level"] == "error"
        assert (entries[0]["what"], entries[0]["account"], entries[0]["check"]) == (
            "stored version",
            alice,
            first.pk,
        )
        assert checks.DIFFERENCES._value.get() == 1
        [fact] = Fact.objects.filter(name="ledger.differed")
        assert fact.topic == "operators"
        assert fact.payload == {"v": 1, "check": first.pk, "differences": first.differences}

    def test_layers_above_register_their_own(self, world):
        own = Difference(
            what="escrow", book="demo", account=world["demo.escrow"], expected="1.00", found="2.00"
        )
        checks.register(lambda: [own])
        for whole in (True, False):
            assert named(whole=whole) == [("escrow", world["demo.escrow"])]

    def test_all_checks_see_one_instant(self, world):
        seen = []

        def count():
            seen.append(Transfer.objects.count())
            bank.at_once(1, lambda _: bank.post(bank.move(world["demo.escrow"], world["demo.alice"], "1")))
            seen.append(Transfer.objects.count())
            return []

        checks.register(count)
        before = Transfer.objects.count()
        assert named() == []
        assert seen == [before, before]
        assert Transfer.objects.count() == before + 1


class TestOneAtATime:
    def test_a_run_of_the_same_kind_is_left_out(self, world):
        outcomes = {}

        def meanwhile(_number):
            with capture_logs() as logs:
                tasks.check_all()
            outcomes["logs"] = [entry["event"] for entry in logs]
            with pytest.raises(CommandError, match="still running"):
                call_command("check_ledger")
            outcomes["changed"] = check_ledger(whole=False).differences

        def look():
            if "started" not in outcomes:
                outcomes["started"] = True
                assert bank.at_once(1, meanwhile) == [None]
            return []

        checks.register(look)
        assert check_ledger(whole=True).differences == []
        assert outcomes == {"started": True, "logs": ["ledger check left out"], "changed": []}

    def test_the_age_of_the_last_whole_check_is_known_to_whoever_checks(self, world):
        whole = check_ledger(whole=True)
        checks.WHOLE_CHECKED_AT.set(0)
        assert not check_ledger(whole=False).is_whole
        assert checks.WHOLE_CHECKED_AT._value.get() == whole.finished_at.timestamp()


class TestCommand:
    def test_says_that_all_is_right(self, world):
        out = StringIO()
        call_command("check_ledger", stdout=out)
        assert out.getvalue().startswith("No difference in everything")
        call_command("check_ledger", "--changed", stdout=out)
        assert "No difference in what changed" in out.getvalue()

    def test_names_differences_and_ends_with_1(self, world):
        alice = world["demo.alice"]
        _, version = bank.holds(alice)
        tamper("UPDATE ledger_account SET version = version + 1 WHERE id = %s", alice)
        out = StringIO()
        with pytest.raises(CommandError, match="1 differences in everything") as ended:
            call_command("check_ledger", stdout=out)
        assert ended.value.returncode == 1
        assert out.getvalue() == (
            f"stored version: book demo, account {alice}: expected {version}, found {version + 1}\n"
        )

    def test_beat_calls_it(self, world):
        tasks.take_snapshots()
        tasks.check_changed()
        tasks.check_all()
        assert list(LedgerCheck.objects.values_list("differences", flat=True)) == [[], []]
