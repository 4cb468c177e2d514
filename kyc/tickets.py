"""One-use tickets with which a client that cannot send headers opens its socket."""

import secrets
from hashlib import sha256

import orjson

from config.core import redis

LIFETIME_SECONDS = 30


def issue(*, user_id: int, proof: str) -> str:
    """Return a ticket for one socket, good for 30 seconds and while what proved the sign-in lives.

    `proof`: `family:<id>` of a token, or `page:<session key>`.
    """
    ticket = secrets.token_urlsafe(32)
    redis.client().set(_key(ticket), orjson.dumps([user_id, proof]), ex=LIFETIME_SECONDS)
    return ticket


def redeem(ticket: str) -> tuple[int, str] | None:
    """Return the user id and the proof a ticket stands for, and use it up; None when there is no such."""
    found = redis.client().getdel(_key(ticket))
    if not found:
        return None
    user_id, proof = orjson.loads(found)
    return user_id, proof


def _key(ticket: str) -> str:
    return redis.key("socket-ticket:" + sha256(ticket.encode()).hexdigest())
