"""The process's connections to Redis; every key and channel starts with REDIS_PREFIX."""

from functools import cache

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry


def client() -> "redis.Redis":
    """Return the shared client: a second at most per answer, one retry for a connection that went stale."""
    return _client(settings.REDIS_URL)


@cache
def _client(url: str) -> "redis.Redis":
    return redis.Redis.from_url(
        url, socket_timeout=1, socket_connect_timeout=1, retry=Retry(NoBackoff(), 1), health_check_interval=0
    )


def key(name: str) -> str:
    """Return the key or channel of that name for this installation."""
    return f"{settings.REDIS_PREFIX}{name}"
