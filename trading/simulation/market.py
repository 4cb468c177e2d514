"""The ticks of a recording, looked up by time."""

from bisect import bisect_right
from collections.abc import Iterable
from datetime import datetime

from trading.rules import Price


class Ticks:
    """Ticks by strictly ascending time, as the feed would have made them."""

    def __init__(self, prices: Iterable[Price]) -> None:
        self._prices = list(prices)
        self._times = [each.at for each in self._prices]

    def __len__(self) -> int:
        return len(self._times)

    @property
    def first_at(self) -> datetime:
        """The instant of the first tick."""
        return self._times[0]

    @property
    def last_at(self) -> datetime:
        """The instant of the last tick."""
        return self._times[-1]

    def last_before(self, at: datetime) -> Price | None:
        """Return the last tick at or before an instant."""
        place = bisect_right(self._times, at)
        return self._prices[place - 1] if place else None

    def first_after(self, at: datetime) -> Price | None:
        """Return the first tick after an instant."""
        place = bisect_right(self._times, at)
        return self._prices[place] if place < len(self._prices) else None
