"""The days of the tick record: opened ahead, dropped behind once what they prove is kept."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any

from django.db import connections, transaction

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


def drop_day(day: date) -> int | None:
    """Drop a day of ticks after keeping what is needed of it as evidence; return how many ticks were kept.

    None when the day must stay: an unsettled span touches it. Either all of this happens or none of it.
    """
    start, end = day_bounds(day)
    kept = 0
    with _as_owner() as cursor:
        spans = iter(needed(start, end))
        while chunk := list(islice(spans, SPANS_AT_ONCE)):
            if not all(span.is_settled for span in chunk):
                transaction.set_rollback(True, using="owner")
                return None
            kept += _keep(cursor, _table(day), chunk)
        # Behind a long reader this would hold up everybody; the next run tries again.
        cursor.execute("SET LOCAL lock_timeout = '2s'")
        cursor.execute(f"DROP TABLE {_table(day)}")
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
