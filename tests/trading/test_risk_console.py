"""Kill switches, event windows, floors and refusals in the console."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from config.core import clock
from kyc.models import User
from payments.ledger.models import Book
from tests.cast import browser_for
from tests.market import Market, trading_book
from trading.models import BookTerms, Curb, Refusals, RiskAlert
from trading.services import set_curb, watch_risk

pytestmark = pytest.mark.django_db
CURBS = reverse("admin:trading_curb_changelist")


@pytest.fixture
def console(olga: User) -> Client:
    return browser_for(olga, verified=True)


def page(name: str) -> str:
    return reverse(f"admin:trading_curb_{name}")


def fill(**given: Any) -> dict[str, Any]:
    blank = ("book", "instrument", "instrument_class", "contract", "side", "cut")
    times = ("starts_at_0", "starts_at_1", "ends_at_0", "ends_at_1")
    return {**dict.fromkeys((*blank, *times), ""), "_reasoned": "1", "reason": "a rumour", **given}


def test_all_trading_is_stopped_with_a_reason_and_lifted(console: Client, olga: User) -> None:
    asked = console.get(page("hold_back")).content.decode()
    assert "A kill switch" in asked
    done = console.post(page("hold_back"), fill(effect="stop_orders"), follow=True)
    assert "Set: no new orders, over everything." in done.content.decode()
    curb = Curb.objects.get()
    assert (curb.effect, curb.comment, curb.set_by, curb.ends_at) == ("stop_orders", "a rumour", olga, None)
    lift = {"action": "lift", "_selected_action": curb.pk, "_reasoned": "1", "reason": "false alarm"}
    console.post(CURBS, lift)
    curb.refresh_from_db()
    assert curb.ends_at is not None


def test_the_list_names_what_is_held_back(console: Client, olga: User) -> None:
    instrument, book = Market().instrument, trading_book("real-usd", kind="real")
    set_curb(effect="stop_sales", instrument=instrument, contract="touch", book=book, actor=olga, comment="x")
    set_curb(effect="stop_orders", instrument_class="fx", side="up", actor=olga, comment="x")
    listed = console.get(CURBS).content.decode()
    assert "VOL100, touch/no touch in real-usd" in listed
    assert "Currencies, up" in listed


def test_what_is_refused_keeps_what_was_typed(console: Client) -> None:
    Market()
    answer = console.post(page("hold_back"), fill(effect="lower_payouts", contract="touch"))
    text = answer.content.decode()
    assert "Between 0 and 1." in text
    assert '<option value="touch" selected>' in text
    assert not Curb.objects.exists()


def test_nothing_is_set_without_a_reason(console: Client) -> None:
    console.post(page("hold_back"), fill(effect="stop_all", reason=""))
    assert not Curb.objects.exists()


def test_events_are_imported_from_lines(console: Client) -> None:
    lines = "at,symbol,name\n2030-01-04T13:30:00Z,class:fx,Payrolls\n"
    done = console.post(page("import_events"), {"text": lines, "reason": "January"}, follow=True)
    assert "1 events recorded, 0 were known." in done.content.decode()
    assert (Curb.objects.get().effect, Curb.objects.get().instrument_class) == ("event", "fx")
    refused = console.post(page("import_events"), {"text": "at\n", "reason": "January"})
    assert "line 1: the columns are" in refused.content.decode()


def test_the_list_tells_what_holds(console: Client) -> None:
    now = clock.now()
    for starts, ends in ((-2, None), (-2, -1), (1, 2)):
        Curb.objects.create(
            effect="stop_all",
            starts_at=now + timedelta(hours=starts),
            ends_at=ends and now + timedelta(hours=ends),
            comment="x",
        )
    for state, word in (("now", "in force"), ("over", "ended"), ("later", "to come")):
        rows = console.get(CURBS, {"state": state}).context["cl"].result_list
        assert len(rows) == 1
        assert word in console.get(CURBS, {"state": state}).content.decode()


def test_a_floor_is_set_and_the_dashboard_shows_the_alert(console: Client) -> None:
    book: Book = trading_book("euros", kind="real", currency="EUR")
    terms = BookTerms.objects.get(book=book)
    asked = {"action": "set_floor", "_selected_action": terms.pk, "_reasoned": "1"}
    console.post(reverse("admin:trading_bookterms_changelist"), {**asked, "floor": "50", "reason": "new"})
    terms.refresh_from_db()
    assert terms.floor == Decimal(50)
    assert watch_risk() == 2
    shown = console.get(reverse("admin:live")).content.decode()
    assert "1 alert" in shown
    assert "1 curb in force" in shown
    alerts = console.get(reverse("admin:trading_riskalert_changelist")).content.decode()
    assert "no new orders" in alerts
    assert RiskAlert.objects.get().closed_at is None


def test_refusals_are_drawn_by_code(console: Client) -> None:
    page = reverse("admin:trading_refusals_changelist")
    assert "Nothing was refused in the last 24 hours." in console.get(page).content.decode()
    hour = clock.now().replace(minute=0, second=0, microsecond=0)
    for code, hours_ago, times in (("price_moved", 0, 3), ("price_moved", 23, 1), ("market_closed", 1, 7)):
        Refusals.objects.create(
            hour=hour - timedelta(hours=hours_ago), code=code, symbol="VOL100", times=times, last_at=hour,
            recent=[{"at": "2030", "stake": "5.00"}],
        )  # fmt: skip
    Refusals.objects.create(hour=hour - timedelta(hours=24), code="invalid", times=9, last_at=hour)
    found = console.get(page)
    codes = found.context["codes"]
    assert [(row["code"], row["times"]) for row in codes] == [("market_closed", 7), ("price_moved", 4)]
    assert codes[1]["bars"] == [
        {"x": 0, "y": 17, "height": 3, "times": 1},
        {"x": 92, "y": 11, "height": 9, "times": 3},
    ]
    assert codes[0]["bars"] == [{"x": 88, "y": 0, "height": 20, "times": 7}]
    one = console.get(reverse("admin:trading_refusals_change", args=[Refusals.objects.first().pk]))  # type: ignore[union-attr]
    assert "<td>5.00</td>" in one.content.decode()
