"""Which quotes count, and how those of several sources become one price; purely."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from statistics import median
from typing import NamedTuple

from quotes.rules.hours import BEGINNING

CONFIRM_WITHIN = timedelta(seconds=2)
FORGET_AFTER = timedelta(seconds=60)
LEAST_FOR_MEDIAN = 3
# What the record's columns hold; a price beyond it is no price.
LARGEST_PRICE = Decimal(10) ** 11
# The customer group of whoever is in no other.
STANDARD = "standard"


REASONS = ("out_of_range", "non_positive", "crossed", "spread", "jump")


class Quote(NamedTuple):
    """Bid and ask of one source, or of several together."""

    bid: Decimal
    ask: Decimal

    @property
    def mid(self) -> Decimal:
        """The middle, unrounded."""
        return (self.bid + self.ask) / 2


class QuoteFilter:
    """Decides which quotes of one source count, and keeps count of the others by reason.

    Dropped: `out_of_range` (no number, or not below LARGEST_PRICE), `non_positive`, `crossed` (bid above
    ask), `spread` (wider than `max_spread` of the mid), `jump` (farther than `max_jump` from the last
    accepted mid, unless another source stands that near to it, the next quote within CONFIRM_WITHIN lies
    that near to it, or nothing was accepted for FORGET_AFTER).
    """

    __slots__ = ("_held", "_last", "_last_at", "_max_jump", "_max_spread", "accepted", "dropped")

    def __init__(self, max_spread: Decimal, max_jump: Decimal) -> None:
        self.limit(max_spread, max_jump)
        self.accepted = 0
        self.dropped: dict[str, int] = dict.fromkeys(REASONS, 0)
        self.forget()

    def limit(self, max_spread: Decimal, max_jump: Decimal) -> None:
        """Take over other limits; what was seen is remembered."""
        self._max_spread, self._max_jump = max_spread, max_jump

    def forget(self) -> None:
        """Start anew: the next quote is compared with nothing."""
        self._last: Decimal | None = None
        self._last_at = BEGINNING
        self._held: tuple[datetime, Decimal] | None = None

    def accepts(self, quote: Quote, at: datetime, others: Iterable[Decimal] = ()) -> bool:
        """Tell whether a quote counts; `others` are the mids at which other sources stand."""
        bid, ask = quote
        if not (bid.is_finite() and ask.is_finite() and bid < LARGEST_PRICE and ask < LARGEST_PRICE):
            return self._drop("out_of_range")
        if bid <= 0 or ask <= 0:
            return self._drop("non_positive")
        if bid > ask:
            return self._drop("crossed")
        middle = (bid + ask) / 2
        if ask - bid > middle * self._max_spread:
            return self._drop("spread")
        last = self._last
        if (
            last is not None
            and abs(middle - last) > last * self._max_jump
            and at - self._last_at < FORGET_AFTER
            and not self._is_confirmed(middle, at, others)
        ):
            self._held = (at, middle)
            return self._drop("jump")
        self._last, self._last_at, self._held = middle, at, None
        self.accepted += 1
        return True

    def _is_confirmed(self, middle: Decimal, at: datetime, others: Iterable[Decimal]) -> bool:
        if any(abs(middle - other) <= other * self._max_jump for other in others):
            return True
        if self._held is None:
            return False
        held_at, held = self._held
        return at - held_at <= CONFIRM_WITHIN and abs(middle - held) <= held * self._max_jump

    def _drop(self, reason: str) -> bool:
        self.dropped[reason] += 1
        return False


def mid_price(quote: Quote, unit: Decimal) -> Decimal:
    """Return the tick price of a quote: its mid, rounded half-even to a multiple of `unit`."""
    return quote.mid.quantize(unit, rounding=ROUND_HALF_EVEN)


def best_of(quotes: Sequence[Quote], unit: Decimal) -> Quote:
    """Return the best bid and ask of several sources; where they cross or lock, their mid one `unit` wide."""
    return _uncrossed(Quote(max(each.bid for each in quotes), min(each.ask for each in quotes)), unit)


def median_of(quotes: Sequence[Quote], unit: Decimal) -> Quote:
    """Return a quote around the median of the sources' mids, as wide as the median of their spreads."""
    middle = median(each.mid for each in quotes)
    half = median(each.ask - each.bid for each in quotes) / 2
    return _uncrossed(Quote(middle - half, middle + half), unit)


def _uncrossed(quote: Quote, unit: Decimal) -> Quote:
    if quote.bid < quote.ask:
        return quote
    middle, half = quote.mid, unit / 2
    return Quote(middle - half, middle + half)


def displayed(quote: Quote, unit: Decimal, amount: Decimal, min_spread: Decimal) -> Quote:
    """Return what a customer group sees of a quote: marked up outward, then at least `min_spread` wide.

    Both sides lie on the grid of `unit`: the bid is rounded down, the ask up, and a widening goes to both
    sides, an odd unit of it to the ask. Never below one unit.
    """
    bid = (quote.bid - amount).quantize(unit, rounding=ROUND_FLOOR)
    ask = (quote.ask + amount).quantize(unit, rounding=ROUND_CEILING)
    missing = (min_spread - (ask - bid)) / unit
    if missing > 0:
        units = int(missing.to_integral_value(rounding=ROUND_CEILING))
        bid -= units // 2 * unit
        ask += (units - units // 2) * unit
    return Quote(max(bid, unit), max(ask, unit))


# No market outside stands behind their prices.
SIMULATED, REPLAY = "simulated", "replay"
MADE_HERE = frozenset({SIMULATED, REPLAY})


def source_of(source: str, instrument_class: str, source_symbol: str, enabled: Sequence[str]) -> str:
    """Return the source that quotes an instrument: an enabled exchange replaces the simulation it serves."""
    if source == SIMULATED and "binance" in enabled and instrument_class == "crypto" and source_symbol:
        return "binance"
    return source
