"""History from a file: days from before an instrument's live record, sealed straight into the archive."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import islice
from typing import Any

from django.db import connection, transaction
from django.db.models import Min

from config.core.errors import Conflict
from config.core.faults import faultpoint
from config.core.leader import Leadership
from quotes.archive import Archive, archive
from quotes.models import EvidenceTick, Gap, Instrument, RecordDay, RecordPart, Tick, Watermark
from quotes.recordings import RecordedQuote
from quotes.rules import BEGINNING, STORED_FRAMES, Bar, Quote, QuoteFilter, bars_of, mid_price, widen
from quotes.rules.chain import ArchivedTick, Head, Survey
from quotes.services.archive import archive_part, publish_day
from quotes.services.partitions import day_bounds
from quotes.services.ticks import UPSERT_CANDLES

MICROSECOND = timedelta(microseconds=1)
# Before every number of a live tick: an instant is numbered by how far it lies before this one.
NUMBERED_UNTIL = datetime(2100, 1, 1, tzinfo=UTC)
CANDLES_AT_ONCE = 10_000
# A few seconds are for the job that is about to end.
TURN_SECONDS = 5


@dataclass(frozen=True, slots=True)
class BackfilledDay:
    """A day as it now is in the record; `is_new`: this run put it there."""

    day: date
    root: bytes
    ticks: dict[str, int]
    is_new: bool


@dataclass(slots=True)
class DayTicks:
    """The ticks of a recording, one day after the other: as the feed would have made them of its quotes."""

    instrument: Instrument
    quotes: Iterator[RecordedQuote]
    dropped: dict[str, int] = field(init=False)
    _ticks: Iterator[ArchivedTick] = field(init=False)
    _next: ArchivedTick | None = field(init=False)

    def __post_init__(self) -> None:
        accepted = QuoteFilter(self.instrument.max_spread, self.instrument.max_jump)
        self.dropped = accepted.dropped
        self._ticks = numbered(ticks_of_quotes(self.instrument, self.quotes, accepted))
        self._next = next(self._ticks, None)

    @property
    def day(self) -> date | None:
        """The day of the next tick, None at the end."""
        return None if self._next is None else self._next[0].date()

    def take(self, day: date) -> Iterator[ArchivedTick]:
        """Hand over the ticks up to the end of a day."""
        end = day_bounds(day)[1]
        while self._next is not None and self._next[0] < end:
            yield self._next
            self._next = next(self._ticks, None)


def ticks_of_quotes(
    instrument: Instrument, quotes: Iterable[RecordedQuote], accepted: QuoteFilter
) -> Iterator[tuple[datetime, Decimal]]:
    """Filter and round quotes as the feed does.

    With a tick interval the last of each makes a tick, at its end.
    """
    unit = Decimal(1).scaleb(-instrument.price_decimals)
    interval = timedelta(milliseconds=instrument.tick_interval_ms)
    held: Decimal | None = None
    due = BEGINNING
    for at, bid, ask in quotes:
        quote = Quote(bid, ask)
        if not accepted.accepts(quote, at):
            continue
        price = mid_price(quote, unit)
        if price <= 0:
            accepted.dropped["non_positive"] += 1
        elif not interval:
            yield at, price
        else:
            if held is not None and at >= due:
                yield due, held
                held = None
            if held is None:
                due = at - (at - BEGINNING) % interval + interval
            held = price
    if held is not None:
        yield due, held


def numbered(ticks: Iterable[tuple[datetime, Decimal]]) -> Iterator[ArchivedTick]:
    """Stamp ticks strictly ascending, as the intake does, and number each by its instant."""
    last = BEGINNING
    for at, price in ticks:
        last = max(at, last + MICROSECOND)
        yield last, (last - NUMBERED_UNTIL) // MICROSECOND, price, False


def record_begins(instrument: Instrument) -> datetime:
    """Return where an instrument's live record begins: by then it was made, or has something."""
    live = RecordPart.objects.filter(instrument=instrument, day__is_backfilled=False)
    known = [
        Watermark.objects.values_list("at", flat=True).get(instrument=instrument),
        Gap.objects.filter(instrument=instrument).aggregate(at=Min("starts_at"))["at"],
        EvidenceTick.objects.filter(instrument=instrument).aggregate(at=Min("at"))["at"],
        live.aggregate(at=Min("first_at"))["at"],
        Tick.objects.filter(instrument=instrument).order_by("at").values_list("at", flat=True).first(),
    ]
    return min(each for each in known if each is not None)


