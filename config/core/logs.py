"""Structured logs: JSON in production, readable locally, with request ids and never a secret."""

import logging
import re
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog

_SECRET_NAME = re.compile(r"password|secret|token|authorization|cookie|otp|api_?key", re.IGNORECASE)
_CREDENTIALS_IN_URL = re.compile(r"(://[^:/@\s]*:)[^@/\s]+@")
_SECRET_IN_QUERY = re.compile(r"(?i)([?&](?:ticket|token|code|key|password|uid)=)[^&\s]+")
# Whoever knows these addresses is let in by them.
_SECRET_IN_PATH = re.compile(r"(/admin/enrol/|/password-reset/[^/\s]+/)[^/\s?'\"]+")
_BEARER = re.compile(r"(?i)(bearer\s+)[\w.\-]+")


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace what looks like a secret by its name or its form."""
    for key, value in event.items():
        event[key] = _clean(str(key), value)
    return event


def _clean(name: str, value: Any) -> Any:
    if _SECRET_NAME.search(name):
        return "[redacted]"
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, Mapping):
        return {key: _clean(str(key), held) for key, held in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean("", held) for held in value]
    text = _CREDENTIALS_IN_URL.sub(r"\1[redacted]@", value if isinstance(value, str) else repr(value))
    for secret in (_SECRET_IN_QUERY, _SECRET_IN_PATH, _BEARER):
        text = secret.sub(r"\1[redacted]", text)
    return text


def logging_config(*, level: str, style: str, role: str) -> dict[str, Any]:
    """Configure structlog and return the dictConfig that sends standard logging the same way."""

    def add_role(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event.setdefault("role", role)
        return event

    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        add_role,
    ]
    # Plain tracebacks, written out before they are redacted: a prettier one would print local variables.
    plain = structlog.dev.plain_traceback
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if style == "json"
        else structlog.dev.ConsoleRenderer(colors=False, pad_event_to=32, exception_formatter=plain)
    )
    finish: list[Any] = [structlog.processors.format_exc_info, redact, renderer]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "structured": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": shared,
                "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *finish],
            }
        },
        "handlers": {"stdout": {"class": "logging.StreamHandler", "formatter": "structured"}},
        "root": {"handlers": ["stdout"], "level": logging.getLevelName(level)},
        "loggers": {
            "axes": {"level": "WARNING"},
            "daphne": {"level": "WARNING"},
            "celery.beat": {"level": "WARNING"},
            "django.db.backends": {"level": "WARNING"},
        },
    }
