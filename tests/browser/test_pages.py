"""Pages as the server sends them: who sees what, and that a strict policy holds for each."""

import json
import re
from pathlib import Path

import pytest
from django.contrib.staticfiles import finders
from django.template.loader import render_to_string
from django.test import Client
from django.urls import reverse

from payments.ledger.models import Book
from tests.cast import register

ROOT = Path(__file__).resolve().parents[2]
MODULES = ROOT / "static" / "trading" / "terminal"
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def alice(client: Client, books: dict[str, Book]) -> Client:
    client.force_login(register("alice"), backend="kyc.authentication.PasswordBackend")
    return client


def test_strangers_get_the_landing_page_and_customers_the_terminal(client: Client, alice: Client) -> None:
    assert "most people lose money" in Client().get("/").content.decode()
    assert alice.get("/").headers["Location"] == reverse("trading:terminal")


def test_the_terminal_asks_strangers_to_sign_in(client: Client) -> None:
    answer = client.get(reverse("trading:terminal"))
    assert answer.status_code == 302
    assert answer.headers["Location"] == f"{reverse('kyc:sign-in')}?next={reverse('trading:terminal')}"


def test_the_import_map_carries_the_nonce_and_names_every_module(alice: Client) -> None:
    answer = alice.get(reverse("trading:terminal"))
    page, policy = answer.content.decode(), answer.headers["Content-Security-Policy"]
    found = re.search(r'<script type="importmap" nonce="([^"]+)">(.*?)</script>', page)
    assert found is not None
    assert f"'nonce-{found[1]}'" in policy
    assert "unsafe" not in policy
    imports = json.loads(found[2])["imports"]
    for module in MODULES.glob("*.mjs"):
        assert finders.find(imports[f"/static/trading/terminal/{module.name}"].removeprefix("/static/"))
    assert finders.find(imports["lightweight-charts"].removeprefix("/static/"))
    assert answer.headers["Cache-Control"].count("no-store") == 1


@pytest.mark.parametrize("name", ["400", "403", "403_csrf", "404", "500", "503"])
def test_error_pages_need_nothing_to_be_shown(name: str) -> None:
    assert "Tickhouse" in render_to_string(f"{name}.html")


def test_no_template_of_ours_needs_what_the_policy_forbids() -> None:
    for path in (ROOT / "templates").rglob("*.html"):
        if path.relative_to(ROOT / "templates").parts[0] in {"admin", "unfold", "console"}:
            continue
        text = path.read_text()
        assert not re.search(r"\sstyle=|<style|\son\w+=|javascript:", text), path
        for attributes in re.findall(r"<script([^>]*)>", text):
            assert "src=" in attributes or "nonce=" in attributes, path
        for address in re.findall(r'(?:src|href)="(https?://[^"]+)"', text):
            assert address.startswith("https://www.tradingview.com/"), path
