"""Orders and instruments over REST: shapes, keys, whose they are, and what wrong input is told."""

import json
import os
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import redis
from django.conf import settings
from django.db import connection, connections
from django.test import Client
from rest_framework.test import APIClient

from config.core import throttle
from config.core.throttle import Limit
from kyc.models import User
from payments.ledger.models import Account, Book, Transfer
from quotes.services import open_days, suspend_instrument
from tests.cast import account_of, browser_for, client_for
from tests.market import Clock, Market, standing_clock
from trading.api import OrdersView
from trading.models import BookTerms, Order
from trading.selectors import orders_of
from trading.services import settle_due

pytestmark = pytest.mark.django_db
PROBLEM = "application/problem+json"
# Tokens are dated by the wall clock, so the standing clock stands at the present.
START = datetime.now(UTC).replace(microsecond=123456)


def z(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@pytest.fixture(scope="module")
def today_has_partitions(django_db_setup: None, django_db_blocker: Any) -> None:
    with django_db_blocker.unblock():
        open_days([START.date(), (START + timedelta(hours=1)).date()])


@dataclass
class Counter:
    """Alice at the counter: her client, her account, the market and the time."""

    clock: Clock
    market: Market
    client: APIClient
    account: Account
    alice: User

    def body(self, **changes: Any) -> dict[str, Any]:
        body = {
            "client_id": "first",
            "account": self.account.pk,
            "symbol": "VOL100",
            "contract": "rise_fall",
            "side": "up",
            "stake": "10.00",
            "duration_seconds": 60,
        }
        return {name: value for name, value in (body | changes).items() if value is not ...}

    def place(self, *, client: APIClient | None = None, headers: Any = None, **changes: Any) -> Any:
        client = client or self.client
        return client.post("/api/v1/orders", self.body(**changes), format="json", headers=headers)


@pytest.fixture
def counter(today_has_partitions: None, alice: User, books: dict[str, Book]) -> Iterator[Counter]:
    for book in books.values():
        BookTerms.objects.create(book=book, all_instruments=True)
    with standing_clock(START - timedelta(seconds=1)) as stands:
        market = Market()
        market.terms()
        stands.at = START
        market.tick("100.00")
        yield Counter(stands, market, client_for(alice), account_of(alice, "demo"), alice)


def refused(answer: Any, status: int, code: str) -> dict[str, Any]:
    """Expect a problem document of that code and return it."""
    problem = answer.json()
    assert (answer.status_code, problem.get("code")) == (status, code), problem
    assert answer["Content-Type"] == PROBLEM
    assert {"type", "title", "status", "detail", "code"} <= problem.keys()
    assert (problem["type"], problem["status"]) == (f"/problems/{code}", status)
    return problem


# --- instruments --------------------------------------------------------------------------------------


class TestInstruments:
    def test_what_an_instrument_says_to_anybody(self, counter: Counter) -> None:
        expected = {
            "symbol": "VOL100",
            "name": "VOL100",
            "class": "volatility",
            "price_decimals": 2,
            "is_open": True,
            "is_suspended": False,
            "opens_at": None,
            "closes_at": None,
            "is_simulated": True,
            "max_quote_age_ms": 5000,
            "last": {"at": z(START), "seq": 1, "price": "100.00"},
            "payout_rate": "0.85",
            "tie_policy": "refund",
            "entry_policy": "latest_tick",
            "entry_delay_ms": 0,
            "min_stake": "1",
            "max_stake": "1000",
            "min_duration_seconds": 5,
            "max_duration_seconds": 3600,
            "cutoff_seconds": 5,
            "min_duration_ticks": 0,
            "max_duration_ticks": 0,
            "max_tick_wait_seconds": 300,
            "offers_sale": False,
            "sell_cutoff_seconds": 5,
            "contracts": ["rise_fall"],
            "offers": [
                {
                    "contract": "rise_fall",
                    "sides": ["up", "down"],
                    "takes": [],
                    "lengths": ["seconds", "clock"],
                    "payout_rate": "0.85",
                    "min_payout_rate": "0.85",
                    "max_payout_rate": "0.85",
                }
            ],
            "curbs": [],
        }
        anybody = APIClient()
        assert anybody.get("/api/v1/instruments").json() == {"results": [expected], "next": None}
        assert anybody.get("/api/v1/instruments/VOL100").json() == expected

    def test_a_suspended_instrument_is_not_open(self, counter: Counter, olga: User) -> None:
        suspend_instrument(instrument=counter.market.instrument, actor=olga, reason="test")
        shown = counter.client.get("/api/v1/instruments/VOL100").json()
        assert (shown["is_open"], shown["is_suspended"]) == (False, True)
        assert refused(counter.place(), 422, "instrument_suspended")

    def test_an_instrument_without_a_price_or_without_terms(self, counter: Counter) -> None:
        Market("VOL50").terms()
        Market("VOL75")
        results = counter.client.get("/api/v1/instruments").json()["results"]
        assert [(shown["symbol"], shown["last"]) for shown in results] == [
            ("VOL100", {"at": z(START), "seq": 1, "price": "100.00"}),
            ("VOL50", None),
        ]

    @pytest.mark.parametrize("symbol", ["NOTHING", "vol100", "VOL100%00", "%F0%9F%92%B0"])
    @pytest.mark.parametrize("path", ["", "/ticks", "/candles"])
    def test_an_unknown_instrument(self, counter: Counter, symbol: str, path: str) -> None:
        refused(counter.client.get(f"/api/v1/instruments/{symbol}{path}"), 404, "unknown_instrument")

    def test_an_unlisted_instrument_is_not_shown(self, counter: Counter) -> None:
        counter.market.instrument.is_listed = False
        counter.market.instrument.save()
        assert counter.client.get("/api/v1/instruments").json()["results"] == []
        for path in ("", "/ticks", "/candles"):
            refused(counter.client.get(f"/api/v1/instruments/VOL100{path}"), 404, "unknown_instrument")

    def test_pages_of_ticks(self, counter: Counter) -> None:
        for price in ("100.01", "100.02", "100.03"):
            counter.market.tick(price, counter.clock.move(1))
        path = "/api/v1/instruments/VOL100/ticks"
        page = counter.client.get(path, {"limit": 3}).json()
        assert page["results"] == [
            {"at": z(START + timedelta(seconds=n)), "seq": n + 1, "price": f"100.0{n}"} for n in (1, 2, 3)
        ]
        page = counter.client.get(path, {"limit": 3, "end": page["next"]}).json()
        assert [tick["seq"] for tick in page["results"]] == [1]
        before = z(START + timedelta(seconds=2))
        assert [
            [tick["seq"] for tick in counter.client.get(path, {name: before}).json()["results"]]
            for name in ("end", "cursor")
        ] == [[1, 2]] * 2
        for listed in (path, path.replace("ticks", "candles")):
            both = counter.client.get(listed, {"end": before, "cursor": before})
            assert list(refused(both, 400, "invalid")["errors"]) == ["cursor"]
            wrong = counter.client.get(listed, {"cursor": "page 2"})
            assert list(refused(wrong, 400, "invalid")["errors"]) == ["cursor"]
        assert page["next"] is None

    def test_pages_of_candles(self, counter: Counter) -> None:
        minute = START.replace(second=0, microsecond=0) + timedelta(minutes=1)
        for number in range(4):
            counter.market.tick(f"10{number}.00", minute + timedelta(seconds=30 * number))
        path = "/api/v1/instruments/VOL100/candles"
        page = counter.client.get(path, {"interval": 60, "limit": 2}).json()
        assert page["results"] == [
            {
                "start": z(minute),
                "open": "100.00",
                "high": "101.00",
                "low": "100.00",
                "close": "101.00",
                "ticks": 2,
                "is_forming": False,
                "last_seq": 3,
            },
            {
                "start": z(minute + timedelta(minutes=1)),
                "open": "102.00",
                "high": "103.00",
                "low": "102.00",
                "close": "103.00",
                "ticks": 2,
                "is_forming": True,
                "last_seq": 5,
            },
        ]
        page = counter.client.get(path, {"interval": 60, "limit": 2, "end": page["next"]}).json()
        assert [(candle["ticks"], candle["last_seq"]) for candle in page["results"]] == [(1, 1)]
        assert page["next"] is None

    @pytest.mark.parametrize(
        ("path", "query", "field"),
        [
            ("ticks", {"limit": "0"}, "limit"),
            ("ticks", {"limit": "5001"}, "limit"),
            ("ticks", {"end": "yesterday"}, "end"),
            ("ticks", {"end": "2030-01-15T12:00:00"}, "end"),
            ("candles", {"limit": "many"}, "limit"),
            ("candles", {"interval": "-1"}, "interval"),
            ("candles", {"end": "12"}, "end"),
        ],
    )
    def test_wrong_questions(self, counter: Counter, path: str, query: Any, field: str) -> None:
        problem = refused(counter.client.get(f"/api/v1/instruments/VOL100/{path}", query), 400, "invalid")
        assert list(problem["errors"]) == [field]

    @pytest.mark.parametrize("end", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
    @pytest.mark.parametrize("path", ["ticks", "candles"])
    def test_ends_at_the_ends_of_time(self, counter: Counter, path: str, end: str) -> None:
        answer = counter.client.get(f"/api/v1/instruments/VOL100/{path}", {"end": end})
        assert answer.status_code in {200, 400}

    def test_a_frame_that_is_not_kept(self, counter: Counter) -> None:
        answer = counter.client.get("/api/v1/instruments/VOL100/candles", {"interval": "7"})
        assert 400 <= answer.status_code < 500
        assert answer["Content-Type"] == PROBLEM


# --- an order -----------------------------------------------------------------------------------------


class TestOrder:
    def test_the_shape_from_opening_to_the_end(self, counter: Counter) -> None:
        answer = counter.place(stake="12.50")
        assert answer.status_code == 201
        placed = answer.json()
        opened = {
            "id": placed["id"],
            "client_id": "first",
            "account": counter.account.pk,
            "symbol": "VOL100",
            "contract": "rise_fall",
            "side": "up",
            "stake": "12.50",
            "currency": "USD",
            "payout_rate": "0.85",
            "status": "open",
            "refund_reason": None,
            "accepted_at": z(START),
            "entry_after": None,
            "duration_seconds": 60,
            "expires_at": z(START + timedelta(seconds=60)),
            "entry": {"at": z(START), "seq": 1, "price": "100.00"},
            "exit": None,
            "payout": None,
            "closed_at": None,
            "terms": 1,
        }
        assert placed == opened
        path = f"/api/v1/orders/{placed['id']}"
        assert counter.client.get(path).json() == opened
        counter.market.tick("101.00", counter.clock.move(30))
        counter.clock.move(31)
        counter.market.quiet_until()
        settle_due()
        assert counter.client.get(path).json() == opened | {
            "status": "won",
            "exit": {"at": z(START + timedelta(seconds=30)), "seq": 2, "price": "101.00"},
            "payout": "23.12",  # 12.50 × 0.85 = 10.625: profits round down
            "closed_at": z(START + timedelta(seconds=61)),
        }

    def test_a_delayed_entry_is_pending(self, counter: Counter) -> None:
        counter.market.terms(entry_policy="delayed", entry_delay_ms=500)
        placed = counter.place().json()
        assert placed["entry"] is None
        assert placed["entry_after"] == z(START + timedelta(milliseconds=500))
        assert placed["expires_at"] == z(START + timedelta(seconds=60.5))
        assert placed["terms"] == 2

    def test_a_clock_expiry(self, counter: Counter) -> None:
        expiry = START + timedelta(seconds=90)
        placed = counter.place(duration_seconds=..., expires_at=z(expiry)).json()
        assert (placed["duration_seconds"], placed["expires_at"]) == (None, z(expiry))

    def test_limits_are_published(self, counter: Counter) -> None:
        answer = counter.place()
        assert (answer["RateLimit-Limit"], answer["RateLimit-Remaining"]) == ("60", "59")
        assert answer["Cache-Control"] == "no-store"

    def test_reading_orders_uses_up_nothing_of_placing(self, counter: Counter) -> None:
        answer = counter.client.get("/api/v1/orders")
        assert (answer["RateLimit-Limit"], answer["RateLimit-Remaining"]) == ("100", "99")
        assert counter.place()["RateLimit-Remaining"] == "59"

    def test_without_redis_orders_are_read_and_none_is_placed(
        self, counter: Counter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def away(*_: Any) -> Any:
            raise redis.ConnectionError

        monkeypatch.setattr(throttle, "_evaluate", away)
        assert counter.client.get("/api/v1/orders").status_code == 200
        refused(counter.place(), 503, "unavailable")
        assert Order.objects.count() == 0

    def test_too_many_requests(self, counter: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(OrdersView, "placing", Limit("orders", per_second=0.01, burst=1))
        assert counter.place().status_code == 201
        answer = counter.place(client_id="second")
        assert refused(answer, 429, "too_many")["limit"] == 1
        assert 90 <= int(answer["Retry-After"]) <= 100
        assert Order.objects.count() == 1


# --- keys ---------------------------------------------------------------------------------------------


class TestIdempotency:
    def test_a_repeat_answers_200_with_the_first_result(self, counter: Counter) -> None:
        first = counter.place()
        assert (first.status_code, first.headers.get("Idempotency-Replayed")) == (201, None)
        counter.market.tick("105.00", counter.clock.move(1))
        again = counter.place()
        assert (again.status_code, again["Idempotency-Replayed"]) == (200, "true")
        assert again.json() == first.json()
        assert Order.objects.count() == Transfer.objects.filter(code="stake").count() == 1

    def test_the_header_and_the_body_are_one_key(self, counter: Counter) -> None:
        first = counter.place(client_id=..., headers={"Idempotency-Key": "k-1"})
        assert first.status_code == 201
        assert first.json()["client_id"] == "k-1"
        for again in (
            counter.place(client_id="k-1"),
            counter.place(client_id="k-1", headers={"Idempotency-Key": "k-1"}),
        ):
            assert (again.status_code, again["Idempotency-Replayed"]) == (200, "true")
            assert again.json() == first.json()

    @pytest.mark.parametrize(
        "change",
        [{"stake": "11.00"}, {"side": "down"}, {"duration_seconds": 61}, {"min_payout_rate": "0.1"}],
    )
    def test_another_body_under_the_same_key(self, counter: Counter, change: dict[str, Any]) -> None:
        first = counter.place().json()
        problem = refused(counter.place(**change), 422, "idempotency_mismatch")
        assert problem["order"] == first["id"]
        assert Order.objects.count() == 1

    def test_header_and_body_that_differ(self, counter: Counter) -> None:
        refused(counter.place(client_id="a", headers={"Idempotency-Key": "b"}), 400, "invalid")
        assert Order.objects.count() == 0

    def test_refusals_are_not_remembered(self, counter: Counter) -> None:
        refused(counter.place(stake="1001.00"), 422, "stake_out_of_range")
        assert counter.place(stake="10.00").status_code == 201

    def test_a_key_belongs_to_an_account(self, counter: Counter) -> None:
        real = account_of(counter.alice, "real")
        assert counter.place().status_code == 201
        assert counter.place(account=real.pk).status_code == 201
        assert Order.objects.count() == 2

    def test_an_order_is_found_by_its_key(self, counter: Counter) -> None:
        placed = counter.place(client_id="mine").json()
        found = counter.client.get("/api/v1/orders", {"client_id": "mine"}).json()
        assert found == {"results": [placed], "next": None}
        assert counter.client.get("/api/v1/orders", {"client_id": "other"}).json()["results"] == []

    @pytest.mark.django_db(transaction=True, databases=["default", "owner"])
    def test_the_key_is_looked_up_and_the_history_is_not_read(self, counter: Counter) -> None:
        placed = Order.objects.get(pk=counter.place(client_id="mine").json()["id"])
        copies = [copy(placed) for _ in range(2_000)]
        for number, order in enumerate(copies):
            order.pk, order.client_id = uuid4(), f"copy-{number}"
        Order.objects.bulk_create(copies)
        with connections["owner"].cursor() as cursor:  # what is known of the table, not what it was before
            cursor.execute("ANALYZE trading_order, ledger_account")
        plan = orders_of(counter.alice.pk, client_id="mine").explain()
        assert "order_client_id_once" in plan
        assert "order_of_customer" not in plan


# --- whose --------------------------------------------------------------------------------------------


class TestWhose:
    def test_nobody_sees_or_uses_what_is_not_his(self, counter: Counter, mallory: User) -> None:
        placed = counter.place().json()
        other = client_for(mallory)
        refused(other.get(f"/api/v1/orders/{placed['id']}"), 404, "order_missing")
        assert other.get("/api/v1/orders").json() == {"results": [], "next": None}
        asked = {"account": counter.account.pk}
        assert other.get("/api/v1/orders", asked).json()["results"] == []
        refused(counter.place(client=other), 404, "account_missing")
        assert Order.objects.count() == 1

    @pytest.mark.parametrize("account", [0, -1, 999_999, 2**63 - 1, 2**63, 10**30])
    def test_an_account_that_is_not_there(self, counter: Counter, account: int) -> None:
        answer = counter.place(account=account)
        assert answer.status_code in {400, 404}
        assert answer.json()["code"] in {"account_missing", "invalid"}

    def test_the_house_is_nobodys(self, counter: Counter) -> None:
        house = Account.objects.filter(owner=None).first()
        refused(counter.place(account=house.pk), 404, "account_missing")

    def test_an_order_that_is_not_there(self, counter: Counter) -> None:
        refused(counter.client.get(f"/api/v1/orders/{uuid4()}"), 404, "order_missing")
        refused(counter.client.get("/api/v1/orders/17"), 404, "missing")

    def test_strangers_sign_in_first(self, counter: Counter) -> None:
        placed = counter.place().json()
        stranger = APIClient()
        for answer in (
            stranger.get("/api/v1/orders"),
            stranger.get(f"/api/v1/orders/{placed['id']}"),
            counter.place(client=stranger, client_id="other"),
        ):
            refused(answer, 401, "unauthenticated")
            assert answer["WWW-Authenticate"].startswith("Bearer")

    @pytest.mark.parametrize("token", ["nonsense", "", "a.b.c"])
    def test_a_token_that_is_none(self, counter: Counter, token: str) -> None:
        client = APIClient()
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
        assert counter.place(client=client).status_code == 401
        assert client.get("/api/v1/orders").status_code == 401
        assert Order.objects.count() == 0

    def test_a_token_whose_person_signed_out(self, counter: Counter) -> None:
        from kyc.services import sign_out_everywhere

        sign_out_everywhere(user=counter.alice, reason="test")
        assert counter.place().status_code == 401
        assert counter.client.get("/api/v1/orders").status_code == 401

    def test_a_page_needs_its_csrf_token(self, counter: Counter) -> None:
        signed_in = browser_for(counter.alice)
        page = Client(enforce_csrf_checks=True)
        page.cookies = signed_in.cookies
        body = json.dumps(counter.body())
        answer = page.post("/api/v1/orders", body, content_type="application/json")
        assert (answer.status_code, answer["Content-Type"]) == (403, PROBLEM)
        assert Order.objects.count() == 0
        token = "a" * 32
        page.cookies[settings.CSRF_COOKIE_NAME] = token
        answer = page.post(
            "/api/v1/orders", body, content_type="application/json", headers={"X-CSRFToken": token}
        )
        assert answer.status_code == 201, answer.content
        assert page.get(f"/api/v1/orders/{answer.json()['id']}").json() == answer.json()


# --- lists --------------------------------------------------------------------------------------------


class TestLists:
    def test_pages_by_cursor(self, counter: Counter) -> None:
        placed = [counter.place(client_id=f"order-{n}", stake="1.00").json()["id"] for n in range(7)]
        seen: list[str] = []
        cursor: str | None = ""
        pages = 0
        while cursor is not None:
            query = {"limit": "3"} | ({"cursor": cursor} if cursor else {})
            page = counter.client.get("/api/v1/orders", query).json()
            seen += [order["id"] for order in page["results"]]
            cursor, pages = page["next"], pages + 1
            # What comes meanwhile is newer than every page that follows.
            counter.place(client_id=f"late-{pages}", stake="1.00")
        assert pages == 3
        assert seen == sorted(placed, reverse=True)

    def test_filters(self, counter: Counter) -> None:
        real = account_of(counter.alice, "real")
        for number, side in enumerate(("up", "down")):
            counter.place(client_id=f"short-{number}", side=side, duration_seconds=10)
        counter.market.tick("101.00", counter.clock.move(5))
        counter.clock.move(6)
        counter.market.quiet_until()
        settle_due()
        counter.market.tick("101.00", counter.clock.move(1))
        counter.place(client_id="open")
        counter.place(client_id="real", account=real.pk)

        def found(**query: Any) -> list[str]:
            return [
                order["client_id"] for order in counter.client.get("/api/v1/orders", query).json()["results"]
            ]

        assert set(found(status="open")) == {"real", "open"}
        assert set(found(status="closed")) == {"short-0", "short-1"}
        assert found(status="won") == ["short-0"]
        assert found(status="lost") == ["short-1"]
        assert found(status="refunded") == []
        assert found(account=real.pk) == ["real"]
        assert found(account=real.pk, status="closed") == []
        assert len(found()) == 4

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ({"status": "pending"}, "status"),
            ({"account": "mine"}, "account"),
            ({"account": "0"}, "account"),
            ({"limit": "0"}, "limit"),
            ({"limit": "201"}, "limit"),
            ({"cursor": "zzz"}, "cursor"),
        ],
    )
    def test_wrong_questions(self, counter: Counter, query: dict[str, str], field: str) -> None:
        problem = refused(counter.client.get("/api/v1/orders", query), 400, "invalid")
        assert list(problem["errors"]) == [field]

    def test_a_key_with_a_null_byte_finds_nothing(self, counter: Counter) -> None:
        answer = counter.client.get("/api/v1/orders?client_id=%00")
        assert answer.status_code in {200, 400}


# --- wrong input --------------------------------------------------------------------------------------


MISFITS: list[Any] = [
    ({"account": ...}, "account"),
    ({"account": "1"}, "account"),
    ({"account": None}, "account"),
    ({"account": 1.5}, "account"),
    ({"symbol": ...}, "symbol"),
    ({"symbol": 7}, "symbol"),
    ({"contract": ...}, "contract"),
    ({"side": ...}, "side"),
    ({"side": "sideways"}, "side"),
    ({"stake": ...}, "stake"),
    ({"stake": 10}, "stake"),
    ({"stake": 10.5}, "stake"),
    ({"stake": "ten"}, "stake"),
    ({"stake": ""}, "stake"),
    ({"stake": "-10.00"}, "stake"),
    ({"stake": "10.001"}, "stake"),
    ({"stake": "NaN"}, "stake"),
    ({"stake": "Infinity"}, "stake"),
    ({"stake": "1e400"}, "stake"),
    ({"stake": "1e-400"}, "stake"),
    ({"client_id": ...}, "client_id"),
    ({"client_id": ""}, "client_id"),
    ({"client_id": "x" * 65}, "client_id"),
    ({"client_id": "white space"}, "client_id"),
    ({"client_id": "nul\x00"}, "client_id"),
    ({"client_id": 7}, "client_id"),
    ({"duration_seconds": ...}, "duration_seconds"),
    ({"duration_seconds": "60"}, "duration_seconds"),
    ({"duration_seconds": 5.5}, "duration_seconds"),
    ({"duration_seconds": 10**12}, "duration_seconds"),
    ({"duration_seconds": -(10**18)}, "duration_seconds"),
    ({"duration_seconds": ..., "expires_at": "0001-01-01T00:00:00+14:00"}, "expires_at"),
    ({"duration_seconds": ..., "expires_at": "9999-12-31T23:59:59-14:00"}, "expires_at"),
    ({"expires_at": "2099-01-01T00:00:00Z"}, "duration_seconds"),
    ({"duration_seconds": ..., "expires_at": "soon"}, "expires_at"),
    ({"duration_seconds": ..., "expires_at": "2099-01-01T00:00:00"}, "expires_at"),
    ({"duration_seconds": ..., "expires_at": 1893456000}, "expires_at"),
    ({"price": "100.00"}, "price"),
    ({"max_slippage": "0.01"}, "price"),
    ({"price": "dear", "max_slippage": "0"}, "price"),
    ({"price": "100.00", "max_slippage": "-1"}, "max_slippage"),
    ({"price": "1e18", "max_slippage": "1e-9"}, "max_slippage"),
    ({"min_payout_rate": "much"}, "min_payout_rate"),
    ({"min_payout_rate": 0.8}, "min_payout_rate"),
    ({"colour": "red"}, "colour"),
]


def test_what_does_not_fit_is_named(counter: Counter, subtests: pytest.Subtests) -> None:
    for change, field in MISFITS:
        with subtests.test(str(change)):
            problem = refused(counter.place(**change), 400, "invalid")
            assert list(problem["errors"]) == [field]
            assert all(isinstance(text, str) and text for text in problem["errors"][field])
    assert Order.objects.count() == 0


REFUSALS: list[Any] = [
    ({"symbol": "NOTHING"}, 404, "unknown_instrument"),
    ({"symbol": "VOL100\x00"}, 404, "unknown_instrument"),
    ({"contract": "touch"}, 422, "contract_not_offered"),
    ({"contract": "x" * 1000}, 422, "contract_not_offered"),
    ({"duration_seconds": 0}, 422, "duration_out_of_range"),
    ({"duration_seconds": -60}, 422, "duration_out_of_range"),
    ({"duration_seconds": 3601}, 422, "duration_out_of_range"),
    ({"duration_seconds": 10**9}, 422, "duration_out_of_range"),
    ({"duration_seconds": ..., "expires_at": "1971-01-01T00:00:00Z"}, 422, "expiry_cutoff"),
    ({"duration_seconds": ..., "expires_at": "9998-12-31T23:59:59-14:00"}, 422, "duration_out_of_range"),
    ({"stake": "0"}, 422, "stake_out_of_range"),
    ({"stake": "1000.01"}, 422, "stake_out_of_range"),
    ({"stake": "9999999999999999999"}, 422, "stake_out_of_range"),
    ({"price": "99.00", "max_slippage": "0.99"}, 422, "price_moved"),
    ({"min_payout_rate": "0.86"}, 422, "payout_changed"),
]


def test_what_is_refused_says_why(counter: Counter, subtests: pytest.Subtests) -> None:
    for change, status, code in REFUSALS:
        with subtests.test(str(change)):
            refused(counter.place(**change), status, code)
    assert Order.objects.count() == 0


BODIES: list[Any] = [
    ("{", "application/json", 400, "invalid"),
    ("[]", "application/json", 400, "invalid"),
    ("", "application/json", 400, "invalid"),
    ("null", "application/json", 400, "invalid"),
    ("{}", "text/plain", 415, "not_json"),
    ("stake=10", "application/x-www-form-urlencoded", 415, "not_json"),
    ('{"stake": "' + "1" * 300_000 + '"}', "application/json", 413, "too_large"),
]


def test_a_body_that_is_none(counter: Counter, subtests: pytest.Subtests) -> None:
    for body, content_type, status, code in BODIES:
        with subtests.test(f"{content_type} {body[:20]}"):
            refused(counter.client.post("/api/v1/orders", body, content_type=content_type), status, code)


def test_a_method_that_is_not_answered(counter: Counter) -> None:
    answer = counter.client.delete("/api/v1/orders")
    refused(answer, 405, "method_not_allowed")
    assert "GET" in answer["Allow"]


# --- locks --------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_placement_that_waits_too_long_is_told_to_come_again(counter: Counter) -> None:
    with psycopg.connect(os.environ["DATABASE_OWNER_URL"]) as other:
        other.execute("SELECT 1 FROM ledger_account WHERE id = %s FOR UPDATE", [counter.account.pk])
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '50ms'")
        try:
            answer = counter.place()
        finally:
            connection.close()
        problem = refused(answer, 409, "conflict")
        assert answer["Retry-After"] == "1"
        assert "ledger" not in json.dumps(problem)
        assert Order.objects.count() == 0
    assert counter.place().status_code == 201
