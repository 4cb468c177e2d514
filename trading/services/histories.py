"""The stored market that decides orders: ticks, gaps, sessions and voided ticks, a batch at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Q

from config.core.sql import array
from quotes.models import Gap as RecordedGap
from quotes.models import VoidedTick
from quotes.rules import is_open
from quotes.selectors import calendars_of
from trading.rules import KINDS, Contract, Gap, History, Price, pending_entry, reach
from trading.services.claims import Due

TICKS = "quotes_tick"
# Beside them what is kept of days that were archived.
ALL_TICKS = """(SELECT instrument_id, at, seq, price, is_late FROM quotes_tick UNION
    SELECT instrument_id, at, seq, price, false FROM quotes_evidencetick) every_tick"""

LAST_TICKS = """
SELECT t.at, t.seq, t.price
FROM unnest(%s::bigint[], %s::timestamptz[], %s::timestamptz[])
    WITH ORDINALITY AS k (instrument, upto, since, place)
LEFT JOIN LATERAL (
    SELECT at, seq, price FROM {ticks}
    WHERE instrument_id = k.instrument AND at <= k.upto AND at >= k.since AND NOT is_late
    ORDER BY at DESC, seq DESC LIMIT 1) t ON true
ORDER BY k.place
"""

FIRST_TICKS = """
SELECT t.at, t.seq, t.price
FROM unnest(%s::bigint[], %s::timestamptz[], %s::timestamptz[])
    WITH ORDINALITY AS k (instrument, after, upto, place)
LEFT JOIN LATERAL (
    SELECT at, seq, price FROM {ticks}
    WHERE instrument_id = k.instrument AND at > k.after AND at <= k.upto AND NOT is_late
    ORDER BY at, seq LIMIT 1) t ON true
ORDER BY k.place
"""

# Of each order: the tick that ends it when it is counted in ticks; the first, up to its end, that reaches one
# of its barriers; and the ticks from its entry to its end. `upto` is the last instant that counts.
WAYS = """
SELECT n.at, n.seq, n.price, r.at, r.seq, r.price, s.ticks, s.total
FROM unnest(%s::bigint[], %s::timestamptz[], %s::timestamptz[], %s::int[], %s::numeric[], %s::numeric[],
            %s::bool[])
    WITH ORDINALITY AS k (instrument, entered, upto, counted, low, high, averages, place)
LEFT JOIN LATERAL (
    SELECT at, seq, price FROM {ticks}
    WHERE k.counted IS NOT NULL AND instrument_id = k.instrument AND at > k.entered AND at <= k.upto
      AND NOT is_late
    ORDER BY at, seq OFFSET k.counted - 1 LIMIT 1) n ON true
LEFT JOIN LATERAL (
    SELECT at, seq, price FROM {ticks}
    WHERE (k.low IS NOT NULL OR k.high IS NOT NULL) AND instrument_id = k.instrument AND at > k.entered
      AND at <= coalesce(n.at, k.upto) AND NOT is_late AND (price <= k.low OR price >= k.high)
    ORDER BY at, seq LIMIT 1) r ON true
LEFT JOIN LATERAL (
    SELECT count(*) AS ticks, coalesce(sum(price), 0) AS total FROM {ticks}
    WHERE k.averages AND instrument_id = k.instrument AND at >= k.entered AND at <= coalesce(n.at, k.upto)
      AND NOT is_late) s ON true
ORDER BY k.place
"""


@dataclass(frozen=True, slots=True)
class Way:
    """What happened between an order's entry and its end."""

    nth: Price | None = None
    reached: Price | None = None
    ticks: int = 0
    total: Decimal = Decimal(0)


STRAIGHT = Way()
NONE_VOIDED: frozenset[int] = frozenset()


def histories(
    batch: Sequence[Due], *, ticks: str = TICKS, closed_at: Mapping[UUID, datetime] | None = None
) -> list[History]:
    """Read what the outcome of each order depends on, each kind of it in one statement.

    With `closed_at`, by order, only what was voided until then counts as voided: what came later changed
    nothing.
    """
    pending = [due for due in batch if due.entry_seq is None]
    firsts = dict(zip((due.id for due in pending), first_ticks(pending, ticks=ticks), strict=True))
    contracts = [due.agreed for due in batch]
    ways = _ways(batch, contracts, firsts, ticks)
    over = [due for due in batch if due.known_until >= due.expires_at]
    lasts = last_ticks(over, ticks=ticks)
    gaps = _gaps(batch)
    voided = _voided(batch)
    schedules = calendars_of({due.instrument for due in batch})

    @cache  # most of a batch ends at a few instants
    def was_open(instrument: int, at: datetime) -> bool:
        return is_open(schedules[instrument], at)

    found = []
    for due, way in zip(batch, ways, strict=True):
        decider = way.reached or way.nth
        found.append(
            History(
                known_until=due.known_until,
                first_after=firsts.get(due.id),
                last_before=lasts.get((due.instrument, due.expires_at)),
                nth=way.nth,
                reached=way.reached,
                ticks=way.ticks,
                total=way.total,
                gaps=gaps.get(due.instrument, ()),
                open_at_end=was_open(due.instrument, decider.at if decider else due.expires_at),
                voided=_voided_until(
                    voided.get(due.instrument), None if closed_at is None else closed_at[due.id]
                ),
            )
        )
    return found


