"""Whether a receipt tells what the platform holds: its ticks, the roots they hang on, what was corrected."""

from uuid import UUID

from quotes.models import Instrument
from trading.receipts.building import corrections_of, sealed_days
from trading.receipts.form import Receipt, Sealed, instant
from trading.receipts.replay import contract_of, tick_of, ticks_of
from trading.receipts.ticks import Marks, ticks_around
from trading.receipts.verification import Check
from trading.rules import Price


def check_record(receipt: Receipt) -> list[Check]:
    """Compare a receipt of ours with the stored ticks, the sealed days and what was corrected since.

    For one whose signature is good and that agrees with itself: what is looked up is bounded by an order's
    own life. Days that have left the database are compared with what was kept of them.
    """
    instrument = Instrument.objects.filter(symbol=receipt.terms.symbol).first()
    if instrument is None:
        return [Check("Record", "unknown", f"This platform has no {receipt.terms.symbol}.")]
    return [_ticks(receipt, instrument), _roots(receipt, instrument), _corrections(receipt)]


def _ticks(receipt: Receipt, instrument: Instrument) -> Check:
    contract, told = contract_of(receipt), ticks_of(receipt)
    stored = ticks_around(
        instrument.pk,
        Marks(
            entry=tick_of(receipt, receipt.entry),
            exit=tick_of(receipt, receipt.exit),
            accepted_at=instant(receipt.accepted_at),
            entry_after=contract.entry_after,
            expires_at=contract.expires_at,
            known_until=instant(receipt.known_until),
            needs_every_tick=contract.needs_every_tick,
            closed_at=instant(receipt.closed_at),
        ),
    )
    voided = [tick_of(receipt, row) for row in receipt.voided]
    if stored.ticks == told and stored.voided == voided:
        return Check("Record", "pass", "Its ticks are those of the platform's record; none is left out.")
    if not stored.ticks:
        return Check("Record", "unknown", "The platform no longer holds the ticks of that time.")
    different = sorted({*stored.ticks} ^ {*told}, key=lambda tick: (tick.at, tick.seq))
    words = _different(different[0], told) if different else "The voided ticks are others."
    return Check("Record", "fail", words)


def _different(tick: Price, told: list[Price]) -> str:
    where = (
        "is in the receipt and not in the record"
        if tick in told
        else "is in the record and not in the receipt"
    )
    return f"Tick {tick.seq} at {tick.price.normalize():f} {where}."


def _roots(receipt: Receipt, instrument: Instrument) -> Check:
    days = {tick.at.date() for tick in ticks_of(receipt)}
    sealed = {each.day: each for each in sealed_days(instrument.pk, instrument.symbol, days)}
    for each in receipt.record:
        if not _is_same(each, sealed.get(each.day)):
            return Check("Root", "fail", f"What it says of {each.day} is not what was published of that day.")
    if sealed.keys() != {day.isoformat() for day in days} or not days:
        return Check(
            "Root", "unknown", "Not every day of its ticks is sealed yet; each is soon after its end."
        )
    roots = ", ".join(f"{each.root} of {each.day}" for each in sealed.values())
    return Check("Root", "pass", f"Its ticks belong to days that are sealed, under the root {roots}.")


def _is_same(told: Sealed, published: Sealed | None) -> bool:
    return published is not None and told == published


def _corrections(receipt: Receipt) -> Check:
    made, told = corrections_of(UUID(receipt.order), receipt.terms.scale), receipt.corrections
    if made == told:
        return Check("Corrections", "pass", "Nothing else of it was corrected.")
    if made[: len(told)] == told:
        since = made[len(told)].at
        return Check("Corrections", "fail", f"It was corrected at {since}. Its present receipt says so.")
    return Check("Corrections", "fail", "Its corrections are not those that were made.")
