"""Ticks of days that have left the database, read from the archive as if they had not.

Strangers may ask, and an archive may be slow: few threads of a process ever wait for it, so that there is
always one for orders.
"""

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta
from decimal import Decimal
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, TypeVar

import structlog
from django.db import models

from config.core.errors import Invalid, Unavailable
from quotes import rules
from quotes.models import Instrument, RecordPart

if TYPE_CHECKING:
    from quotes.archive import Archive

log = structlog.get_logger(__name__)
# A page from more files than this is asked for in smaller pieces; a page of as many ticks never needs more.
MOST_FILES = 10
RETRY_SECONDS = 30
# At once and per process; both together, fewer than the four threads that a web process has.
PAGES, DOWNLOADS, BOTH = BoundedSemaphore(2), BoundedSemaphore(2), BoundedSemaphore(3)
# Whoever waits for his turn holds a thread as well.
TURN_SECONDS = 0.05

Point = tuple[datetime, int, Decimal]
R = TypeVar("R")


def newest_ticks(instrument: Instrument, known: list[Point], before: datetime, limit: int) -> list[Point]:
    """Return the newest `limit` ticks before an instant, newest first: those known and the archive's.

    `known` are the newest the database has, read *before* this is called: a day dropped in between is then
    found twice rather than not at all. Only files that can hold one of the page are read. Raises Invalid
    when these are more than MOST_FILES, Unavailable when one cannot be read or too many read at once: a page
    is never silently short.
    """
    points = known
    parts = _parts(instrument, before, since=points[-1][0] if len(points) >= limit else None)
    with ExitStack() as turn:
        for number, part in enumerate(parts):
            if len(points) >= limit and part.last_at < points[-1][0]:
                break
            _count(number, turn)
            found = _read(part, lambda store, file: store.newest(file, before, limit))
            points = sorted({*points, *found}, reverse=True)[:limit]
    return points


def candle_rows(
    instrument: Instrument,
    interval_seconds: int,
    end: datetime,
    limit: int,
    *,
    known: Sequence[rules.Bar] = (),
) -> list[rules.Bar]:
    """Return the newest `limit` candles of any length that start before `end`, of dropped days, ascending.

    They are made of archived ticks alone. `known` are the newest the database has, of a length that divides
    a day, read before as for `newest_ticks`: they take their places among them. Raises Invalid and
    Unavailable as `newest_ticks` does.
    """
    before = _whole(end, interval_seconds)
    bars = {bar.start: bar for bar in known}
    complete = set(bars)
    since = sorted(bars)[-limit] if len(bars) >= limit else None
    with ExitStack() as turn:
        for number, part in enumerate(_parts(instrument, before, since)):
            if len(bars) >= limit and part.last_at < sorted(bars)[-limit]:
                break
            _count(number, turn)
            # One more: the oldest of them may be left half by the part's midnight.
            for bar in _read(part, lambda store, file: store.bars(file, interval_seconds, before, limit + 1)):
                if bar.start not in complete:
                    later = bars.get(bar.start)
                    bars[bar.start] = bar if later is None else next(rules.widen([bar, later], 1))
    return [bars[start] for start in sorted(bars)[-limit:]]


def _whole(end: datetime, interval_seconds: int) -> datetime:
    """Return where the last candle ends that starts before `end`."""
    if end >= rules.ENDLESS - timedelta(seconds=interval_seconds):
        return rules.ENDLESS
    last = rules.bucket_start(end - timedelta(microseconds=1), interval_seconds)
    return last + timedelta(seconds=interval_seconds)


def _parts(
    instrument: Instrument, before: datetime, since: datetime | None = None
) -> models.QuerySet[RecordPart]:
    """Return the archived parts with ticks in [since, before) of days that were dropped, newest first."""
    parts = RecordPart.objects.filter(
        instrument=instrument, day__dropped_at__isnull=False, ticks__gt=0, first_at__lt=before
    )
    if since is not None:
        parts = parts.filter(last_at__gte=since)
    return parts.order_by("-day_id")[: MOST_FILES + 1]


def _count(read: int, turn: ExitStack) -> None:
    """Take a turn for the first file of a page, kept until the page is made; refuse one file too many."""
    if read == MOST_FILES:
        said = (
            f"This reaches over more than {MOST_FILES} archived days: ask for a smaller page, "
            "or take whole days from /api/v1/record."
        )
        raise Invalid(errors={"limit": [said]})
    if read == 0:
        _take_turn(turn, PAGES)


def _take_turn(turn: ExitStack, ours: BoundedSemaphore) -> None:
    for places in (ours, BOTH):
        if not places.acquire(timeout=TURN_SECONDS):
            raise Unavailable("The archive is being read by others; try again.", retry_after_seconds=1)
        turn.callback(places.release)


class Download:
    """An archived file in pieces, and a place among the few that are downloaded at once.

    The place is given back at the end, by `close`, or when nobody holds this any more, whichever is first.
    """

    def __init__(self, chunks: Iterator[bytes], turn: ExitStack) -> None:
        self._chunks = chunks
        self._end = weakref.finalize(self, turn.close)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._chunks)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Read no further; may be said twice."""
        self._end()


def file_of(part: RecordPart) -> Download:
    """Return an archived file; raise Unavailable at once when it cannot be had, or too many are at it."""

    def opened(store: "Archive", file: str) -> Iterator[bytes]:
        return store.chunks(file, part.file_bytes)

    with ExitStack() as turn:
        _take_turn(turn, DOWNLOADS)
        return Download(_read(part, opened), turn.pop_all())


def _read(part: RecordPart, query: "Callable[[Archive, str], R]") -> "R":
    # Few processes ever read the archive; the others do without its libraries.
    from quotes.archive import ArchiveFailed, archive

    try:
        return query(archive(), part.file)
    except ArchiveFailed as error:
        log.error("the archive cannot be read", file=part.file, error=str(error))
        raise Unavailable(
            "Archived ticks cannot be read right now; nothing is shown rather than a part.",
            retry_after_seconds=RETRY_SECONDS,
        ) from error
