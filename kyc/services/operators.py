"""Staff, and what only staff decide."""

import secrets
from datetime import timedelta
from hashlib import sha256

from django.contrib.auth import password_validation
from django.contrib.auth.hashers import make_password
from django.core.exceptions import ValidationError
from django.db import transaction
from django_otp.plugins.otp_totp.models import TOTPDevice

from config.core import audit, clock
from kyc import rules
from kyc.errors import InvitationInvalid, PasswordWeak
from kyc.models import Invitation, Jurisdiction, User
from kyc.services.otp import prepared_app, put_into_force

INVITATION_LIFETIME = timedelta(days=3)


@transaction.atomic
def invite_operator(*, email: str, actor: User | None = None) -> tuple[User, str]:
    """Make somebody staff, creating him without a password, and return him and a one-time enrolment token.

    The token works once, for three days, and replaces earlier ones. It is stored hashed.
    """
    user, _ = User.objects.get_or_create(
        email=rules.normalised_email(email),
        defaults={"registered_at": clock.now(), "password": make_password(None)},
    )
    User.objects.filter(pk=user.pk).update(is_staff=True, is_superuser=True)
    user.refresh_from_db()
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


def accept_invitation(*, token: str, password: str, code: str) -> tuple[User, TOTPDevice, list[str]]:
    """Give an invited person a password, unless he has one, and his app; use the invitation up.

    Returns him, the app and his recovery codes. Raises InvitationInvalid, PasswordWeak, or what `confirm_otp`
    does.
    """
    user = invited(token)
    if not user.has_usable_password():
        try:
            password_validation.validate_password(password, user)
        except ValidationError as refused:
            raise PasswordWeak(errors={"password": list(refused.messages)}) from None
    device = prepared_app(user=user, code=code)
    return user, device, _accept(user, token, password, device)


@transaction.atomic
def _accept(user: User, token: str, password: str, device: TOTPDevice) -> list[str]:
    if not Invitation.objects.filter(token_sha256=_digest(token), used_at=None).update(used_at=clock.now()):
        raise InvitationInvalid
    if not user.has_usable_password():
        user.set_password(password)
        user.save(update_fields=["password"])
    audit.record(actor=user, action="operator.enrolled", target=user)
    return put_into_force(user, device)


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
    """Say what the law of a country allows from the next registration on."""
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
