"""Identifiers: time-ordered for rows, derived for what must happen once."""

import os
import time
from uuid import UUID, uuid5


def new_id() -> UUID:
    """Return a UUIDv7 (RFC 9562): milliseconds first, so that indexes grow at one end."""
    value = (time.time_ns() // 1_000_000 << 80) | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | (0x7 << 76)
    return UUID(int=value & ~(0x3 << 62) | (0x2 << 62))


def derived_id(cause: UUID, what: str) -> UUID:
    """Return the UUIDv5 of what a cause brings about: the same cause always gives the same id."""
    return uuid5(cause, what)
