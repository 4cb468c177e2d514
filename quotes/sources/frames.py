"""What peers say, read exactly: numbers as decimals, instants to the nanosecond."""

import json
import re
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NoReturn

from quotes.rules import BEGINNING
from quotes.sources.connection import SourceError

# More than any price column holds.
MOST = Decimal(10) ** 12
MOST_DECIMALS = 30
MOST_TIME = 10**20
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
NANOSECONDS = 10**9
# In the year 2262, as everybody counts them.
MOST_NANOSECONDS = 2**63
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]{1,3})?")
_RFC3339 = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]+))?(Z|[+-][0-9]{2}:?[0-9]{2})?"
)


def read_json(frame: str | bytes) -> Any:
    """Read a frame whose fractions become decimals; raise SourceError."""
    try:
        return json.loads(frame, parse_float=Decimal, parse_constant=_refuse)
    except (ValueError, ArithmeticError, RecursionError):
        raise unreadable(frame) from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def unreadable(frame: object) -> SourceError:
    """Return the error that a frame cannot be read, with the frame."""
    return SourceError(f"unreadable frame: {frame!r}")


def price_of(value: object) -> Decimal:
    """Return a number given as a JSON number or as text, exactly; raise SourceError."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = Decimal(value)
    if isinstance(value, int | Decimal) and not isinstance(value, bool) and -MOST < value < MOST:
        price = Decimal(value)
        if int(price.as_tuple().exponent) >= -MOST_DECIMALS:
            return price
    raise SourceError(f"not a price: {value!r}")


def nanoseconds_of(text: object) -> int | None:
    """Return an RFC 3339 instant, UTC where it names no zone, in nanoseconds since 1970; None for none."""
    found = _RFC3339.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        return None
    day, time, fraction, zone = found.groups(default="")
    try:
        whole = datetime.fromisoformat(f"{day}T{time}{zone or 'Z'}") - BEGINNING
    except ValueError:
        return None
    nanoseconds = whole // timedelta(seconds=1) * NANOSECONDS + int(fraction[:9].ljust(9, "0"))
    return nanoseconds if 0 <= nanoseconds < MOST_NANOSECONDS else None


def instant_of(value: object, unit: str) -> datetime | None:
    """Return an instant given in `unit` (s, ms, us, ns since 1970, or iso), None for what is none."""
    try:
        if unit == "iso":
            nanoseconds = nanoseconds_of(value)
            microseconds = None if nanoseconds is None else nanoseconds // 1_000
        else:
            microseconds = _microseconds(value, PER_SECOND[unit])
        return None if microseconds is None else BEGINNING + timedelta(microseconds=microseconds)
    except OverflowError:
        return None


def _microseconds(value: object, per_second: int) -> int | None:
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = Decimal(value)
    if isinstance(value, bool) or not isinstance(value, int | Decimal) or not -MOST_TIME < value < MOST_TIME:
        return None
    return int(value * 10**6 // per_second)
