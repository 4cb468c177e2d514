"""The one clock. SQL takes instants from here as parameters and never asks its own."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache

_read: Callable[[], datetime] | None = None


def now() -> datetime:
    """Return the current instant, UTC, with microseconds."""
    return _read() if _read is not None else datetime.now(UTC)


def is_replaced() -> bool:
    """Tell whether this process stands at a time of its own."""
    return _read is not None


@contextmanager
def ticking(read: Callable[[], datetime]) -> Iterator[None]:
    """Replace the clock of this process, for tests and replays at their own time."""
    global _read
    previous, _read = _read, read
    try:
        yield
    finally:
        _read = previous


@lru_cache(maxsize=4096)
def iso(instant: datetime) -> str:
    """Write an instant as ISO 8601 UTC with six decimals and a Z."""
    # Settlement writes five of these per order, most of them the same; strftime takes three times as long.
    return instant.astimezone(UTC).isoformat(timespec="microseconds")[:-6] + "Z"
