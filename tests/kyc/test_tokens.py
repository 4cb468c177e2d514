from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import uuid4

import jwt
import pytest
from django.conf import settings
from django.core import mail
from django.db import connection

from config.core import clock, outbox
from config.core.models import AuditEntry, Fact
from kyc import services, tasks
from kyc.errors import TokenInvalid, TokenReused
from kyc.models import RefreshFamily, RefreshToken, User
from kyc.tokens import Claims, decode, encode
from tests.cast import PASSWORD, client_for, later

pytestmark = pytest.mark.django_db


def refresh(token):
    return client_for().post("/api/v1/auth/token/refresh", {"refresh": token}, format="json")


def test_sign_in_gives_a_pair_that_works(bob):
    answer = client_for().post(
        "/api/v1/auth/token", {"email": "BOB@example.com", "password": PASSWORD}, format="json"
    )
    assert answer.status_code == 200
    pair = answer.json()
    assert decode(pair["access"], "access").user_id == bob.pk
    client = client_for()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {pair['access']}")
    assert client.get("/api/v1/me").json()["email"] == "bob@example.com"
    family = RefreshFamily.objects.get(user=bob)
    assert str(family.ip) == "127.0.0.1"
    lifetime = jwt.decode(pair["access"], options={"verify_signature": False})
    assert lifetime["exp"] - lifetime["iat"] == 15 * 60


def test_a_refresh_token_gives_the_next_pair_once(bob):
    first = services.issue_tokens(user=bob)
    second = refresh(first.refresh)
    assert second.status_code == 200
    again = refresh(first.refresh)
    assert (again.status_code, again.json()["code"]) == (401, "token_reused")
    third = refresh(second.json()["refresh"])
    assert third.status_code == 200, "a repeat within the grace does not end the sign-in"


def test_after_the_grace_a_repeat_ends_the_family_and_warns(bob, mailoutbox):
    first = services.issue_tokens(user=bob)
    second = services.refresh_tokens(refresh=first.refresh)
    with later(timedelta(seconds=11)), pytest.raises(TokenReused):
        services.refresh_tokens(refresh=first.refresh)
    with pytest.raises(TokenInvalid):
        services.refresh_tokens(refresh=second.refresh)
    assert RefreshFamily.objects.get().revoked_because == "token reused"
    assert AuditEntry.objects.filter(action="session.revoked", object_id=str(bob.pk)).count() == 1
    client = client_for()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {second.access}")
    assert client.get("/api/v1/me").status_code == 401, "the thief's access token dies too"
    fact = Fact.objects.get(name="customer.signed_out")
    assert fact.payload["sign_in"] == f"family:{RefreshFamily.objects.get().pk.hex}"
    tasks.send_session_revoked(bob.pk)
    assert mail.outbox[0].to == ["bob@example.com"]
    assert "signed one of your devices out" in mail.outbox[0].subject


def test_the_warning_follows_from_the_fact(bob, monkeypatch):
    sent = []
    monkeypatch.setattr(tasks.send_session_revoked, "apply_async", lambda **given: sent.append(given))
    family = RefreshFamily.objects.create(id=uuid4(), user=bob, created_at=clock.now())
    services.revoke_family(family=family.pk, reason="token reused")
    services.sign_out_everywhere(user=bob, reason="password reset")
    for fact in Fact.objects.filter(name="customer.signed_out").order_by("id"):
        for react in outbox.handlers(fact.name):
            react(fact)
    assert [given["args"] for given in sent] == [[bob.pk]]


@pytest.mark.django_db(transaction=True)
def test_of_eight_parallel_refreshes_exactly_one_succeeds(bob):
    pair = services.issue_tokens(user=bob)

    def attempt(_):
        try:
            return services.refresh_tokens(refresh=pair.refresh)
        except TokenReused:
            return None
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        won = [got for got in pool.map(attempt, range(8)) if got]
    assert len(won) == 1
    assert RefreshToken.objects.count() == 2
    assert RefreshFamily.objects.get().revoked_at is None


def forged(bob, **changes):
    family = RefreshFamily.objects.create(id=uuid4(), user=bob, created_at=clock.now())
    now = clock.now()
    ends = changes.pop("expires_at", now + timedelta(minutes=5))
    claims = Claims(bob.pk, family.pk, uuid4(), changes.pop("kind", "access"))
    raw = encode(claims, issued_at=now, expires_at=ends)
    if not changes:
        return raw
    payload = jwt.decode(raw, options={"verify_signature": False})
    return jwt.encode(payload, changes.get("key", settings.SECRET_KEY), algorithm=changes["algorithm"])


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "refresh"},
        {"expires_at": clock.now() - timedelta(seconds=1)},
        {"algorithm": "HS256", "key": "another key that is long enough to be one"},
        {"algorithm": "HS512"},
        {"algorithm": "none", "key": None},
    ],
)
def test_a_forged_expired_or_wrong_token_is_nobody(bob, changes):
    client = client_for()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {forged(bob, **changes)}")
    answer = client.get("/api/v1/me")
    assert (answer.status_code, answer.json()["code"]) == (401, "token_invalid")


@pytest.mark.parametrize("raw", ["", "x", "a.b.c", "eyJhbGciOiJIUzI1NiJ9.e30.AAAA", "é" * 9])
def test_rubbish_is_refused_in_words(bob, raw):
    client = client_for()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {raw}")
    assert client.get("/api/v1/me").status_code == 401
    assert refresh(raw or "-").status_code == 401


def test_a_token_of_one_family_does_not_open_another_person(bob, mallory):
    pair = services.issue_tokens(user=bob)
    stolen = Claims(mallory.pk, decode(pair.access, "access").family, uuid4(), "access")
    client = client_for()
    raw = encode(stolen, issued_at=clock.now(), expires_at=clock.now() + timedelta(minutes=5))
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {raw}")
    assert client.get("/api/v1/me").status_code == 401


@pytest.mark.parametrize("by", ["access", "refresh"])
def test_logout_ends_the_sign_in_and_only_it(bob, by):
    mine, other = services.issue_tokens(user=bob), services.issue_tokens(user=bob)
    client = client_for()
    if by == "access":
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {mine.access}")
    body = {"refresh": mine.refresh} if by == "refresh" else {}
    assert client.post("/api/v1/auth/logout", body, format="json").status_code == 204
    assert refresh(mine.refresh).status_code == 401
    assert refresh(other.refresh).status_code == 200
    assert Fact.objects.filter(name="customer.signed_out").count() == 1


def test_an_inactive_person_is_nobody_at_the_next_request(bob):
    client = client_for(bob)
    pair = services.issue_tokens(user=bob)
    assert client.get("/api/v1/me").status_code == 200
    User.objects.filter(pk=bob.pk).update(is_active=False)
    assert client.get("/api/v1/me").status_code == 401
    assert refresh(pair.refresh).status_code == 403


def test_a_bearer_costs_one_query(bob, django_assert_num_queries):
    client = client_for(bob)
    client.get("/api/v1/auth/otp/status")
    with django_assert_num_queries(3):  # who asks, whether he has an app, how many codes are left
        client.get("/api/v1/auth/otp/status")


def test_old_tokens_are_forgotten_with_their_families(bob):
    services.issue_tokens(user=bob)
    with later(-timedelta(days=38)):
        services.issue_tokens(user=bob)
    tasks.trim_refresh_tokens()
    assert RefreshToken.objects.count() == 1
    assert RefreshFamily.objects.count() == 1
