"""Every write of the ledger. Balances change in `post` and nowhere else."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from django.db import DatabaseError, connection, transaction

from config.core import clock, money, outbox
from config.core.errors import Broken, Invalid, Missing
from config.core.ids import derived_id
from config.core.sql import array
from payments.ledger import errors, selectors
from payments.ledger.facts import account_changed
from payments.ledger.models import Account, Book, Transfer

# Causes inside the ledger have whole numbers for names; this makes their transfers' ids unlike all others.
NAMESPACE = UUID("6f1f6a5c-6c1e-5b0e-9d0a-0d5f0b3f7a10")
SYSTEM_ACCOUNTS = (Account.Code.ESCROW, Account.Code.HOUSE, Account.Code.CAPITAL)


class NewTransfer(NamedTuple):
    """An amount to move between two accounts of one book; `id` is derived from what causes it."""

    id: UUID
    source: int
    destination: int
    amount: Decimal
    code: str
    reference: str


class Posted(NamedTuple):
    """What posting one transfer left: versions and balances after it, None for system accounts."""

    id: UUID
    book: int
    source_version: int | None
    source_balance: Decimal | None
    destination_version: int | None
    destination_balance: Decimal | None


def post(transfers: Sequence[NewTransfer]) -> list[Transfer]:
    """Move money: all of these transfers in this order or none, each `id` once, in one statement.

    Raises InsufficientFunds, AlreadyPosted (its whole use case must roll back), Invalid for an amount with
    more decimals than its currency, and Broken outside a transaction, for an unknown account, for another
    book and for an amount that is not positive.
    """
    at = clock.now()
    return [
        Transfer(
            id=new.id,
            book_id=posted.book,
            source_id=new.source,
            destination_id=new.destination,
            amount=new.amount,
            code=new.code,
            reference=new.reference,
            source_version=posted.source_version,
            source_balance=posted.source_balance,
            destination_version=posted.destination_version,
            destination_balance=posted.destination_balance,
            created_at=at,
        )
        for new, posted in zip(transfers, _post(transfers, at), strict=True)
    ]


def post_rows(transfers: Sequence[NewTransfer]) -> list[Posted]:
    """Do as `post` and return plain rows in the same order: what settlement, thousands at a time, needs."""
    return _post(transfers, clock.now())


_POST = """
SELECT * FROM ledger_post(%s::uuid[], %s::bigint[], %s::bigint[], %s::numeric[], %s::text[], %s::text[], %s)
"""


def _post(transfers: Sequence[NewTransfer], at: datetime) -> list[Posted]:
    if not connection.in_atomic_block:
        raise Broken("money moves only inside the transaction of its cause")
    if not transfers:
        return []
    columns = zip(
        *((t.id, t.source, t.destination, t.amount, t.code, t.reference) for t in transfers), strict=True
    )
    try:
        with connection.cursor() as cursor:
            cursor.execute(_POST, (*map(array, map(list, columns)), at))
            rows = {row[0]: Posted(*row) for row in cursor.fetchall()}
    except DatabaseError as error:
        raise errors.refusal_of(error) from error.__cause__
    return [rows[transfer.id] for transfer in transfers]


@transaction.atomic
def open_book(
    *,
    code: str,
    name: str,
    kind: str,
    currency: str,
    scale: int,
    opening_balance: Decimal | None = None,
    rates_from: Book | None = None,
) -> Book:
    """Open a book with its system accounts, or return the one that has this code, as it is.

    Raises Invalid when the opening balance has more decimals than the currency.
    """
    if opening_balance is not None:
        opening_balance = money.parse(opening_balance, scale)
    book, _ = Book.objects.get_or_create(
        code=code,
        defaults={
            "name": name,
            "kind": kind,
            "currency": currency,
            "scale": scale,
            "opening_balance": opening_balance,
            "rates_from": rates_from,
        },
    )
    open_system_accounts(book=book)
    return book


@transaction.atomic
def open_system_accounts(*, book: Book, codes: Sequence[str] = SYSTEM_ACCOUNTS) -> dict[str, Account]:
    """Open the book's system accounts that are not open yet, and return all of these codes by code."""
    now = clock.now()
    Account.objects.bulk_create(
        [Account(book=book, code=code, created_at=now) for code in codes], ignore_conflicts=True
    )
    found = Account.objects.filter(book=book, owner=None, code__in=codes)
    return {account.code: account for account in found}


