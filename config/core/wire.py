"""How values are written for clients: JSON with decimals as strings and instants as ISO 8601 UTC."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import msgspec
import orjson
from django.utils.functional import Promise

from config.core import clock


def encode(value: Any) -> bytes:
    """Write JSON: Decimal as a plain string, datetime with six decimals and Z; raise TypeError else."""
    return orjson.dumps(value, default=_plain, option=orjson.OPT_PASSTHROUGH_DATETIME)


def plain(value: Any) -> Any:
    """Return the same value as JSON has it: mappings, lists, strings, numbers."""
    return orjson.loads(encode(value))


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, datetime):
        return clock.iso(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, msgspec.Struct):
        return msgspec.to_builtins(value)
    if isinstance(value, Promise):  # a lazy translation
        return str(value)
    raise TypeError(f"{type(value).__name__} has no form on the wire")
