"""The days of the tick record: opened ahead, dropped behind once what they prove is kept."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any, NamedTuple

from django.db import connections, transaction

from config.core import clock
from quotes.retention import Span, needed

PARTITIONS_LOCK = 0x7469636B
SPANS_AT_ONCE = 5_000


def _table(day: date) -> str:
    return f"quotes_tick_{day:%Y%m%d}"


def day_bounds(day: date) -> tuple[datetime, datetime]:
    """Return the UTC instants at which a day begins and ends."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return start, start + timedelta(days=1)


@contextmanager
def _as_owner() -> Iterator[Any]:
    """Run the block in one transaction of the owner's, one process at a time; no connection is left open."""
    connection = connections["owner"]
    try:
        with transaction.atomic(using="owner"), connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [PARTITIONS_LOCK])
            yield cursor
    finally:
        if not connection.in_atomic_block:
            connection.close()


def open_days(days: Collection[date]) -> list[date]:
    """Make sure these UTC days have a partition; return those that were new.

    A table is made first and attached then: that waits for no reader or writer of ticks, and stops none.
    """
    opened = []
    with _as_owner() as cursor:
        for day in sorted(set(days)):
            table = _table(day)
            cursor.execute("SELECT to_regclass(%s)", [table])
            if cursor.fetchone()[0] is not None:
                continue
            start, end = day_bounds(day)
            cursor.execute(f"CREATE TABLE {table} (LIKE quotes_tick INCLUDING ALL)")
            cursor.execute(
                f"ALTER TABLE quotes_tick ATTACH PARTITION {table} FOR VALUES FROM (%s) TO (%s)", [start, end]
            )
            opened.append(day)
    return opened


class Held(NamedTuple):
    """What a day holds of an instrument: its ticks, its late ones, and the first and last number."""

    ticks: int
    late: int
    first_seq: int | None
    last_seq: int | None


class NotArchived(Exception):
    """A day holds other ticks than the archive does: it was not dropped."""


def keep_evidence(day: date) -> int | None:
    """Copy what orders need of a day to where it stays; return how many ticks were new there.

    None when an unsettled span touches the day; then nothing was copied.
    """
    with _as_owner() as cursor:
        return _keep_all(cursor, day)


def drop_day(day: date, *, archived: Mapping[int, Held] | None = None) -> int | None:
    """Drop a day of ticks after keeping what is needed of it as evidence; return how many ticks were kept.

    None when the day must stay: an unsettled span touches it. With `archived`, by instrument id, raises
    NotArchived when the day holds anything else. Either all of this happens or none of it.
    """
    with _as_owner() as cursor:
        kept = _keep_all(cursor, day)
        if kept is None:
            return None
        # Behind a long reader this would hold up everybody; the next run tries again.
        cursor.execute("SET LOCAL lock_timeout = '2s'")
        if archived is not None:
            # Only a late tick could still be written, and none is while this counts and drops.
            cursor.execute(f"LOCK TABLE {_table(day)} IN SHARE MODE")
            held = _held(cursor, day)
            if held != archived:
                raise NotArchived(f"{day} holds {held}, the archive {dict(archived)}")
        cursor.execute(f"DROP TABLE {_table(day)}")
        cursor.execute(
            "UPDATE quotes_recordday SET dropped_at = %s WHERE day = %s AND dropped_at IS NULL",
            [clock.now(), day],
        )
    return kept


def _held(cursor: Any, day: date) -> dict[int, Held]:
    cursor.execute(
        "SELECT instrument_id, count(*) FILTER (WHERE NOT is_late), count(*) FILTER (WHERE is_late), "  # noqa: S608
        "min(seq) FILTER (WHERE NOT is_late), max(seq) FILTER (WHERE NOT is_late) "
        f"FROM {_table(day)} GROUP BY instrument_id"
    )
    return {row[0]: Held(*row[1:]) for row in cursor.fetchall()}


def _keep_all(cursor: Any, day: date) -> int | None:
    start, end = day_bounds(day)
    kept = 0
    spans = iter(needed(start, end))
    while chunk := list(islice(spans, SPANS_AT_ONCE)):
        if not all(span.is_settled for span in chunk):
            transaction.set_rollback(True, using="owner")
            return None
        kept += _keep(cursor, _table(day), chunk)
    return kept


def _keep(cursor: Any, table: str, spans: list[Span]) -> int:
    """Copy the ticks of these spans to where they stay; those that are there already are not counted."""
    cursor.execute(
        "INSERT INTO quotes_evidencetick (instrument_id, at, seq, price) "  # noqa: S608
        "SELECT DISTINCT t.instrument_id, t.at, t.seq, t.price "
        "FROM unnest(%s::bigint[], %s::timestamptz[], %s::timestamptz[]) AS s(id, starts_at, ends_at) "
        f"JOIN {table} t ON t.instrument_id = s.id AND t.at BETWEEN s.starts_at AND s.ends_at "
        "WHERE NOT t.is_late ON CONFLICT DO NOTHING",
        [
            [span.instrument_id for span in spans],
            [span.starts_at for span in spans],
            [span.ends_at for span in spans],
        ],
    )
    return int(cursor.rowcount)
