"""The payout chart of the console: what was paid when, between which bounds, and why."""

import re
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.urls import reverse

from tests.cast import browser_for, olga  # noqa: F401
from tests.market import NOON, Market
from tests.trading.conftest import Desk
from trading.admin import payouts
from trading.models import PayoutRate, Terms
from trading.services import set_payout_rate

# ruff: noqa: F811

D = Decimal
HOUR = timedelta(hours=1)


@pytest.fixture
def console(olga: Any) -> Any:
    return browser_for(olga, verified=True)


@pytest.fixture
def desk(db: None, make_desk: Callable[..., Desk]) -> Desk:
    """VOL100 with its first rate of 85 % at noon less a second, and the hand of the clock at noon."""
    return make_desk()


def text(answer: Any) -> str:
    assert answer.status_code == 200
    return re.sub(r"\s+", " ", answer.content.decode())


def address(**asked: str) -> str:
    return reverse("admin:trading_payoutrate_chart", query=asked)


def recalculated(desk: Desk, minutes: int, rate: str, exact: str, **inputs: str) -> None:
    """Leave the row that beat leaves."""
    PayoutRate.objects.create(
        instrument=desk.market.instrument,
        rate=D(rate),
        set_at=NOON + timedelta(minutes=minutes),
        reason="recalculated",
        inputs={
            "policy": "window",
            "exact": exact,
            "probability": "0.56250000",
            "effective_orders": "12.00000000",
            "skew": "0.01250000",
            **inputs,
        },
    )


def test_the_chart_shows_the_rate_its_bounds_and_its_inputs(console: Any, desk: Desk, olga: Any) -> None:
    recalculated(desk, 15, "0.83", "0.83888888")
    recalculated(desk, 16, "0.83", "0.83123456")
    recalculated(desk, 30, "0.70", "0.70555555", cut="0.1")
    desk.clock.move(45 * 60)
    set_payout_rate(instrument=desk.market.instrument, rate=D("0.75"), actor=olga, reason="a <quiet> day")
    desk.clock.move(15 * 60)
    page = text(console.get(address(instrument="VOL100", span="1h")))
    assert "<strong>75 %</strong>" in page
    assert "a &lt;quiet&gt; day, by olga@example.com" in page
    # 50 to 95 %, on a grid of 50 to 100: one percent is 4.8 of 240 in height.
    assert 'class="payout-rate" d="M0 72H250V81.6H500V144H750V120H1000"' in page
    assert 'class="payout-bound" d="M0 24H1000"' in page
    assert 'class="payout-bound" d="M0 240H1000"' in page
    assert "A fixed rate: no orders went into it." in page
    assert page.count("<title>2030-01-15 12:") == 4
    assert (
        "<title>2030-01-15 12:30:00 UTC: 70 %, recalculated; probability 56.25 % from 12.0 effective orders; "
        "1.25 % less for the fuller side; cut by 10 %</title>" in page
    )
    changes = re.findall(r"<tr><td>.*?</tr>", page.partition('id="payout-changes"')[2])
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in changes]
    assert cells == [
        ["2030-01-15 12:45:00", "75 %", "–", "–", "–", "–", "a &lt;quiet&gt; day, by olga@example.com"],
        ["2030-01-15 12:30:00", "70 %", "70.56 %", "56.25 %", "12.0", "1.25 %", "recalculated, by 10 %"],
        ["2030-01-15 12:15:00", "83 %", "83.89 %", "56.25 %", "12.0", "1.25 %", "recalculated"],
    ]


def test_what_the_rate_in_force_was_computed_from_stands_beside_it(console: Any, desk: Desk) -> None:
    recalculated(desk, 15, "0.68", "0.68888888")
    desk.clock.move(15 * 60)
    page = text(console.get(address(instrument="VOL100", span="1h")))
    shown = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page)
    assert shown == [
        ("Probability", "56.25 %"),
        ("Effective orders", "12.0"),
        ("For the fuller side", "1.25 %"),
        ("Before rounding", "68.89 %"),
        ("Bounds of the terms", "50 % to 95 %"),
    ]


