"""What others wrote runs under the policy we gave it."""

from urllib.parse import urlsplit

import pytest
from django.core.management import call_command

from tests.cast import browser_for


@pytest.mark.parametrize("path", ["/admin/", "/admin/kyc/user/", "/admin/kyc/jurisdiction/add/", "/api/docs"])
def test_no_page_of_the_console_breaks_its_content_policy(
    chromium, transactional_db, tmp_path, settings, live_server, olga, path
):
    settings.DATA_DIR = tmp_path
    call_command("seed_platform")
    cookie = browser_for(olga, verified=True).cookies[settings.SESSION_COOKIE_NAME].value
    context = chromium.new_context()
    context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": cookie, "url": live_server.url}])
    page, said = context.new_page(), []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    answer = page.goto(live_server.url + path, wait_until="networkidle")
    assert answer is not None
    assert (answer.status, urlsplit(page.url).path) == (200, path)
    assert not [words for words in said if "Content Security Policy" in words or "Error" in words]
