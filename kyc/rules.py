"""The rules about people: pure, without a clock of their own."""

import re
import unicodedata
from collections.abc import Mapping
from datetime import date, timedelta
from functools import cache
from importlib.resources import files
from typing import Any

ADULT_YEARS = 18
OLDEST_YEARS = 120
FIRST_COOL_OFF = timedelta(minutes=5)
LONGEST_COOL_OFF = timedelta(hours=24)
GROUP = re.compile(r"[a-z0-9][a-z0-9_-]{0,19}")


def normalised_email(email: str) -> str:
    """Return the one spelling under which an address is stored and looked up."""
    return unicodedata.normalize("NFKC", email).strip().lower()


def is_group(name: str) -> bool:
    """Tell whether a word can name a customer group: small letters, digits, _ and -, at most 20."""
    return GROUP.fullmatch(name) is not None


def age_years(born_on: date, today: date) -> int:
    """Return completed years of life; who is born on 29 February is a year older on 1 March."""
    return today.year - born_on.year - ((today.month, today.day) < (born_on.month, born_on.day))


def is_adult(born_on: date, today: date) -> bool:
    """Tell whether somebody may register."""
    return age_years(born_on, today) >= ADULT_YEARS


@cache
def countries() -> Mapping[str, str]:
    """Return the English name by ISO 3166-1 alpha-2 code, from the time zone database."""
    table = files("tzdata").joinpath("zoneinfo/iso3166.tab").read_text(encoding="utf-8")
    lines = (line for line in table.splitlines() if line and not line.startswith("#"))
    return {code: name for code, _, name in (line.partition("\t") for line in lines)}


def cool_off(request: Any) -> timedelta:
    """Return how long sign-in stays locked: doubled with each lock-out, told by `request.lock_outs`."""
    lock_outs = getattr(request, "lock_outs", 0)
    return min(FIRST_COOL_OFF * 2 ** min(max(lock_outs - 1, 0), 16), LONGEST_COOL_OFF)


def locked_name(request: Any, credentials: Mapping[str, Any] | None) -> str | None:
    """Return the name failures are counted under, the same for every spelling and every door."""
    given = credentials or {}
    name = given.get("email") or given.get("username")
    return normalised_email(name)[:255].replace("\0", "") if isinstance(name, str) else None
