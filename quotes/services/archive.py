"""A closed day of ticks: archived, sealed under its root, and dropped once its record verifies again."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta

from django.db import connection, transaction
from django.db.models import Exists, OuterRef, Q

from config.core import clock
from config.core.faults import faultpoint
from quotes.archive import Archive, ArchiveFailed, Stored, archive
from quotes.models import Gap, Instrument, RecordDay, RecordPart, Tick, Watermark
from quotes.rules.chain import ArchivedTick, Head, Survey, day_root
from quotes.services.history import record_gap
from quotes.services.partitions import Held, day_bounds, drop_day, keep_evidence

# A feed that has not come back by then left nothing behind that could still be told of the day.
GIVEN_UP_AFTER = timedelta(days=1)
ROWS_AT_ONCE = 20_000


class DayOpen(Exception):
    """Something may still be added to the day; says what. It is sealed later."""


def seal_day(*, day: date) -> RecordDay | None:
    """Archive a day that is over and publish its root; return None for one without ticks.

    A day that is sealed stays as it is. Raises DayOpen while a watermark or an open order is not past it,
    ArchiveFailed when it cannot be written and read back, ChainBroken when its ticks cannot be chained.
    Wherever this ends, the next call goes on to the same result.
    """
    sealed = RecordDay.objects.filter(pk=day).first()
    if sealed is not None:
        return sealed
    instruments = _complete(day)
    if not instruments:
        return None
    if keep_evidence(day) is None:
        raise DayOpen("an order that needs it is not settled")
    store = archive()
    parts = [archive_part(store, each, day, ticks_of(each.pk, day))[0] for each in instruments]
    sealed = publish_day(day=day, parts=parts)
    faultpoint("archive.after_seal")
    return sealed


def archive_part(
    store: Archive, instrument: Instrument, day: date, rows: Iterator[ArchivedTick]
) -> tuple[RecordPart, Survey]:
    """Write an instrument's day, read it back, and return its part of the record, not yet stored.

    Raises ArchiveFailed when what was read is not what was written.
    """
    given = Survey(instrument.symbol, day, instrument.price_decimals)
    stored = store.write(day, instrument.symbol, given.through(rows))
    faultpoint("archive.after_write")
    found = Survey(instrument.symbol, day, instrument.price_decimals).of(store.rows(stored.file))
    if found.sums() != given.sums():
        raise ArchiveFailed(f"{stored.file}: what was read back is not what was written")
    faultpoint("archive.after_verify")
    return _part(instrument, day, given, stored), given


def _part(instrument: Instrument, day: date, survey: Survey, stored: Stored) -> RecordPart:
    chain = survey.chain
    nowhere = (day_bounds(day)[0], 0)  # a day of late ticks alone
    first_at, first_seq = chain.first or nowhere
    last_at, last_seq = chain.last or nowhere
    return RecordPart(
        day_id=day,
        instrument=instrument,
        ticks=chain.ticks,
        first_at=first_at,
        first_seq=first_seq,
        last_at=last_at,
        last_seq=last_seq,
        head=chain.head,
        file=stored.file,
        file_bytes=stored.file_bytes,
        file_sha256=stored.sha256,
    )


@transaction.atomic
def publish_day(*, day: date, parts: Sequence[RecordPart], is_backfilled: bool = False) -> RecordDay:
    """Put a day under its root: all parts of it at once, for good."""
    now = clock.now()
    sealed = RecordDay(
        day=day,
        root=root_of(day, parts),
        is_backfilled=is_backfilled,
        sealed_at=now,
        # What comes from a file is in the archive alone.
        dropped_at=now if is_backfilled else None,
    )
    sealed.save(force_insert=True)
    RecordPart.objects.bulk_create(parts)
    return sealed


def root_of(day: date, parts: Sequence[RecordPart]) -> bytes:
    """Return the root over parts as they are stored."""
    return day_root(day, (Head(part.instrument.symbol, part.ticks, bytes(part.head)) for part in parts))


# --- A day that is over ---------------------------------------------------------------------------------


def _complete(day: date) -> list[Instrument]:
    """Return the instruments with ticks of a day, by symbol, once nothing can be added; raise DayOpen."""
    start, end = day_bounds(day)
    now = clock.now()
    if now < end:
        raise DayOpen("it is not over")
    found = _with_ticks(start, end)
    concerned = Q(at__gte=start) | Q(instrument__in=[each.pk for each in found])
    marks = Watermark.objects.filter(concerned, at__lt=end).select_related("instrument")
    for mark in list(marks.order_by("instrument__symbol")):
        if now < end + GIVEN_UP_AFTER:
            raise DayOpen(f"{mark.instrument.symbol} is complete up to {clock.iso(mark.at)} only")
        record_gap(instrument_id=mark.instrument_id, ends_at=end, reason=Gap.Reason.FEED_DOWN)
    if _with_ticks(start, end) != found:
        raise DayOpen("ticks of another instrument came just now")
    return found


def _with_ticks(start: datetime, end: datetime) -> list[Instrument]:
    ticks = Tick.objects.filter(instrument=OuterRef("pk"), at__gte=start, at__lt=end)
    return list(Instrument.objects.filter(Exists(ticks)).order_by("symbol"))


def ticks_of(instrument_id: int, day: date) -> Iterator[ArchivedTick]:
    """Read an instrument's day from the table by `(at, seq)`, late ones included.

    Page by page, each a statement of its own: whoever reads may wait for a network in between.
    """
    start, end = day_bounds(day)
    at, seq = start, -(2**63)
    while True:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT at, seq, price, is_late FROM quotes_tick WHERE instrument_id = %s "
                "AND at >= %s AND at < %s AND (at, seq) > (%s, %s) ORDER BY at, seq LIMIT %s",
                [instrument_id, at, end, at, seq, ROWS_AT_ONCE],
            )
            rows = cursor.fetchall()
        if not rows:
            return
        yield from rows
        at, seq = rows[-1][:2]


# --- A day past its time --------------------------------------------------------------------------------


def retire_day(*, day: date) -> int | None:
    """Drop a day whose record still verifies; return how many ticks were newly kept as evidence.

    None while an open order needs it. Late ticks written since it was sealed go to files of their own first.
    Raises ArchiveFailed when a file is not what was sealed, NotArchived when the day holds what no file does.
    """
    sealed = RecordDay.objects.filter(pk=day).first()
    archived: dict[int, Held] = {}
    if sealed is not None:
        parts = list(sealed.parts.select_related("instrument"))
        store = archive()
        check_files(store, sealed, parts)
        store.sweep(day)
        if sealed.dropped_at is None:
            archived = {
                part.instrument_id: Held(part.ticks, 0, part.first_seq, part.last_seq)
                if part.ticks
                else Held(0, 0, None, None)
                for part in parts
            }
        _add_late(store, day, parts, archived)
    faultpoint("archive.before_drop")
    kept = drop_day(day, archived=archived)
    faultpoint("archive.after_drop")
    return kept


def check_files(store: Archive, sealed: RecordDay, parts: Sequence[RecordPart]) -> None:
    """See that every file of a day is the one that was sealed, byte by byte; raise ArchiveFailed."""
    if root_of(sealed.day, parts) != bytes(sealed.root):
        raise ArchiveFailed(f"{sealed.day}: its parts do not make its root")
    for part in parts:
        if store.known_by(part.file) != Stored(part.file, part.file_bytes, bytes(part.file_sha256)):
            raise ArchiveFailed(f"{part.file}: it is not the file that was sealed")


def _add_late(store: Archive, day: date, parts: Sequence[RecordPart], archived: dict[int, Held]) -> None:
    """Archive the late ticks that no file of the day holds, and count all late ones as archived."""
    start, end = day_bounds(day)
    files = {part.instrument_id: part.file for part in parts}
    for instrument in _with_ticks(start, end):
        ticks = Tick.objects.filter(instrument=instrument, at__gte=start, at__lt=end, is_late=True)
        late = list(ticks.order_by("at", "seq").values_list("at", "seq", "price", "is_late"))
        if not late:
            continue
        file = files.get(instrument.pk)
        known = {row for row in store.rows(file) if row[3]} if file else set()
        if further := [row for row in late if row not in known]:
            stored = store.write(day, f"{instrument.symbol}.late", iter(further))
            if [*store.rows(stored.file)] != further:
                raise ArchiveFailed(f"{stored.file}: what was read back is not what was written")
        held = archived.get(instrument.pk, Held(0, 0, None, None))
        archived[instrument.pk] = held._replace(late=len(late))
