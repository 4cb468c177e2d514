"""Loud readers of the environment: a switch that cannot be read stops the start with one sentence."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured


def text(name: str, default: str | None = None, choices: Sequence[str] | None = None) -> str:
    """Read a string; raise ImproperlyConfigured when it is required and missing, or not among `choices`."""
    value = os.environ.get(name, "") or default
    if value is None:
        raise ImproperlyConfigured(f"{name} must be set; .env.example says what it is for.")
    if choices is not None and value not in choices:
        raise ImproperlyConfigured(f"{name} is {value!r}; it must be one of {', '.join(choices)}.")
    return value


def flag(name: str, default: bool) -> bool:
    """Read a yes/no switch: 1/0, true/false, yes/no, on/off."""
    value = os.environ.get(name, "").strip().lower()
    if not value:
        return default
    if value in {"1", "true", "yes", "on"}:
        return True
    if value in {"0", "false", "no", "off"}:
        return False
    raise ImproperlyConfigured(f"{name} is {value!r}; write 1 or 0.")


def number(name: str, default: int, minimum: int = 0, maximum: int = sys.maxsize) -> int:
    """Read a whole number within [minimum, maximum]."""
    value = os.environ.get(name, "").strip()
    if not value:
        return default
    try:
        result = int(value)
    except ValueError:
        raise ImproperlyConfigured(f"{name} is {value!r}; write a whole number.") from None
    if not minimum <= result <= maximum:
        raise ImproperlyConfigured(f"{name} is {result}; it must lie between {minimum} and {maximum}.")
    return result


def words(name: str, default: Sequence[str] = ()) -> list[str]:
    """Read a comma-separated list; empty parts are dropped."""
    value = os.environ.get(name)
    if value is None:
        return list(default)
    return [part.strip() for part in value.split(",") if part.strip()]


def folder(name: str, default: Path) -> Path:
    """Read a folder's absolute path; the folder need not exist."""
    return Path(os.environ.get(name) or default).expanduser().resolve()
