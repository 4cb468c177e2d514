"""Building a receipt from stored rows alone: whoever builds it again gets the same bytes."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
from django.db import connection
from django.urls import reverse
from psycopg.types.datetime import TimestamptzLoader

from config.core import money
from config.core.ids import derived_id
from payments.ledger.models import Transfer
from quotes.models import Gap as RecordedGap
from quotes.models import RecordPart
from quotes.rules import is_open
from quotes.selectors import calendars_of
from trading import errors
from trading.evidence import AROUND
from trading.models import Correction, Order, VolatilityEstimate
from trading.receipts.form import (
    VERSION,
    CorrectionRow,
    GapRow,
    Level,
    Receipt,
    Sale,
    Sealed,
    Terms,
    TransferRow,
    VolatilityRow,
    Way,
    canonical,
    iso,
    tick_row,
)
from trading.receipts.keys import signing_key
from trading.receipts.ticks import Marks, Told, ticks_around
from trading.receipts.wording import rule, sentence
from trading.rules import Price, entry_deadline
from trading.services.claims import COLUMNS, JOINS, Due
from trading.services.histories import ALL_TICKS, histories

CLOSED = f"""
SELECT {COLUMNS}, t.entry_policy, o.status, o.refund_reason, o.payout, o.closed_at,
       o.exit_at, o.exit_seq, o.exit_price, o.sale::text
FROM trading_order o JOIN quotes_watermark w ON w.instrument_id = o.instrument_id {JOINS}
WHERE o.id = %s AND o.customer_id = %s
"""  # noqa: S608 - assembled from constants
MOVES = ("stake", "release", "kept", "profit")
_SALE = msgspec.json.Decoder(float_hook=str)


@dataclass(frozen=True, slots=True)
class Closed:
    """A closed order as it is stored."""

    due: Due
    entry_policy: str
    status: str
    refund_reason: str | None
    payout: Decimal
    closed_at: datetime
    exit: Price | None
    sale: dict[str, Any] | None


def receipt_of(customer_id: int, order_id: UUID) -> bytes:
    """Return the signed receipt of a customer's closed order, in its one canonical form.

    It is the same at every call, but for the days of its ticks that are sealed in between, for corrections
    and for a new signing key. Raises NoSuchOrder also when it is somebody else's; ReceiptNotReady while it is
    open or the record is not complete around its end; Unavailable while nothing can be signed.
    """
    closed = _closed(customer_id, order_id)
    ends_at = _end(closed)
    marks = _marks(closed, ends_at)
    if closed.due.known_until < marks.known_until:
        raise errors.ReceiptNotReady(
            "The ticks around its end are being recorded; try again in a moment.", retry_after_seconds=1
        )
    said = msgspec.to_builtins(_receipt(closed, marks, ends_at))
    return canonical(signing_key().sign(said))


def _closed(customer_id: int, order_id: UUID) -> Closed:
    with connection.cursor() as cursor:
        cursor.cursor.adapters.register_loader("timestamptz", TimestamptzLoader)
        cursor.execute(CLOSED, (order_id, customer_id))
        row = cursor.fetchone()
    if row is None:
        raise errors.NoSuchOrder(f"You have no order {order_id}.")
    entry_policy, status, reason, payout, closed_at, at, seq, price, sale = row[-9:]
    if status == Order.Status.OPEN:
        raise errors.ReceiptNotReady("The order is open; there is a receipt once it is closed.")
    exit_ = None if at is None else Price(at, seq, price)
    told = None if sale is None else _SALE.decode(sale)
    return Closed(Due(*row[:-9]), entry_policy, status, reason, payout, closed_at, exit_, told)


def _end(closed: Closed) -> datetime:
    """Return the instant that decided: of the tick on the way that did, else the expiry."""
    due, contract = closed.due, closed.due.agreed
    if closed.status == Order.Status.SOLD and closed.exit is not None:
        return closed.exit.at
    if contract.entry is None:
        return entry_deadline(due.entry_after or due.expires_at, contract.max_entry_wait, contract.expires_at)
    if contract.needs_every_tick:
        (history,) = histories([due], ticks=ALL_TICKS)
        if decider := history.reached or history.nth:
            return decider.at
    return due.expires_at


def _marks(closed: Closed, ends_at: datetime) -> Marks:
    """Say which ticks tell of an order, and up to when the record must be complete for that.

    Neighbours after the exit are those that came before the order was closed: which these are is certain as
    soon as the watermark has passed that instant.
    """
    due = closed.due
    return Marks(
        entry=due.entry,
        exit=closed.exit,
        accepted_at=due.accepted_at,
        entry_after=due.entry_after,
        expires_at=due.expires_at,
        known_until=ends_at if closed.exit is None else max(ends_at, min(ends_at + AROUND, closed.closed_at)),
        needs_every_tick=due.agreed.needs_every_tick,
        closed_at=closed.closed_at,
    )


def _receipt(closed: Closed, marks: Marks, ends_at: datetime) -> Receipt:
    due, terms = closed.due, _terms(closed)
    decimals, scale = due.price_decimals, due.scale
    told = ticks_around(due.instrument, marks)
    schedule = calendars_of([due.instrument])[due.instrument]
    return Receipt(
        version=VERSION,
        order=str(due.id),
        sentence=sentence(terms, due.stake + money.profit(due.stake, due.payout_rate, scale)),
        terms=terms,
        accepted_at=iso(due.accepted_at),
        closed_at=iso(closed.closed_at),
        entry=tick_row(due.entry, decimals) if due.entry else None,
        exit=tick_row(closed.exit, decimals) if closed.exit else None,
        ticks=[tick_row(tick, decimals) for tick in told.ticks],
        way=_way(told, decimals),
        voided=[tick_row(tick, decimals) for tick in told.voided],
        known_until=iso(marks.known_until),
        gaps=_gaps(due, ends_at),
        open_at_end=is_open(schedule, ends_at),
        rule=rule(terms, closed.status, closed.refund_reason),
        status=closed.status,
        refund_reason=closed.refund_reason,
        payout=f"{closed.payout:.{scale}f}",
        transfers=_transfers(due),
        sale=_sale(closed.sale) if closed.sale is not None else None,
        corrections=corrections_of(due.id, scale),
        record=sealed_days(due.instrument, due.symbol, {tick.at.date() for tick in told.ticks}),
    )


def _terms(closed: Closed) -> Terms:
    due = closed.due
    return Terms(
        symbol=due.symbol,
        price_decimals=due.price_decimals,
        contract=due.contract,
        side=due.side,
        stake=f"{due.stake:.{due.scale}f}",
        currency=due.currency,
        scale=due.scale,
        payout_rate=f"{due.payout_rate.normalize():f}",
        duration_seconds=due.duration_seconds,
        duration_ticks=due.duration_ticks,
        expires_at=iso(due.expires_at),
        barrier=_level(due, due.barrier),
        low=_level(due, due.low),
        high=_level(due, due.high),
        digit=due.digit,
        tie_policy=due.tie_policy,
        max_exit_age_seconds=due.max_exit_age_seconds,
        entry_policy=closed.entry_policy,
        entry_after=iso(due.entry_after) if due.entry_after else None,
        max_entry_wait_ms=due.max_entry_wait_ms,
        version=due.terms_version,
    )


def _level(due: Due, level: Decimal | None) -> Level | None:
    if level is None:
        return None
    places = due.price_decimals
    if not due.is_relative:
        return Level(f"{level:.{places}f}", f"{level:.{places}f}")
    price = None if due.entry is None else f"{due.entry.price + level:.{places}f}"
    return Level(f"{level:+.{places}f}", price)


def _way(told: Told, decimals: int) -> Way | None:
    if told.way is None:
        return None
    return Way(
        is_whole=told.way.is_whole,
        ticks=told.way.ticks,
        total=f"{told.way.total:.{decimals}f}",
        lowest=tick_row(told.way.lowest, decimals),
        highest=tick_row(told.way.highest, decimals),
    )


def _gaps(due: Due, ends_at: datetime) -> list[GapRow]:
    """Write every gap between entry and end. None can be added later: a gap begins at the watermark."""
    since = due.entry_at or due.accepted_at
    found = RecordedGap.objects.filter(
        instrument_id=due.instrument, ends_at__gte=since, starts_at__lt=ends_at
    ).order_by("starts_at", "id")
    return [GapRow(iso(gap.starts_at), iso(gap.ends_at), gap.reason) for gap in found]


def _transfers(due: Due) -> list[TransferRow]:
    """Write the order's transfers, found by the ids that are derived from it."""
    return list(_posted(due.id, due.scale, MOVES).values())


