"""Who opens a socket."""

from collections.abc import Awaitable, Callable
from functools import partial
from http.cookies import CookieError, SimpleCookie
from importlib import import_module
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID

from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest

from config.core import sockets
from kyc import selectors, tickets
from kyc.authentication import person_of_token, session_name
from kyc.errors import TokenInvalid
from kyc.models import User

Person = User | AnonymousUser


class SocketAuth:
    """Puts `user`, `sign_in` and `is_signed_in` into the scope of a socket.

    By a one-use ticket (`?ticket=…`), else `Authorization: Bearer …`, else the page's session cookie. What
    proves nobody leaves AnonymousUser. `sign_in` names the sign-in, as `customer.signed_out` does;
    `is_signed_in()`, awaited, tells whether it still lives. A cookie counts only after a check of the Origin,
    which is the gateway's.
    """

    def __init__(self, app: Callable[..., Awaitable[Any]]) -> None:
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> Any:
        if scope["type"] == "websocket":
            user, proof = await sockets.reading(_who)(scope)
            scope = {**scope, "user": user, "sign_in": _name(proof)}
            if isinstance(user, User):
                scope["is_signed_in"] = partial(sockets.reading(_proves), proof, user)
        return await self.app(scope, receive, send)


def _who(scope: dict[str, Any]) -> tuple[Person, str]:
    headers = {name.lower(): value for name, value in scope["headers"]}
    if ticket := parse_qs(scope.get("query_string", b"").decode("latin-1")).get("ticket"):
        user_id, proof = tickets.redeem(ticket[0]) or (0, "")
        return _person(user_id, proof), proof
    scheme, _, raw = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if scheme.lower() == "bearer":
        return _of_token(raw.strip())
    return _of_cookie(headers.get(b"cookie", b"").decode("latin-1"))


def _of_token(raw: str) -> tuple[Person, str]:
    try:
        user, claims = person_of_token(raw)
    except TokenInvalid:
        return AnonymousUser(), ""
    return user, f"family:{claims.family.hex}"


def _of_cookie(cookies: str) -> tuple[Person, str]:
    try:
        cookie = SimpleCookie(cookies).get(settings.SESSION_COOKIE_NAME)
    except CookieError:
        cookie = None
    if cookie is None:
        return AnonymousUser(), ""
    return _of_session(cookie.value), f"page:{cookie.value}"


def _of_session(key: str) -> Person:
    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(key)
    return get_user(request)


def _person(user_id: int, proof: str) -> Person:
    """Return whom a proof, `family:<id>` or `page:<session key>`, is of; AnonymousUser once it has ended."""
    kind, _, value = proof.partition(":")
    if kind == "family":
        return selectors.person_of_family(user_id, UUID(value)) or AnonymousUser()
    found = _of_session(value) if kind == "page" else AnonymousUser()
    return found if found.pk == user_id else AnonymousUser()


def _proves(proof: str, user: User) -> bool:
    return _person(user.pk, proof).is_authenticated


def _name(proof: str) -> str:
    kind, _, value = proof.partition(":")
    return session_name(value) if kind == "page" else proof
