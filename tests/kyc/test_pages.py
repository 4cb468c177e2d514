import re
from datetime import timedelta

import pytest
from django.contrib.auth import get_user
from django.contrib.sessions.models import Session
from django.core import mail

from config.core import clock
from config.core.models import AuditEntry, Fact
from kyc import services, tasks
from kyc.forms import NewPasswordForm
from kyc.models import Invitation, RefreshFamily, User
from tests.cast import PASSWORD, browser_for, client_for, code_of, enrolled, later

pytestmark = pytest.mark.django_db
SIGN_UP = {
    "email": "New@example.com",
    "password": PASSWORD,
    "country": "AE",
    "born_on": "1990-01-31",
    "accepts_terms": "on",
}


@pytest.fixture
def eager(monkeypatch):
    """Run the mail task at once: what the worker does, without a worker."""
    monkeypatch.setattr(tasks.send_password_reset, "delay", tasks.send_password_reset)


def whoever(client):
    return client.session.get("_auth_user_id")


def test_sign_up_leads_to_the_terminal(sandbox, books, client):
    answer = client.post("/sign-up/", SIGN_UP)
    assert (answer.status_code, answer["Location"]) == (302, "/trade/")
    assert whoever(client) == str(User.objects.get(email="new@example.com").pk)


def test_sign_up_says_what_is_wrong_where(sandbox, books, client, bob):
    answer = client.post("/sign-up/", {**SIGN_UP, "email": "BOB@example.com"})
    assert "has an account already" in answer.content.decode()
    answer = client.post("/sign-up/", {**SIGN_UP, "password": "password12"})
    assert answer.context["form"].errors["password"] == ["This password is too common."]
    answer = client.post("/sign-up/", {**SIGN_UP, "country": "KP"})
    assert "Sanctions forbid us" in answer.content.decode()
    assert whoever(client) is None
    assert User.objects.count() == 1


@pytest.mark.parametrize(
    ("onward", "leads"),
    [("/api/docs", "/api/docs"), ("https://evil.example/", "/trade/"), ("//evil.example", "/trade/")],
)
def test_sign_in_goes_on_only_to_our_own_pages(bob, client, onward, leads):
    page = client.get(f"/sign-in/?next={onward}")
    assert page.status_code == 200
    answer = client.post("/sign-in/", {"email": "BOB@example.com", "password": PASSWORD, "next": onward})
    assert (answer.status_code, answer["Location"]) == (302, leads)


def test_the_second_factor_is_a_second_page(bob, client):
    device = enrolled(bob)
    first = client.post("/sign-in/", {"email": "bob@example.com", "password": PASSWORD})
    assert first["Location"].startswith("/sign-in/code/")
    assert whoever(client) is None
    assert client.get("/trade/").status_code == 302
    assert "wrong or was used" in client.post("/sign-in/code/", {"code": "000000"}).content.decode()
    device.refresh_from_db()
    device.throttle_reset()
    answer = client.post("/sign-in/code/", {"code": code_of(device)})
    assert (answer.status_code, answer["Location"]) == (302, "/trade/")
    assert whoever(client) == str(bob.pk)


def test_the_code_page_is_for_those_who_gave_the_password(client):
    assert client.get("/sign-in/code/")["Location"] == "/sign-in/"
    assert client.post("/sign-in/code/", {"code": "123456"})["Location"] == "/sign-in/"


def test_sign_out_takes_a_post_and_closes_the_sockets_of_this_session(bob):
    browser = browser_for(bob)
    assert browser.get("/sign-out/").status_code == 405
    assert whoever(browser) == str(bob.pk)
    assert browser.post("/sign-out/").status_code == 302
    assert whoever(browser) is None
    assert Fact.objects.get(name="customer.signed_out").payload["sign_in"].startswith("session:")


