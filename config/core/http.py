"""JSON over HTTP: one lean view base, problem documents for every refusal, cursors, keys and limits."""

import base64
import binascii
import logging
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, ClassVar, NoReturn, TypeVar

import orjson
import redis
from django.core import exceptions as django_errors
from django.db import DatabaseError, InterfaceError, OperationalError, models
from django.http import Http404, HttpRequest, HttpResponse
from django.views import defaults
from rest_framework import exceptions, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from structlog.contextvars import get_contextvars

from config.core import wire
from config.core.callers import counted_ip
from config.core.errors import (
    Broken,
    Conflict,
    DomainError,
    Forbidden,
    Internal,
    Invalid,
    MethodNotAllowed,
    Missing,
    NotJson,
    TooLarge,
    TooMany,
    Unauthenticated,
    Unavailable,
)
from config.core.formats import JsonOnly, JsonParser, JsonRenderer
from config.core.throttle import Limit, Taken, ask

logger = logging.getLogger(__name__)
PROBLEM_TYPE = "application/problem+json"
_KEY = re.compile(r"[A-Za-z0-9._:-]{1,64}")
M = TypeVar("M", bound=models.Model)


class ApiView(APIView):
    """The base of every API view: JSON in and out, refusals as problem documents, declared limits.

    `throttle`: the limits taken, all or none, after the caller is known and before the view runs.
    """

    parser_classes = (JsonParser,)
    renderer_classes = (JsonRenderer,)
    content_negotiation_class = JsonOnly
    metadata_class: Any = None
    throttle: ClassVar[Limit | tuple[Limit, ...]] = Limit("api", per_second=20, burst=100)
    _taken: Taken | None = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Authenticate, authorise and count the request; versions and formats are not negotiated."""
        renderer = self.renderer_classes[0]()
        request.accepted_renderer, request.accepted_media_type = renderer, renderer.media_type
        self.perform_authentication(request)
        self.check_permissions(request)
        limits = self.throttle if isinstance(self.throttle, tuple) else (self.throttle,)
        if limits:
            self._taken = ask([(limit, _counted(request, limit)) for limit in limits])
            if self._taken is not None:
                self._taken.require()

    def permission_denied(self, request: Request, message: Any = None, code: Any = None) -> NoReturn:
        """Tell strangers to sign in, everybody else that it is not for them."""
        raise Forbidden(message or "") if request.user.is_authenticated else Unauthenticated

    def finalize_response(self, request: Any, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Publish the limits with every answer; nothing an API says may be kept by a cache."""
        response = super().finalize_response(request, response, *args, **kwargs)
        if self._taken is not None:
            for name, value in self._taken.headers().items():
                response[name] = value
        response.headers.setdefault("Cache-Control", "no-store")
        return response


def _counted(request: Request, limit: Limit) -> str:
    if limit.per == "user" and request.user.is_authenticated:
        return f"u{request.user.pk}"
    return counted_ip(request)


# --- Refusals -----------------------------------------------------------------------------------------


def problem_response(exc: Exception, context: Any = None) -> Response:
    """Render any exception of a view as RFC 9457; what is no refusal is logged and says nothing inside."""
    refusal = as_refusal(exc)
    if isinstance(refusal, Internal):
        level = logging.CRITICAL if isinstance(exc, Broken) else logging.ERROR
        logger.log(level, "request failed", exc_info=exc)
    response = Response(problem(refusal), status=refusal.status, content_type=PROBLEM_TYPE)
    if refusal.retry_after_seconds is not None:
        response["Retry-After"] = str(refusal.retry_after_seconds)
    if refusal.status == status.HTTP_401_UNAUTHORIZED:
        response["WWW-Authenticate"] = 'Bearer realm="api"'
    if isinstance(exc, exceptions.MethodNotAllowed) and context:
        response["Allow"] = ", ".join(context["view"].allowed_methods)
    return response


def problem(refusal: DomainError) -> dict[str, Any]:
    """Return the problem document; a failure of ours names the request by which we find it."""
    document = refusal.as_problem()
    if isinstance(refusal, Internal):
        document["request_id"] = get_contextvars().get("request_id")
    return document


def as_refusal(exc: BaseException) -> DomainError:
    """Return the refusal an exception means; Internal when it is none."""
    match exc:
        case DomainError():
            return exc
        case exceptions.ValidationError():
            return Invalid(errors=_by_field(exc.detail))
        case exceptions.APIException():
            return _of_framework(exc)
        case Http404() | django_errors.ObjectDoesNotExist():
            return Missing()
        case django_errors.PermissionDenied():
            return Forbidden()
        case django_errors.RequestDataTooBig():
            return TooLarge()
        case django_errors.SuspiciousOperation():
            return Invalid()
        case DatabaseError() | InterfaceError():
            return _of_database(exc)
        case redis.RedisError():
            return Unavailable(retry_after_seconds=2)
    return Internal()


_FRAMEWORK: dict[int, type[DomainError]] = {
    kind.status: kind for kind in (Invalid, Forbidden, Missing, MethodNotAllowed, NotJson, TooMany)
}


