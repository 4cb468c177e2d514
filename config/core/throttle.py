"""Rate limits: token buckets in Redis, all of a request taken or none, in one round trip."""

import hashlib
import math
from dataclasses import dataclass
from typing import Any, Literal

import redis

from config.core import redis as shared
from config.core.errors import TooMany, Unavailable

# Each bucket is one number, the instant it will be full again (GCRA); the clock is Redis' own.
_TAKE = """
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local which, least, wait, full = 1, 1e15, 0, {}
for i, key in ipairs(KEYS) do
  local interval, burst = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
  full[i] = math.max(tonumber(redis.call('GET', key) or 0), now) + interval
  local left = math.floor((now + interval * burst - full[i]) / interval)
  if left < least then which, least = i, left end
  wait = math.max(wait, full[i] - interval * burst - now)
end
if wait <= 0 then
  for i, key in ipairs(KEYS) do
    redis.call('SET', key, string.format('%.0f', full[i]), 'PX', math.ceil((full[i] - now) / 1000) + 1)
  end
end
return {which, math.max(least, 0), math.ceil(wait), math.ceil(full[which] - now)}
"""
_SHA = hashlib.sha1(_TAKE.encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class Limit:
    """So many requests per second, and so many at once. `per` user counts strangers by their address.

    `fail_closed`: refused while Redis cannot be asked (for commands that move money); else let through.
    """

    bucket: str
    per_second: float
    burst: int
    per: Literal["user", "ip"] = "user"
    fail_closed: bool = False


@dataclass(frozen=True, slots=True)
class Taken:
    """The state of the tightest bucket after a request; `wait_seconds` above zero: it was refused."""

    limit: Limit
    remaining: int
    wait_seconds: int
    reset_seconds: int

    def headers(self) -> dict[str, str]:
        """Return what clients are told with every answer."""
        return {
            "RateLimit-Limit": str(self.limit.burst),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(self.reset_seconds),
        }

    def require(self) -> None:
        """Raise TooMany when the request was refused."""
        if self.wait_seconds:
            raise TooMany(
                f"Try again in {self.wait_seconds} s.",
                retry_after_seconds=self.wait_seconds,
                limit=self.limit.burst,
            )


def take(bucket: str, key: str, rate: float, burst: int, *, fail_closed: bool = False) -> None:
    """Take one token of a bucket with `rate` tokens per second and `burst` at most; raise TooMany."""
    take_all([(Limit(bucket, rate, burst, fail_closed=fail_closed), key)])


def take_all(limits: list[tuple[Limit, str]]) -> Taken | None:
    """Take one token from each bucket; raise TooMany, and take none, when one is empty."""
    taken = ask(limits)
    if taken is not None:
        taken.require()
    return taken


def ask(limits: list[tuple[Limit, str]]) -> Taken | None:
    """Take one token from each bucket, or none at all when one is empty, and say which.

    While Redis is away: None, or Unavailable is raised when one of the limits fails closed.
    """
    keys = [shared.key(f"limit:{limit.bucket}:{key}") for limit, key in limits]
    numbers = [number for limit, _ in limits for number in (1_000_000 / limit.per_second, limit.burst)]
    try:
        which, left, wait, full = _evaluate(len(keys), *keys, *numbers)
    except redis.RedisError:
        if any(limit.fail_closed for limit, _ in limits):
            raise Unavailable(
                "Limits cannot be checked right now; nothing was done.", retry_after_seconds=2
            ) from None
        return None
    return Taken(limits[which - 1][0], left, math.ceil(wait / 1_000_000), math.ceil(full / 1_000_000))


def _evaluate(count: int, *arguments: Any) -> list[int]:
    connection: Any = shared.client()
    try:
        answer: list[int] = connection.evalsha(_SHA, count, *arguments)
    except redis.exceptions.NoScriptError:
        answer = connection.eval(_TAKE, count, *arguments)
    return answer
