"""Curbs: what operators and the risk watcher hold trading back with, and how it is undone."""

import csv
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from typing import NamedTuple

from django.db import IntegrityError, transaction

from config.core import audit, clock
from config.core.errors import Conflict, Invalid
from config.core.outbox import OPERATORS_TOPIC, instrument_topic, publish_many
from kyc.models import User
from payments.ledger.models import Book
from quotes.models import Instrument
from trading.facts import CurbLifted, CurbSet, OffersChanged
from trading.models import Curb, RiskAlert
from trading.rules import KINDS
from trading.selectors import covered_instruments, curb_scope
from trading.services.payouts import recalculate_payout

COLUMNS = ("at", "symbol", "name", "minutes_before", "minutes_after")
BEFORE, AFTER = timedelta(minutes=2), timedelta(minutes=5)
LONGEST = timedelta(days=1)
MOST_EVENTS = 5_000
MOST_REFUSALS = 5
SCOPE = ("effect", "book", "instrument", "instrument_class", "contract", "side", "cut", "comment")


def set_curb(
    *,
    effect: str,
    comment: str,
    actor: User | None = None,
    book: Book | None = None,
    instrument: Instrument | None = None,
    instrument_class: str = "",
    contract: str = "",
    side: str = "",
    cut: Decimal | None = None,
    starts_at: datetime | None = None,
    ends_at: datetime | None = None,
    alert: RiskAlert | None = None,
) -> Curb:
    """Hold trading back over what is named, from now or `starts_at` until `ends_at` or until it is lifted.

    Open orders go on to their end. `cut` is what rates of `lower_payouts` fall by, a part of the stake.
    Everybody concerned is told. Raises Invalid for an unknown contract or side, an instrument beside a class,
    a cut where none belongs, or an end that is not in the future, and Conflict where the same stands already.
    """
    now = clock.now()
    starts_at = starts_at or now
    _is_well_formed(effect, instrument, instrument_class, contract, side, cut)
    if ends_at is not None and ends_at <= max(now, starts_at):
        raise Invalid("The curb would have ended already.", errors={"ends_at": ["After its beginning."]})
    curb = Curb(
        effect=effect,
        book=book,
        instrument=instrument,
        instrument_class=instrument_class,
        contract=contract,
        side=side,
        cut=cut,
        starts_at=starts_at,
        ends_at=ends_at,
        comment=comment,
        set_by=actor,
        alert=alert,
    )
    _write(curb, now)
    _bring_payouts(curb)
    return curb


@transaction.atomic
def _write(curb: Curb, now: datetime) -> None:
    same = Curb.objects.filter(starts_at__lte=curb.starts_at, alert=curb.alert).exclude(ends_at__lte=now)
    if curb.alert is None and same.filter(**{name: getattr(curb, name) for name in SCOPE}).exists():
        raise Conflict("The same is held back already. Lift that curb first, or let it be.")
    try:
        with transaction.atomic():
            curb.save(force_insert=True)
    except IntegrityError:
        raise Conflict("There is such a curb already.") from None
    actor, effect = curb.set_by, curb.effect
    audit.record(
        actor=actor,
        action="curb.set",
        target=curb,
        after={**curb_scope(curb), "effect": effect, "cut": curb.cut, "ends_at": curb.ends_at},
        reason=curb.comment,
    )
    _tell(curb, CurbSet(curb=curb.pk, effect=effect, **curb_scope(curb), is_automatic=actor is None))


def lift_curb(*, curb: Curb, actor: User | None, reason: str) -> bool:
    """End a curb now, or before it begins; return whether it was still in force."""
    lifted = _lift(curb, actor, reason)
    if lifted:
        _bring_payouts(curb)
    return lifted


@transaction.atomic
def _lift(curb: Curb, actor: User | None, reason: str) -> bool:
    now = clock.now()
    in_force = Curb.objects.filter(pk=curb.pk).exclude(ends_at__lte=now)
    if not in_force.update(ends_at=max(now, curb.starts_at)):
        return False
    audit.record(
        actor=actor,
        action="curb.lifted",
        target=curb,
        before={**curb_scope(curb), "effect": curb.effect},
        reason=reason,
    )
    said = CurbLifted(curb=curb.pk, effect=curb.effect, **curb_scope(curb), is_automatic=actor is None)
    _tell(curb, said)
    return True


def _is_well_formed(
    effect: str,
    instrument: Instrument | None,
    instrument_class: str,
    contract: str,
    side: str,
    cut: Decimal | None,
) -> None:
    if effect not in Curb.Effect.values:
        raise Invalid(
            "There is no such effect.", errors={"effect": [f"One of {', '.join(Curb.Effect.values)}."]}
        )
    if instrument is not None and instrument_class:
        said = "Name an instrument or a class, not both."
        raise Invalid(said, errors={"instrument_class": [said]})
    if contract and contract not in KINDS:
        raise Invalid("There is no such contract.", errors={"contract": ["No terms offer it."]})
    if side and side not in {name for kind in KINDS.values() for name in kind.sides}:
        raise Invalid("There is no such side.", errors={"side": ["No contract has it."]})
    lowers = effect == Curb.Effect.LOWER_PAYOUTS
    if lowers != (cut is not None) or (cut is not None and not 0 < cut < 1):
        said = "Between 0 and 1." if lowers else "Only lower payouts have a cut."
        raise Invalid(said, errors={"cut": [said]})


