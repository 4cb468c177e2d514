"""A standing clock, one instrument, and alice with 1,000.00."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from typing import Any

import pytest

from payments.ledger.models import Account
from quotes.services import open_days
from tests.market import NOON, Clock, Market, funded_account, person, standing_clock, trading_book
from trading.models import Order
from trading.services import PlaceOrder, place_order
from trading.services.placement import Placed


@dataclass
class Desk:
    """What a test about orders works with."""

    clock: Clock
    market: Market
    alice: Any
    account: Account
    _numbers: Any

    def place(self, side: str = "up", stake: str = "10.00", **asked: Any) -> Placed:
        """Place an order of alice's for 60 s unless told otherwise."""
        wanted = {
            "client_id": f"order-{next(self._numbers)}",
            "account": self.account.pk,
            "symbol": self.market.instrument.symbol,
            "contract": "rise_fall",
            "side": side,
            "stake": stake,
            **asked,
        }
        if "expires_at" not in wanted:
            wanted.setdefault("duration_seconds", 60)
        return place_order(customer_id=self.alice.pk, command=PlaceOrder(**wanted))

    def balance(self) -> str:
        self.account.refresh_from_db()
        return f"{self.account.balance:.2f}"

    def order(self, placed: Placed) -> Order:
        return Order.objects.get(pk=placed.order.id)


@pytest.fixture(scope="session")
def noon_has_partitions(django_db_setup: None, django_db_blocker: Any) -> None:
    with django_db_blocker.unblock():
        open_days([NOON.date()])


@pytest.fixture
def standing(noon_has_partitions: None) -> Iterator[Clock]:
    with standing_clock(NOON - timedelta(seconds=1)) as stands:
        yield stands


@pytest.fixture
def make_desk(standing: Clock) -> Callable[..., Desk]:
    def make(*, instrument: dict[str, Any] | None = None, **terms: Any) -> Desk:
        market = Market(**(instrument or {}))
        market.terms(**terms)
        standing.at = NOON
        market.tick("100.00")
        alice = person("alice@example.com")
        account = funded_account(alice.pk, trading_book(), "1000.00")
        return Desk(standing, market, alice, account, count(1))

    return make


@pytest.fixture
def desk(db: None, make_desk: Callable[..., Desk]) -> Desk:
    return make_desk()
