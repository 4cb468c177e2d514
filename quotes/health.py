"""How a source fares, told by its adapter and read by the feed and by operators."""

from collections import Counter, deque
from datetime import datetime, timedelta
from statistics import median
from typing import Any

from config.core import clock
from quotes.models import SourceState

MILLISECOND = timedelta(milliseconds=1)
SILENT_AFTER = timedelta(seconds=2)
MOST_OFFSETS = 512
LONGEST_ERROR = 300


class SourceHealth:
    """What is known of one source since the feed began. Written by its adapter, read by the feed's thread."""

    def __init__(self, code: str) -> None:
        self.code = code
        # idle: nobody asks for it; connecting; up; down: waiting to try again.
        self.state = "idle"
        self.connects = self.failures = self.quotes = 0
        self.last_error = ""
        self.last_error_at: datetime | None = None
        self.last_quote_at: datetime | None = None
        self.last_sign_at: datetime | None = None
        self.lag_ms: int | None = None
        # How long its connection may say nothing.
        self.silence = SILENT_AFTER
        # What was said that belongs to no instrument asked for.
        self.ignored: Counter[str] = Counter()
        self._offsets: deque[int] = deque(maxlen=MOST_OFFSETS)

    def idle(self) -> None:
        """Note that nothing is asked of it."""
        self.state = "idle"

    def connecting(self) -> None:
        """Note that a connection is being opened."""
        self.state = "connecting"

    def connected(self) -> None:
        """Note that a connection stands."""
        self.state = "up"
        self.connects += 1

    def failed(self, error: BaseException | str) -> None:
        """Note what ended a connection, or what the peer refused; never a secret."""
        self.state = "down"
        self.complained(error)

    def complained(self, error: BaseException | str) -> None:
        """Note an error that the connection survived."""
        self.failures += 1
        said = str(error) or type(error).__name__
        self.last_error, self.last_error_at = said[:LONGEST_ERROR], clock.now()

    def saw_time(self, theirs: datetime) -> None:
        """Note what the source's clock said just now; it measures, and never decides."""
        self._offsets.append(round((theirs - clock.now()) / MILLISECOND))

    def state_at(self, now: datetime, quotes: dict[str, Any]) -> SourceState:
        """Return what operators are shown of it now; `quotes` counts by symbol what it delivered."""
        silent = None if self.last_sign_at is None else now - self.last_sign_at
        is_silent = self.state == "up" and silent is not None and silent > max(SILENT_AFTER, self.silence)
        return SourceState(
            source=self.code,
            state="silent" if is_silent else self.state,
            lag_ms=self.lag_ms,
            offset_ms=self.offset_ms,
            silent_ms=None if silent is None else round(silent / MILLISECOND),
            connects=self.connects,
            failures=self.failures,
            last_error=self.last_error,
            last_error_at=self.last_error_at,
            quotes=quotes,
            updated_at=now,
        )

    @property
    def offset_ms(self) -> int | None:
        """The source's clock less ours, in milliseconds, median of the last quotes; positive: it is ahead."""
        seen = list(self._offsets)
        return round(median(seen)) if seen else None
