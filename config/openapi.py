"""The OpenAPI document: what every operation has in common, said once."""

from collections.abc import Iterator
from typing import Any

from config.core.errors import DomainError
from config.core.http import PROBLEM_TYPE


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
