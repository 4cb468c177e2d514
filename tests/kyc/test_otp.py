from urllib.parse import parse_qs, urlsplit

import pytest
from django_otp.plugins.otp_totp.models import TOTPDevice

from kyc import services
from kyc.errors import OtpUnknown, TooManyAttempts, WrongOtp
from kyc.models import RecoveryCode
from tests.cast import PASSWORD, client_for, code_of, enrolled

pytestmark = pytest.mark.django_db


def enrol(client, user):
    answer = client.post("/api/v1/auth/otp/enrol", {"password": PASSWORD}, format="json")
    assert answer.status_code == 200
    device = TOTPDevice.objects.get(user=user, confirmed=False)
    code = code_of(device)
    return client.post("/api/v1/auth/otp/confirm", {"code": code}, format="json"), answer.json()["uri"]


def test_an_app_counts_once_a_code_of_it_was_seen(bob):
    client = client_for(bob)
    assert client.get("/api/v1/auth/otp/status").json() == {"enabled": False, "recovery_codes_left": 0}
    client.post("/api/v1/auth/otp/enrol", {"password": PASSWORD}, format="json")
    assert client.get("/api/v1/auth/otp/status").json()["enabled"] is False
    confirmed, uri = enrol(client, bob)
    assert confirmed.status_code == 200
    assert len(set(confirmed.json()["recovery_codes"])) == 10
    assert client.get("/api/v1/auth/otp/status").json() == {"enabled": True, "recovery_codes_left": 10}
    assert parse_qs(urlsplit(uri).query)["issuer"] == ["Tickhouse"]
    assert TOTPDevice.objects.filter(user=bob).count() == 1


def test_enrolling_needs_the_password_and_replacing_needs_the_present_app(bob):
    client = client_for(bob)
    wrong = client.post("/api/v1/auth/otp/enrol", {"password": "wrong"}, format="json")
    assert wrong.json()["code"] == "wrong_credentials"
    device = enrolled(bob)
    bare = client.post("/api/v1/auth/otp/enrol", {"password": PASSWORD}, format="json")
    assert bare.json()["code"] == "otp_required"
    both = client.post(
        "/api/v1/auth/otp/enrol", {"password": PASSWORD, "otp": code_of(device)}, format="json"
    )
    assert both.status_code == 200
    assert TOTPDevice.objects.filter(user=bob, confirmed=True).get().pk == device.pk


def test_recovery_codes_are_hashed_and_work_once(bob, mallory):
    services.enrol_otp(user=bob)
    device, codes = services.confirm_otp(
        user=bob, code=code_of(TOTPDevice.objects.get(user=bob, confirmed=False))
    )
    stored = set(RecoveryCode.objects.values_list("code_hash", flat=True))
    assert not any(code in stored or code.replace("-", "") in stored for code in codes)
    assert services.verify_otp(user=bob, code=codes[0].upper().replace("-", " ")).pk == device.pk
    with pytest.raises(WrongOtp):
        services.verify_otp(user=bob, code=codes[0])
    with pytest.raises(TooManyAttempts):
        services.verify_otp(user=bob, code=codes[1])
    enrolled(mallory)
    with pytest.raises(WrongOtp):
        services.verify_otp(user=mallory, code=codes[2])


def test_nobody_without_an_app_is_asked(bob):
    with pytest.raises(OtpUnknown):
        services.verify_otp(user=bob, code="123456")
    with pytest.raises(OtpUnknown):
        services.confirm_otp(user=bob, code="123456")


def test_a_customer_may_do_without_again_staff_may_not(bob, olga):
    client = client_for(bob)
    device = enrolled(bob)
    assert client.post("/api/v1/auth/otp/disable", {"code": "000000"}, format="json").status_code == 401
    device.throttle_reset()
    code = code_of(device)
    assert client.post("/api/v1/auth/otp/disable", {"code": code}, format="json").status_code == 204
    assert not TOTPDevice.objects.filter(user=bob).exists()
    hers = code_of(TOTPDevice.objects.get(user=olga))
    refused = client_for(olga).post("/api/v1/auth/otp/disable", {"code": hers}, format="json")
    assert (refused.status_code, refused.json()["code"]) == (422, "otp_compulsory")
    assert TOTPDevice.objects.filter(user=olga, confirmed=True).exists()
