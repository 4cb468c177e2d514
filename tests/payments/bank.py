"""Books, customers and money for tests of the ledger, all through services."""

import json
import threading
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from django.db import connection, connections, transaction

from config.core import clock
from kyc.models import User
from payments.ledger import services
from payments.ledger.models import Account, Book
from payments.ledger.services import NewTransfer


def customer(name: str = "alice") -> User:
    """Return a customer who just exists: no accounts, no password."""
    found = User.objects.filter(email=f"{name}@example.com").first()
    return found or User.objects.create(email=f"{name}@example.com", country="AE", registered_at=clock.now())


def book(code: str = "demo", *, kind: str = "demo", scale: int = 2, opening: str | None = None) -> Book:
    """Open a book in dollars."""
    return services.open_book(
        code=code,
        name=code.title(),
        kind=kind,
        currency="USD",
        scale=scale,
        opening_balance=None if opening is None else Decimal(opening),
    )


def system(of: Book, code: str) -> int:
    """Return the id of a system account."""
    return Account.objects.get(book=of, owner=None, code=code).pk


def account(of: Book, name: str = "alice", holds: str = "0") -> Account:
    """Open a customer's account and fund it from capital."""
    opened = services.open_account(owner_id=customer(name).pk, book=of)
    if Decimal(holds):
        with transaction.atomic():
            services.post([move(system(of, "capital"), opened.pk, holds, "deposit")])
    return Account.objects.select_related("book").get(pk=opened.pk)


def move(
    source: int, destination: int, amount: str | Decimal, code: str = "stake", *, named: UUID | None = None
) -> NewTransfer:
    """Describe a transfer with an id of its own."""
    return NewTransfer(named or uuid4(), source, destination, Decimal(amount), code, "test")


def post(*transfers: NewTransfer) -> Any:
    """Post in a transaction of its own."""
    with transaction.atomic():
        return services.post(transfers)


def holds(of: Account | int) -> tuple[Decimal, int]:
    """Return the stored balance and version of a customer's account."""
    pk = of if isinstance(of, int) else of.pk
    return Account.objects.values_list("balance", "version").get(pk=pk)


def everything() -> str:
    """Return all rows of the ledger as text: equal before and after when nothing moved."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT jsonb_agg(to_jsonb(t) ORDER BY t.id) FROM ledger_transfer t "
            "UNION ALL SELECT jsonb_agg(to_jsonb(a) ORDER BY a.id) FROM ledger_account a "
            "UNION ALL SELECT jsonb_agg(to_jsonb(f) ORDER BY f.id) FROM core_fact f"
        )
        return json.dumps(cursor.fetchall(), default=str)


def at_once(count: int, work: Callable[[int], Any]) -> list[Any]:
    """Run in that many real threads that start together; return what each returned or raised."""
    gate, results = threading.Barrier(count), [None] * count

    def run(number: int) -> None:
        try:
            connection.ensure_connection()
            gate.wait(60)
            results[number] = work(number)
        except Exception as error:  # noqa: BLE001 - the caller looks at them
            results[number] = error
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    return results


def pass_horizon() -> None:
    """Wait until no transaction of the whole server, tests of others included, is older than this moment."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_current_xact_id()::text::bigint")
        (mark,) = cursor.fetchone()
        for _ in range(600):
            cursor.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint > %s", [mark])
            if cursor.fetchone()[0]:
                return
            time.sleep(0.05)
    raise AssertionError("a transaction of the server does not end")
