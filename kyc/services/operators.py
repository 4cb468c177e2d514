"""Staff, and what only staff decide."""

import secrets
from datetime import timedelta
from hashlib import sha256

from django.contrib.auth import password_validation
from django.contrib.auth.hashers import make_password
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.crypto import salted_hmac
from django_otp.plugins.otp_totp.models import TOTPDevice

from config.core import audit, clock
from kyc import rules
from kyc.errors import CountryUnknown, InvitationInvalid, PasswordWeak, WrongOtp
from kyc.models import Invitation, Jurisdiction, User
from kyc.services.otp import put_into_force
from kyc.services.sessions import sign_out_everywhere

INVITATION_LIFETIME = timedelta(days=3)


@transaction.atomic
def invite_operator(*, email: str, actor: User | None = None) -> tuple[User, str]:
    """Invite somebody to the staff, creating him without a password; return him and a one-time token.

    Nobody becomes staff by it: a stranger may have registered the address, and only who reads its mail holds
    the token. It works once, for three days, replaces earlier ones, and is stored hashed.
    """
    user, _ = User.objects.get_or_create(
        email=rules.normalised_email(email),
        defaults={"registered_at": clock.now(), "password": make_password(None)},
    )
    token = secrets.token_urlsafe(32)
    now = clock.now()
    Invitation.objects.filter(user=user, used_at=None).update(used_at=now)
    Invitation.objects.create(
        user=user, token_sha256=_digest(token), created_at=now, expires_at=now + INVITATION_LIFETIME
    )
    audit.record(actor=actor, action="operator.invited", target=user)
    return user, token


def invited(token: str) -> User:
    """Return whom a token invites; raise InvitationInvalid when it was used or has expired."""
    invitation = (
        Invitation.objects.select_related("user")
        .filter(token_sha256=_digest(token), used_at=None, expires_at__gt=clock.now(), user__is_active=True)
        .first()
    )
    if invitation is None:
        raise InvitationInvalid
    return invitation.user


def invited_app(user: User, token: str) -> TOTPDevice:
    """Return the authenticator app an invitation brings, not stored: only its token tells the secret."""
    secret = salted_hmac("kyc.invited-app", token, algorithm="sha256").hexdigest()[:40]
    return TOTPDevice(user=user, name="authenticator app", key=secret, confirmed=False)


def accept_invitation(*, token: str, password: str, code: str) -> tuple[User, TOTPDevice, list[str]]:
    """Make an invited person staff with a new password and the invitation's app; use the invitation up.

    What the account had before ends: password, apps, recovery codes, sessions and tokens. Returns him, the
    app and his recovery codes. Raises InvitationInvalid, PasswordWeak or WrongOtp.
    """
    user = invited(token)
    try:
        password_validation.validate_password(password, user)
    except ValidationError as refused:
        raise PasswordWeak(errors={"password": list(refused.messages)}) from None
    return _accept(user.pk, token, password, code)


@transaction.atomic
def _accept(pk: int, token: str, password: str, code: str) -> tuple[User, TOTPDevice, list[str]]:
    if not Invitation.objects.filter(token_sha256=_digest(token), used_at=None).update(used_at=clock.now()):
        raise InvitationInvalid
    user = User.objects.select_for_update().get(pk=pk)
    device = invited_app(user, token)
    if not device.verify_token("".join(code.split())):
        raise WrongOtp
    user.set_password(password)
    user.is_staff = user.is_superuser = True
    user.save(update_fields=["password", "is_staff", "is_superuser"])
    sign_out_everywhere(user=user, reason="enrolled as operator")
    user.refresh_from_db()
    audit.record(actor=user, action="operator.enrolled", target=user)
    return user, device, put_into_force(user, device)


@transaction.atomic
def change_jurisdiction(
    *,
    country: str,
    is_sanctioned: bool,
    allows_real: bool,
    licence_reference: str,
    actor: User | None,
    reason: str = "",
) -> Jurisdiction:
    """Say what the law of a country allows from the next registration on; raise CountryUnknown."""
    country = country.strip().upper()
    if country not in rules.countries():
        raise CountryUnknown
    before = Jurisdiction.objects.filter(pk=country).values().first()
    after = {
        "is_sanctioned": is_sanctioned,
        "allows_real": allows_real,
        "licence_reference": licence_reference,
    }
    law, _ = Jurisdiction.objects.update_or_create(country=country, defaults=after)
    audit.record(
        actor=actor, action="jurisdiction.changed", target=law, before=before, after=after, reason=reason
    )
    return law


def _digest(token: str) -> str:
    return sha256(token.encode()).hexdigest()
