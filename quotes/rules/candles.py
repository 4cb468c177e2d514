"""How ticks become candles, purely."""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from quotes.rules.hours import BEGINNING

STORED_FRAMES = (5, 60)
# Those that are told while they form; a second's candle is stored nowhere, it is made of ticks.
LIVE_FRAMES = (1, *STORED_FRAMES)
# Seconds of every frame that is shown, and the frame it is made of.
FRAMES = {
    1: 1,
    5: 5,
    10: 5,
    15: 5,
    30: 5,
    60: 60,
    300: 60,
    900: 60,
    1800: 60,
    3600: 60,
    14_400: 60,
    86_400: 60,
}


class Bar(NamedTuple):
    """Open, high, low, close and count of one bucket's ticks, with the keys of its first and last."""

    start: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    ticks: int
    first_at: datetime
    first_seq: int
    last_at: datetime
    last_seq: int


def bucket_start(at: datetime, interval_seconds: int) -> datetime:
    """Return the start of the UTC bucket that holds an instant."""
    seconds = int((at - BEGINNING).total_seconds() // interval_seconds) * interval_seconds
    return BEGINNING + timedelta(seconds=seconds)


def bars_of(ticks: Iterable[tuple[datetime, int, Decimal]], interval_seconds: int) -> Iterator[Bar]:
    """Turn ticks `(at, seq, price)`, ascending by `(at, seq)`, into bars; buckets without ticks give none."""
    end = BEGINNING
    start = first_at = last_at = BEGINNING
    first = high = low = last = Decimal(0)
    count = first_seq = last_seq = 0
    length = timedelta(seconds=interval_seconds)
    for at, seq, price in ticks:
        if at >= end:
            if count:
                yield Bar(start, first, high, low, last, count, first_at, first_seq, last_at, last_seq)
            start = bucket_start(at, interval_seconds)
            end = start + length
            first = high = low = price
            first_at, first_seq, count = at, seq, 0
        elif price > high:
            high = price
        elif price < low:
            low = price
        last, last_at, last_seq = price, at, seq
        count += 1
    if count:
        yield Bar(start, first, high, low, last, count, first_at, first_seq, last_at, last_seq)


def widen(bars: Iterable[Bar], interval_seconds: int) -> Iterator[Bar]:
    """Join ascending bars into those of a longer frame that theirs divides."""
    joined: Bar | None = None
    for bar in bars:
        start = bucket_start(bar.start, interval_seconds)
        if joined is None or joined.start != start:
            if joined is not None:
                yield joined
            joined = bar._replace(start=start)
        else:
            joined = joined._replace(
                high=max(joined.high, bar.high),
                low=min(joined.low, bar.low),
                close=bar.close,
                ticks=joined.ticks + bar.ticks,
                last_at=bar.last_at,
                last_seq=bar.last_seq,
            )
    if joined is not None:
        yield joined
