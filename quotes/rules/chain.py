"""The hash chain over an instrument's day of ticks, and the root over a day's chains; purely."""

from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import NamedTuple

from quotes.rules.hours import BEGINNING

STORED_DECIMALS = 8
MICROSECOND = timedelta(microseconds=1)
DAY = timedelta(days=1)

# One row of an archived day: at, seq, price, is_late.
ArchivedTick = tuple[datetime, int, Decimal, bool]


class ChainBroken(ValueError):
    """Ticks are not in order, not of the day, or finer than the instrument's decimals; names the tick."""


class Head(NamedTuple):
    """What stands for an instrument's day: how many ticks, and the hash over all of them."""

    symbol: str
    ticks: int
    head: bytes


def microseconds(at: datetime) -> int:
    """Return an instant in whole microseconds since 1970."""
    return (at - BEGINNING) // MICROSECOND


def price_text(price: Decimal, decimals: int) -> str:
    """Write a price with exactly these decimals, 0 to 8; raise ValueError for one that has more."""
    text = f"{price:.{STORED_DECIMALS}f}"
    cut = STORED_DECIMALS - decimals
    if cut and text[-cut:].strip("0"):
        raise ValueError(f"{price} has more than {decimals} decimals")
    return text[: len(text) - cut].rstrip(".") if cut else text


class Chain:
    """Grows the head over the ticks of one instrument and UTC day, given by ascending `seq`.

    h0 = SHA-256("tickhouse:ticks:1\\n" symbol "\\n" day "\\n"); h = SHA-256(h before, "at|seq|price\\n") with
    `at` in microseconds since 1970 and the price in the instrument's decimals. Late ticks take no part.
    """

    __slots__ = ("_decimals", "_end", "_start", "first", "head", "last", "symbol", "ticks")

    def __init__(self, symbol: str, day: date, decimals: int) -> None:
        self.symbol, self._decimals = symbol, decimals
        self._start = BEGINNING + (day - BEGINNING.date())
        self._end = self._start + DAY
        self.head = sha256(f"tickhouse:ticks:1\n{symbol}\n{day.isoformat()}\n".encode()).digest()
        self.ticks = 0
        self.first: tuple[datetime, int] | None = None
        self.last: tuple[datetime, int] | None = None

    def add(self, at: datetime, seq: int, price: Decimal) -> None:
        """Take the next tick in; raise ChainBroken for one that cannot stand there."""
        if self.last is not None and (seq <= self.last[1] or at <= self.last[0]):
            raise ChainBroken(f"{self.symbol}: tick {seq} does not come after tick {self.last[1]}")
        if not self._start <= at < self._end:
            raise ChainBroken(f"{self.symbol}: tick {seq} of {at.isoformat()} is not of this day")
        try:
            text = price_text(price, self._decimals)
        except ValueError as error:
            raise ChainBroken(f"{self.symbol}: tick {seq}: {error}") from None
        self.head = sha256(self.head + f"{microseconds(at)}|{seq}|{text}\n".encode()).digest()
        if self.first is None:
            self.first = (at, seq)
        self.last = (at, seq)
        self.ticks += 1


class Survey:
    """What an instrument's day amounts to: the chain over its ticks, and how many more were late."""

    __slots__ = ("chain", "late")

    def __init__(self, symbol: str, day: date, decimals: int) -> None:
        self.chain, self.late = Chain(symbol, day, decimals), 0

    def through(self, rows: Iterable[ArchivedTick]) -> Iterator[ArchivedTick]:
        """Hand the rows on, counting; raises ChainBroken."""
        for row in rows:
            at, seq, price, is_late = row
            if is_late:
                self.late += 1
            else:
                self.chain.add(at, seq, price)
            yield row

    def of(self, rows: Iterable[ArchivedTick]) -> "Survey":
        """Count the rows to their end; raises ChainBroken."""
        for _ in self.through(rows):
            pass
        return self

    def sums(self) -> tuple[object, ...]:
        """Return what two surveys of the same ticks have in common."""
        chain = self.chain
        return chain.ticks, chain.first, chain.last, chain.head, self.late


def day_root(day: date, heads: Iterable[Head]) -> bytes:
    """Return the root of a day: SHA-256 over "tickhouse:day:1\\n" day "\\n" and a line for each symbol.

    Ascending by symbol, each is "symbol|ticks|head\\n" with the head in lower-case hexadecimal.
    """
    lines = [f"{symbol}|{ticks}|{head.hex()}\n" for symbol, ticks, head in sorted(heads)]
    return sha256(f"tickhouse:day:1\n{day.isoformat()}\n{''.join(lines)}".encode()).digest()
