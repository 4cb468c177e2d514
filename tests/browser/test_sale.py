"""Selling an open order back by clicking: a live price, one click, and words for every answer."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from payments.ledger.models import Transfer
from quotes.models import Instrument
from tests.browser.test_contracts import SIMULATED, money
from tests.browser.test_first_trade import LIVE, Visitor, balance
from tests.platform import Roles
from trading.models import Order
from trading.services import estimate_volatility, set_terms

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

WIDE = {"viewport": {"width": 1440, "height": 900}}
PHONE = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}


def visit(chromium: Browser, platform: Roles, **context: Any) -> Visitor:
    terms: dict[str, Any] = {"offers_sale": True, "sell_cutoff_seconds": 1}
    set_terms(instrument=Instrument.objects.get(symbol=SIMULATED), actor=None, reason="test", **terms)
    visitor = Visitor(chromium, platform.url, **context)
    page = visitor.sign_up("newcomer@example.com")
    estimate_volatility()  # as beat does every so often
    if page.locator("#symbol").inner_text() != SIMULATED:
        page.locator(".subject").click()
        page.locator(".instrument").filter(has_text=SIMULATED).click()
    expect(page.locator("#symbol")).to_have_text(SIMULATED)
    return visitor


@pytest.fixture
def visitor(chromium: Browser, live_platform: Roles) -> Iterator[Visitor]:
    visitor = visit(chromium, live_platform, **WIDE)
    yield visitor
    assert visitor.complaints == []


def lengthen(page: Page) -> None:
    page.locator("#duration-chips button").last.click()
    while page.locator("#duration").inner_text() != "24\u202fh":
        page.get_by_role("button", name="Longer").click()


def buy(page: Page) -> None:
    """Buy Up for a day: a tick or two between its price and the click are within the guard then."""
    page.locator("#stake").fill("10")
    page.locator("#stake").blur()
    lengthen(page)
    page.locator("#buy-up").click()
    expect(page.locator("#open-count")).to_have_text("1")


def test_an_open_order_is_sold_for_the_price_shown(visitor: Visitor) -> None:
    page = visitor.page
    before = balance()
    buy(page)
    button = page.locator("#open-rows .sell")
    expect(button).to_be_enabled(timeout=LIVE)
    expect(button).to_contain_text("Sell")
    with page.expect_request(lambda request: request.method == "POST") as sent:
        button.click()
    expect(page.locator("#open-count")).to_have_text("0")
    order = Order.objects.get()
    assert order.status == "sold"
    assert order.payout is not None
    price = money(page.locator(".toast strong").inner_text().removeprefix(f"Sold {SIMULATED} for "))
    assert price == order.payout >= Decimal(sent.value.post_data_json["min_price"])
    assert sent.value.post_data_json["client_id"] == order.sale_client_id
    assert balance() == before - 10 + price
    expect(page.locator("#purse-balance")).to_have_text(f"${balance():,.2f}")

    page.locator("#tab-history").click()
    row = page.locator("#history-rows tr")
    expect(row).to_contain_text(f"Sold for ${price}")
    gain = price - 10
    sign = "+" if gain > 0 else "\u2212" if gain < 0 else ""
    expect(row.locator(".c-result b")).to_have_text(f"{sign}${abs(gain)}")
    expect(row).not_to_contain_text("Won")
    page.wait_for_timeout(1_500)  # the record around its end is complete
    row.get_by_role("link", name="Receipt").click()
    with page.expect_download() as saved:
        page.get_by_role("link", name="Download JSON").click()
    assert saved.value.suggested_filename == f"receipt-{order.pk}.json"
    assert str(order.pk) in Path(saved.value.path()).read_text()


@pytest.mark.long  # a platform of its own; its parts are tested without one
def test_a_worse_price_than_the_one_shown_is_refused_with_both_numbers(visitor: Visitor) -> None:
    page = visitor.page

    def show_a_better_one(route: Any) -> None:
        if route.request.method == "GET":
            route.fulfill(json={"price": "18.00", "currency": "USD"})
        else:
            route.continue_()

    page.route("**/sell", show_a_better_one)
    buy(page)
    before = balance()
    button = page.locator("#open-rows .sell")
    expect(button).to_have_text("Sell$18.00", timeout=LIVE)
    button.click()
    told = page.locator(".toast")
    expect(told).to_contain_text("The price of the order has changed")
    expect(told).to_contain_text("You asked for at least 16.20 USD; the order is worth ")
    expect(page.locator("#open-count")).to_have_text("1")
    assert (Order.objects.get().status, balance()) == ("open", before)
    # The true price is asked for, and sells.
    page.unroute("**/sell")
    expect(button).not_to_have_text("Sell$18.00", timeout=LIVE)
    expect(button).to_be_enabled(timeout=LIVE)
    button.click()
    expect(page.locator("#open-count")).to_have_text("0")
    assert Order.objects.get().status == "sold"


@pytest.mark.long  # a platform of its own; its parts are tested without one
def test_a_lost_answer_and_a_hurried_finger_sell_once(visitor: Visitor) -> None:
    page = visitor.page
    sent: list[dict[str, str]] = []

    def lose_the_first_answer(route: Any) -> None:
        if route.request.method != "POST":
            route.continue_()
            return
        sent.append(route.request.post_data_json)
        answer = route.fetch()
        if len(sent) == 1:
            route.abort()
        else:
            route.fulfill(response=answer)

    page.route("**/sell", lose_the_first_answer)
    buy(page)
    expect(page.locator("#open-rows .sell")).to_be_enabled(timeout=LIVE)
    page.evaluate("() => { const b = document.querySelector('.sell'); b.click(); b.click(); b.click(); }")
    expect(page.locator("#open-count")).to_have_text("0")
    page.wait_for_timeout(1_500)
    assert len(sent) == 2
    assert sent[0] == sent[1]
    assert Order.objects.get().status == "sold"
    assert Transfer.objects.filter(code="sold").count() == 1
    expect(page.locator(".toast")).to_have_count(1)


@pytest.mark.long  # a platform of its own; its parts are tested without one
def test_prices_are_asked_for_only_where_they_are_seen(visitor: Visitor) -> None:
    page = visitor.page
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if request.url.endswith("/sell") else None)
    buy(page)
    for count in range(2, 5):
        page.locator("#buy-down").click()
        expect(page.locator("#open-count")).to_have_text(str(count))
    expect(page.locator("#open-rows .sell:enabled")).to_have_count(4, timeout=LIVE)
    asked.clear()
    page.wait_for_timeout(4_000)
    assert 4 <= len(asked) <= 9
    page.locator("#tab-history").click()
    page.wait_for_timeout(500)
    asked.clear()
    page.wait_for_timeout(3_000)
    assert asked == []


@pytest.mark.long  # a platform of its own; its parts are tested without one
def test_an_order_that_is_never_bought_back_has_no_button(visitor: Visitor) -> None:
    page = visitor.page
    page.get_by_role("button", name="Ticks", exact=True).click()
    page.locator("#duration-chips button").last.click()
    page.locator("#buy-up").click()
    expect(page.locator("#open-count")).to_have_text("1")
    page.wait_for_timeout(2_000)
    expect(page.locator("#open-rows tr")).to_be_visible()
    expect(page.locator(".c-sale:visible")).to_have_count(0)


@pytest.mark.long  # a platform of its own; its parts are tested without one
def test_selling_on_a_phone(chromium: Browser, live_platform: Roles) -> None:
    visitor = visit(chromium, live_platform, **PHONE)
    page = visitor.page
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if request.url.endswith("/sell") else None)
    expect(page.locator("#buy-up")).to_be_enabled(timeout=LIVE)
    lengthen(page)
    page.locator("#buy-down").tap()
    expect(page.locator("#strip")).to_contain_text("1 open")
    page.wait_for_timeout(2_500)
    assert asked == []
    page.locator("#strip").tap()
    button = page.locator("#open-rows .sell")
    expect(button).to_be_enabled(timeout=LIVE)
    box = button.bounding_box()
    assert box is not None
    assert box["height"] >= 44
    assert box["x"] + box["width"] <= 360
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    button.tap()
    expect(page.locator(".toast")).to_contain_text(f"Sold {SIMULATED} for $")
    expect(page.locator("#open-count")).to_have_text("0")
    page.locator("#tab-history").tap()
    expect(page.locator("#history-rows tr")).to_contain_text("Sold for $")
    expect(page.get_by_role("link", name="Receipt")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert visitor.complaints == []
