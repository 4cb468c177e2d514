"""Whether the record still is what was sealed: recomputed from the archive, compared with the database."""

from collections.abc import Iterable, Iterator
from datetime import date
from decimal import Decimal

from config.core import clock
from quotes.archive import Archive, ArchiveFailed, Stored, archive
from quotes.models import EvidenceTick, Instrument, RecordDay, RecordPart, Tick
from quotes.rules.chain import ArchivedTick, ChainBroken, Head, Survey, day_root
from quotes.services.archive import ticks_of
from quotes.services.partitions import day_bounds


def verify_day(day: date) -> list[str]:
    """Return what differs on a sealed day, a sentence each that names instrument and first tick; none: whole.

    Each file is read and its chain recomputed, and compared with the day's ticks while the database still has
    them, else with those kept as evidence. Raises RecordDay.DoesNotExist for a day that is not sealed.
    """
    sealed = RecordDay.objects.get(pk=day)
    parts = list(sealed.parts.select_related("instrument").order_by("instrument__symbol"))
    differences: list[str] = []
    try:
        store = archive()
        heads = [_recomputed(store, sealed, part, differences) for part in parts]
        if day_root(day, heads) != bytes(sealed.root):
            differences.append("the root is not that of the archived ticks" + _strays(store, day, parts))
    except ArchiveFailed as error:
        differences.append(f"the archive cannot be read: {error}")
    if sealed.dropped_at is None:
        differences += _unarchived(day, parts)
    return differences


def _recomputed(store: Archive, sealed: RecordDay, part: RecordPart, differences: list[str]) -> Head:
    """Return an instrument's head as its file has it, or as stored if there is no telling."""
    instrument = part.instrument
    survey = Survey(instrument.symbol, sealed.day, instrument.price_decimals)
    found: list[str] = []
    try:
        if store.known_by(part.file) != Stored(part.file, part.file_bytes, bytes(part.file_sha256)):
            found.append(f"{part.file} is not the file that was sealed")
        compared = _compared(sealed, instrument, survey.through(store.rows(part.file)))
        found += [each for each in compared if each]
    except (ArchiveFailed, ChainBroken) as error:
        found.append(str(error))
        differences += [_named(instrument, each) for each in found]
        return Head(instrument.symbol, part.ticks, bytes(part.head))
    chain = survey.chain
    nowhere = (day_bounds(sealed.day)[0], 0)
    stored = (part.ticks, part.first_at, part.first_seq, part.last_at, part.last_seq)
    if stored != (chain.ticks, *(chain.first or nowhere), *(chain.last or nowhere)):
        found.append(f"the archive has {chain.ticks} ticks where {part.ticks} were sealed, or others")
    if chain.head != bytes(part.head):
        found.append("the head of the archived ticks is not the one stored")
    differences += [_named(instrument, each) for each in found]
    return Head(instrument.symbol, chain.ticks, chain.head)


def _named(instrument: Instrument, sentence: str) -> str:
    return sentence if sentence.startswith(instrument.symbol) else f"{instrument.symbol}: {sentence}"


def _compared(
    sealed: RecordDay, instrument: Instrument, filed: Iterable[ArchivedTick]
) -> tuple[str | None, str | None]:
    """Return the first tick that differs from the database, and the first number that is missing."""
    missing = _Missing(expects=not sealed.is_backfilled)
    through = missing.through(filed)
    if sealed.dropped_at is None:
        different = first_difference(through, ticks_of(instrument.pk, sealed.day))
    else:
        different = first_difference(through, _evidence(instrument, sealed.day), is_complete=False)
    for _ in through:  # to the end of the chain
        pass
    return different, missing.sentence if different is None else None


class _Missing:
    """Notices a number that is left out: the ticks of a day are numbered without a hole."""

    def __init__(self, *, expects: bool) -> None:
        self._expects, self.sentence = expects, ""

    def through(self, rows: Iterable[ArchivedTick]) -> Iterator[ArchivedTick]:
        last: int | None = None
        for row in rows:
            if not row[3]:
                if self._expects and not self.sentence and last is not None and row[1] != last + 1:
                    self.sentence = f"tick {last + 1} is missing in the archive"
                last = row[1]
            yield row


def first_difference(
    filed: Iterator[ArchivedTick], kept: Iterable[ArchivedTick], *, is_complete: bool = True
) -> str | None:
    """Return which tick differs first between the archive and the database, both by `(at, seq)`.

    A late tick may have come after the sealing. Unless the database `is_complete` it may have fewer.
    """
    other = next(filed, None)
    for row in kept:
        at, seq, price, is_late = row
        while other is not None and other[:2] < (at, seq):
            if is_complete:
                return f"{_tick(other)} is in the archive alone"
            other = next(filed, None)
        if other is None or other[:2] != (at, seq):
            if is_late:
                continue
            return f"{_tick(row)} is not in the archive"
        if other[2:] != (price, is_late):
            return f"{_tick(row)} is {_price(other[2])} in the archive and {_price(price)} in the database"
        other = next(filed, None)
    return f"{_tick(other)} is in the archive alone" if is_complete and other is not None else None


def _tick(row: ArchivedTick) -> str:
    return f"tick {row[1]} of {clock.iso(row[0])}"


def _price(price: Decimal) -> str:
    return f"{price.normalize():f}"


def _evidence(instrument: Instrument, day: date) -> list[ArchivedTick]:
    start, end = day_bounds(day)
    kept = EvidenceTick.objects.filter(instrument=instrument, at__gte=start, at__lt=end).order_by("at", "seq")
    return [(at, seq, price, False) for at, seq, price in kept.values_list("at", "seq", "price")]


def _unarchived(day: date, parts: Iterable[RecordPart]) -> list[str]:
    """Name the instruments with ticks of a day that are no part of it."""
    start, end = day_bounds(day)
    known = [part.instrument_id for part in parts]
    ticks = Tick.objects.filter(at__gte=start, at__lt=end, is_late=False).exclude(instrument__in=known)
    symbols = Instrument.objects.filter(pk__in=ticks.values("instrument")).order_by("symbol")
    return [f"{symbol}: it has ticks and no part" for symbol in symbols.values_list("symbol", flat=True)]


def _strays(store: Archive, day: date, parts: Iterable[RecordPart]) -> str:
    """Name the files that no part points to: whose part was taken away."""
    known = {part.file for part in parts}
    names = [name for name in store.names(day) if name not in known and ".late-" not in name]
    return f"; without a part: {', '.join(names)}" if names else ""
