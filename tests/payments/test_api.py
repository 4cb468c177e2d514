"""Accounts over REST: whose they are, what they say, and a refill that may be repeated."""

import pytest
from rest_framework.test import APIClient

from tests.payments import bank

pytestmark = pytest.mark.django_db


@pytest.fixture
def demo():
    return bank.book("demo", opening="1000")


@pytest.fixture
def alice(demo):
    return bank.account(demo)


def client(name="alice"):
    found = APIClient()
    found.force_authenticate(bank.customer(name))
    return found


def expected(account, balance="1000.00", version=1):
    return {
        "id": account.pk,
        "kind": "demo",
        "book": "demo",
        "name": "Demo",
        "code": "customer",
        "currency": "USD",
        "decimals": 2,
        "balance": balance,
        "version": version,
        "is_refillable": True,
        "opened_at": account.created_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    }


class TestAccounts:
    def test_list_and_one(self, alice):
        bank.account(alice.book, "bob")
        assert client().get("/api/v1/accounts").json() == {"results": [expected(alice)], "next": None}
        assert client().get(f"/api/v1/accounts/{alice.pk}").json() == expected(alice)

    def test_nothing_of_somebody_else(self, alice):
        mallory = client("mallory")
        assert mallory.get("/api/v1/accounts").json() == {"results": [], "next": None}
        house = bank.system(alice.book, "house")
        for path in (f"{alice.pk}", f"{alice.pk}/statement", f"{house}", "999", f"{10**30}"):
            answer = mallory.get(f"/api/v1/accounts/{path}")
            assert (answer.status_code, answer.json()["code"]) == (404, "missing")
            assert answer["Content-Type"] == "application/problem+json"
        answer = mallory.post(f"/api/v1/accounts/{alice.pk}/refill", {"client_id": "x"}, format="json")
        assert answer.status_code == 404

    def test_only_for_those_signed_in(self, alice):
        for path in ("accounts", f"accounts/{alice.pk}", f"accounts/{alice.pk}/statement"):
            assert APIClient().get(f"/api/v1/{path}").status_code == 401


class TestStatement:
    def test_pages(self, alice):
        escrow = bank.system(alice.book, "escrow")
        bank.post(*(bank.move(alice.pk, escrow, "1.25") for _ in range(4)))
        path, seen = f"/api/v1/accounts/{alice.pk}/statement?limit=2", []
        cursor = ""
        while cursor is not None:
            page = client().get(path + (cursor and f"&cursor={cursor}")).json()
            seen, cursor = seen + page["results"], page["next"]
        assert [(line["version"], line["amount"], line["balance"]) for line in seen] == [
            (5, "-1.25", "995.00"),
            (4, "-1.25", "996.25"),
            (3, "-1.25", "997.50"),
            (2, "-1.25", "998.75"),
            (1, "1000.00", "1000.00"),
        ]
        assert set(seen[0]) == {"id", "at", "code", "amount", "balance", "version", "reference"}

    @pytest.mark.parametrize(
        "query", ["cursor=!", "cursor=ImEi", "cursor=LTE", "limit=0", "limit=201", "limit=x"]
    )
    def test_refuses_what_it_did_not_give(self, alice, query):
        answer = client().get(f"/api/v1/accounts/{alice.pk}/statement?{query}")
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid")


class TestRefill:
    def post(self, account, body=None, **headers):
        path = f"/api/v1/accounts/{account.pk}/refill"
        return client().post(path, body or {}, format="json", headers=headers)

    def test_answers_a_repeat_as_before(self, alice):
        bank.post(bank.move(alice.pk, bank.system(alice.book, "house"), "100"))
        first = self.post(alice, {"client_id": "one"})
        assert (first.status_code, first.json()) == (200, expected(alice, "1000.00", 3))
        assert "Idempotency-Replayed" not in first.headers
        bank.post(bank.move(alice.pk, bank.system(alice.book, "house"), "1"))
        before = bank.everything()
        again = self.post(alice, **{"Idempotency-Key": "one"})
        assert (again.status_code, again.json()) == (200, first.json())
        assert again.headers["Idempotency-Replayed"] == "true"
        assert bank.everything() == before

    def test_needs_one_key(self, alice):
        assert self.post(alice).json()["code"] == "invalid"
        both = self.post(alice, {"client_id": "one"}, **{"Idempotency-Key": "two"})
        assert (both.status_code, both.json()["code"]) == (400, "invalid")

    def test_refusals_say_why(self, alice):
        answer = self.post(alice, {"client_id": "one"})
        assert (answer.status_code, answer.json()["code"]) == (422, "nothing_to_refill")
        assert answer.json()["opening_balance"] == "1000.00"
        real = bank.account(bank.book("usd", kind="real"))
        answer = self.post(real, {"client_id": "one"})
        assert (answer.status_code, answer.json()["code"]) == (422, "not_refillable")
