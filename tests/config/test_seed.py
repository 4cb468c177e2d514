import json
import stat

import pytest
from django.core.management import call_command
from django.test import Client

from kyc import services as kyc
from kyc.models import Jurisdiction, User
from payments.ledger.models import Account, Book
from quotes.models import CalendarWeek, Instrument
from quotes.services import suspend_instrument
from tests.cast import client_for, code_of
from trading.models import BookTerms, PayoutRate, Terms

pytestmark = pytest.mark.django_db
TABLES = (Account, Book, BookTerms, CalendarWeek, Instrument, Jurisdiction, PayoutRate, Terms, User)


@pytest.fixture
def folder(settings, tmp_path):
    settings.DATA_DIR = tmp_path / "a folder"
    return settings.DATA_DIR


def everything():
    return {model.__name__: list(model.objects.order_by("pk").values_list("pk")) for model in TABLES}


def told(folder):
    return json.loads((folder / "sign-ins.json").read_text())


def test_a_newcomer_can_sign_in_and_has_demo_money(folder, capsys):
    call_command("seed_platform")
    trader = told(folder)["trader"]
    credentials = {"email": trader["email"], "password": trader["password"]}
    answer = client_for().post("/api/v1/auth/token", credentials, format="json")
    assert answer.status_code == 200
    held = Account.objects.filter(owner__email=trader["email"]).values_list("book__code", "balance")
    assert {code: f"{balance:.2f}" for code, balance in held} == {"demo": "10000.00", "real-usd": "0.00"}
    assert stat.S_IMODE((folder / "sign-ins.json").stat().st_mode) == 0o600
    printed = capsys.readouterr()
    assert trader["password"] not in printed.out + printed.err


def test_what_can_be_traded(folder):
    call_command("seed_platform")
    seeded = {
        i.symbol: (i.instrument_class, i.source, str(i.payout_rates.latest("id").rate), i.terms.get().version)
        for i in Instrument.objects.all()
    }
    assert seeded == {
        "BTCUSDT": ("crypto", "simulated", "0.8800", 1),
        "EURUSD": ("fx", "simulated", "0.8500", 1),
        "VOL100": ("volatility", "simulated", "0.9500", 1),
        "VOL50": ("volatility", "simulated", "0.9500", 1),
    }
    assert set(Terms.objects.values_list("entry_policy", flat=True)) == {"latest_tick"}
    assert dict(CalendarWeek.objects.values_list("calendar_id", "hours")) == {
        "always": [[0, 10080]],
        "fx": [[0, 6780], [9660, 10080]],
    }
    assert set(BookTerms.objects.values_list("book__code", "all_instruments")) == {
        ("demo", True),
        ("real-usd", True),
    }


def test_seeding_again_changes_nothing_even_what_an_operator_changed(folder):
    call_command("seed_platform")
    operator = User.objects.get(email="operator@tickhouse.example")
    suspend_instrument(instrument=Instrument.objects.get(symbol="EURUSD"), actor=operator, reason="test")
    Jurisdiction.objects.filter(pk="AE").update(licence_reference="L-2")
    before, people = everything(), told(folder)
    call_command("seed_platform")
    assert everything() == before
    assert Instrument.objects.get(symbol="EURUSD").is_suspended
    assert Jurisdiction.objects.get(pk="AE").licence_reference == "L-2"
    assert told(folder)["trader"] == people["trader"]
    assert told(folder)["operator"]["password"] == people["operator"]["password"]


def test_a_live_exchange_gets_a_delayed_entry_until_an_operator_decides(folder, settings):
    call_command("seed_platform")
    settings.SOURCES = ["binance"]
    call_command("seed_platform")
    call_command("seed_platform")
    versions = Terms.objects.filter(instrument__symbol="BTCUSDT").order_by("version")
    assert [terms.entry_policy for terms in versions] == ["latest_tick", "delayed"]
    assert versions[1].entry_delay_ms >= versions[1].instrument.max_source_lag_ms
    assert Terms.objects.filter(instrument__symbol="EURUSD").count() == 1


def test_the_operator_enrols_by_the_link_and_then_the_link_is_the_console(folder):
    call_command("seed_platform")
    operator, browser = told(folder)["operator"], Client()
    path = "/admin/" + operator["enrol_url"].partition("/admin/")[2]
    assert browser.get(path).status_code == 200
    user = User.objects.get(email=operator["email"])
    assert not user.is_staff
    device = kyc.invited_app(user, path.split("/")[-2])
    done = browser.post(path, {"password": operator["password"], "code": code_of(device)})
    assert "recovery-codes" in done.content.decode()
    assert browser.get("/admin/").status_code == 200
    call_command("seed_platform")
    assert told(folder)["operator"]["enrol_url"].endswith("/admin/")
    assert told(folder)["operator"]["password"] == operator["password"]


def test_a_lost_file_gets_new_passwords(folder):
    call_command("seed_platform")
    old = told(folder)
    (folder / "sign-ins.json").unlink()
    call_command("seed_platform")
    new = told(folder)
    assert new["trader"]["password"] != old["trader"]["password"]
    assert User.objects.get(email=new["trader"]["email"]).check_password(new["trader"]["password"])
    assert new["operator"]["password"] != old["operator"]["password"]
    assert new["operator"]["enrol_url"] != old["operator"]["enrol_url"]


def test_in_production_nobody_is_seeded_and_no_country_allows_real_money(folder, settings):
    settings.PRODUCTION = True
    call_command("seed_platform")
    assert not User.objects.exists()
    assert not folder.exists()
    assert set(Jurisdiction.objects.values_list("country", "is_sanctioned", "allows_real")) == {
        (country, True, False) for country in ("CU", "IR", "KP", "SY")
    }
    assert Instrument.objects.count() == 4
