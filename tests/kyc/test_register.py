from datetime import timedelta

import pytest

from config.core import clock
from config.core.models import Fact
from kyc.models import User
from payments.ledger.models import Account, Transfer
from tests.cast import PASSWORD, client_for

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sandbox", "books")]
GIVEN = {
    "email": "Alice@Example.com",
    "password": PASSWORD,
    "country": "AE",
    "born_on": "1990-01-31",
    "accepts_terms": True,
}


def register(**changes):
    return client_for().post("/api/v1/auth/register", {**GIVEN, **changes}, format="json")


def nobody_came():
    return not User.objects.exists() and not Fact.objects.exists() and not Account.objects.exclude(owner=None)


def test_a_customer_gets_demo_money_at_once_and_a_real_account_where_the_law_allows():
    answer = register()
    assert answer.status_code == 201
    user = User.objects.get()
    body = answer.json()
    assert body["id"] == user.pk
    assert body["email"] == "alice@example.com"
    assert body["real_allowed"] is True
    assert body["reason"] == "Real money is offered under licence SANDBOX."
    assert "password" not in body
    held = {
        a.book.code: f"{a.balance:.2f}" for a in Account.objects.filter(owner=user).select_related("book")
    }
    assert held == {"demo": "10000.00", "real-usd": "0.00"}
    fact = Fact.objects.get(name="customer.registered")
    assert fact.topic == f"customer:{user.pk}"
    assert fact.payload == {"v": 1, "customer": user.pk, "country": "AE", "real_allowed": True}


def test_elsewhere_demo_money_alone_and_the_reason_is_told():
    answer = register(country="de")
    assert answer.status_code == 201
    assert answer.json()["real_allowed"] is False
    assert answer.json()["reason"] == (
        "Real money is not offered in your country; demo money is, without limit."
    )
    assert [a.book.code for a in Account.objects.exclude(owner=None).select_related("book")] == ["demo"]


def test_a_sanctioned_country_is_refused():
    answer = register(country="KP")
    assert (answer.status_code, answer.json()["code"]) == (422, "country_not_served")
    assert nobody_came()


def test_a_minor_is_refused_to_the_day():
    today = clock.now().date()
    eighteen_tomorrow = (today + timedelta(days=1)).replace(year=today.year - 18)
    answer = register(born_on=eighteen_tomorrow.isoformat())
    assert (answer.status_code, answer.json()["code"]) == (422, "too_young")
    assert nobody_came()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"email": "no address"}, "email"),
        ({"email": None}, "email"),
        ({"password": "1234567890"}, "password"),
        ({"password": "short"}, "password"),
        ({"password": "alice@example.com"}, "password"),
        ({"password": "x" * 1025}, "password"),
        ({"country": "XX"}, "country"),
        ({"country": "UAE"}, "country"),
        ({"born_on": "31.01.1990"}, "born_on"),
        ({"born_on": "1850-01-01"}, "born_on"),
        ({"born_on": "2990-01-01"}, "born_on"),
        ({"accepts_terms": False}, "accepts_terms"),
        ({"language": "tlh"}, "language"),
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
    ],
)
def test_what_is_wrong_is_told_by_field(changes, field):
    answer = register(**changes)
    assert answer.status_code == 400
    assert list(answer.json()["errors"]) == [field]
    assert nobody_came()


def test_an_address_has_one_account_whatever_its_case():
    assert register().status_code == 201
    transfers = Transfer.objects.count()
    answer = register(email="ALICE@example.COM", country="DE")
    assert (answer.status_code, answer.json()["code"]) == (409, "email_taken")
    assert User.objects.count() == 1
    assert Transfer.objects.count() == transfers


def test_nobody_registers_by_the_dozen():
    answers = [register(email=f"a{n}@example.com", password="short").status_code for n in range(12)]
    assert answers == [400] * 10 + [429] * 2


def test_without_accounts_there_is_no_customer(monkeypatch):
    """The handler that opens accounts fails with the registration, not after it."""
    from payments import handlers

    def fail(**_):
        raise RuntimeError("no disk")

    monkeypatch.setattr(handlers, "open_account", fail)
    client = client_for(raise_request_exception=False)
    answer = client.post("/api/v1/auth/register", GIVEN, format="json")
    assert answer.status_code == 500
    assert nobody_came()
