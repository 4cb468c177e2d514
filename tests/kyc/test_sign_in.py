from datetime import timedelta

import pytest
import redis
from axes.models import AccessAttempt

from config.core import clock
from kyc import services
from kyc.models import RefreshFamily
from tests.cast import PASSWORD, client_for, code_of, enrolled
from tests.harness import QuickArgon2

pytestmark = pytest.mark.django_db


def sign_in(email="bob@example.com", password=PASSWORD, address="127.0.0.1", **more):
    return client_for(REMOTE_ADDR=address).post(
        "/api/v1/auth/token", {"email": email, "password": password, **more}, format="json"
    )


def codes_of(answers):
    return [answer.json().get("code", answer.status_code) for answer in answers]


def test_a_wrong_password_and_an_unknown_address_look_alike(bob):
    wrong, unknown = sign_in(password="wrong"), sign_in(email="nobody@example.com")
    assert wrong.status_code == unknown.status_code == 401
    assert wrong.json() == unknown.json()
    assert wrong.json()["code"] == "wrong_credentials"


def test_five_failures_lock_this_name_at_this_address_alone(bob, mallory):
    assert codes_of(sign_in(password="wrong") for _ in range(4)) == ["wrong_credentials"] * 4
    fifth = sign_in(password="wrong", email="BOB@example.com ")
    assert (fifth.status_code, fifth.json()["code"]) == (429, "too_many_attempts")
    assert 290 <= int(fifth["Retry-After"]) <= 300
    right = sign_in()
    assert right.status_code == 429, "not even the right password opens a locked door"
    assert sign_in(address="10.1.1.1").status_code == 200, "nobody is locked out by a stranger"
    assert sign_in(email="mallory@example.com").status_code == 200
    assert RefreshFamily.objects.filter(user=bob).count() == 1


def forget_for(minutes):
    AccessAttempt.objects.update(attempt_time=clock.now() - timedelta(minutes=minutes))


def test_trying_on_does_not_lengthen_a_lock_and_the_next_lock_is_longer(bob):
    for _ in range(5):
        sign_in(password="wrong")
    forget_for(4)
    assert int(sign_in()["Retry-After"]) <= 61
    forget_for(6)
    assert codes_of(sign_in(password="wrong") for _ in range(5))[-1] == "too_many_attempts"
    forget_for(6)
    assert sign_in().status_code == 429, "the second lock lasts ten minutes"
    forget_for(11)
    assert sign_in().status_code == 200


def test_somebody_else_s_failure_does_not_open_a_door_locked_for_longer(bob, mallory):
    for _ in range(5):
        sign_in(password="wrong")
    forget_for(6)
    for _ in range(5):
        sign_in(password="wrong")
    forget_for(6)
    assert sign_in(email="mallory@example.com", password="wrong").status_code == 401
    assert sign_in(email="mallory@example.com").status_code == 200
    assert sign_in().status_code == 429
    forget_for(24 * 60 + 1)
    sign_in(email="mallory@example.com", password="wrong")
    assert AccessAttempt.objects.count() == 1, "what is over for everybody is not kept"


def test_success_forgets_failures(bob):
    for _ in range(4):
        sign_in(password="wrong")
    assert sign_in().status_code == 200
    assert codes_of(sign_in(password="wrong") for _ in range(4)) == ["wrong_credentials"] * 4


def test_page_and_api_count_together(bob, client):
    for _ in range(3):
        client.post("/sign-in/", {"email": "bob@example.com", "password": "wrong"})
    sign_in(password="wrong")
    assert sign_in(password="wrong").status_code == 429
    page = client.post("/sign-in/", {"email": "Bob@example.com", "password": PASSWORD})
    assert page.status_code == 429
    assert "Too many attempts" in page.content.decode()
    assert "_auth_user_id" not in client.session


def test_the_second_factor_is_asked_for_and_its_code_works_once(bob):
    device = enrolled(bob)
    first = sign_in()
    assert (first.status_code, first.json()["code"]) == (401, "otp_required")
    code = code_of(device)
    assert sign_in(otp=code).status_code == 200
    assert codes_of([sign_in(otp=code)]) == ["wrong_otp"]
    assert RefreshFamily.objects.count() == 1


def test_codes_cannot_be_guessed_in_a_row(bob):
    device = enrolled(bob)
    assert sign_in(otp="000000").json()["code"] == "wrong_otp"
    second = sign_in(otp="000001")
    assert (second.status_code, second.json()["code"]) == (429, "too_many_attempts")
    assert int(second["Retry-After"]) == 1
    assert sign_in(otp=code_of(device)).status_code == 429, "the right one must wait as well"
    device.refresh_from_db()
    assert device.throttling_failure_count == 1


def test_a_restricted_person_learns_it_only_with_his_password(bob, olga):
    services.restrict(customer=bob, scope="sign_in", reason="fraud check", actor=olga)
    assert sign_in(password="wrong").json()["code"] == "wrong_credentials"
    answer = sign_in()
    assert (answer.status_code, answer.json()["code"]) == (403, "sign_in_restricted")
    assert "fraud" not in answer.content.decode()


def test_sign_in_is_limited_by_address_whoever_is_tried(bob):
    answers = [sign_in(email=f"n{n}@example.com", password="wrong").status_code for n in range(25)]
    assert answers[:20] == [401] * 20
    assert 429 in answers[20:]


def test_an_unknown_address_costs_a_hash_as_well(bob, monkeypatch):
    hashed = []
    encode = QuickArgon2.encode
    monkeypatch.setattr(QuickArgon2, "encode", lambda *a, **k: hashed.append("new") or encode(*a, **k))
    verify = QuickArgon2.verify
    monkeypatch.setattr(QuickArgon2, "verify", lambda *a, **k: hashed.append("known") or verify(*a, **k))
    sign_in(email="nobody@example.com")
    sign_in(password="wrong")
    assert hashed == ["new", "known"]


def test_an_ipv6_household_counts_as_one(bob, client):
    for n in range(5):
        sign_in(password="wrong", address=f"2001:db8:1:2::{n:x}")
    assert AccessAttempt.objects.get().ip_address == "2001:db8:1:2::"
    locked = sign_in(address="2001:db8:1:2:ffff::1")
    assert (locked.status_code, locked.json()["code"]) == (429, "too_many_attempts")
    assert 290 <= int(locked["Retry-After"]) <= 300
    assert sign_in(address="2001:db8:1:3::1").status_code == 200
    pages = [
        client.post("/password-reset/", {"email": "x@example.com"}, REMOTE_ADDR=f"2001:db8:9::{n:x}")
        for n in range(6)
    ]
    assert [page.status_code for page in pages] == [302] * 5 + [429]


def test_without_redis_every_door_says_so_in_words(bob, olga, client, monkeypatch):
    def away(*_args, **_more):
        raise redis.ConnectionError

    monkeypatch.setattr("kyc.authentication.cache.get", away)
    page = client.post("/sign-in/", {"email": "bob@example.com", "password": PASSWORD})
    assert (page.status_code, page["Retry-After"]) == (503, "2")
    assert "Nobody can sign in right now" in page.content.decode()
    typed = {"username": "olga@example.com", "password": PASSWORD, "code": "000000"}
    assert "Nobody can sign in right now" in client.post("/admin/login/", typed).content.decode()
    assert (sign_in().status_code, sign_in().json()["code"]) == (503, "unavailable")
    assert "_auth_user_id" not in client.session
