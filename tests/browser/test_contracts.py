"""Every contract by clicking: barriers, digits and ticks, each priced before the click."""

from collections.abc import Iterator
from decimal import Decimal

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.test_first_trade import LIVE, SETTLED, Visitor
from tests.platform import Roles
from trading.models import Order
from trading.services.volatility import estimate_volatility

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

SIMULATED = "VOL100"


@pytest.fixture
def visitor(chromium: Browser, live_platform: Roles) -> Iterator[Visitor]:
    visitor = Visitor(chromium, live_platform.url, viewport={"width": 1440, "height": 900})
    page = visitor.sign_up("newcomer@example.com")
    page.locator(".instrument").filter(has_text=SIMULATED).click()
    expect(page.locator("#symbol")).to_have_text(SIMULATED)
    estimate_volatility()  # as beat does every so often
    yield visitor
    assert visitor.complaints == []


def choose(page: Page, contract: str) -> None:
    page.locator("#contract").click()
    page.locator("#contract-list button").filter(has_text=contract).click()
    expect(page.locator("#contract-name")).to_have_text(contract)


def money(text: str) -> Decimal:
    return Decimal(text.strip("+$").replace(",", ""))


def test_a_touch_is_moved_priced_bought_and_shown(visitor: Visitor) -> None:
    page = visitor.page
    choose(page, "Touch / no touch")
    expect(page.locator("#buy-up")).to_contain_text("Touch")
    expect(page.locator("#buy-down")).to_contain_text("No touch")
    expect(page.locator("#buy-up")).to_be_enabled(timeout=LIVE)
    before = money(page.locator("#buy-up [data-part=profit]").inner_text())

    handle = page.get_by_role("slider", name="Barrier on the chart")
    handle.focus()
    level = page.get_by_label("Barrier", exact=True)
    distance = level.input_value()
    for _ in range(3):
        page.keyboard.press("ArrowUp")
        page.wait_for_timeout(100)  # a frame or two
    moved = level.input_value()
    assert Decimal(moved) > Decimal(distance) > 0
    expect(handle).to_contain_text(moved)
    expect(page.locator("#explain")).to_contain_text(f"(entry {moved})")

    grip = handle.locator(".grip").bounding_box()
    assert grip is not None
    x, y = grip["x"] + 20, grip["y"] + grip["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x, y - 30, steps=5)
    page.mouse.up()
    expect(level).not_to_have_value(moved)
    dragged = level.input_value()
    assert Decimal(dragged) > Decimal(moved)
    level.fill(moved)
    level.press("Enter")
    expect(handle).to_contain_text(moved)
    # Farther away it happens less often, so it pays more.
    expect(page.locator("#buy-up")).to_be_enabled(timeout=LIVE)
    after = money(page.locator("#buy-up [data-part=profit]").inner_text())
    assert after > before
    assert Order.objects.count() == 0  # the keys of the handle are its own

    page.locator("#price").click()
    with page.expect_request(lambda request: request.url.endswith("/api/v1/orders")) as sent:
        page.locator("#buy-up").click()
    expect(page.locator("#open-count")).to_have_text("1")
    asked = sent.value.post_data_json
    order = Order.objects.get()
    assert (order.contract, order.side, order.is_relative) == ("touch", "touch", True)
    assert order.barrier == Decimal(moved) == Decimal(asked["barrier"])
    rate = order.payout_rate
    assert rate >= Decimal(asked["min_payout_rate"]) >= rate * Decimal("0.9")
    assert order.entry_price is not None
    row = page.locator("#open-rows tr")
    expect(row).to_contain_text(f"Touch {order.entry_price + order.barrier:.2f}")
    expect(row).to_contain_text("behind")


def test_a_digit_is_bought_on_ticks_and_settled(visitor: Visitor) -> None:
    page = visitor.page
    choose(page, "Digit matches")
    page.get_by_role("button", name="Ticks", exact=True).click()
    page.locator("#duration-chips button").filter(has_text="10").click()
    page.get_by_role("radio", name="5", exact=True).focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("radio", name="7", exact=True)).to_have_attribute("aria-checked", "true")
    expect(page.locator("#explain")).to_contain_text("ends in the digit 7")
    expect(page.locator("#buy-down")).to_be_enabled(timeout=LIVE)
    # 0.95 / 0.9 - 1, rounded down, on a stake of 10.
    expect(page.locator("#buy-down")).to_contain_text("+$0.55")
    expect(page.locator("#buy-up")).to_contain_text("+$85.00")
    page.locator("#stake").blur()
    page.locator("#price").click()
    page.keyboard.press("ArrowDown")
    expect(page.locator("#open-count")).to_have_text("1")
    row = page.locator("#open-rows tr")
    expect(row).to_contain_text("Digit differs from 7")
    expect(row).to_contain_text("of 10")

    expect(page.locator(".toast")).to_be_visible(timeout=SETTLED)
    expect(page.locator("#open-count")).to_have_text("0")
    order = Order.objects.get()
    assert (order.contract, order.side, order.digit, order.duration_ticks) == (
        "digit_match",
        "differs",
        7,
        10,
    )
    page.locator("#tab-history").click()
    settled = page.locator("#history-rows tr").first
    expect(settled).to_contain_text("Digit differs from 7")
    if order.status != "refunded":
        assert order.exit_seq is not None
        assert order.entry_seq is not None
        assert order.exit_seq - order.entry_seq == 10
        ends_in_seven = f"{order.exit_price:.2f}".endswith("7")
        expect(settled).to_contain_text("Lost" if ends_in_seven else "Won")


