"""Sign-ins that last: refresh families, and how they end."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib import import_module
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q

from config.core import audit, clock, outbox
from config.core.ids import new_id
from kyc import selectors
from kyc.errors import SignInRestricted, TokenInvalid, TokenReused
from kyc.facts import CustomerSignedOut
from kyc.models import Invitation, RefreshFamily, RefreshToken, User
from kyc.tokens import Claims, decode, encode

# A used token is kept as long as its reuse can be told from a forgery.
KEPT_AFTER_EXPIRY = timedelta(days=7)
REUSED = "token reused"


@dataclass(frozen=True)
class TokenPair:
    """An access token for requests, and a refresh token for the next pair."""

    access: str
    refresh: str
    access_expires_at: datetime
    refresh_expires_at: datetime


@transaction.atomic
def issue_tokens(*, user: User, ip: str | None = None, agent: str = "") -> TokenPair:
    """Start a refresh family for somebody who has just proved who he is; raise SignInRestricted."""
    if not selectors.may_sign_in(user):
        raise SignInRestricted
    family = RefreshFamily.objects.create(
        id=new_id(), user=user, created_at=clock.now(), ip=ip, agent=agent[:300]
    )
    return _next_pair(user.pk, family.pk)


def refresh_tokens(*, refresh: str) -> TokenPair:
    """Exchange a refresh token for the next pair: of any number of attempts exactly one succeeds.

    Raises TokenInvalid, SignInRestricted, or TokenReused: within the grace that is a client that asked twice;
    after it somebody holds a copy, and the whole family is revoked, with a mail to the customer.
    """
    claims = decode(refresh, "refresh")
    pair = _rotate(claims)
    if pair is not None:
        return pair
    token = RefreshToken.objects.select_related("family").filter(pk=claims.token).first()
    if token is None or token.used_at is None or token.family.revoked_at is not None:
        raise TokenInvalid
    if clock.now() - token.used_at > settings.REFRESH_REUSE_GRACE:
        revoke_family(family=token.family_id, reason=REUSED)
    raise TokenReused


@transaction.atomic
def _rotate(claims: Claims) -> TokenPair | None:
    # The condition stands on the row itself: a second claimant waits for the first and then finds no row.
    unused = RefreshToken.objects.filter(pk=claims.token, used_at=None, expires_at__gt=clock.now())
    if not unused.update(used_at=clock.now()):
        return None
    family = RefreshFamily.objects.select_for_update().get(pk=claims.family)
    if family.revoked_at is not None:
        raise TokenInvalid
    if selectors.person_of_session(family.user_id) is None:
        raise SignInRestricted
    return _next_pair(family.user_id, family.pk)


def _next_pair(user_id: int, family: UUID) -> TokenPair:
    now = clock.now()
    access_ends, refresh_ends = now + settings.ACCESS_TOKEN_LIFETIME, now + settings.REFRESH_TOKEN_LIFETIME
    token = RefreshToken.objects.create(id=new_id(), family_id=family, issued_at=now, expires_at=refresh_ends)
    return TokenPair(
        access=encode(Claims(user_id, family, new_id(), "access"), issued_at=now, expires_at=access_ends),
        refresh=encode(Claims(user_id, family, token.pk, "refresh"), issued_at=now, expires_at=refresh_ends),
        access_expires_at=access_ends,
        refresh_expires_at=refresh_ends,
    )


@transaction.atomic
def revoke_family(*, family: UUID, reason: str, actor: User | None = None) -> bool:
    """End one sign-in and everything issued under it; return False when it had ended before."""
    living = RefreshFamily.objects.filter(pk=family, revoked_at=None)
    if not living.update(revoked_at=clock.now(), revoked_because=reason[:40]):
        return False
    owner = RefreshFamily.objects.select_related("user").get(pk=family).user
    _tell(owner.pk, f"family:{family.hex}", reason)
    audit.record(actor=actor or owner, action="session.revoked", target=owner, reason=reason)
    return True


@transaction.atomic
def sign_out(*, user_id: int, family: UUID) -> None:
    """End the sign-in whose token asks for it. Doing it twice is no error."""
    living = RefreshFamily.objects.filter(pk=family, user=user_id, revoked_at=None)
    if living.update(revoked_at=clock.now(), revoked_because="signed out"):
        _tell(user_id, f"family:{family.hex}", "signed out")


@transaction.atomic
def end_page_session(*, user: User, session: str) -> None:
    """Tell that a page session ended, so that its sockets are closed; `session` is its public name."""
    _tell(user.pk, session, "signed out")


@transaction.atomic
def sign_out_everywhere(*, user: User, reason: str, actor: User | None = None) -> None:
    """End every page session and refresh family of a person, for good, and close his sockets.

    Audited when an operator does it.
    """
    User.objects.filter(pk=user.pk).update(sign_outs=F("sign_outs") + 1)
    RefreshFamily.objects.filter(user=user, revoked_at=None).update(
        revoked_at=clock.now(), revoked_because=reason[:40]
    )
    _tell(user.pk, None, reason)
    if actor is not None:
        audit.record(actor=actor, action="customer.signed_out", target=user, reason=reason)


def _tell(customer: int, sign_in: str | None, reason: str) -> None:
    outbox.publish(
        outbox.customer_topic(customer),
        CustomerSignedOut(customer=customer, sign_in=sign_in, reason=reason),
    )


@transaction.atomic
def trim_refresh_tokens() -> int:
    """Forget tokens long expired and families without tokens; return how many tokens."""
    before = clock.now() - KEPT_AFTER_EXPIRY
    deleted, _ = RefreshToken.objects.filter(expires_at__lt=before).delete()
    RefreshFamily.objects.filter(tokens=None, created_at__lt=before).delete()
    return deleted


@transaction.atomic
def trim_sessions() -> None:
    """Forget expired page sessions, and invitations used or expired."""
    import_module(settings.SESSION_ENGINE).SessionStore.clear_expired()
    Invitation.objects.filter(Q(expires_at__lt=clock.now()) | ~Q(used_at=None)).delete()