def backfill(
    *,
    recordings: Mapping[Instrument, Iterator[RecordedQuote]],
    since: date | None = None,
    until: date | None = None,
    told: Callable[[str], None] = lambda sentence: None,
) -> Iterator[BackfilledDay]:
    """Seal the days of these recordings that lie wholly before the live records, one by one when asked for.

    `since` and `until` are the first and last day. A day that is there already with the same ticks stays.
    Raises Conflict at one that has others, or live ticks: no part is ever added to a sealed day; and while
    somebody else archives: sealing is one process at a time. Raises InvalidRecording and ArchiveFailed. Days
    before the one that fails are done.
    """
    with Leadership("archive") as lead:
        if not lead.acquire(wait_seconds=TURN_SECONDS):
            raise Conflict("Days are being archived right now; try again in a minute.")
        yield from _filled(recordings, since, until, told, lead)


def _filled(
    recordings: Mapping[Instrument, Iterator[RecordedQuote]],
    since: date | None,
    until: date | None,
    told: Callable[[str], None],
    lead: Leadership,
) -> Iterator[BackfilledDay]:
    store = archive()
    sources = [DayTicks(instrument, quotes) for instrument, quotes in recordings.items()]
    sources.sort(key=lambda each: each.instrument.symbol)
    begins = min(record_begins(each.instrument) for each in sources)
    last = min(begins.date() - timedelta(days=1), until or date.max)
    while days := [each.day for each in sources if each.day is not None]:
        day = min(days)
        if day > last:
            if day <= (until or date.max):
                told(f"From {day} on is the live record, or a part of its first day: left out.")
            break
        given = [each for each in sources if each.day == day]
        if since is not None and day < since:
            for each in given:
                for _ in each.take(day):
                    pass
            continue
        if not lead.holds():
            raise Conflict("Somebody else may archive by now: the connection that kept the turn was lost.")
        yield _fill(store, day, given)
    for each in sources:
        if dropped := {reason: count for reason, count in each.dropped.items() if count}:
            told(f"{each.instrument.symbol}: quotes dropped: {dropped}")


def _fill(store: Archive, day: date, sources: list[DayTicks]) -> BackfilledDay:
    sealed = RecordDay.objects.filter(pk=day).first()
    if sealed is not None:
        return _compared(sealed, sources)
    start, end = day_bounds(day)
    if Tick.objects.filter(at__gte=start, at__lt=end).exists():
        raise Conflict(f"{day} has live ticks: it is sealed with them alone.", day=str(day))
    parts: list[RecordPart] = []
    bars: dict[int, list[Bar]] = {}
    for each in sources:
        part, _ = archive_part(store, each.instrument, day, each.take(day))
        parts.append(part)
        rows = store.rows(part.file)
        bars[each.instrument.pk] = list(
            bars_of(((at, seq, price) for at, seq, price, _ in rows), STORED_FRAMES[0])
        )
    sealed = _publish(day, parts, bars)
    faultpoint("archive.after_seal")
    return BackfilledDay(
        day, bytes(sealed.root), {part.instrument.symbol: part.ticks for part in parts}, True
    )


@transaction.atomic
def _publish(day: date, parts: list[RecordPart], bars: Mapping[int, list[Bar]]) -> RecordDay:
    """Seal a day and store its candles: both or neither, so that no tick is ever counted twice."""
    sealed = publish_day(day=day, parts=parts, is_backfilled=True)
    for instrument_id, finest in bars.items():
        for frame in STORED_FRAMES:
            rows = iter([(instrument_id, frame, *bar) for bar in widen(finest, frame)])
            while chunk := list(islice(rows, CANDLES_AT_ONCE)):
                columns: list[Any] = [list(column) for column in zip(*chunk, strict=True)]
                with connection.cursor() as cursor:
                    cursor.execute(UPSERT_CANDLES, columns)
    return sealed


def _compared(sealed: RecordDay, sources: list[DayTicks]) -> BackfilledDay:
    """Return a sealed day if these ticks are its own; raise Conflict otherwise."""
    heads = []
    for each in sources:
        survey = Survey(each.instrument.symbol, sealed.day, each.instrument.price_decimals)
        chain = survey.of(each.take(sealed.day)).chain
        heads.append(Head(each.instrument.symbol, chain.ticks, chain.head))
    parts = sealed.parts.select_related("instrument").order_by("instrument__symbol")
    stored = [Head(part.instrument.symbol, part.ticks, bytes(part.head)) for part in parts]
    if not sealed.is_backfilled or stored != heads:
        symbols = ", ".join(head.symbol for head in stored)
        raise Conflict(
            f"{sealed.day} is sealed with other ticks, of {symbols}: nothing is added to it.",
            day=str(sealed.day),
        )
    ticks = {head.symbol: head.ticks for head in heads}
    return BackfilledDay(sealed.day, bytes(sealed.root), ticks, is_new=False)
