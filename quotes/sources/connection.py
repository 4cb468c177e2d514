"""What the adapters to outside sources share: how patient a connection is, and how it ends."""

import random
from dataclasses import dataclass

from prometheus_client import Counter

CONNECTS = Counter("quotes_source_connects", "Connections opened", ["source"])
ERRORS = Counter(
    "quotes_source_errors", "Connections that ended badly, and errors the source named", ["source"]
)


class SourceError(Exception):
    """The peer has named an error, or said something that cannot be read; the connection is opened anew."""


class ShuttingDown(Exception):
    """The peer has announced its end."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How patient an adapter is, in seconds.

    After more than `silence` without a sign of life nothing is known; a connection without one for `dead` is
    given up. `ping_every` is how often a pinged connection is asked.
    """

    silence: float = 1.0
    dead: float = 3.0
    ping_every: float = 0.25
    connect: float = 10.0
    rotate_after: float = 23 * 3600
    backoff_first: float = 0.5
    backoff_longest: float = 30.0
    healthy_after: float = 60.0


class Backoff:
    """Full jitter: up to `first` × 2ⁿ seconds, at most `longest`; begins anew after a healthy spell."""

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._failures = 0

    def seconds(self, healthy_seconds: float) -> float:
        """Return how long to wait after a connection that was healthy for that long."""
        if healthy_seconds >= self._timing.healthy_after:
            self._failures = 0
        limit = min(self._timing.backoff_longest, self._timing.backoff_first * 2.0**self._failures)
        self._failures = min(self._failures + 1, 32)
        return random.uniform(0, limit)  # noqa: S311
