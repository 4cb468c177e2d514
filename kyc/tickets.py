"""One-use tickets with which a client that cannot send headers opens its socket."""

import secrets
from hashlib import sha256

import orjson

from config.core import redis

LIFETIME_SECONDS = 30


def issue(*, user_id: int, session: str) -> str:
    """Return a ticket for one socket of this sign-in, good for 30 seconds."""
    ticket = secrets.token_urlsafe(32)
    redis.client().set(_key(ticket), orjson.dumps([user_id, session]), ex=LIFETIME_SECONDS)
    return ticket


def redeem(ticket: str) -> tuple[int, str] | None:
    """Return the user id and the sign-in a ticket stands for, and use it up; None when there is no such."""
    found = redis.client().getdel(_key(ticket))
    if not found:
        return None
    user_id, session = orjson.loads(found)
    return user_id, session


def _key(ticket: str) -> str:
    return redis.key("socket-ticket:" + sha256(ticket.encode()).hexdigest())
