"""Which ticks a receipt holds, read from the stored record."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import connection

from quotes.models import VoidedTick
from trading.evidence import AROUND
from trading.receipts.form import MOST_WAY_TICKS
from trading.rules import Price
from trading.services.histories import ALL_TICKS

NEIGHBOURS = 3
BEFORE = """
(SELECT at, seq, price FROM quotes_tick WHERE instrument_id = %(instrument)s AND at <= %(pivot)s
   AND at >= %(bound)s AND NOT is_late ORDER BY at DESC, seq DESC LIMIT %(limit)s)
UNION
(SELECT at, seq, price FROM quotes_evidencetick WHERE instrument_id = %(instrument)s AND at <= %(pivot)s
   AND at >= %(bound)s ORDER BY at DESC, seq DESC LIMIT %(limit)s)
ORDER BY at DESC, seq DESC LIMIT %(limit)s
"""
AFTER = """
(SELECT at, seq, price FROM quotes_tick WHERE instrument_id = %(instrument)s AND at > %(pivot)s
   AND at <= %(bound)s AND NOT is_late ORDER BY at, seq LIMIT %(limit)s)
UNION
(SELECT at, seq, price FROM quotes_evidencetick WHERE instrument_id = %(instrument)s AND at > %(pivot)s
   AND at <= %(bound)s ORDER BY at, seq LIMIT %(limit)s)
ORDER BY at, seq LIMIT %(limit)s
"""
_ON_THE_WAY = "instrument_id = %(instrument)s AND at >= %(since)s AND at <= %(until)s AND NOT is_late"
SUMMED = f"SELECT count(*), coalesce(sum(price), 0) FROM {ALL_TICKS} WHERE {_ON_THE_WAY}"  # noqa: S608
WHOLE = f"SELECT at, seq, price FROM {ALL_TICKS} WHERE {_ON_THE_WAY} ORDER BY at, seq"  # noqa: S608
EXTREMES = f"""
(SELECT at, seq, price FROM {ALL_TICKS} WHERE {_ON_THE_WAY} ORDER BY price, seq LIMIT 1) UNION ALL
(SELECT at, seq, price FROM {ALL_TICKS} WHERE {_ON_THE_WAY} ORDER BY price DESC, seq LIMIT 1)
"""  # noqa: S608


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """What a receipt's ticks lie around; nothing after `known_until`, up to which the record is complete."""

    entry: Price | None
    exit: Price | None
    accepted_at: datetime
    entry_after: datetime | None
    expires_at: datetime
    known_until: datetime
    needs_every_tick: bool
    closed_at: datetime


@dataclass(frozen=True, slots=True)
class Told:
    """A receipt's ticks, ascending; those of them that were voided; the way where every tick counts."""

    ticks: list[Price]
    voided: list[Price]
    way: "WayTold | None"


@dataclass(frozen=True, slots=True)
class WayTold:
    """How many ticks there are from the entry to the end, their sum, and the first of the extreme ones."""

    ticks: int
    total: Decimal
    lowest: Price
    highest: Price

    @property
    def is_whole(self) -> bool:
        """Whether there are few enough to tell all of them."""
        return self.ticks <= MOST_WAY_TICKS


def ticks_around(instrument: int, marks: Marks) -> Told:
    """Read the ticks of a receipt: entry and exit, up to three before and after each, and the way.

    The neighbours are those within five seconds, as kept when a day leaves the database, so that the same
    are found whenever this is asked.
    """
    entered_at = marks.entry.at if marks.entry else marks.entry_after or marks.accepted_at
    since = min(entered_at, marks.accepted_at) - AROUND
    near_entry = min(max(entered_at, marks.accepted_at) + AROUND, marks.known_until)
    found = _near(instrument, entered_at, since, near_entry)
    ended_at = marks.exit.at if marks.exit else marks.known_until
    near_exit = min(ended_at + AROUND, marks.known_until) if marks.needs_every_tick else marks.known_until
    found |= _near(instrument, ended_at, max(ended_at - AROUND, since), near_exit)
    way = None
    if marks.needs_every_tick and marks.entry is not None:
        until = marks.exit.at if marks.exit else min(marks.known_until, marks.expires_at)
        way, on_it = _way(instrument, marks.entry.at, until)
        found |= on_it
    voided = _voided(instrument, entered_at, ended_at, marks.closed_at)
    return Told(sorted({*found, *voided}, key=lambda tick: (tick.at, tick.seq)), voided, way)


def _voided(instrument: int, since: datetime, until: datetime, closed_at: datetime) -> list[Price]:
    """Read what was voided of a stretch before the order closed; what came later changed nothing."""
    rows = VoidedTick.objects.filter(
        instrument=instrument,
        state=VoidedTick.State.APPROVED,
        at__gte=since,
        at__lte=until,
        decided_at__lte=closed_at,
    ).order_by("at", "seq")
    return [Price(*row) for row in rows.values_list("at", "seq", "price")]


def _near(instrument: int, pivot: datetime, since: datetime, until: datetime) -> set[Price]:
    values: dict[str, Any] = {"instrument": instrument, "pivot": pivot}
    before = _read(BEFORE, {**values, "bound": since, "limit": NEIGHBOURS + 1})
    return {*before, *_read(AFTER, {**values, "bound": until, "limit": NEIGHBOURS})}


def _way(instrument: int, since: datetime, until: datetime) -> tuple[WayTold | None, set[Price]]:
    values: dict[str, Any] = {"instrument": instrument, "since": since, "until": until}
    with connection.cursor() as cursor:
        cursor.execute(SUMMED, values)
        count, total = cursor.fetchone()
    if not count:
        return None, set()
    lowest, highest = _read(EXTREMES, values)
    way = WayTold(count, total, lowest, highest)
    return way, set(_read(WHOLE, values)) if way.is_whole else {lowest, highest}


def _read(statement: str, values: Mapping[str, Any]) -> list[Price]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return [Price(*row) for row in cursor.fetchall()]
