"""Who opens a socket."""

from collections.abc import Awaitable, Callable
from http.cookies import CookieError, SimpleCookie
from importlib import import_module
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID

from channels.db import database_sync_to_async
from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest

from kyc import selectors, tickets
from kyc.authentication import person_of_token, session_name
from kyc.errors import TokenInvalid
from kyc.models import User

Person = User | AnonymousUser


class SocketAuth:
    """Puts `user` and `sign_in` into the scope of a socket.

    By a one-use ticket (`?ticket=…`), else `Authorization: Bearer …`, else the page's session cookie. What
    proves nobody leaves AnonymousUser. `sign_in` names the sign-in, as `customer.signed_out` does. A cookie
    counts only after a check of the Origin, which is the gateway's.
    """

    def __init__(self, app: Callable[..., Awaitable[Any]]) -> None:
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> Any:
        if scope["type"] == "websocket":
            user, sign_in = await database_sync_to_async(_who)(scope)
            scope = {**scope, "user": user, "sign_in": sign_in}
        return await self.app(scope, receive, send)


def _who(scope: dict[str, Any]) -> tuple[Person, str]:
    headers = {name.lower(): value for name, value in scope["headers"]}
    if ticket := parse_qs(scope.get("query_string", b"").decode("latin-1")).get("ticket"):
        return _of_ticket(ticket[0])
    scheme, _, raw = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if scheme.lower() == "bearer":
        return _of_token(raw.strip())
    return _of_session(headers.get(b"cookie", b"").decode("latin-1"))


def _of_ticket(ticket: str) -> tuple[Person, str]:
    redeemed = tickets.redeem(ticket)
    if redeemed is None:
        return AnonymousUser(), ""
    user_id, sign_in = redeemed
    kind, _, name = sign_in.partition(":")
    if kind == "family":
        return selectors.person_of_family(user_id, UUID(name)) or AnonymousUser(), sign_in
    return selectors.person_of_session(user_id) or AnonymousUser(), sign_in


def _of_token(raw: str) -> tuple[Person, str]:
    try:
        user, claims = person_of_token(raw)
    except TokenInvalid:
        return AnonymousUser(), ""
    return user, f"family:{claims.family.hex}"


def _of_session(cookies: str) -> tuple[Person, str]:
    try:
        cookie = SimpleCookie(cookies).get(settings.SESSION_COOKIE_NAME)
    except CookieError:
        cookie = None
    if cookie is None:
        return AnonymousUser(), ""
    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(cookie.value)
    return get_user(request), session_name(cookie.value)
