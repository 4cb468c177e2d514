"""A customer's first trade through the open doors alone: HTTP and the private socket, on the real roles."""

from decimal import Decimal
from typing import Any

import pytest
from django.core.management import call_command

from payments.ledger.checks import check_ledger
from tests.flows.clients import Api, Message, listening, wait_until
from tests.platform import Roles

pytestmark = pytest.mark.django_db(transaction=True)
CLOSING = {"order.won", "order.lost", "order.refunded"}


@pytest.fixture
def trading(roles: Roles) -> Roles:
    """Run what a trade needs."""
    call_command("seed_platform")
    roles.start("web", "gateway", "feed", "settler", "relay")
    return roles


def signed_in(url: str, name: str) -> Api:
    """Register over HTTP and sign in."""
    api, email = Api(url), f"{name}@example.com"
    person = {"email": email, "password": "a long and quiet river", "country": "AE"}
    answer = api.post("/auth/register", {**person, "born_on": "1990-01-31", "accepts_terms": True})
    assert answer.status == 201, answer
    pair = api.post("/auth/token", {"email": email, "password": person["password"]})
    assert pair.status == 200, pair
    api.token = pair.body["access"]
    assert api.get("/me").body["email"] == email
    return api


def demo_account(api: Api) -> dict[str, Any]:
    accounts = {account["kind"]: account for account in api.get("/accounts").body["results"]}
    assert accounts.keys() == {"demo", "real"}
    return accounts["demo"]


def is_fact(name: str, order: str) -> Any:
    return lambda message: message["type"] == name and message["order"]["id"] == order


def is_closing(order: str) -> Any:
    return lambda message: message["type"] in CLOSING and message["order"]["id"] == order


def folded(snapshot: Message, facts: list[Message]) -> dict[str, Any]:
    """Apply facts to a snapshot the way a client does: the highest version of an account is its state."""
    accounts = {account["id"]: dict(account) for account in snapshot["accounts"]}
    orders = {order["id"]: order for order in snapshot["open_orders"]}
    seen: set[int] = set()
    for fact in facts:
        if fact["id"] in seen:
            continue
        seen.add(fact["id"])
        if fact["type"] == "account.changed":
            account = accounts[fact["account"]]
            if fact["version"] > account["version"]:
                assert fact["from_version"] <= account["version"], "a version was skipped"
                account |= {"balance": fact["balance"], "version": fact["version"]}
        elif fact["type"] in {"order.opened", "order.entered"}:
            orders[fact["order"]["id"]] = fact["order"]
        elif fact["type"] in CLOSING:
            orders.pop(fact["order"]["id"])
    return {"accounts": accounts, "open_orders": orders}


