"""A closed order's receipt in the terminal: opened by a click and by the keyboard, wide and narrow."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from itertools import count
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from quotes.services import open_days
from tests.browser.test_first_trade import Visitor
from tests.cast import browser_for
from tests.market import NOON, Market, funded_account, person, standing_clock, trading_book
from tests.trading.conftest import Desk
from tests.trading.test_contract_orders import moves, simulate
from trading.models import Order
from trading.rules import KINDS
from trading.services import approve_correction, request_correction, settle_due

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True, databases=["default", "owner"])]

WIDE = {"viewport": {"width": 1440, "height": 900}, "color_scheme": "dark"}
NARROW = {
    "viewport": {"width": 360, "height": 740},
    "color_scheme": "light",
    "is_mobile": True,
    "has_touch": True,
}


@pytest.fixture
def desk(db: None) -> Iterator[Desk]:
    open_days([NOON.date()])
    with standing_clock(NOON - timedelta(seconds=1)) as stands:
        market = Market()
        market.terms(contracts=list(KINDS), max_duration_ticks=20)
        stands.at = NOON
        alice = person("alice@example.com")
        account = funded_account(alice.pk, trading_book(), "1000.00")
        made = Desk(stands, market, alice, account, count(1))
        ticks(made, "100.01", "99.99", "100.00")
        moves(made, 0.003)
        yield made


def ticks(desk: Desk, *prices: str) -> None:
    for price in prices:
        desk.market.tick(price, desk.clock.move(1))
    simulate(desk)


def closed(desk: Desk, *prices: str, **asked: Any) -> Order:
    placed = desk.place(**asked)
    ticks(desk, *prices)
    assert settle_due() == 1
    ticks(desk, "100.00")
    return desk.order(placed)


def visit(chromium: Browser, url: str, desk: Desk, settings: Any, **context: Any) -> Visitor:
    visitor = Visitor(chromium, url, **context)
    cookie = browser_for(desk.alice).cookies[settings.SESSION_COOKIE_NAME].value
    visitor.page.context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": cookie, "url": url}])
    visitor.page.goto("/trade/")
    expect(visitor.page.locator("#symbol")).to_have_text("VOL100")
    return visitor


def row(page: Page, order: Order) -> Any:
    return page.locator(f"#history-rows tr[data-key='{order.pk}']")


def fact(page: Page, name: str) -> Any:
    return page.locator(".receipt-facts dt").get_by_text(name, exact=True).locator("+ dd")


def test_a_click_opens_the_receipt_beside_what_goes_on(
    chromium: Browser, live_server: Any, desk: Desk, settings: Any
) -> None:
    lost = closed(desk, *["100.10"] * 59, "99.90", "100.20", side="up", duration_seconds=60)
    running = desk.place(side="up", duration_seconds=5)
    visitor = visit(chromium, live_server.url, desk, settings, **WIDE)
    page = visitor.page
    page.locator("#tab-history").click()
    view = page.get_by_role("dialog", name="VOL100 Up")
    row(page, lost).locator(".c-exit").click()

    expect(view).to_contain_text("10.00 USD staked that VOL100 ends above its entry price, 60 seconds later")
    expect(view.locator(".receipt-outcome")).to_have_text("\u2212$10.00Lost")
    expect(fact(page, "Entry")).to_have_text("100.00 · tick 3\n2030-01-15 12:00:03.000000 UTC")
    expect(fact(page, "Exit")).to_have_text("99.90 · tick 63\n2030-01-15 12:01:03.000000 UTC")
    expect(fact(page, "Terms")).to_contain_text("Version 1.")
    expect(fact(page, "Signature")).to_contain_text("Ed25519, key ")
    numbers = view.locator(".receipt-rows").first.locator("tbody tr").all_inner_texts()
    assert [text.split("\t")[0] for text in numbers] == [
        *("1", "2", "3", "4", "5", "6"),
        "53 ticks between",
        *("60", "61", "62", "63", "64"),
    ]
    picture = view.locator(".receipt-picture")
    expect(picture).to_have_accessible_name(
        "VOL100: entry 100.00, exit 99.90. The table of ticks says the same."
    )
    assert picture.locator(".flag").all_text_contents() == [
        "Accepted",
        "Entry 100.00",
        "Exit 99.90",
        "Expiry",
    ]
    assert picture.locator("circle.tick").count() == 11

    # What is settled meanwhile comes to the list below, and leaves the receipt as it is.
    before = view.inner_html()
    ticks(desk, *["100.50"] * 6)
    assert settle_due() == 1
    expect(row(page, desk.order(running))).to_have_count(1, timeout=10_000)
    assert view.inner_html() == before
    with page.expect_download() as saved:
        view.get_by_role("link", name="Download JSON").click()
    assert saved.value.suggested_filename == f"receipt-{lost.pk}.json"
    with page.context.expect_page() as opened:
        view.get_by_role("button", name="Check it").click()
    checked = opened.value
    expect(checked.locator("#verdict")).to_have_text("Nothing speaks against this receipt")
    expect(checked.locator("#picture .flag.exit")).to_have_text("Exit 99.90")
    checked.close()
    page.mouse.click(20, 20)
    expect(view).to_be_hidden()
    assert visitor.complaints == []


@pytest.mark.long  # a page of its own; its parts are tested without one
def test_a_receipt_by_keyboard_on_a_narrow_screen(
    chromium: Browser, live_server: Any, desk: Desk, settings: Any
) -> None:
    asked = {"contract": "touch", "side": "touch", "barrier": "+0.50", "duration_seconds": 300}
    touched = closed(desk, "100.20", "100.50", **asked)
    young = desk.place(side="down", duration_seconds=5)
    ticks(desk, *["100.60"] * 5)
    desk.clock.move(0.5)
    assert settle_due() == 1
    visitor = visit(chromium, live_server.url, desk, settings, **NARROW)
    page = visitor.page
    page.locator("#strip").tap()
    page.locator("#tab-history").tap()
    view = page.locator("#receipt")
    link = row(page, touched).get_by_role("link", name="Receipt of Touch 100.50 on VOL100")

    page.context.set_offline(True)
    link.press("Enter")
    expect(view.get_by_role("status")).to_have_text(
        "The receipt could not be read.The server cannot be reached.Try again"
    )
    page.context.set_offline(False)
    view.get_by_role("button", name="Try again").press("Enter")
    expect(view.get_by_role("heading")).to_have_text("VOL100 Touch 100.50")
    expect(view.get_by_role("heading")).to_be_focused()
    expect(view.locator(".flag.exit")).to_have_text("Exit 100.50")
    expect(view.locator(".level.barrier")).to_have_count(1)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert view.evaluate("view => view.scrollWidth") == 360
    page.keyboard.press("Tab")
    expect(view.get_by_role("button", name="Close")).to_be_focused()
    page.keyboard.press("Escape")
    expect(view).to_be_hidden()
    expect(link).to_be_focused()
    expect(row(page, touched)).to_be_visible()

    # The ticks around its end are not all recorded yet: the receipt opens when they are.
    row(page, desk.order(young)).tap()
    expect(view.get_by_role("status")).to_contain_text("The receipt opens by itself.")
    desk.market.quiet_until()
    expect(view.locator(".receipt-outcome")).to_have_text("\u2212$10.00Lost")
    assert visitor.complaints == []


def test_a_correction_stands_in_the_receipt(
    chromium: Browser, live_server: Any, desk: Desk, settings: Any
) -> None:
    lost = closed(desk, *["100.10"] * 4, "99.90", "100.20", side="up", duration_seconds=5)
    olga, bob = (person(f"{name}@example.com", is_staff=True) for name in ("olga", "bob"))
    asked = request_correction(
        order=lost, payout=Decimal("18.50"), actor=olga, reason="<b>A wrong price.</b>"
    )
    approve_correction(correction=asked, actor=bob, reason="seen")
    visitor = visit(chromium, live_server.url, desk, settings, **NARROW)
    page = visitor.page
    page.locator("#strip").tap()
    page.locator("#tab-history").tap()
    row(page, lost).locator(".c-exit").click()
    expect(page.locator(".receipt-outcome")).to_have_text("\u2212$10.00Lost")
    expect(page.locator(".receipt-figures dl")).to_contain_text("After correction$18.50")
    expect(fact(page, "Corrections")).to_contain_text("18.50 USD in all: <b>A wrong price.</b>")
    expect(page.locator(".receipt-rows").last).to_contain_text("Correction")
    assert visitor.complaints == []
