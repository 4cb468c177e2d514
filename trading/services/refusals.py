"""Counting refusals: how often which code was answered, and with which numbers, never to whom."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import structlog
from django.db import DatabaseError, connection

from config.core import clock
from config.core.errors import DomainError, Unauthenticated
from config.core.sql import prepared
from trading.models import Refusals
from trading.rules import KINDS

log = structlog.get_logger(__name__)
KEPT = timedelta(days=90)
RECENT = 10
LONGEST = 40
NUMBER = re.compile(r"[-+0-9.:TZ ]{1,40}")
SIDES = {side for kind in KINDS.values() for side in kind.sides}
# What names a person or an account is no number of the refusal.
PERSONAL = {"account", "order", "errors"}
# Their numbers are one customer's own: what he has, what he allows himself.
PRIVATE = {"insufficient_funds", "open_payout_limit", "own_limit_reached"}
ASKED = (
    "side",
    "stake",
    "duration_seconds",
    "duration_ticks",
    "expires_at",
    "min_payout_rate",
    "price",
    "max_slippage",
    "barrier",
    "low",
    "high",
    "digit",
)
# A statistic is not worth waiting for the disk; where it stands in somebody's transaction, that decides.
COUNT = f"""
WITH quick AS (SELECT set_config(
    'synchronous_commit', CASE WHEN $6 THEN 'off' ELSE current_setting('synchronous_commit') END, true))
INSERT INTO trading_refusals AS r (hour, code, symbol, contract, times, last_at, recent)
SELECT date_trunc('hour', $1::timestamptz, 'UTC'), $2::text,
       coalesce((SELECT symbol FROM quotes_instrument WHERE symbol = $3::text), ''), $4::text,
       1, $1::timestamptz, $5::jsonb
FROM quick
ON CONFLICT (hour, code, symbol, contract) DO UPDATE SET
    times = r.times + 1, last_at = excluded.last_at,
    recent = jsonb_path_query_array(excluded.recent || r.recent, '$[0 to {RECENT - 1}]')
RETURNING times
"""  # noqa: S608 - assembled from constants


@contextmanager
def counted(*, command: Any = None, symbol: str = "", contract: str = "") -> Iterator[None]:
    """Count the refusal that a command meets, by its code, and let it go on; a stranger's is not counted.

    `command` gives the numbers it asked for. What fails in counting is logged and changes nothing.
    """
    try:
        yield
    except Unauthenticated:
        raise
    except DomainError as refusal:
        if not connection.needs_rollback:
            _count(refusal, command, symbol, contract if contract in KINDS else "")
        raise


def _count(refusal: DomainError, command: Any, symbol: str, contract: str) -> None:
    now = clock.now()
    numbers = {"at": clock.iso(now), **_asked(command), **_allowed(refusal)}
    is_alone = not connection.in_atomic_block
    values = (now, refusal.code, symbol[:LONGEST], contract, json.dumps([numbers]), is_alone)
    try:
        prepared(COUNT, values)
    except DatabaseError as error:
        log.warning("a refusal was not counted", code=refusal.code, error=str(error))


def _asked(command: Any) -> dict[str, str]:
    found = {name: getattr(command, name, None) for name in ASKED}
    return {name: text for name, value in found.items() if (text := _number(value))}


def _allowed(refusal: DomainError) -> dict[str, str]:
    if refusal.code in PRIVATE:
        return {}
    return {
        f"answer_{name}": text
        for name, value in refusal.details.items()
        if name not in PERSONAL and (text := _number(value))
    }


def _number(value: Any) -> str:
    """Write a number, an instant or a side; anything else a client sent may say who he is."""
    text = "" if value is None else str(value)
    return text if NUMBER.fullmatch(text) or text in SIDES else ""


def trim_refusals() -> int:
    """Delete what was counted more than 90 days ago; return how many rows."""
    deleted, _ = Refusals.objects.filter(hour__lt=clock.now() - KEPT).delete()
    return deleted
