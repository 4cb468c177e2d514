"""Who is asking: the password check behind every door, bearer tokens, page sessions."""

from functools import cached_property
from hashlib import sha256
from typing import Any

from axes.models import AccessAttempt
from django.conf import settings
from django.contrib.auth import authenticate, login
from django.contrib.auth.backends import ModelBackend
from django.core.cache import cache
from django.http import HttpRequest
from django_otp import login as otp_login
from django_otp.models import Device
from redis.exceptions import RedisError
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.request import Request

from config.core import clock
from config.core.callers import counted_ip
from config.core.errors import Unavailable
from kyc import rules, selectors
from kyc.errors import SignInRestricted, TokenInvalid, TooManyAttempts, WrongCredentials
from kyc.models import User
from kyc.tokens import Claims, decode

BACKEND = "kyc.authentication.PasswordBackend"
LOCK_OUTS_REMEMBERED_SECONDS = 24 * 3600


# --- Passwords ----------------------------------------------------------------------------------------


class PasswordBackend(ModelBackend):
    """Django's password check; a session ends with the next request once its person may not sign in."""

    def get_user(self, user_id: int) -> User | None:
        """Return whom a session belongs to, unless he may not sign in any more."""
        return selectors.person_of_session(user_id)


def check_password(request: HttpRequest, *, email: str, password: str) -> User:
    """Return whose password this is.

    Takes the same time for an unknown address. Raises WrongCredentials; TooManyAttempts while this address is
    locked for this name; SignInRestricted, only to somebody who knows the password; Unavailable.
    """
    name = rules.locked_name(request, {"email": email})
    counter = "lock-outs:" + sha256(f"{name}|{counted_ip(request)}".encode()).hexdigest()
    request.lock_outs = _lock_outs(counter)  # type: ignore[attr-defined]
    user = authenticate(request, email=rules.normalised_email(email), password=password)
    if isinstance(user, User):
        if not selectors.may_sign_in(user):
            raise SignInRestricted
        return user
    if not getattr(request, "axes_locked_out", False):
        raise WrongCredentials
    if request.axes_failures_since_start is not None:  # type: ignore[attr-defined]
        # This very attempt closed the door; the next closing lasts longer.
        request.lock_outs += 1  # type: ignore[attr-defined]
        cache.set(counter, request.lock_outs, LOCK_OUTS_REMEMBERED_SECONDS)  # type: ignore[attr-defined]
    raise TooManyAttempts(retry_after_seconds=_seconds_locked(request, name))


def _lock_outs(counter: str) -> int:
    try:
        return cache.get(counter, 0)
    except RedisError:
        # Without the count a lock would open too early.
        raise Unavailable(
            "Nobody can sign in right now. Try again in a moment.", retry_after_seconds=2
        ) from None


def _seconds_locked(request: HttpRequest, name: str | None) -> int:
    last = AccessAttempt.objects.filter(username=name, ip_address=counted_ip(request)).first()
    since = (clock.now() - last.attempt_time).total_seconds() if last else 0
    return max(1, round(rules.cool_off(request).total_seconds() - since))


def sign_in(request: HttpRequest, user: User, device: Device | None = None) -> None:
    """Open a page session, verified by the app whose code was given; an operator's is short."""
    login(request, user, backend=BACKEND)
    if device is not None:
        otp_login(request, device)
    if user.is_staff:
        request.session.set_expiry(settings.OPERATOR_SESSION_AGE)


# --- Tokens -------------------------------------------------------------------------------------------


def person_of_token(raw: str) -> tuple[User, Claims]:
    """Return whose access token this is; raise TokenInvalid once he signed out or may not sign in."""
    claims = decode(raw, "access")
    user = selectors.person_of_family(claims.user_id, claims.family)
    if user is None:
        raise TokenInvalid
    return user, claims


class ClaimedPerson:
    """Somebody known by a signed claim alone: his id costs nothing, his row is read when asked for."""

    is_authenticated = True
    is_anonymous = False

    def __init__(self, user_id: int) -> None:
        self.pk = self.id = user_id

    @cached_property
    def row(self) -> User:
        """Return the stored person."""
        return User.objects.get(pk=self.pk)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.row, name)


class TokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer …`.

    One query checks at every request that the person is active and unrestricted and that the token's family
    lives. A view whose own first statement checks all three sets `checks_person_itself = True` and gets a
    ClaimedPerson without a query; `request.auth` holds the claims.
    """

    def authenticate(self, request: Request) -> tuple[Any, Claims] | None:
        """Return the person and the claims, None without a bearer token; raise TokenInvalid."""
        scheme, _, raw = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        view = (request.parser_context or {}).get("view")
        if getattr(view, "checks_person_itself", False):
            claims = decode(raw.strip(), "access")
            return ClaimedPerson(claims.user_id), claims
        return person_of_token(raw.strip())

    def authenticate_header(self, request: Request) -> str:
        """Name the scheme, so that a missing token is 401."""
        return "Bearer"


class PageSession(SessionAuthentication):
    """The cookie of a page, with its CSRF token; the session's person is checked at every request."""

    def authenticate_header(self, request: Request) -> str:
        """Name the scheme, so that a missing session is 401."""
        return "Session"


def session_name(session_key: str | None) -> str:
    """Return the name under which a page session is spoken of without giving it away."""
    return "session:" + sha256(f"{session_key}".encode()).hexdigest()[:32]
