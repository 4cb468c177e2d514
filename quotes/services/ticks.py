"""The one door through which ticks enter the record: feed, replay and measure alike."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from django.db import IntegrityError, connection, transaction
from psycopg.errors import CheckViolation

from quotes.errors import Deposed, PartitionMissing
from quotes.rules import STORED_FRAMES, Bar, Quote, bars_of, widen

# One row of the record: at, seq, price.
Row = tuple[datetime, int, Decimal]


@dataclass(frozen=True, slots=True)
class Stretch:
    """What came for an instrument: ticks `(at, price)` in order, and the instant up to which it is all.

    `quote` is the newest bid and ask, which screens show and no outcome rests on.
    """

    until: datetime
    ticks: Sequence[tuple[datetime, Decimal]] = ()
    source: str = ""
    source_lag_ms: int | None = None
    quote: Quote | None = None


@dataclass(frozen=True, slots=True)
class Appended:
    """What was written for an instrument: the watermark, the rows in order, the candles as they now are."""

    at: datetime
    rows: list[Row] = field(default_factory=list)
    late: int = 0
    candles: list[tuple[int, Bar]] = field(default_factory=list)
    quote: Quote | None = None


class _Mark(NamedTuple):
    at: datetime
    last_seq: int
    late_ticks: int


@transaction.atomic
def take_over(instrument_ids: Collection[int], *, epoch: int | None = None) -> int:
    """Become the one who may advance the watermarks of these instruments; return the epoch of it.

    Without an `epoch` starts a new one, which ends that of every feed before. With one adds instruments to
    it, and raises Deposed when a later feed has them.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT instrument_id, epoch FROM quotes_watermark ORDER BY instrument_id FOR NO KEY UPDATE"
        )
        held = dict(cursor.fetchall())
        wanted = max(held.values(), default=0) + 1 if epoch is None else epoch
        if any(held[instrument_id] > wanted for instrument_id in instrument_ids):
            raise Deposed(f"epoch {epoch} has ended")
        cursor.execute(
            "UPDATE quotes_watermark SET epoch = %s WHERE instrument_id = ANY(%s)",
            [wanted, list(instrument_ids)],
        )
    return wanted


@transaction.atomic
def append_ticks(*, epoch: int, stretches: Mapping[int, Stretch]) -> dict[int, Appended]:
    """Write a batch by instrument id: ticks, candles and watermarks in one transaction, numbered on.

    A tick that is not later than everything before it is stored flagged and changes nothing. A watermark
    never goes back. Raises Deposed when this epoch has ended, PartitionMissing when a day has no partition;
    in both nothing is written.
    """
    with connection.cursor() as cursor:
        marks = _lock_marks(cursor, epoch, sorted(stretches))
        appended: dict[int, Appended] = {}
        copied: list[str] = []
        for instrument_id, stretch in stretches.items():
            appended[instrument_id] = _number(instrument_id, marks[instrument_id], stretch, copied)
        if copied:
            _copy(cursor, copied)
            _upsert_candles(cursor, appended)
        _advance(cursor, epoch, stretches, appended)
    return appended


def _lock_marks(cursor: Any, epoch: int, instrument_ids: Sequence[int]) -> dict[int, _Mark]:
    """Lock the watermarks of the batch, ascending; raise Deposed when one is not of this epoch."""
    cursor.execute(
        "SELECT instrument_id, at, last_seq, late_ticks FROM quotes_watermark "
        "WHERE instrument_id = ANY(%s) AND epoch = %s ORDER BY instrument_id FOR NO KEY UPDATE",
        [instrument_ids, epoch],
    )
    marks = {row[0]: _Mark(*row[1:]) for row in cursor.fetchall()}
    if len(marks) != len(instrument_ids):
        raise Deposed(f"epoch {epoch} has ended")
    return marks


def _number(instrument_id: int, mark: _Mark, stretch: Stretch, copied: list[str]) -> Appended:
    floor, seq, late = mark.at, mark.last_seq, mark.late_ticks
    rows: list[Row] = []
    for at, price in stretch.ticks:
        if at > floor:
            floor = at
            seq += 1
            rows.append((at, seq, price))
            copied.append(f"{instrument_id}\t{at.isoformat()}\t{seq}\t{price:f}\tf\n")
        else:
            late += 1
            copied.append(f"{instrument_id}\t{at.isoformat()}\t{-late}\t{price:f}\tt\n")
    return Appended(max(floor, stretch.until), rows, late - mark.late_ticks, quote=stretch.quote)