def _ways(
    batch: Sequence[Due], contracts: Sequence[Contract], firsts: dict[UUID, Price | None], ticks: str
) -> list[Way]:
    """Read what happened on the way of those contracts that ask for it; of the others nothing."""
    found = [STRAIGHT] * len(batch)
    asked = []
    for place, (due, contract) in enumerate(zip(batch, contracts, strict=True)):
        entry = contract.entry or pending_entry(contract, firsts.get(due.id))
        if contract.needs_every_tick and entry is not None:
            asked.append((place, due, contract, entry, reach(contract, entry)))
    if not asked:
        return found
    columns: tuple[list[Any], ...] = (
        [due.instrument for _, due, _, _, _ in asked],
        [entry.at for _, _, _, entry, _ in asked],
        [due.expires_at for _, due, _, _, _ in asked],
        [contract.duration_ticks for _, _, contract, _, _ in asked],
        [reached.low for _, _, _, _, reached in asked],
        [reached.high for _, _, _, _, reached in asked],
        [KINDS[contract.kind].averages for _, _, contract, _, _ in asked],
    )
    with connection.cursor() as cursor:
        cursor.execute(WAYS.format(ticks=ticks), tuple(map(array, columns)))
        for (place, *_), row in zip(asked, cursor.fetchall(), strict=True):
            found[place] = Way(_price(row[:3]), _price(row[3:6]), row[6], row[7])
    return found


def _price(row: Sequence[Any]) -> Price | None:
    return Price(*row) if row[0] is not None else None


def last_ticks(batch: Sequence[Due], *, ticks: str = TICKS) -> dict[tuple[int, datetime], Price | None]:
    """Find the last tick up to each expiry; orders that expire together share one look-up."""
    since: dict[tuple[int, datetime], datetime] = {}
    for due in batch:
        key = (due.instrument, due.expires_at)
        # The entry may be a little older than the acceptance; nothing before it can be an exit.
        start = due.entry_at or due.accepted_at
        since[key] = min(start, since.get(key, start))
    rows = _ticks(
        LAST_TICKS.format(ticks=ticks),
        [key[0] for key in since],
        [key[1] for key in since],
        list(since.values()),
    )
    return dict(zip(since, rows, strict=True))


def first_ticks(pending: Sequence[Due], *, ticks: str = TICKS) -> list[Price | None]:
    """Find the first tick after each order's delay and before its expiry."""
    if not pending:
        return []
    afters = [due.entry_after or due.accepted_at for due in pending]
    return _ticks(
        FIRST_TICKS.format(ticks=ticks),
        [due.instrument for due in pending],
        afters,
        [due.expires_at for due in pending],
    )


def _ticks(
    statement: str, instruments: list[int], ones: list[datetime], others: list[datetime]
) -> list[Price | None]:
    with connection.cursor() as cursor:
        cursor.execute(statement, (array(instruments), array(ones), array(others)))
        return [Price(*row) if row[0] is not None else None for row in cursor.fetchall()]


def _gaps(batch: Sequence[Due]) -> dict[int, list[Gap]]:
    expiries = [due.expires_at for due in batch]
    entries = [due.entry_at or due.accepted_at for due in batch]
    since_entry = Q(ends_at__gte=min(entries))
    if not any(due.agreed.needs_every_tick for due in batch):
        since_entry &= Q(reason=RecordedGap.Reason.SOURCE_CHANGED)
    recorded = RecordedGap.objects.filter(
        Q(ends_at__gte=min(expiries)) | since_entry,
        instrument_id__in={due.instrument for due in batch},
        starts_at__lt=max(expiries),
    ).order_by("starts_at", "id")
    found: dict[int, list[Gap]] = {}
    for gap in recorded:
        found.setdefault(gap.instrument_id, []).append(Gap(gap.starts_at, gap.ends_at, gap.reason))
    return found


def _voided_until(
    voided: Sequence[tuple[int, datetime]] | None, closed_at: datetime | None
) -> frozenset[int]:
    if not voided:
        return NONE_VOIDED
    return frozenset(seq for seq, since in voided if closed_at is None or since <= closed_at)


def _voided(batch: Sequence[Due]) -> dict[int, list[tuple[int, datetime]]]:
    """Return the voided ticks that may decide orders of the batch, each with the instant since when."""
    rows = VoidedTick.objects.filter(
        instrument_id__in={due.instrument for due in batch},
        state=VoidedTick.State.APPROVED,
        at__gte=min(due.entry_at or due.accepted_at for due in batch),
        at__lte=max(due.expires_at for due in batch),
    )
    found: dict[int, list[tuple[int, datetime]]] = {}
    for instrument, seq, since in rows.values_list("instrument_id", "seq", "decided_at"):
        if since is not None:
            found.setdefault(instrument, []).append((seq, since))
    return found
