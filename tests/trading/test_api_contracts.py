"""Contracts over REST: what is offered, a preview, an order with its barrier, a sale."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from kyc.models import User
from quotes.models import Watermark
from tests.cast import client_for
from tests.trading.test_api import Counter, counter, refused, today_has_partitions, z
from trading.models import Order, VolatilityEstimate
from trading.rules import KINDS

__all__ = ["counter", "today_has_partitions"]
pytestmark = pytest.mark.django_db
TOUCH = {"contract": "touch", "side": "touch", "barrier": "+0.50"}


@pytest.fixture
def every(counter: Counter) -> Counter:
    counter.market.terms(contracts=list(KINDS), max_duration_ticks=20, offers_sale=True)
    Watermark.objects.update(source="simulated")
    VolatilityEstimate.objects.create(
        instrument=counter.market.instrument,
        at=counter.clock.at,
        per_sqrt_second=0.001,
        tick_seconds=0.5,
        samples=100,
    )
    return counter


def preview(counter: Counter, **changes: Any) -> Any:
    body = counter.body(**{"client_id": ..., **changes})
    return counter.client.post("/api/v1/orders/preview", body, format="json")


def test_what_is_offered(every: Counter) -> None:
    offers = every.client.get("/api/v1/instruments/VOL100").json()["offers"]
    assert [offer["contract"] for offer in offers] == list(KINDS)
    by_name = {offer["contract"]: offer for offer in offers}
    assert by_name["stays_between"] == {
        "contract": "stays_between",
        "sides": ["in", "out"],
        "takes": ["low", "high"],
        "lengths": ["seconds", "clock", "ticks"],
        "payout_rate": None,
        "min_payout_rate": "0.05",
        "max_payout_rate": "20",
    }
    assert by_name["asian"]["lengths"] == ["ticks"]


def test_digits_are_not_offered_where_prices_come_from_outside(every: Counter) -> None:
    Watermark.objects.update(source="binance")
    offers = every.client.get("/api/v1/instruments/VOL100").json()["offers"]
    assert [offer["contract"] for offer in offers if offer["contract"].startswith("digit")] == []


def test_a_preview(every: Counter) -> None:
    answer = preview(every, **TOUCH)
    assert answer.status_code == 200
    assert answer.json() == {
        "symbol": "VOL100",
        "price": "100.00",
        "currency": "USD",
        "expires_at": z(every.clock.at + timedelta(seconds=60)),
        "payout_rate": "0.961",
        "profit": "9.61",
        "payout": "19.61",
        "barrier": "100.50",
        "refusals": [],
    }
    assert not Order.objects.exists()


def test_a_preview_of_what_would_be_refused(every: Counter) -> None:
    seen = preview(every, **{**TOUCH, "barrier": "+9.00"}).json()
    assert (seen["payout_rate"], seen["profit"], seen["payout"]) == (None, None, None)
    assert [(refusal["code"], refusal["status"]) for refusal in seen["refusals"]] == [
        ("barrier_out_of_range", 422)
    ]


@pytest.mark.parametrize("path", ["", "/preview"])
def test_a_side_nobody_can_read(every: Counter, path: str) -> None:
    body = every.body(**({"client_id": ...} if path else {}), side="u\x00p")
    refused(every.client.post(f"/api/v1/orders{path}", body, format="json"), 400, "invalid")


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"barrier": "abc"}, 400, "invalid"),
        ({"duration_ticks": 3}, 400, "invalid"),
        ({"unknown": 1}, 400, "invalid"),
        ({"account": 10**12}, 404, "account_missing"),
        ({"symbol": "NOTHING"}, 404, "unknown_instrument"),
    ],
)
def test_a_malformed_preview(every: Counter, changes: dict[str, Any], status: int, code: str) -> None:
    refused(preview(every, **{**TOUCH, **changes}), status, code)


def test_a_preview_of_anothers_account(every: Counter, mallory: User) -> None:
    body = every.body(client_id=..., **TOUCH)
    refused(client_for(mallory).post("/api/v1/orders/preview", body, format="json"), 404, "account_missing")


def test_an_order_with_a_barrier(every: Counter) -> None:
    placed = every.place(**TOUCH)
    assert placed.status_code == 201
    order = placed.json()
    assert (order["barrier"], order["distances"], order["payout_rate"]) == (
        "100.50",
        {"barrier": "+0.50"},
        "0.961",
    )
    assert "low" not in order
    again = every.place(**TOUCH)
    assert (again.status_code, again.json(), again["Idempotency-Replayed"]) == (200, order, "true")
    refused(every.place(**{**TOUCH, "barrier": "+0.51"}), 422, "idempotency_mismatch")


def test_an_order_in_ticks(every: Counter) -> None:
    order = every.place(contract="digit_even", side="odd", duration_seconds=..., duration_ticks=5).json()
    assert (order["duration_ticks"], order["duration_seconds"]) == (5, None)


def test_a_sale(every: Counter, mallory: User) -> None:
    order, stranger = every.place().json(), client_for(mallory)
    address = f"/api/v1/orders/{order['id']}/sell"
    refused(every.client.get(address), 422, "sale_not_offered")  # too near its entry
    every.clock.move(30)
    every.market.tick("100.50")
    offer = every.client.get(address)
    assert offer.json() == {
        "price": "14.38",
        "currency": "USD",
        "tick": {"at": z(every.clock.at), "seq": 2, "price": "100.50"},
    }
    refused(stranger.get(address), 404, "order_missing")
    refused(stranger.post(address, {"client_id": "mine"}, format="json"), 404, "order_missing")
    refused(every.client.post(address, {}, format="json"), 400, "invalid")
    refused(
        every.client.post(address, {"client_id": "s", "min_price": "15"}, format="json"),
        422,
        "sale_price_changed",
    )
    sold = every.client.post(address, {"min_price": "14.38"}, format="json", headers={"Idempotency-Key": "s"})
    assert (sold.status_code, sold.json()["status"], sold.json()["payout"]) == (200, "sold", "14.38")
    again = every.client.post(address, {"client_id": "s", "min_price": "14.38"}, format="json")
    assert (again.json(), again["Idempotency-Replayed"]) == (sold.json(), "true")
    refused(every.client.post(address, {"client_id": "s"}, format="json"), 422, "idempotency_mismatch")
    refused(every.client.get(address), 422, "order_closed")
    every.account.refresh_from_db()
    assert every.account.balance == Decimal("10004.38")
