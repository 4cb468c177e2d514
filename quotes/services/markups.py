"""Mark-ups: what a customer group sees added to bid and ask, in versions that stay. Never in a tick."""

from decimal import Decimal

from django.contrib.auth.base_user import AbstractBaseUser
from django.core.exceptions import ValidationError
from django.db import transaction

from config.core import audit, clock
from quotes.errors import InvalidInstrument, ReasonMissing
from quotes.models import Instrument, MarkUp, Watermark
from quotes.services.instruments import tell_instrument


@transaction.atomic
def set_mark_up(
    *,
    instrument: Instrument,
    group: str,
    amount: Decimal,
    min_spread: Decimal,
    actor: AbstractBaseUser,
    reason: str,
) -> MarkUp:
    """Put a mark-up in force for a customer group, as its next version, and return it.

    `amount` is added to both sides, `min_spread` is the least between them, both in the price's own measure;
    two zeros end a mark-up. The same values again make no version. Raises InvalidInstrument, ReasonMissing.
    """
    if not reason.strip():
        raise ReasonMissing()
    # One at a time: versions are numbered on, and the newest is in force.
    locked = Instrument.objects.select_for_update(no_key=True).get(pk=instrument.pk)
    newest = MarkUp.objects.filter(instrument=locked, group=group).order_by("-version").first()
    made = MarkUp(
        instrument=locked,
        group=group,
        version=newest.version + 1 if newest else 1,
        amount=amount,
        min_spread=min_spread,
        created_at=clock.now(),
        created_by_id=actor.pk,
        reason=reason.strip(),
    )
    _check(made)
    if newest and (newest.amount, newest.min_spread) == (amount, min_spread):
        return newest
    made.save(force_insert=True)
    audit.record(
        actor=actor,
        action="mark_up.set",
        target=locked,
        before=_view(newest) if newest else None,
        after=_view(made),
        reason=reason,
    )
    tell_instrument(locked)
    return made


def _check(mark_up: MarkUp) -> None:
    try:
        mark_up.clean_fields(exclude=["created_by_id"])
    except ValidationError as error:
        raise InvalidInstrument(errors=error.message_dict) from error
    if mark_up.group != mark_up.group.lower():
        raise InvalidInstrument("A customer group is written in small letters.")
    if mark_up.amount < 0 or mark_up.min_spread < 0:
        raise InvalidInstrument("A mark-up and a least spread are never below zero.")
    price = Watermark.objects.values_list("last_price", flat=True).get(instrument=mark_up.instrument_id)
    if price is not None and mark_up.amount + mark_up.min_spread / 2 >= price:
        raise InvalidInstrument("With this mark-up no bid above zero could be shown.")


def _view(mark_up: MarkUp) -> dict[str, str | int]:
    return {
        "group": mark_up.group,
        "version": mark_up.version,
        "amount": f"{mark_up.amount.normalize():f}",
        "min_spread": f"{mark_up.min_spread.normalize():f}",
    }
