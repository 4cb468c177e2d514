"""How instruments are hedged: what operators set, switch on and off, and close by hand."""

from typing import Any

from django.db import transaction

from config.core import audit, clock
from config.core.errors import Conflict, Invalid
from kyc.models import User
from payments.ledger.models import Book
from quotes.errors import InvalidSource
from quotes.models import Instrument, Quotation, Source, Watermark
from quotes.rules import MADE_HERE
from quotes.services.sources import connection_of
from trading.models import HedgeOrder, HedgeTerms
from trading.rules import hedging
from trading.services.hedging import filled_of, held_of, unfinished_of

CHANGEABLE = (
    "provider",
    "source_symbol",
    "currency",
    "threshold",
    "lot",
    "max_quantity",
    "collar",
    "max_age_seconds",
    "cutoff_seconds",
)


@transaction.atomic
def set_hedge_terms(*, instrument: Instrument, actor: User, reason: str, **changes: Any) -> HedgeTerms:
    """Write how an instrument is hedged; it stays on or off as it was, a new one is off.

    `changes` are fields of HedgeTerms; what is not named stays. Raises Invalid for a provider that orders
    cannot go to, quantities that contradict each other, or another provider while something is held.
    """
    _has_a_reason(reason)
    if unknown := changes.keys() - set(CHANGEABLE):
        raise Invalid(f"These cannot be set: {', '.join(sorted(unknown))}.")
    terms = HedgeTerms.objects.select_for_update(no_key=True).filter(instrument=instrument).first()
    before = _view(terms) if terms else {}
    terms = terms or HedgeTerms(instrument=instrument)
    for name, value in changes.items():
        setattr(terms, name, value)
    check_terms(terms)
    after = _view(terms)
    terms.changed_at = clock.now()
    terms.save()
    changed = [name for name in after if after[name] != before.get(name)]
    audit.record(
        actor=actor,
        action="hedge_terms.changed",
        target=terms,
        before={name: before[name] for name in changed if name in before},
        after={name: after[name] for name in changed},
        reason=reason,
    )
    return terms


def check_terms(terms: HedgeTerms) -> None:
    """Raise Invalid, with the messages by field, for terms that cannot be."""
    errors: dict[str, list[str]] = {}
    symbol = terms.source_symbol
    if not (symbol and symbol.isascii() and symbol.isprintable()):
        errors["source_symbol"] = ["What the provider calls it, in plain characters."]
    if not 0 < terms.lot <= terms.threshold <= terms.max_quantity:
        errors["lot"] = ["Above zero, at most the threshold, and that at most the most that is held."]
    if not 0 <= terms.collar < 1:
        errors["collar"] = ["A part of the price: from 0 to below 1."]
    if terms.max_age_seconds < 1 or terms.cutoff_seconds < 1:
        errors["max_age_seconds"] = ["At least a second, as the time before the end."]
    if not Book.objects.filter(kind=Book.Kind.REAL, currency=terms.currency).exists():
        errors["currency"] = ["No book of real money has it."]
    if why := provider_fault(terms.provider) or _moving_fault(terms):
        errors["provider"] = [why]
    if errors:
        raise Invalid(" ".join(each for said in errors.values() for each in said), errors=errors)


def provider_fault(source: Source) -> str:
    """Say why no order can go to a source; "" when one can."""
    if source.kind != Source.Kind.FIX:
        return "Orders go over FIX: choose a source of that kind."
    named = Instrument.objects.filter(source=source.code).exists()
    if named or Quotation.objects.filter(source=source.code).exists():
        return "Instruments are quoted by it. Orders need a session of their own: configure another source."
    # Adapters are heavy, and few processes need them.
    from quotes.sources.fix import opening

    try:
        options = opening.check(connection_of(source))
    except InvalidSource as refusal:
        return refusal.detail
    if options.reset_on_logon:
        return "What it has not received could not be told: set its option reset_on_logon to false."
    return ""


def _moving_fault(terms: HedgeTerms) -> str:
    stays = HedgeTerms.objects.filter(
        pk=terms.pk, provider=terms.provider_id, source_symbol=terms.source_symbol
    )
    is_bound = bool(held_of(terms.pk)) or unfinished_of(terms.pk).exists()
    if is_bound and not stays.exists():
        return (
            "Something is held at the provider, or on its way there. Bring it to zero before you change it."
        )
    return ""


def provider_fault_of(code: str) -> str:
    """Say why no order can go to the source of this code, as it is configured now; "" when one can."""
    source = Source.objects.filter(pk=code).first()
    return "There is no such source." if source is None else provider_fault(source)


@transaction.atomic
def switch_hedging(*, terms: HedgeTerms, is_on: bool, actor: User, reason: str) -> bool:
    """Begin to hedge an instrument, or stop: nothing is sent any more, and what is held stays held.

    Returns whether that changed. Raises Invalid when its prices are made here, or no order can go out.
    """
    _has_a_reason(reason)
    if is_on:
        if Watermark.objects.filter(instrument=terms.instrument_id, source__in=MADE_HERE).exists():
            raise Invalid("Its prices are made here: nobody trades at them.")
        check_terms(HedgeTerms.objects.get(pk=terms.pk))
    switched = HedgeTerms.objects.filter(pk=terms.pk, is_on=not is_on).update(
        is_on=is_on, changed_at=clock.now()
    )
    if switched:
        action = "hedging.switched_on" if is_on else "hedging.switched_off"
        audit.record(actor=actor, action=action, target=terms, reason=reason)
    return bool(switched)


@transaction.atomic
def close_hedge_order(*, order: HedgeOrder, actor: User, reason: str) -> HedgeOrder:
    """Close an order by what is recorded of it, when its provider has nothing more to say.

    What is heard of it later is recorded all the same. Raises Conflict when there is nothing to close.
    """
    _has_a_reason(reason)
    locked = HedgeOrder.objects.select_for_update(no_key=True).get(pk=order.pk)
    if locked.state not in hedging.UNFINISHED and locked.is_reconciled:
        raise Conflict(f"The order is {locked.get_state_display()}, and its executions add up.")
    filled, before = filled_of(locked), locked.state
    locked.state = hedging.state_after(locked.state, "C", filled)
    locked.cum_quantity, locked.is_reconciled, locked.changed_at = filled, True, clock.now()
    locked.save(update_fields=["state", "cum_quantity", "is_reconciled", "changed_at"])
    audit.record(
        actor=actor,
        action="hedge_order.closed",
        target=locked,
        before={"state": before, "cum_quantity": order.cum_quantity},
        after={"state": locked.state, "cum_quantity": filled},
        reason=reason,
    )
    return locked


def _view(terms: HedgeTerms) -> dict[str, Any]:
    return {name: getattr(terms, f"{name}_id" if name == "provider" else name) for name in CHANGEABLE}


def _has_a_reason(reason: str) -> None:
    if not reason.strip():
        raise Invalid("A reason is needed.", errors={"reason": ["Say why."]})