@pytest.mark.parametrize(("span", "words"), [("1h", "hour"), ("24h", "24 hours"), ("7d", "7 days")])
def test_a_rate_that_has_not_moved_is_a_line(console: Any, desk: Desk, span: str, words: str) -> None:
    desk.clock.move(8 * 24 * 3600)
    page = text(console.get(address(instrument="VOL100", span=span)))
    assert 'class="payout-rate" d="M0 72H1000"' in page
    assert f"Changes in the last {words}" in page
    assert "None: the rate has stood at 85 %." in page


def test_the_bounds_are_those_of_the_terms_at_the_time(console: Any, desk: Desk) -> None:
    desk.clock.move(30 * 60)
    desk.market.terms(min_rate=D("0.60"), max_rate=D("0.90"))
    desk.clock.move(30 * 60)
    page = text(console.get(address(instrument="VOL100", span="1h")))
    assert 'd="M0 24H500V48H1000"' in page
    assert 'd="M0 240H500V192H1000"' in page
    assert "<dd>60 % to 90 %</dd>" in page


def test_an_instrument_is_chosen_and_what_is_none_is_said(console: Any, desk: Desk) -> None:
    Market("ABC1")
    page = text(console.get(address()))
    assert "ABC1 has had no payout rate yet: its first terms bring the first." in page
    assert "Select a valid choice" in text(console.get(address(instrument="NONE", span="24h")))
    assert "Select a valid choice" in text(console.get(address(instrument="VOL100", span="2y")))


def test_without_instruments_it_says_so(console: Any) -> None:
    assert "There is no instrument yet." in text(console.get(address()))


def test_the_pages_lead_to_it(console: Any, desk: Desk) -> None:
    terms, rate = Terms.objects.get(), PayoutRate.objects.get()
    of_terms = reverse("admin:trading_terms_payout_chart", args=[terms.pk])
    of_rate = reverse("admin:trading_payoutrate_chart_of", args=[rate.pk])
    assert of_terms in text(console.get(reverse("admin:trading_terms_change", args=[terms.pk])))
    assert of_rate in text(console.get(reverse("admin:trading_payoutrate_change", args=[rate.pk])))
    assert f'"{address()}"' in text(console.get(reverse("admin:trading_payoutrate_changelist")))
    for page in (of_terms, of_rate):
        assert "Payout rate of VOL100 over the last 24 hours" in text(console.get(page))
    for nothing in ("0", "x"):
        assert console.get(reverse("admin:trading_terms_payout_chart", args=[nothing])).status_code == 404


def test_who_may_not_see_rates_does_not_see_their_chart(console: Any, desk: Desk, olga: Any) -> None:
    type(olga).objects.filter(pk=olga.pk).update(is_superuser=False)
    assert console.get(address()).status_code == 403
    assert console.get(reverse("admin:trading_terms_payout_chart", args=[1])).status_code == 403


def test_a_week_of_minutes_is_read_at_once_and_drawn_in_slices(
    desk: Desk, django_assert_num_queries: Any
) -> None:
    rows = [
        PayoutRate(
            instrument=desk.market.instrument,
            rate=D("0.80") + D(minute % 7) / 100,
            set_at=NOON + timedelta(minutes=minute),
            reason="recalculated",
            inputs={"exact": "0.80"},
        )
        for minute in range(7 * 24 * 60 + 30)
    ]
    PayoutRate.objects.bulk_create(rows)
    desk.clock.at = rows[-1].set_at
    with django_assert_num_queries(2):
        shown = payouts.history(desk.market.instrument, timedelta(days=7))
    assert len(shown["chart"]["zones"]) <= 201
    assert sum(width for _, width, _ in shown["chart"]["zones"]) == pytest.approx(1000)
    assert (shown["change_count"], len(shown["changes"])) == (7 * 24 * 60, 100)
    assert shown["changes"][0].at == rows[-1].set_at