@transaction.atomic
def open_account(*, owner_id: int, book: Book, code: str = Account.Code.CUSTOMER) -> Account:
    """Open a customer's account with the book's opening balance, or return the one he has there.

    Publishes `account.changed` when it opens. Raises Missing when the book has no system accounts yet.
    """
    system = {
        account.code: account
        for account in Account.objects.filter(
            book=book, owner=None, code__in=(Account.Code.HOUSE, Account.Code.CAPITAL)
        )
    }
    if len(system) != 2:
        raise Missing(f"The book {book.code} is not open yet.")
    account, opened = Account.objects.get_or_create(
        owner_id=owner_id,
        book=book,
        code=code,
        defaults={
            "counter": system[Account.Code.HOUSE],
            "balance": money.ZERO,
            "version": 0,
            "created_at": clock.now(),
        },
    )
    account.book = book
    if opened:
        if book.opening_balance:
            gift = NewTransfer(
                id=derived_id(NAMESPACE, f"account {account.pk} opening"),
                source=system[Account.Code.CAPITAL].pk,
                destination=account.pk,
                amount=book.opening_balance,
                code="opening",
                reference=f"account {account.pk}",
            )
            _take_over(account, post_rows([gift])[0])
        outbox.publish(outbox.customer_topic(owner_id), account_changed(account, from_version=0))
    return account


@dataclass(frozen=True, slots=True)
class Refilled:
    """An account after a refill, and whether this was a repeat of an earlier command."""

    account: Account
    is_replayed: bool


@transaction.atomic
def refill_account(*, owner_id: int, account_id: int, client_id: str) -> Refilled:
    """Top a demo account up to its book's opening balance; a repeated `client_id` answers as before.

    Publishes `account.changed`. Raises Missing when the account is not this owner's, NotRefillable when its
    money is not demo money and NothingToRefill when the balance is not below the opening balance.
    """
    if not 1 <= len(client_id) <= 64:
        raise Invalid("The key of this command takes 1 to 64 characters.")
    account = (
        selectors.accounts_of(owner_id)
        .filter(pk=account_id)
        .select_for_update(of=("self",), no_key=True)
        .first()
    )
    if account is None:
        raise Missing("You have no such account.")
    book = account.book
    if not selectors.is_refillable(book) or book.opening_balance is None:
        raise errors.NotRefillable()
    transfer_id = derived_id(NAMESPACE, f"account {account_id} refill {client_id}")
    done = Transfer.objects.filter(pk=transfer_id).first()
    if done is not None:
        account.balance, account.version = done.destination_balance, done.destination_version
        return Refilled(account, is_replayed=True)
    lacking = book.opening_balance - (account.balance or money.ZERO)
    if lacking <= 0:
        raise errors.NothingToRefill(opening_balance=money.text(book.opening_balance, book.scale))
    capital = Account.objects.get(book=book, owner=None, code=Account.Code.CAPITAL)
    new = NewTransfer(transfer_id, capital.pk, account_id, lacking, "refill", client_id)
    before = account.version or 0
    _take_over(account, post_rows([new])[0])
    outbox.publish(outbox.customer_topic(owner_id), account_changed(account, from_version=before))
    return Refilled(account, is_replayed=False)


def _take_over(account: Account, posted: Posted) -> None:
    account.balance, account.version = posted.destination_balance, posted.destination_version


# The lock makes runs follow each other: each counts from the horizon of the one before.
_SNAPSHOT_LOCK = "SELECT pg_advisory_xact_lock(hashtext('ledger.take_snapshots'))"
_SNAPSHOT = f"""
WITH {selectors.SNAPSHOTS}
INSERT INTO ledger_balancesnapshot (account_id, xid_before, balance, taken_at)
SELECT k.id, run.horizon::text::bigint, k.balance + sum(l.delta), %s
FROM run, known k JOIN leg l ON l.account = k.id
WHERE l.xid < run.horizon
GROUP BY k.id, run.horizon, k.balance
"""  # noqa: S608 - assembled from constants


@transaction.atomic
def take_snapshots() -> int:
    """Snapshot every system account that moved since the last run, and return how many moved.

    A snapshot covers the transactions below the oldest one still running, so that none that commits later
    belongs before it.
    """
    with connection.cursor() as cursor:
        # The first run of a long history reads all of it.
        cursor.execute("SET LOCAL statement_timeout = 0")
        cursor.execute(_SNAPSHOT_LOCK)
        cursor.execute(_SNAPSHOT, (clock.now(),))
        return cursor.rowcount