def test_forged_forms_are_refused(bob):
    browser = browser_for(bob)
    browser.handler.enforce_csrf_checks = True
    assert browser.post("/sign-out/").status_code == 403
    answer = browser.patch("/api/v1/me", {"language": "en"}, content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert whoever(browser) == str(bob.pk)


def test_a_session_may_use_the_api_and_its_absence_is_401(bob, client):
    assert browser_for(bob).get("/api/v1/me").json()["email"] == "bob@example.com"
    answer = client.get("/api/v1/me")
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert answer["WWW-Authenticate"].startswith("Bearer")


def test_a_new_password_by_mail_ends_everything_else(bob, client, eager):
    elsewhere, pair = browser_for(bob), services.issue_tokens(user=bob)
    assert (
        client.post("/password-reset/", {"email": "BOB@example.com"})["Location"] == "/password-reset/sent/"
    )
    link = re.search(r"http://\S+", mail.outbox[0].body).group()
    path = link.removeprefix("http://127.0.0.1:").partition("/")[2]
    form = client.get(f"/{path}", follow=True)
    assert form.context["validlink"] is True
    target = form.redirect_chain[-1][0]
    weak = client.post(target, {"new_password1": "1234567890", "new_password2": "1234567890"})
    assert "new_password2" in weak.context["form"].errors
    new = "a-much-better-secret"
    saved = client.post(target, {"new_password1": new, "new_password2": new})
    assert saved["Location"] == "/password-reset/saved/"
    bob.refresh_from_db()
    assert bob.check_password(new)
    assert not get_user(elsewhere).is_authenticated
    assert RefreshFamily.objects.get(user=bob).revoked_because == "password reset"
    mobile = client_for()
    mobile.credentials(HTTP_AUTHORIZATION=f"Bearer {pair.access}")
    assert mobile.get("/api/v1/me").status_code == 401
    assert client.get(f"/{path}", follow=True).context["validlink"] is False, "a link works once"
    assert AuditEntry.objects.filter(action="password.reset").count() == 1


def test_nobody_learns_from_the_reset_who_has_an_account(client, eager):
    answer = client.post("/password-reset/", {"email": "nobody@example.com"})
    assert answer["Location"] == "/password-reset/sent/"
    assert mail.outbox == []


def test_a_customer_changes_his_language_and_zone_and_nothing_else(bob):
    client = client_for(bob)
    answer = client.patch(
        "/api/v1/me", {"time_zone": "Europe/Madrid", "country": "DE", "is_staff": True}, format="json"
    )
    assert answer.json()["time_zone"] == "Europe/Madrid"
    bob.refresh_from_db()
    assert (bob.time_zone, bob.country, bob.is_staff) == ("Europe/Madrid", "AE", False)
    wrong = client.patch("/api/v1/me", {"time_zone": "Moon"}, format="json")
    assert list(wrong.json()["errors"]) == ["time_zone"]


def test_the_clock_is_for_everybody(client, db):
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", client.get("/api/v1/time").json()["now"])


def test_a_megabyte_is_no_new_password(bob):
    long = "correct horse " * 100
    form = NewPasswordForm(bob, {"new_password1": long, "new_password2": long})
    assert not form.is_valid()
    assert "at most 1024 characters" in str(form.errors["new_password1"])


def test_what_has_ended_is_forgotten(bob):
    living, ended = browser_for(bob), browser_for(bob)
    Session.objects.filter(pk=ended.session.session_key).update(
        expire_date=clock.now() - timedelta(seconds=1)
    )
    services.invite_operator(email="new@example.com")
    services.invite_operator(email="new@example.com")
    tasks.trim_sessions()
    assert [session.pk for session in Session.objects.all()] == [living.session.session_key]
    assert Invitation.objects.get().used_at is None
    with later(timedelta(days=4)):
        tasks.trim_sessions()
    assert not Invitation.objects.exists()


def test_nobody_is_registered_without_an_account(sandbox, client):
    answer = client.post("/sign-up/", SIGN_UP)
    assert "No account can be opened right now" in answer.content.decode()
    assert not User.objects.exists()
    assert whoever(client) is None
