"""Hot functions keep the plan of their first call: made on empty tables, it must serve full ones."""

from datetime import timedelta

import pytest
from django.db import connections

from payments.ledger.models import Account
from quotes.services import open_days
from tests.market import NOON, Market, funded_account, person, standing_clock, trading_book
from trading.services import PlaceOrder, place_order

# The owner opens days of ticks and vacuums.
pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])

GROWING = ("trading_order", "ledger_account", "ledger_transfer", "kyc_user", "kyc_refreshfamily")


def scans() -> dict[str, int]:
    """Count the sequential scans of the tables that grow."""
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
        cursor.execute(
            "SELECT relname, seq_scan FROM pg_stat_user_tables WHERE relname = ANY(%s)", [list(GROWING)]
        )
        return dict(cursor.fetchall())


def place(account: Account, client_id: str) -> None:
    command = PlaceOrder(
        client_id=client_id,
        account=account.pk,
        symbol="VOL100",
        contract="rise_fall",
        side="up",
        stake="10.00",
        duration_seconds=60,
    )
    place_order(customer_id=account.owner_id, command=command)


def test_placing_scans_no_table_though_its_plan_was_made_when_they_were_empty() -> None:
    open_days([NOON.date()])
    with standing_clock(NOON - timedelta(seconds=1)) as stands:
        market = Market()
        market.terms()
        stands.at = NOON
        market.tick("100.00")
        account = funded_account(person("alice@example.com").pk, trading_book(), "100.00")
        # As after the first night of a young platform: tables known to be (nearly) empty.
        with connections["owner"].cursor() as cursor:
            cursor.execute(f"VACUUM ANALYZE {', '.join(GROWING)}")
        connections["default"].close()  # a new connection plans anew
        place(account, "first")
        before = scans()
        for number in range(5):
            place(account, f"later-{number}")
        assert scans() == before
