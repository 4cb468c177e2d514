"""A wait for a lock that ends is an answer, never a failure: 409 for a customer, later for a settler."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal

import psycopg
import pytest
from django.db import OperationalError, connection

from payments.ledger.models import Account, Transfer
from payments.ledger.services import open_account, open_book
from quotes.services import open_days
from tests.cast import client_for
from tests.market import NOON, Market, funded_account, person, standing_clock, trading_book
from trading.errors import OrderBusy
from trading.models import Order
from trading.services import PlaceOrder, place_order, placement, settle_due

# The owner opens days of ticks.
pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])


@contextmanager
def held_by_somebody(account: Account) -> Iterator[None]:
    """Let another session hold the account's row, and our own waits end soon."""
    with psycopg.connect(os.environ["DATABASE_OWNER_URL"]) as other:
        other.execute("SELECT FROM ledger_account WHERE id = %s FOR UPDATE", [account.pk])
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '50ms'")
        try:
            yield
        finally:
            connection.close()


def test_a_refill_that_waits_too_long_is_told_to_come_again() -> None:
    alice = person("alice@example.com")
    book = open_book(
        code="practice", name="Practice", kind="demo", currency="USD", scale=2, opening_balance=Decimal(100)
    )
    account = open_account(owner_id=alice.pk, book=book)
    client, path = client_for(alice), f"/api/v1/accounts/{account.pk}/refill"
    with held_by_somebody(account):
        answer = client.post(path, {"client_id": "again"}, format="json")
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
        assert answer["Retry-After"] == "1"
    assert Transfer.objects.count() == 1


def test_an_order_that_got_its_lock_too_late_is_refused_and_nothing_moved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    open_days([NOON.date()])
    with standing_clock(NOON - timedelta(seconds=1)) as stands:
        market = Market()
        market.terms()
        stands.at = NOON
        market.tick("100.00")
        account = funded_account(person("alice@example.com").pk, trading_book(), "100.00")
        monkeypatch.setattr(placement, "LONGEST_PLACEMENT", timedelta(milliseconds=50))
        with psycopg.connect(os.environ["DATABASE_OWNER_URL"]) as other:
            other.execute("SELECT FROM ledger_account WHERE id = %s FOR UPDATE", [account.pk])
            threading.Timer(0.4, other.commit).start()
            with pytest.raises(OrderBusy) as refused:
                place_order(
                    customer_id=account.owner_id,
                    command=PlaceOrder(
                        client_id="late",
                        account=account.pk,
                        symbol="VOL100",
                        contract="rise_fall",
                        side="up",
                        stake="10.00",
                        duration_seconds=60,
                    ),
                )
        assert refused.value.retry_after_seconds == 1
    account.refresh_from_db()
    assert (account.balance, account.version) == (Decimal("100.00"), 1)
    assert not Order.objects.exists()


def test_a_settler_that_waits_too_long_parks_nothing_and_settles_later() -> None:
    open_days([NOON.date()])
    with standing_clock(NOON - timedelta(seconds=1)) as stands:
        market = Market()
        market.terms()
        stands.at = NOON
        market.tick("100.00")
        account = funded_account(person("alice@example.com").pk, trading_book(), "100.00")
        command = PlaceOrder(
            client_id="first",
            account=account.pk,
            symbol="VOL100",
            contract="rise_fall",
            side="up",
            stake="10.00",
            duration_seconds=60,
        )
        place_order(customer_id=account.owner_id, command=command)
        market.tick("101.00", stands.move(30))
        market.quiet_until(stands.move(30))
        with held_by_somebody(account):
            with pytest.raises(OperationalError) as waited:
                settle_due()
            assert waited.value.__cause__.sqlstate == "55P03"
        order = Order.objects.get()
        assert (order.status, order.parked_at) == ("open", None)
        assert settle_due() == 1
        account.refresh_from_db()
        assert account.balance == Decimal("108.50")