def _of_framework(exc: exceptions.APIException) -> DomainError:
    detail = str(exc.detail) if exc.status_code in {400, 401, 403} else ""
    if isinstance(exc, exceptions.NotAuthenticated | exceptions.AuthenticationFailed):
        return Unauthenticated(detail)  # whose status the framework turns into 403 for some authenticators
    return _FRAMEWORK.get(exc.status_code, Internal)(detail)


def _of_database(exc: Exception) -> DomainError:
    state = getattr(exc.__cause__, "sqlstate", None) or ""
    if state in {"55P03", "40P01", "40001"}:  # lock_timeout, deadlock, serialisation
        return Conflict(retry_after_seconds=1)
    if state == "57014" or state[:2] in {"08", "53", "57"}:  # statement_timeout, connection, resources
        return Unavailable(retry_after_seconds=2)
    if not state and isinstance(exc, OperationalError | InterfaceError):  # could not connect, or was cut off
        return Unavailable(retry_after_seconds=2)
    return Internal()


def _by_field(detail: Any, prefix: str = "") -> dict[str, list[str]]:
    if isinstance(detail, dict):
        found: dict[str, list[str]] = {}
        for name, inner in detail.items():
            found |= _by_field(inner, f"{prefix}.{name}" if prefix else str(name))
        return found
    if isinstance(detail, list) and any(isinstance(item, dict) for item in detail):
        return _by_field(dict(enumerate(detail)), prefix)
    return {prefix or "non_field_errors": [str(item) for item in detail]}


def _outside(kind: type[DomainError], page: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.path.startswith(("/api/", "/webhooks/")):
            return HttpResponse(wire.encode(problem(kind())), status=kind.status, content_type=PROBLEM_TYPE)
        return page(request, *args, **kwargs)

    return answer


# Errors outside of API views: a problem document under /api/, a page elsewhere.
bad_request = _outside(Invalid, defaults.bad_request)
permission_denied = _outside(Forbidden, defaults.permission_denied)
not_found = _outside(Missing, defaults.page_not_found)
server_error = _outside(Internal, defaults.server_error)


# --- Commands and lists -------------------------------------------------------------------------------


def idempotency_key(request: Request, client_id: Any = None) -> str:
    """Return the command's key from the header `Idempotency-Key` or the body's `client_id`.

    Raises Invalid when there is none, when both differ, or for other than 1–64 of A–Z a–z 0–9 . _ : -
    """
    header = request.headers.get("Idempotency-Key")
    if header is not None and client_id is not None and header != client_id:
        raise Invalid("Idempotency-Key and client_id differ.")
    key = client_id if header is None else header
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise Invalid(errors={"client_id": ["Send 1 to 64 letters, digits or . _ : - of your own choice."]})
    return key


def page(
    rows: "models.QuerySet[M]",
    request: Request,
    render: Callable[[M], Any],
    *,
    by: str = "id",
    default: int = 50,
    most: int = 200,
) -> dict[str, Any]:
    """Return {results, next}, newest first by the unique column `by`; reads `cursor` and `limit`.

    Raises Invalid for a cursor that is not one of ours or a limit outside 1–`most`.
    """
    limit = whole_number(request, "limit", default=default, least=1, most=most)
    if cursor := request.query_params.get("cursor"):
        try:
            last = rows.model._meta.get_field(by).to_python(decode_cursor(cursor))  # type: ignore[union-attr]
        except (django_errors.ValidationError, TypeError):
            raise Invalid(errors={"cursor": ["This is not a cursor of this list."]}) from None
        rows = rows.filter(**{f"{by}__lt": last})
    found = list(rows.order_by(f"-{by}")[: limit + 1])
    more = encode_cursor(getattr(found[limit - 1], by)) if len(found) > limit else None
    return {"results": [render(row) for row in found[:limit]], "next": more}


def whole_number(request: Request, name: str, *, default: int, least: int, most: int) -> int:
    """Return a number of the query string within [least, most]; raise Invalid otherwise."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,9}", text) or not least <= int(text) <= most:
        raise Invalid(errors={name: [f"Send a whole number from {least} to {most}."]})
    return int(text)


def instant(request: Request, name: str) -> datetime | None:
    """Return an instant of the query string; raise Invalid for what is none."""
    text = request.query_params.get(name)
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text.replace(" ", "+"))  # an unescaped + arrives as a space
    except ValueError:
        found = None
    if found is None or found.tzinfo is None or not 1970 < found.year < 9999:
        raise Invalid(errors={name: ["Send an instant with its zone, e.g. 2030-01-31T12:00:00Z."]})
    return found


def encode_cursor(value: Any) -> str:
    """Return an opaque cursor for the last value of a page."""
    return base64.urlsafe_b64encode(wire.encode(value)).decode().rstrip("=")


def decode_cursor(cursor: str) -> Any:
    """Return what `encode_cursor` was given, as JSON has it; raise Invalid for anything else."""
    try:
        value = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError):
        value = None
    if not isinstance(value, str | int):
        raise Invalid(errors={"cursor": ["This is not a cursor of this list."]})
    return value
