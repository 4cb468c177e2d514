"""Reads of the ledger: a customer's accounts and statement, and what system accounts hold."""

from decimal import Decimal
from typing import Any

from django.db import connection
from django.db.models import QuerySet

from config.core import clock, money
from config.core.errors import Missing
from payments.ledger.models import Account, Book


def accounts_of(owner_id: int) -> QuerySet[Account]:
    """Return the customer's accounts with their books, oldest first."""
    return Account.objects.filter(owner_id=owner_id).select_related("book").order_by("id")


def account_for(owner_id: int, account_id: int) -> Account:
    """Return the customer's account with its book; raise Missing when it is not his."""
    account = accounts_of(owner_id).filter(pk=account_id).first()
    if account is None:
        raise Missing("You have no such account.")
    return account


def account_row(account: Account) -> dict[str, Any]:
    """Return a customer's account as everybody outside sees it; its book must be loaded."""
    book = account.book
    return {
        "id": account.pk,
        "kind": book.kind,
        "book": book.code,
        "name": book.name,
        "code": account.code,
        "currency": book.currency,
        "decimals": book.scale,
        "balance": money.text(account.balance or money.ZERO, book.scale),
        "version": account.version,
        "is_refillable": is_refillable(book),
        "opened_at": clock.iso(account.created_at),
    }


def account_rows(owner_id: int) -> list[dict[str, Any]]:
    """Return all accounts of a customer as everybody outside sees them."""
    return [account_row(account) for account in accounts_of(owner_id)]


def is_refillable(book: Book) -> bool:
    """Tell whether accounts of this book may be topped up for nothing."""
    return book.kind == Book.Kind.DEMO and bool(book.opening_balance)


LAST_VERSION = 2**63 - 1
# Each side's partial unique index gives its newest rows; a plain OR over both sides would scan the table.
_STATEMENT = """
SELECT id, created_at, code, amount, balance, version, reference FROM (
    (SELECT id, created_at, code, -amount AS amount, source_balance AS balance, source_version AS version,
            reference
     FROM ledger_transfer WHERE source_id = %(account)s AND source_version < %(before)s
     ORDER BY source_version DESC LIMIT %(limit)s)
    UNION ALL
    (SELECT id, created_at, code, amount, destination_balance, destination_version, reference
     FROM ledger_transfer WHERE destination_id = %(account)s AND destination_version < %(before)s
     ORDER BY destination_version DESC LIMIT %(limit)s)
) line ORDER BY version DESC LIMIT %(limit)s
"""


def statement(
    account: Account, *, before_version: int | None = None, limit: int = 50
) -> list[dict[str, Any]]:
    """Return the account's transfers below a version, newest first, each with version and balance after it.

    Amounts are signed; each balance is the one before it plus its amount, so the statement proves itself.
    """
    before = LAST_VERSION if before_version is None else before_version
    with connection.cursor() as cursor:
        cursor.execute(_STATEMENT, {"account": account.pk, "before": before, "limit": limit})
        lines = cursor.fetchall()
    scale = account.book.scale
    return [
        {
            "id": str(transfer),
            "at": clock.iso(at),
            "code": code,
            "amount": money.text(amount, scale),
            "balance": money.text(balance, scale),
            "version": version,
            "reference": reference,
        }
        for transfer, at, code, amount, balance, version, reference in lines
    ]


# Snapshots are written in runs: one that did not move keeps the older snapshot, and all count from the
# newest run on. A newest run above the present horizon is from another cluster (a restored dump).
SNAPSHOTS = """
run AS (
    SELECT horizon.xid AS horizon,
           CASE WHEN newest.xid <= horizon.xid THEN newest.xid ELSE '0'::xid8 END AS since
    FROM (SELECT pg_snapshot_xmin(pg_current_snapshot()) AS xid) horizon,
         (SELECT coalesce(max(xid_before)::text, '0')::xid8 AS xid
          FROM (SELECT xid_before FROM ledger_balancesnapshot ORDER BY id DESC LIMIT 1) row) newest
), known AS (
    SELECT a.id, a.book_id, a.code,
           CASE WHEN s.xid_before::text::xid8 <= run.since THEN s.balance ELSE 0 END AS balance
    FROM run, ledger_account a
    LEFT JOIN LATERAL (
        SELECT xid_before, balance FROM ledger_balancesnapshot b WHERE b.account_id = a.id
        ORDER BY b.id DESC LIMIT 1
    ) s ON true
    WHERE a.owner_id IS NULL
), leg AS (
    SELECT source_id AS account, -amount AS delta, xid FROM ledger_transfer
    WHERE xid >= (SELECT since FROM run)
    UNION ALL
    SELECT destination_id, amount, xid FROM ledger_transfer
    WHERE xid >= (SELECT since FROM run)
)
"""

_SYSTEM_BALANCES = f"""
WITH {SNAPSHOTS}
SELECT k.id, k.book_id, k.code, k.balance + coalesce(sum(l.delta), 0)
FROM known k LEFT JOIN leg l ON l.account = k.id
WHERE k.id = %(account)s OR k.book_id = %(book)s OR k.code = %(code)s
GROUP BY k.id, k.book_id, k.code, k.balance
ORDER BY k.id
"""  # noqa: S608 - assembled from constants


def system_balance(account: Account) -> Decimal:
    """Return what a system account holds: its newest snapshot and what came after."""
    return _system_balances(account=account.pk)[0][3]


def system_balances(book: Book) -> dict[str, Decimal]:
    """Return what each system account of a book holds, by code."""
    return {code: balance for _, _, code, balance in _system_balances(book=book.pk)}


def house_balances() -> dict[int, Decimal]:
    """Return what every book's house holds, by the book's id, in one pass over the newest transfers."""
    return {book: balance for _, book, _, balance in _system_balances(code=Account.Code.HOUSE)}


def escrow_balances() -> dict[int, Decimal]:
    """Return what every book's escrow holds, by the account's id, in one pass over the newest transfers."""
    return {pk: balance for pk, _, _, balance in _system_balances(code=Account.Code.ESCROW)}


def _system_balances(
    *, account: int | None = None, book: int | None = None, code: str | None = None
) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(_SYSTEM_BALANCES, {"account": account, "book": book, "code": code})
        return cursor.fetchall()
