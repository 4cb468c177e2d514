"""Identifiers: time-ordered for rows, derived for what must happen once."""

import os
import time
from hashlib import sha1
from uuid import UUID


def new_id() -> UUID:
    """Return a UUIDv7 (RFC 9562): milliseconds first, so that indexes grow at one end."""
    value = (time.time_ns() // 1_000_000 << 80) | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | (0x7 << 76)
    return UUID(int=value & ~(0x3 << 62) | (0x2 << 62))


def derived_id(cause: UUID, what: str) -> UUID:
    """Return the UUIDv5 of what a cause brings about: the same cause always gives the same id."""
    # As uuid.uuid5 does, at a third of its time: settlement derives two ids per order.
    digest = int.from_bytes(sha1(cause.bytes + what.encode(), usedforsecurity=False).digest()[:16], "big")
    value = digest & ~(0xF << 76) | (0x5 << 76)
    return UUID(int=value & ~(0x3 << 62) | (0x2 << 62))
