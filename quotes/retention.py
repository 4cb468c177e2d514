"""Who needs old ticks: the apps above declare the stretches that prove something before a day is dropped."""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import NamedTuple


class Span(NamedTuple):
    """A stretch of an instrument's ticks, both ends included, that must outlive its day.

    One that is not settled may still grow: its day is kept whole.
    """

    instrument_id: int
    starts_at: datetime
    ends_at: datetime
    is_settled: bool = True


Spans = Callable[[datetime, datetime], Iterable[Span]]
_declared: list[Spans] = []


def register(spans: Spans) -> Spans:
    """Declare a function that names the spans touching [start, end) that somebody needs."""
    if spans not in _declared:
        _declared.append(spans)
    return spans


def needed(start: datetime, end: datetime) -> Iterator[Span]:
    """Name every span touching [start, end) that was declared."""
    for spans in _declared:
        yield from spans(start, end)