def test_the_first_trade(trading: Roles) -> None:
    api = signed_in(trading.url, "alice")
    other = signed_in(trading.url, "mallory")
    instruments = {found["symbol"]: found for found in api.get("/instruments").body["results"]}
    instrument = instruments["VOL100"]
    assert instrument["is_open"]
    assert instrument["is_simulated"]
    assert instrument["min_duration_seconds"] == 5
    assert "rise_fall" in instrument["contracts"]
    account = demo_account(api)
    assert (account["balance"], account["version"]) == ("10000.00", 1)

    with (
        listening(trading.socket_url, api.token, "account", "quotes:VOL100") as ear,
        listening(trading.socket_url, other.token, "account") as stranger,
    ):
        snapshot = ear.wait(lambda message: message.get("channel") == "account")
        assert snapshot["v"] == 1
        assert snapshot["accounts"] == api.get("/accounts").body["results"]
        assert snapshot["open_orders"] == []
        quote = ear.wait(lambda message: message["type"] == "quote")
        assert quote.keys() >= {"v", "channel", "symbol", "at", "seq", "price"}
        assert (quote["channel"], quote["symbol"]) == ("quotes:VOL100", "VOL100")

        asked = {
            "account": account["id"],
            "symbol": "VOL100",
            "contract": "rise_fall",
            "side": "up",
            "stake": "10.00",
            "duration_seconds": 5,
        }
        first = api.post("/orders", asked, Idempotency_Key="first")
        assert first.status == 201, first
        opened = first.body
        assert ear.wait(is_fact("order.opened", opened["id"]))["order"] == opened
        debited = ear.wait(lambda message: message["type"] == "account.changed")
        assert (debited["balance"], debited["from_version"], debited["version"]) == ("9990.00", 1, 2)
        again = api.post("/orders", asked, Idempotency_Key="first")
        assert (again.status, again.headers["idempotency-replayed"]) == (200, "true")
        assert again.body["id"] == opened["id"]
        # One against it, so that at least one of them moves the balance again, and one that stays open.
        against = api.post("/orders", {**asked, "side": "down", "stake": "7.00", "client_id": "against"}).body
        long = api.post(
            "/orders", {**asked, "stake": "3.00", "duration_seconds": 600, "client_id": "long"}
        ).body

        for placed in (opened, against):
            closing = ear.wait(is_closing(placed["id"]))
            closed = api.get(f"/orders/{placed['id']}").body
            assert closing["order"] == closed
            assert closing["type"] == f"order.{closed['status']}"
            assert_outcome_is_recorded(api, placed, closed)

        assert_quotes_are_the_record(api, ear.heard(lambda message: message["type"] == "quote"))
        expected = expected_balance(api, account["id"], Decimal("10000.00"))
        wait_until(
            lambda: any(f"{expected}" == m.get("balance") for m in ear.heard(lambda m: "balance" in m)),
            "the last balance on the socket",
        )
        stored = api.get(f"/accounts/{account['id']}").body
        assert stored["balance"] == f"{expected}"
        assert_statement_proves_itself(api, stored)

        # The facts heard bring the first snapshot to exactly what a new one says.
        state = folded(snapshot, ear.heard(lambda m: m.get("channel") == "account" and "seq" in m))
        with listening(trading.socket_url, api.token, "account") as fresh:
            newest = fresh.wait(lambda message: message["type"] == "snapshot")
        assert state["accounts"] == {row["id"]: row for row in newest["accounts"]}
        assert state["open_orders"] == {row["id"]: row for row in newest["open_orders"]}
        assert list(state["open_orders"]) == [long["id"]]
        # Nothing of hers was said to anybody else.
        assert [message["type"] for message in stranger.heard()] == ["snapshot"]
        assert other.get(f"/orders/{opened['id']}").status == 404

    assert check_ledger(whole=True).differences == []


def assert_outcome_is_recorded(api: Api, placed: Message, closed: Message) -> None:
    """The outcome follows from the ticks that anybody can fetch."""
    assert (
        closed
        | {
            "status": "open",
            "refund_reason": None,
            "exit": None,
            "payout": None,
            "closed_at": None,
        }
        == placed
    )
    ticks = api.get("/instruments/VOL100/ticks", limit=500).body["results"]
    assert closed["entry"] in ticks
    last = [tick for tick in ticks if tick["at"] <= closed["expires_at"]][-1]
    assert closed["exit"] == last
    entry, exit_ = Decimal(closed["entry"]["price"]), Decimal(last["price"])
    stake, rate = Decimal(closed["stake"]), Decimal(closed["payout_rate"])
    if entry == exit_:
        assert (closed["status"], closed["refund_reason"]) == ("refunded", "tie")
        assert closed["payout"] == closed["stake"]
    elif (exit_ > entry) == (closed["side"] == "up"):
        assert (closed["status"], Decimal(closed["payout"])) == ("won", stake + stake * rate)
    else:
        assert (closed["status"], closed["payout"]) == ("lost", "0.00")


def assert_quotes_are_the_record(api: Api, quotes: list[Message]) -> None:
    """What was pushed is what is stored, each tick at most once and in order."""
    ticks = {tick["seq"]: tick for tick in api.get("/instruments/VOL100/ticks", limit=500).body["results"]}
    assert len(quotes) > 5
    assert [quote["seq"] for quote in quotes] == sorted({quote["seq"] for quote in quotes})
    for quote in quotes:
        assert {name: quote[name] for name in ("at", "seq", "price")} == ticks[quote["seq"]]


def expected_balance(api: Api, account: int, start: Decimal) -> Decimal:
    orders = api.get("/orders", account=account).body["results"]
    return start + sum(Decimal(order["payout"] or 0) - Decimal(order["stake"]) for order in orders)


def assert_statement_proves_itself(api: Api, account: Message) -> None:
    lines = api.get(f"/accounts/{account['id']}/statement").body["results"][::-1]
    assert [line["version"] for line in lines] == list(range(1, account["version"] + 1))
    assert lines[0]["code"] == "opening"
    balance = Decimal(0)
    for line in lines:
        balance += Decimal(line["amount"])
        assert Decimal(line["balance"]) == balance
    assert f"{balance}" == account["balance"]
