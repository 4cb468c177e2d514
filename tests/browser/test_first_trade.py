"""The first trade by clicking, on the whole platform."""

from collections.abc import Iterator
from decimal import Decimal
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from payments.ledger.models import Account, Transfer
from tests.platform import Roles
from trading.models import Order

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

LIVE = 20_000
SETTLED = 40_000


class Visitor:
    """A page, and everything it should never have done."""

    def __init__(self, browser: Browser, url: str, **context: object) -> None:
        self.url = url
        self.complaints: list[str] = []
        self.page: Page = browser.new_context(base_url=url, **context).new_page()  # type: ignore[arg-type]
        self.page.on("request", lambda request: self.watch(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda message: self.hear(message.type, message.text))

    def watch(self, address: str) -> None:
        if urlsplit(address).hostname not in {urlsplit(self.url).hostname, None}:
            self.complaints.append(f"a request left the host: {address}")

    def hear(self, kind: str, text: str) -> None:
        if kind == "error" and "WebSocket" not in text and "Failed to load resource" not in text:
            self.complaints.append(text)

    def sign_up(self, email: str) -> Page:
        self.page.goto("/")
        self.page.get_by_role("link", name="Open a demo account").click()
        self.page.get_by_label("E-mail").fill(email)
        self.page.get_by_label("Password").fill("a long and quiet river")
        self.page.get_by_label("Country of residence").select_option("AE")
        self.page.get_by_label("Date of birth").fill("1990-01-31")
        self.page.get_by_role("checkbox").check()
        self.page.get_by_role("button", name="Create account").click()
        expect(self.page.locator("#link")).to_have_attribute("data-state", "live", timeout=LIVE)
        expect(self.page.locator("#buy-up")).to_be_enabled(timeout=LIVE)
        return self.page


@pytest.fixture
def visitor(chromium: Browser, live_platform: Roles) -> Iterator[Visitor]:
    visitor = Visitor(chromium, live_platform.url, viewport={"width": 1440, "height": 900})
    yield visitor
    assert visitor.complaints == []


def choose_shortest(page: Page, stake: str) -> None:
    page.locator("#duration-chips button").first.click()
    page.locator("#stake").fill(stake)
    page.locator("#stake").blur()


def balance() -> Decimal:
    return Account.objects.get(owner__email="newcomer@example.com", book__kind="demo").balance or Decimal(0)


def test_a_stranger_signs_up_buys_and_sees_it_settled(visitor: Visitor) -> None:
    page = visitor.sign_up("newcomer@example.com")
    before = balance()
    choose_shortest(page, "10")
    promised = page.locator("#buy-up [data-part=profit]").inner_text()
    page.locator("#buy-up").click()
    expect(page.locator("#open-count")).to_have_text("1")
    expect(page.locator("#purse-balance")).to_have_text(f"${before - 10:,.2f}")
    assert page.locator("#open-rows tr").count() == 1

    expect(page.locator(".toast")).to_be_visible(timeout=SETTLED)
    expect(page.locator("#open-count")).to_have_text("0")
    order = Order.objects.get(customer__email="newcomer@example.com")
    page.locator("#tab-history").click()
    row = page.locator("#history-rows tr").first
    expect(row).to_contain_text({"won": "Won", "lost": "Lost", "refunded": "Stake back"}[order.status])
    if order.status == "won":
        expect(row).to_contain_text(promised)
    expect(page.locator("#purse-balance")).to_have_text(f"${balance():,.2f}")
    assert balance() == before - 10 + (order.payout or 0)


def test_a_held_or_hurried_finger_buys_once(visitor: Visitor) -> None:
    page = visitor.sign_up("newcomer@example.com")
    page.locator("#stake").fill("25")
    page.locator("#stake").blur()
    page.locator("#duration-chips button").last.click()
    page.evaluate("() => { const b = document.getElementById('buy-down'); b.click(); b.click(); b.click(); }")
    expect(page.locator("#open-count")).to_have_text("1")
    page.keyboard.press("ArrowUp")
    expect(page.locator("#open-count")).to_have_text("2")
    assert list(Order.objects.order_by("id").values_list("side", flat=True)) == ["down", "up"]
    assert Transfer.objects.filter(code="stake").count() == 2


def test_a_lost_answer_is_asked_for_again_with_the_same_id(visitor: Visitor) -> None:
    page = visitor.sign_up("newcomer@example.com")
    sent: list[str] = []

    def lose_the_first_answer(route: object) -> None:
        request = route.request  # type: ignore[attr-defined]
        if request.method != "POST":
            route.continue_()  # type: ignore[attr-defined]
            return
        sent.append(request.post_data_json["client_id"])
        answer = route.fetch()  # type: ignore[attr-defined]
        if len(sent) == 1:
            route.abort()  # type: ignore[attr-defined]
        else:
            route.fulfill(response=answer)  # type: ignore[attr-defined]

    page.route("**/api/v1/orders", lose_the_first_answer)
    page.locator("#duration-chips button").last.click()
    page.locator("#buy-up").click()
    expect(page.locator("#open-count")).to_have_text("1")
    expect(page.locator("#buy-up")).to_be_enabled(timeout=LIVE)
    assert len(sent) == 2
    assert sent[0] == sent[1]
    assert Order.objects.count() == 1


def test_the_page_heals_when_the_gateway_returns(visitor: Visitor, live_platform: Roles) -> None:
    page = visitor.sign_up("newcomer@example.com")
    live_platform.kill9("gateway")
    expect(page.locator("#link")).to_have_attribute("data-state", "lost", timeout=LIVE)
    # REST alone carries the page: prices go on, an order is bought, settled and shown without a socket.
    expect(page.locator("#price")).not_to_have_text(page.locator("#price").inner_text(), timeout=LIVE)
    choose_shortest(page, "10")
    page.locator("#buy-up").click()
    expect(page.locator("#open-count")).to_have_text("1")
    expect(page.locator(".toast")).to_be_visible(timeout=SETTLED)
    live_platform.start("gateway")
    expect(page.locator("#link")).to_have_attribute("data-state", "live", timeout=LIVE)
    expect(page.locator("#purse-balance")).to_have_text(f"${balance():,.2f}")


def test_a_phone_in_one_hand(chromium: Browser, live_platform: Roles) -> None:
    visitor = Visitor(
        chromium, live_platform.url, viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True
    )
    page = visitor.sign_up("newcomer@example.com")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    for name in ("#buy-up", "#buy-down", "#stake"):
        box = page.locator(name).bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= 740
    page.locator("#buy-down").tap()
    expect(page.locator("#strip")).to_contain_text("1 open")
    page.locator("#strip").tap()
    expect(page.locator("#open-rows tr")).to_be_visible()
    assert visitor.complaints == []