def _copy(cursor: Any, lines: Sequence[str]) -> None:
    """Copy the rows in; COPY takes ~1.5 µs a row where a multi-row INSERT takes ~8."""
    try:
        with (
            connection.wrap_database_errors,
            cursor.copy("COPY quotes_tick (instrument_id, at, seq, price, is_late) FROM STDIN") as copy,
        ):
            copy.write("".join(lines))
    except IntegrityError as error:
        cause = error.__cause__
        # A violated CHECK has a name; a row without a partition has none.
        if isinstance(cause, CheckViolation) and cause.diag.constraint_name is None:
            raise PartitionMissing(str(cause).splitlines()[0]) from error
        raise


# Keyed by the first and last (at, seq): any order and any cut of the ticks gives the same candles.
UPSERT_CANDLES = """
INSERT INTO quotes_candle AS c (instrument_id, interval_seconds, start, open, high, low, close, ticks,
                                first_at, first_seq, last_at, last_seq)
SELECT * FROM unnest(%s::bigint[], %s::int[], %s::timestamptz[], %s::numeric[], %s::numeric[],
                     %s::numeric[], %s::numeric[], %s::int[], %s::timestamptz[], %s::bigint[],
                     %s::timestamptz[], %s::bigint[])
ON CONFLICT (instrument_id, interval_seconds, start) DO UPDATE SET
    open = CASE WHEN (excluded.first_at, excluded.first_seq) < (c.first_at, c.first_seq)
                THEN excluded.open ELSE c.open END,
    first_at = CASE WHEN (excluded.first_at, excluded.first_seq) < (c.first_at, c.first_seq)
                    THEN excluded.first_at ELSE c.first_at END,
    first_seq = CASE WHEN (excluded.first_at, excluded.first_seq) < (c.first_at, c.first_seq)
                     THEN excluded.first_seq ELSE c.first_seq END,
    high = greatest(c.high, excluded.high),
    low = least(c.low, excluded.low),
    ticks = c.ticks + excluded.ticks,
    close = CASE WHEN (excluded.last_at, excluded.last_seq) > (c.last_at, c.last_seq)
                 THEN excluded.close ELSE c.close END,
    last_at = CASE WHEN (excluded.last_at, excluded.last_seq) > (c.last_at, c.last_seq)
                   THEN excluded.last_at ELSE c.last_at END,
    last_seq = CASE WHEN (excluded.last_at, excluded.last_seq) > (c.last_at, c.last_seq)
                    THEN excluded.last_seq ELSE c.last_seq END
RETURNING instrument_id, interval_seconds, start, open, high, low, close, ticks,
          first_at, first_seq, last_at, last_seq
"""


def _upsert_candles(cursor: Any, appended: Mapping[int, Appended]) -> None:
    """Merge the new rows into the stored frames and note the candles as they stand after it."""
    changed: list[tuple[Any, ...]] = []
    for instrument_id, each in appended.items():
        bars = list(bars_of(each.rows, STORED_FRAMES[0]))
        changed.extend((instrument_id, STORED_FRAMES[0], *bar) for bar in bars)
        for frame in STORED_FRAMES[1:]:
            changed.extend((instrument_id, frame, *bar) for bar in widen(bars, frame))
    if changed:
        cursor.execute(UPSERT_CANDLES, [list(column) for column in zip(*changed, strict=True)])
        for instrument_id, frame, *bar in cursor.fetchall():
            appended[instrument_id].candles.append((frame, Bar(*bar)))


def _advance(
    cursor: Any, epoch: int, stretches: Mapping[int, Stretch], appended: Mapping[int, Appended]
) -> None:
    """Move the watermarks, and the last ticks where there are new ones."""
    rows = []
    for instrument_id, each in appended.items():
        stretch = stretches[instrument_id]
        last_at, last_seq, last_price = each.rows[-1] if each.rows else (None, None, None)
        rows.append(
            (
                instrument_id,
                each.at,
                last_at,
                last_seq,
                last_price,
                each.late,
                stretch.source,
                stretch.source_lag_ms,
                *(stretch.quote or (None, None)),
            )
        )
    cursor.execute(
        "UPDATE quotes_watermark w SET at = n.at, last_at = coalesce(n.last_at, w.last_at), "
        "last_seq = coalesce(n.last_seq, w.last_seq), last_price = coalesce(n.last_price, w.last_price), "
        "late_ticks = w.late_ticks + n.late, source_lag_ms = n.lag, "
        "last_bid = coalesce(n.bid, w.last_bid), last_ask = coalesce(n.ask, w.last_ask), "
        "source = CASE WHEN n.last_at IS NULL THEN w.source ELSE n.source END "
        "FROM unnest(%s::bigint[], %s::timestamptz[], %s::timestamptz[], %s::bigint[], %s::numeric[], "
        "%s::bigint[], %s::text[], %s::int[], %s::numeric[], %s::numeric[]) "
        "AS n(id, at, last_at, last_seq, last_price, late, source, lag, bid, ask) "
        "WHERE w.instrument_id = n.id AND w.epoch = %s",
        [*(list(column) for column in zip(*rows, strict=True)), epoch],
    )