@pytest.mark.long  # a platform of its own; its parts are tested without one
def test_a_refused_side_cannot_be_bought_and_says_why(visitor: Visitor) -> None:
    page = visitor.page
    choose(page, "Digit over / under")
    page.get_by_role("radio", name="9", exact=True).click()
    expect(page.locator("#buy-down")).to_be_enabled(timeout=LIVE)
    expect(page.locator("#buy-up")).to_be_disabled()
    expect(page.locator("#buy-up")).to_contain_text("Too certain or too unlikely to be offered")
    expect(page.locator("#verdict-text")).to_contain_text("Over: This almost never happens")
    page.keyboard.press("Escape")
    page.locator("#price").click()
    page.keyboard.press("ArrowUp")
    expect(page.locator("#open-count")).to_have_text("0")
    # Another digit has two sides again.
    page.get_by_role("radio", name="4", exact=True).click()
    expect(page.locator("#buy-up")).to_be_enabled(timeout=LIVE)
    expect(page.locator("#verdict")).to_be_hidden()
    assert Order.objects.count() == 0


@pytest.mark.long  # a platform of its own; its parts are tested without one
def test_a_changed_payout_is_refused_in_the_servers_words(visitor: Visitor) -> None:
    page = visitor.page
    choose(page, "Digit even / odd")
    expect(page.locator("#buy-up")).to_be_enabled(timeout=LIVE)

    def as_if_it_had_been_better(route: object) -> None:
        request = route.request  # type: ignore[attr-defined]
        if request.method != "POST":
            route.continue_()  # type: ignore[attr-defined]
            return
        route.continue_(post_data={**request.post_data_json, "min_payout_rate": "0.95"})  # type: ignore[attr-defined]

    page.route("**/api/v1/orders", as_if_it_had_been_better)
    page.locator("#buy-up").click()
    expect(page.locator("#verdict-text")).to_contain_text("The payout has changed")
    expect(page.locator("#verdict-text")).to_contain_text("the payout rate is now 0.9.")
    assert Order.objects.count() == 0


@pytest.mark.long  # a platform of its own; its parts are tested without one
def test_previews_are_asked_for_sparingly(visitor: Visitor) -> None:
    page = visitor.page
    choose(page, "Stays between")
    expect(page.locator("#buy-up")).to_be_enabled(timeout=LIVE)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "preview" in request.url else None)
    page.get_by_label("High barrier", exact=True).focus()
    for _ in range(20):
        page.keyboard.press("ArrowUp")
        page.wait_for_timeout(100)
    page.wait_for_timeout(3_000)
    assert 4 <= len(asked) <= 12
    high = Decimal(page.get_by_label("High barrier", exact=True).input_value())
    low = Decimal(page.get_by_label("Low barrier", exact=True).input_value().replace("\u2212", "-"))
    assert low < 0 < high


@pytest.mark.long  # a platform of its own; its parts are tested without one
def test_barriers_on_a_phone(chromium: Browser, live_platform: Roles) -> None:
    visitor = Visitor(
        chromium, live_platform.url, viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True
    )
    page = visitor.sign_up("newcomer@example.com")
    estimate_volatility()
    for contract in ("Ends between", "Touch / no touch"):
        choose(page, contract)
        expect(page.locator("#buy-up")).to_be_enabled(timeout=LIVE)
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        for name in ("#buy-up", "#buy-down", "#stake", "#contract"):
            box = page.locator(name).bounding_box()
            assert box is not None
            assert box["y"] + box["height"] <= 740
        chart = page.locator("#chart").bounding_box()
        assert chart is not None
        assert chart["height"] > 120
    page.locator("#buy-down").tap()
    expect(page.locator("#strip")).to_contain_text("1 open")
    page.locator("#strip").tap()
    expect(page.locator("#open-rows tr")).to_contain_text("No touch")
    assert visitor.complaints == []
