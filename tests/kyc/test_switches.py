"""Kill switches: what is offered to everybody can be offered no more, and again."""

import pytest
from django.urls import reverse

from config.core.models import AuditEntry
from kyc.errors import SignUpsClosed
from kyc.models import Switch, User
from kyc.services import turn_switch
from tests.cast import browser_for, client_for, register

pytestmark = pytest.mark.django_db
REGISTRATION = {
    "email": "carol@example.com",
    "password": "correct-horse-battery",
    "country": "AE",
    "born_on": "1990-01-31",
    "accepts_terms": True,
}


def test_sign_ups_close_and_open_again(bob, olga):
    assert turn_switch(code="sign_ups", is_on=False, actor=olga, reason="an attack") is True
    assert turn_switch(code="sign_ups", is_on=False, actor=olga, reason="again") is False
    with pytest.raises(SignUpsClosed):
        register("carol")
    answer = client_for().post("/api/v1/auth/register", REGISTRATION, format="json")
    assert (answer.status_code, answer.json()["code"]) == (422, "sign_ups_closed")
    assert not User.objects.filter(email="carol@example.com").exists()
    assert client_for(bob).get("/api/v1/me").status_code == 200
    assert turn_switch(code="sign_ups", is_on=True, actor=olga, reason="it is over") is True
    assert client_for().post("/api/v1/auth/register", REGISTRATION, format="json").status_code == 201
    assert [
        (each.before, each.after, each.reason)
        for each in AuditEntry.objects.filter(action="switch.turned").order_by("id")
    ] == [
        ({"is_on": True}, {"is_on": False}, "an attack"),
        ({"is_on": False}, {"is_on": True}, "it is over"),
    ]


def test_the_page_says_so_too(olga, client, sandbox, books):
    turn_switch(code="sign_ups", is_on=False, actor=olga, reason="an attack")
    page = client.post(reverse("kyc:sign-up"), {**REGISTRATION, "accepts_terms": "on"})
    assert "New accounts are not opened at the moment" in page.content.decode()


def test_the_console_turns_it_with_a_reason(olga):
    console = browser_for(olga, verified=True)
    page = reverse("admin:kyc_switch_changelist")
    asked = {"action": "turn_off", "_selected_action": "sign_ups"}
    assert "nobody is offered this" in console.post(page, asked).content.decode()
    console.post(page, {**asked, "_reasoned": "1", "reason": "an attack"})
    switch = Switch.objects.get()
    assert (switch.is_on, switch.changed_by, switch.reason) == (False, olga, "an attack")