def _tell(curb: Curb, said: CurbSet | CurbLifted) -> None:
    """Tell operators, and everybody who looks at an instrument it covers."""
    symbols = [each.symbol for each in covered_instruments(curb)]
    changed = [(instrument_topic(symbol), OffersChanged(symbol=symbol)) for symbol in symbols]
    publish_many([(OPERATORS_TOPIC, said), *changed])


def _bring_payouts(curb: Curb) -> None:
    """Bring payouts to what now holds, each instrument in a transaction of its own; else the beat does."""
    if curb.effect == Curb.Effect.LOWER_PAYOUTS:
        for instrument in covered_instruments(curb):
            recalculate_payout(instrument.pk)


# --- economic events ----------------------------------------------------------------------------------


class EventRow(NamedTuple):
    """A line of a calendar of economic events: when, where, what, and how long it disturbs."""

    at: datetime
    instrument: Instrument | None
    instrument_class: str
    name: str
    before: timedelta
    after: timedelta


@transaction.atomic
def import_events(*, text: str, actor: User | None, reason: str) -> tuple[int, int]:
    """Record the windows of a calendar of economic events and return how many are new and how many known.

    CSV with the columns at,symbol,name and, if wanted, minutes_before,minutes_after (2 and 5 without). `at`
    is ISO 8601 with a zone; `symbol` is an instrument, `class:fx` or `*` for all. All lines or none:
    raises Invalid with the first lines that cannot be read.
    """
    rows = read_events(text)
    curbs = [
        Curb(
            effect=Curb.Effect.EVENT,
            instrument=row.instrument,
            instrument_class=row.instrument_class,
            starts_at=row.at - row.before,
            ends_at=row.at + row.after,
            comment=row.name,
            set_by=actor,
        )
        for row in rows
    ]
    before = Curb.objects.filter(effect=Curb.Effect.EVENT).count()
    Curb.objects.bulk_create(curbs, ignore_conflicts=True)
    new = Curb.objects.filter(effect=Curb.Effect.EVENT).count() - before
    if new:
        audit.record(
            actor=actor,
            action="events.imported",
            target=("curb", "events"),
            after={"rows": len(rows), "new": new, "first": rows[0].name, "last": rows[-1].name},
            reason=reason,
        )
        soon = clock.now() + LONGEST
        topics = {
            each.symbol
            for curb in curbs
            if curb.starts_at < soon and curb.ends_at and curb.ends_at > clock.now()
            for each in covered_instruments(curb)
        }
        publish_many([(instrument_topic(symbol), OffersChanged(symbol=symbol)) for symbol in sorted(topics)])
    return new, len(rows) - new


def read_events(text: str) -> list[EventRow]:
    """Read a calendar of economic events; raise Invalid naming the lines that cannot be read."""
    reader = csv.DictReader(StringIO(text.removeprefix("\ufeff")), strict=True)
    header = [name.strip().lower() for name in reader.fieldnames or []]
    if not set(COLUMNS[:3]) <= set(header) <= set(COLUMNS) or len(set(header)) < len(header):
        raise Invalid(f"line 1: the columns are {','.join(COLUMNS)}")
    reader.fieldnames = header
    instruments = {each.symbol: each for each in Instrument.objects.all()}
    rows, refusals = [], []
    try:
        for count, fields in enumerate(reader):
            if count >= MOST_EVENTS:
                raise Invalid(f"line {reader.line_num}: at most {MOST_EVENTS} rows at once")
            try:
                rows.append(_event({name: (fields.get(name) or "").strip() for name in COLUMNS}, instruments))
            except (ValueError, OverflowError) as refused:
                refusals.append(f"line {reader.line_num}: {refused}")
    except csv.Error as error:
        raise Invalid(f"line {reader.line_num}: {error}") from error
    _refuse(refusals)
    if not rows:
        raise Invalid("There is no event in it.")
    return rows


def _event(fields: dict[str, str], instruments: dict[str, Instrument]) -> EventRow:
    """Read one line; raise ValueError."""
    at = datetime.fromisoformat(fields["at"])
    if at.tzinfo is None:
        raise ValueError(f"{fields['at']!r} needs a time zone, e.g. 2030-01-04T13:30:00Z")
    symbol, name = fields["symbol"], fields["name"]
    if not name or len(name) > 200 or not name.isprintable():
        raise ValueError("a name is one line of 1 to 200 characters")
    instrument, instrument_class = None, symbol.removeprefix("class:") if symbol.startswith("class:") else ""
    if instrument_class and instrument_class not in Instrument.Class.values:
        raise ValueError(f"there is no class {instrument_class!r}")
    if not instrument_class and symbol != "*":
        instrument = instruments.get(symbol)
        if instrument is None:
            raise ValueError(f"there is no instrument {symbol!r}")
    before = _minutes(fields["minutes_before"], BEFORE)
    after = _minutes(fields["minutes_after"], AFTER)
    if not before + after:
        raise ValueError("it lasts no time")
    return EventRow(at.astimezone(UTC), instrument, instrument_class, name, before, after)


def _minutes(text: str, usual: timedelta) -> timedelta:
    if not text:
        return usual
    if not text.isascii() or not text.isdigit() or int(text) > LONGEST / timedelta(minutes=1):
        raise ValueError(f"{text!r} is no number of minutes up to 1440")
    return timedelta(minutes=int(text))


def _refuse(refusals: Iterable[str]) -> None:
    named = list(refusals)
    if named:
        left = len(named) - MOST_REFUSALS
        more = [f"and {left} more"] if left > 0 else []
        raise Invalid("; ".join([*named[:MOST_REFUSALS], *more]), refusals=len(named))
