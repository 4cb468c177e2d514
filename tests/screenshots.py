"""Take the pictures of the documentation: the whole platform, seeded, looked at through Chromium.

make screenshots      writes docs/img/*.png
"""

import os
import sys
import tempfile
from pathlib import Path

import django
from django.core import management
from playwright.sync_api import Browser, Page, sync_playwright

from tests import harness
from tests.browser.conftest import ARGUMENTS, chromium_path
from tests.platform import Roles

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "img"
DESKTOP = {"viewport": {"width": 1440, "height": 900}}
PHONE = {
    "viewport": {"width": 360, "height": 740},
    "is_mobile": True,
    "has_touch": True,
    "device_scale_factor": 2,
}
# So that the chart has something to show.
HISTORY_MS = 240_000


def main() -> int:
    """Return 0 when all pictures were taken, 1 without a browser."""
    path = chromium_path()
    if path is None:
        sys.stderr.write("Chromium was not found; no picture was taken.\n")
        return 1
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    django.setup()
    IMAGES.mkdir(parents=True, exist_ok=True)
    harness.create_database()
    management.call_command("seed_platform")
    with tempfile.TemporaryDirectory() as folder:
        roles = Roles(Path(folder))
        try:
            roles.start(*roles.commands)
            with sync_playwright() as playwright:
                take(playwright.chromium.launch(executable_path=path, args=ARGUMENTS), roles.url)
        finally:
            roles.stop_all()
            harness.drop_database()
            harness.leave()
    return 0


def take(browser: Browser, url: str) -> None:
    """Take every picture, dark and light, wide and narrow."""
    state = None
    for name, scheme, options in (
        ("terminal-dark", "dark", DESKTOP),
        ("terminal-light", "light", DESKTOP),
        ("phone-dark", "dark", PHONE),
        ("phone-light", "light", PHONE),
    ):
        context = browser.new_context(base_url=url, color_scheme=scheme, storage_state=state, **options)  # type: ignore[arg-type]
        page = context.new_page()
        if state is None:
            page.goto("/")
            page.screenshot(path=IMAGES / "landing.png")
            sign_up(page)
            page.wait_for_timeout(HISTORY_MS)
            state = context.storage_state()
        page.goto("/trade/")
        trade(page)
        page.screenshot(path=IMAGES / f"{name}.png")
        wait_for_quiet(page)
        context.close()


def sign_up(page: Page) -> None:
    """Become a customer."""
    page.goto("/sign-up/")
    page.get_by_label("E-mail").fill("visitor@example.com")
    page.get_by_label("Password").fill("a long and quiet river")
    page.get_by_label("Country of residence").select_option("AE")
    page.get_by_label("Date of birth").fill("1990-01-31")
    page.get_by_role("checkbox").check()
    page.get_by_role("button", name="Create account").click()


def trade(page: Page) -> None:
    """Buy up and down, and let the market move a little."""
    page.wait_for_selector("#buy-up:enabled")
    page.locator("#duration-chips button").nth(2).click()
    page.locator("#buy-up").click()
    page.wait_for_selector("#buy-down:enabled")
    page.locator("#buy-down").click()
    page.mouse.move(0, 0)
    page.wait_for_timeout(6_000)


def wait_for_quiet(page: Page) -> None:
    """Let what is open be settled, so that each picture shows its own orders."""
    page.locator("#open-count:not([data-some])").wait_for(state="attached", timeout=90_000)


if __name__ == "__main__":
    sys.exit(main())
