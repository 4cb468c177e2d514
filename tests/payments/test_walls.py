"""What PostgreSQL itself refuses, whatever the code above says."""

import os

import psycopg
import pytest
from psycopg import errors, sql

from tests.payments import bank

pytestmark = pytest.mark.django_db(transaction=True)

INSERT = (
    "INSERT INTO ledger_transfer"
    " (id, book_id, source_id, destination_id, amount, code, reference, created_at)"
    " VALUES (gen_random_uuid(), %s, %s, %s, %s, 'x', 'x', now())"
)
OPEN = (
    "INSERT INTO ledger_account (book_id, code, owner_id, counter_id, balance, version, created_at) VALUES "
)


@pytest.fixture
def owner():
    with psycopg.connect(os.environ["DATABASE_OWNER_URL"], autocommit=True) as connection:
        yield connection


@pytest.fixture
def application():
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        yield connection


@pytest.fixture
def ids():
    one, two = bank.book("one"), bank.book("two")
    alice = bank.account(one, holds="10.00")
    return {
        "one": one.pk,
        "two": two.pk,
        "alice": alice.pk,
        "owner": alice.owner_id,
        "escrow": bank.system(one, "escrow"),
        "house": bank.system(one, "house"),
        "foreign": bank.system(two, "house"),
    }


@pytest.mark.parametrize(
    ("book", "source", "destination", "walls"),
    [
        ("one", "escrow", "foreign", {"transfer_destination_in_book"}),
        ("two", "escrow", "foreign", {"transfer_source_in_book"}),
        # Both stand in the way, and which is met first depends on the numbers their triggers happen to have.
        ("two", "escrow", "house", {"transfer_source_in_book", "transfer_destination_in_book"}),
    ],
)
def test_no_transfer_crosses_books_even_in_raw_sql_of_the_owner(owner, ids, book, source, destination, walls):
    with pytest.raises(errors.ForeignKeyViolation) as refused:
        owner.execute(INSERT, [ids[book], ids[source], ids[destination], 1])
    assert refused.value.diag.constraint_name in walls


@pytest.mark.parametrize("amount", ["0", "-1", "NaN"])
def test_amounts_are_positive_numbers(owner, ids, amount):
    with pytest.raises(errors.CheckViolation):
        owner.execute(INSERT, [ids["one"], ids["escrow"], ids["house"], amount])


def test_a_transfer_is_between_two(owner, ids):
    with pytest.raises(errors.CheckViolation):
        owner.execute(INSERT, [ids["one"], ids["escrow"], ids["escrow"], 1])


@pytest.mark.parametrize("table", ["ledger_transfer", "ledger_balancesnapshot", "ledger_ledgercheck"])
@pytest.mark.parametrize("statement", ["UPDATE {} SET id = id", "DELETE FROM {}", "TRUNCATE {}"])
def test_the_application_changes_no_record(application, ids, table, statement):
    with pytest.raises(errors.InsufficientPrivilege):
        application.execute(statement.format(table))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger_account SET balance = balance + 1",
        "UPDATE ledger_account SET version = 0",
        "UPDATE ledger_account SET owner_id = NULL",
        "UPDATE ledger_account SET code = 'escrow'",
        "DELETE FROM ledger_account",
        "ALTER TABLE ledger_transfer DISABLE TRIGGER USER",
        "DROP FUNCTION ledger_post",
        "CREATE TABLE public.trick ()",
    ],
)
def test_the_application_cannot_touch_balances(application, ids, statement):
    with pytest.raises(errors.InsufficientPrivilege):
        application.execute(statement)


def test_the_application_cannot_become_the_owner(application, owner):
    with pytest.raises(errors.InsufficientPrivilege):
        application.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(owner.info.user)))


def test_the_application_writes_transfers_only_through_the_verb(application, ids):
    with pytest.raises(errors.InsufficientPrivilege):
        application.execute(INSERT, [ids["one"], ids["escrow"], ids["house"], 1])


def test_the_application_may_lock_accounts(application, ids):
    found = application.execute("SELECT id FROM ledger_account WHERE id = %s FOR UPDATE", [ids["alice"]])
    assert found.fetchone() == (ids["alice"],)


@pytest.mark.parametrize(
    "statement", ["UPDATE ledger_transfer SET amount = 1", "DELETE FROM ledger_transfer"]
)
def test_a_trigger_stops_the_owner(owner, ids, statement):
    with pytest.raises(errors.RestrictViolation, match="append-only"):
        owner.execute(statement)


@pytest.mark.parametrize("balance", ["-0.01", "NaN"])
def test_no_balance_below_zero(owner, ids, balance):
    with pytest.raises(errors.CheckViolation) as refused:
        owner.execute("UPDATE ledger_account SET balance = %s WHERE id = %s", [balance, ids["alice"]])
    assert refused.value.diag.constraint_name == "account_never_below_zero"


@pytest.mark.parametrize(("balance", "version"), [(1, 0), (0, 1), ("NaN", 0)])
def test_an_account_opens_empty(application, owner, ids, balance, version):
    for connection in (application, owner):
        with pytest.raises(errors.CheckViolation, match="opens empty"):
            connection.execute(
                OPEN + "(%s, 'bonus', %s, %s, %s, %s, now())",
                [ids["one"], ids["owner"], ids["house"], balance, version],
            )


def test_an_account_settles_inside_its_book(owner, ids):
    with pytest.raises(errors.ForeignKeyViolation):
        owner.execute(
            OPEN + "(%s, 'bonus', %s, %s, 0, 0, now())",
            [ids["one"], ids["owner"], ids["foreign"]],
        )


def test_only_the_application_may_call_the_verb(owner):
    oid = "'ledger_post(uuid[],bigint[],bigint[],numeric[],text[],text[],timestamptz)'::regprocedure"
    allowed = owner.execute(
        f"SELECT has_function_privilege('public', {oid}, 'execute'), p.prosecdef, p.proconfig"
        f" FROM pg_proc p WHERE p.oid = {oid}"
    ).fetchone()
    assert allowed is not None
    assert allowed[:2] == (False, True)
    assert "search_path=public, pg_temp" in allowed[2]
