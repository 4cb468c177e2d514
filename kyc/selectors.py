"""Reads about people: who may do what, and what the law of their country allows."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils.translation import gettext as _

from config.core import clock
from kyc.models import Jurisdiction, RefreshFamily, Restriction, User


@dataclass(frozen=True)
class Allowance:
    """What a country's law lets a customer do, and the sentence that tells him."""

    is_served: bool
    real_allowed: bool
    reason: str


def allowance(country: str) -> Allowance:
    """Return what may be offered in a country; one that is not listed may use demo money only."""
    law = Jurisdiction.objects.filter(pk=country).first()
    if law is not None and law.is_sanctioned:
        return Allowance(False, False, _("Sanctions forbid us to serve this country."))
    if law is not None and law.allows_real:
        return Allowance(
            True,
            True,
            _("Real money is offered under licence %(licence)s.") % {"licence": law.licence_reference},
        )
    return Allowance(
        True, False, _("Real money is not offered in your country; demo money is, without limit.")
    )


def live_restrictions(at: datetime | None = None) -> QuerySet[Restriction]:
    """Return the restrictions in force at an instant (default: now)."""
    at = at or clock.now()
    return Restriction.objects.filter(Q(ends_at=None) | Q(ends_at__gt=at), lifted_at=None, starts_at__lte=at)


def people_who_may_sign_in() -> QuerySet[User]:
    """Return the active people whom no live restriction keeps from signing in."""
    barred = live_restrictions().filter(customer=OuterRef("pk"), scope=Restriction.Scope.SIGN_IN)
    return User.objects.filter(~Exists(barred), is_active=True)


def may_sign_in(user: User) -> bool:
    """Tell whether a person may use a session or a token at this moment."""
    return people_who_may_sign_in().filter(pk=user.pk).exists()


def person_of_session(user_id: int) -> User | None:
    """Return whom a session belongs to, unless he may not sign in any more."""
    return people_who_may_sign_in().filter(pk=user_id).first()


def person_of_family(user_id: int, family: UUID) -> User | None:
    """Return whom a token belongs to, unless he may not sign in or the token's family was revoked."""
    living = RefreshFamily.objects.filter(pk=family, user=OuterRef("pk"), revoked_at=None)
    return people_who_may_sign_in().filter(Exists(living), pk=user_id).first()


def has_otp(user: User) -> bool:
    """Tell whether a person signs in with a second factor."""
    from django_otp.plugins.otp_totp.models import TOTPDevice

    return TOTPDevice.objects.filter(user_id=user.pk, confirmed=True).exists()
