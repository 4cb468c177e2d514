"""Quotations: the further sources of an instrument, and in which order they come."""

from typing import Any

from django.contrib.auth.base_user import AbstractBaseUser
from django.core.exceptions import ValidationError
from django.db import transaction

from config.core import audit, clock
from quotes.errors import InvalidInstrument, ReasonMissing
from quotes.models import Instrument, Quotation
from quotes.services.instruments import check_sources, tell_instrument


@transaction.atomic
def add_quotation(
    *,
    instrument: Instrument,
    source: str,
    source_symbol: str,
    rank: int,
    actor: AbstractBaseUser,
    reason: str,
) -> Quotation:
    """Let a further source quote an instrument, at a rank that is free; the feed follows within seconds.

    Rank 1 comes after the instrument's first source. Raises InvalidInstrument, ReasonMissing.
    """
    locked = _lock(instrument, reason)
    others = list(locked.quotations.all())
    made = Quotation(instrument=locked, source=source, source_symbol=source_symbol.strip(), rank=rank)
    try:
        made.clean_fields()
    except ValidationError as error:
        raise InvalidInstrument(errors=error.message_dict) from error
    if rank < 1:
        raise InvalidInstrument("Ranks of further sources begin with 1.")
    if any(each.rank == rank for each in others):
        raise InvalidInstrument(f"Rank {rank} is taken.")
    check_sources(locked, [*(each.source for each in others), source])
    made.save(force_insert=True)
    _note(locked, actor, "quotation.added", reason, after=_view(made))
    return made


@transaction.atomic
def remove_quotation(*, instrument: Instrument, source: str, actor: AbstractBaseUser, reason: str) -> None:
    """Let a further source quote an instrument no longer; the others keep their ranks.

    Raises InvalidInstrument when it does not, or when too few would be left for the instrument's policy;
    ReasonMissing.
    """
    locked = _lock(instrument, reason)
    others = {each.source: each for each in locked.quotations.all()}
    gone = others.pop(source, None)
    if gone is None:
        raise InvalidInstrument(f"{source} is no further source of {locked}.")
    check_sources(locked, others)
    gone.delete()
    _note(locked, actor, "quotation.removed", reason, before=_view(gone))


def _lock(instrument: Instrument, reason: str) -> Instrument:
    if not reason.strip():
        raise ReasonMissing()
    return Instrument.objects.select_for_update(no_key=True).get(pk=instrument.pk)


def _note(instrument: Instrument, actor: AbstractBaseUser, action: str, reason: str, **views: Any) -> None:
    instrument.changed_at = clock.now()
    instrument.save(update_fields=["changed_at"])
    audit.record(actor=actor, action=action, target=instrument, reason=reason, **views)
    tell_instrument(instrument)


def _view(quotation: Quotation) -> dict[str, Any]:
    return {field: getattr(quotation, field) for field in ("source", "source_symbol", "rank")}
