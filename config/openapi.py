"""The OpenAPI document: what every operation has in common, said once."""

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema

from config.core.errors import DomainError
from config.core.http import PROBLEM_TYPE


class Schema(AutoSchema):
    """Names the serializers nested in a view after it: `TokenInput`, not one `Input` for all."""

    def _get_serializer_name(self, serializer: Any, direction: str, bypass_extensions: bool = False) -> str:
        owner, _, nested = type(serializer).__qualname__.rpartition(".")
        if nested in {"Input", "Output"}:
            return f"{owner.removesuffix('View')}{nested}"
        return super()._get_serializer_name(serializer, direction, bypass_extensions)


class BearerToken(OpenApiAuthenticationExtension):
    """An access token in the header."""

    target_class = "kyc.authentication.TokenAuthentication"
    name = "bearer"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        """Describe it."""
        return {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}


class PageSession(OpenApiAuthenticationExtension):
    """The cookie of a page; commands also need its CSRF token."""

    target_class = "kyc.authentication.PageSession"
    name = "session"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        """Describe it."""
        return {"type": "apiKey", "in": "cookie", "name": settings.SESSION_COOKIE_NAME}


def kinds(of: type[DomainError] = DomainError) -> Iterator[type[DomainError]]:
    """Return every refusal that is declared anywhere."""
    for kind in of.__subclasses__():
        yield kind
        yield from kinds(kind)


def add_problems(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Add the problem document with every code, and that any operation may answer it."""
    table = {kind.code: kind for kind in kinds()}
    lines = [f"- `{code}` ({kind.status}): {kind.title}" for code, kind in sorted(table.items())]
    result["components"].setdefault("schemas", {})["Problem"] = {
        "type": "object",
        "description": "RFC 9457. The codes:\n" + "\n".join(lines),
        "required": ["type", "title", "status", "detail", "code"],
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "code": {"type": "string", "enum": sorted(table)},
            "errors": {
                "type": "object",
                "additionalProperties": {"type": "array", "items": {"type": "string"}},
            },
        },
        "additionalProperties": True,
    }
    answer = {
        "description": "A refusal",
        "content": {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for operations in result["paths"].values():
        for operation in operations.values():
            operation["responses"].setdefault("default", answer)
    return result
