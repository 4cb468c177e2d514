"""The second factor: an authenticator app, and recovery codes for the day it is lost."""

import secrets

from django.db import transaction
from django.db.models import QuerySet
from django.utils.crypto import salted_hmac
from django_otp.plugins.otp_totp.models import TOTPDevice

from config.core import audit, clock
from kyc.errors import OtpCompulsory, OtpUnknown, TooManyAttempts, WrongOtp
from kyc.models import RecoveryCode, User

RECOVERY_CODES = 10
# Without 0, 1, i, l and o: they are read from paper.
ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"


@transaction.atomic
def enrol_otp(*, user: User) -> TOTPDevice:
    """Prepare an authenticator app: it counts once `confirm_otp` has seen a code of it."""
    TOTPDevice.objects.filter(user=user, confirmed=False).delete()
    return TOTPDevice.objects.create(user=user, name="authenticator app", confirmed=False)


def confirm_otp(*, user: User, code: str) -> tuple[TOTPDevice, list[str]]:
    """Put the prepared app into force instead of any earlier one; return it and fresh recovery codes.

    The codes are returned once and stored hashed. Raises OtpUnknown, WrongOtp or TooManyAttempts.
    """
    device = prepared_app(user=user, code=code)
    return device, put_into_force(user, device)


def prepared_app(*, user: User, code: str) -> TOTPDevice:
    """Return the prepared app whose code this is; raise OtpUnknown, WrongOtp or TooManyAttempts."""
    device = _verified(TOTPDevice.objects.filter(user=user, confirmed=False), code)
    if device is None:
        raise OtpUnknown
    return device


@transaction.atomic
def put_into_force(user: User, device: TOTPDevice) -> list[str]:
    """Make a verified app the only one, and return fresh recovery codes."""
    TOTPDevice.objects.filter(user=user).exclude(pk=device.pk).delete()
    TOTPDevice.objects.filter(pk=device.pk).update(confirmed=True)
    device.confirmed = True
    RecoveryCode.objects.filter(user=user).delete()
    codes = [_new_code() for _ in range(RECOVERY_CODES)]
    RecoveryCode.objects.bulk_create(RecoveryCode(user=user, code_hash=_hash(user, c)) for c in codes)
    audit.record(actor=user, action="otp.enrolled", target=user)
    return codes


def verify_otp(*, user: User, code: str) -> TOTPDevice:
    """Return the app whose code this is, or whose recovery code; each works once.

    Raises WrongOtp; TooManyAttempts while wrong codes make it wait (1, 2, 4, … seconds); OtpUnknown.
    """
    device = _verified(TOTPDevice.objects.filter(user=user, confirmed=True), code)
    if device is None:
        raise OtpUnknown
    return device


def disable_otp(*, user: User, code: str) -> None:
    """Do without a second factor from now on; raise OtpCompulsory for staff, else as `verify_otp` does."""
    if user.is_staff:
        raise OtpCompulsory
    verify_otp(user=user, code=code)
    _forget(user)


@transaction.atomic
def _forget(user: User) -> None:
    TOTPDevice.objects.filter(user=user).delete()
    RecoveryCode.objects.filter(user=user).delete()
    audit.record(actor=user, action="otp.disabled", target=user)


def _verified(devices: "QuerySet[TOTPDevice]", code: str) -> TOTPDevice | None:
    device, refusal = _try(devices, "".join(code.split()).replace("-", "").lower())
    if refusal is not None:
        raise refusal
    return device


@transaction.atomic
def _try(
    devices: "QuerySet[TOTPDevice]", code: str
) -> tuple[TOTPDevice | None, WrongOtp | TooManyAttempts | None]:
    # Returned, not raised: the count of wrong codes must survive the refusal.
    device = devices.select_for_update().first()
    if device is None:
        return None, None
    allowed, why = device.verify_is_allowed()
    if not allowed:
        wait = (why["locked_until"] - clock.now()).total_seconds()
        return device, TooManyAttempts(retry_after_seconds=max(1, round(wait)))
    if device.confirmed and len(code) > device.digits:
        mine = RecoveryCode.objects.filter(
            user_id=device.user_id, code_hash=_hash(device.user, code), used_at=None
        )
        if mine.update(used_at=clock.now()):
            device.throttle_reset()
            audit.record(actor=device.user, action="otp.recovery_code_used", target=device.user)
            return device, None
        device.throttle_increment()
        return device, WrongOtp()
    return device, None if device.verify_token(code) else WrongOtp()


def _new_code() -> str:
    letters = "".join(secrets.choice(ALPHABET) for _ in range(16))
    return "-".join(letters[i : i + 4] for i in range(0, 16, 4))


def _hash(user: User, code: str) -> str:
    # 79 random bits need no slow hash; the key keeps a stolen table useless.
    return salted_hmac(
        "kyc.recovery-code", f"{user.pk}:{code.replace('-', '')}", algorithm="sha256"
    ).hexdigest()