def _posted(order: UUID, scale: int, names: Iterable[str]) -> dict[str, TransferRow]:
    """Return those of the named transfers of an order that were posted, in the order of the names."""
    ids = {derived_id(order, name): name for name in names}
    found = Transfer.objects.select_related("source", "destination").in_bulk(ids)
    return {
        ids[pk]: TransferRow(
            str(pk),
            found[pk].code,
            f"{found[pk].amount:.{scale}f}",
            found[pk].source.code,
            found[pk].destination.code,
        )
        for pk in ids
        if pk in found
    }


def corrections_of(order: UUID, scale: int) -> list[CorrectionRow]:
    """Write what was put right after the end, in its order."""
    found = Correction.objects.filter(order=order, state=Correction.State.APPROVED).order_by("number")
    named = {f"correction-{each.number}": each for each in found}
    moved = _posted(order, scale, named)
    return [
        CorrectionRow(
            at=iso(each.decided_at),
            payout=f"{each.payout:.{scale}f}",
            reason=each.reason,
            transfer=moved[name],
        )
        for name, each in named.items()
        if each.decided_at is not None
    ]


def _sale(inputs: dict[str, Any]) -> Sale:
    estimate = VolatilityEstimate.objects.get(pk=inputs["volatility"])
    return Sale(
        at=inputs["at"],
        probability=_plain(inputs["probability"]),
        tie_probability=_plain(inputs["tie_probability"]),
        margin=inputs["margin"],
        terms=inputs["terms"],
        volatility=VolatilityRow(
            estimate.pk, _plain(estimate.per_sqrt_second), _plain(estimate.tick_seconds)
        ),
    )


def _plain(value: Any) -> str:
    """Write a binary fraction so that it is read back as the same."""
    return f"{Decimal(str(value)):f}"


def sealed_days(instrument: int, symbol: str, days: set[date]) -> list[Sealed]:
    """Write those of the days that are sealed: what the instrument's ticks hang on, and where it is found."""
    parts = RecordPart.objects.filter(instrument=instrument, day__in=days).select_related("day")
    return [
        Sealed(
            day=part.day_id.isoformat(),
            symbol=symbol,
            ticks=part.ticks,
            head=bytes(part.head).hex(),
            root=bytes(part.day.root).hex(),
            page=reverse("quotes:record-day", args=[part.day_id.isoformat()]),
            file=reverse("api:record-file", args=[part.day_id.isoformat(), symbol]),
        )
        for part in parts.order_by("day_id")
    ]
