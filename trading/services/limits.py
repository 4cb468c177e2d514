"""Limits: what the house risks at most, and what a customer allows himself."""

from datetime import datetime
from decimal import Decimal

from django.db import transaction

from config.core import audit, clock, money
from config.core.errors import Invalid
from kyc.models import User
from payments.ledger.models import Book
from quotes.models import Instrument
from trading.models import BookTerms, CustomerLimits, RiskLimit
from trading.rules import KINDS


@transaction.atomic
def set_risk_limit(
    *,
    book: Book,
    most: Decimal,
    actor: User,
    comment: str,
    instrument: Instrument | None = None,
    instrument_class: str = "",
    side: str = "",
    ends_at: datetime | None = None,
) -> RiskLimit:
    """Limit what the house may have to pay beyond stakes over what is named, from now on; return the limit.

    It holds until `ends_at` or until it is lifted, and for orders accepted from now on: what is open stays.
    Raises Invalid for more decimals than the currency has, an unknown side, or an end that has passed.
    """
    most, now = money.parse(most, book.scale), clock.now()
    if side and side not in {name for kind in KINDS.values() for name in kind.sides}:
        raise Invalid("There is no such side.", errors={"side": ["No contract has it."]})
    if instrument is not None and instrument_class:
        said = "Name an instrument or a class, not both."
        raise Invalid(said, errors={"instrument_class": [said]})
    if ends_at is not None and ends_at <= now:
        raise Invalid("The limit would have ended already.", errors={"ends_at": ["In the future."]})
    limit = RiskLimit.objects.create(
        book=book,
        instrument=instrument,
        instrument_class=instrument_class,
        side=side,
        most=most,
        starts_at=now,
        ends_at=ends_at,
        comment=comment,
        set_by=actor,
    )
    covers = {
        "book": book.code,
        "instrument": instrument.symbol if instrument else None,
        "class": instrument_class or None,
        "side": side or None,
    }
    audit.record(
        actor=actor,
        action="risk_limit.set",
        target=limit,
        after={**covers, "most": most, "ends_at": ends_at},
        reason=comment,
    )
    return limit


@transaction.atomic
def lift_risk_limit(*, limit: RiskLimit, actor: User, reason: str) -> bool:
    """End a limit now; return whether it was still in force."""
    now = clock.now()
    in_force = RiskLimit.objects.filter(pk=limit.pk).exclude(ends_at__lte=now)
    if not in_force.update(ends_at=now):
        return False
    audit.record(
        actor=actor, action="risk_limit.lifted", target=limit, before={"most": limit.most}, reason=reason
    )
    return True


@transaction.atomic
def set_floor(*, terms: BookTerms, floor: Decimal | None, actor: User, reason: str) -> None:
    """Set what the house of a book must hold for it to take orders; None sets no floor.

    Raises Invalid for more decimals than the currency has, and for nothing or less.
    """
    if floor is not None:
        floor = money.parse(floor, terms.book.scale)
        if floor <= 0:
            raise Invalid("A floor is above zero.", errors={"floor": ["Above zero."]})
    before = BookTerms.objects.select_for_update(no_key=True).get(pk=terms.pk).floor
    BookTerms.objects.filter(pk=terms.pk).update(floor=floor)
    audit.record(
        actor=actor,
        action="floor.set",
        target=terms,
        before={"floor": before},
        after={"floor": floor},
        reason=reason,
    )


@transaction.atomic
def set_open_payout_limit(*, terms: BookTerms, most: Decimal | None, actor: User, reason: str) -> None:
    """Set what all open orders of an account of the book may pay out together; None sets no limit.

    It holds for orders accepted from now on: what is open stays. Raises Invalid for more decimals than the
    currency has, and for nothing or less.
    """
    if most is not None:
        most = money.parse(most, terms.book.scale)
        if most <= 0:
            raise Invalid("This limit is above zero.", errors={"most": ["Above zero."]})
    before = BookTerms.objects.select_for_update(no_key=True).get(pk=terms.pk).max_open_payout
    BookTerms.objects.filter(pk=terms.pk).update(max_open_payout=most)
    audit.record(
        actor=actor,
        action="open_payout_limit.set",
        target=terms,
        before={"max_open_payout": before},
        after={"max_open_payout": most},
        reason=reason,
    )


@transaction.atomic
def set_customer_limits(
    *,
    customer: User,
    max_stake: Decimal | None = None,
    max_daily_loss: Decimal | None = None,
    max_open_orders: int | None = None,
) -> CustomerLimits:
    """Write what a customer allows himself over his accounts of real money; None takes a limit away.

    Holds for orders accepted from now on. Whether and when one may be loosened is for who calls to say.
    """
    before = CustomerLimits.objects.filter(customer=customer).order_by("-id").first()
    limits = CustomerLimits.objects.create(
        customer=customer,
        max_stake=max_stake,
        max_daily_loss=max_daily_loss,
        max_open_orders=max_open_orders,
        set_at=clock.now(),
    )
    audit.record(
        actor=customer,
        action="customer_limits.set",
        target=customer,
        before=_written(before),
        after=_written(limits),
    )
    return limits


def _written(limits: CustomerLimits | None) -> dict[str, object] | None:
    if limits is None:
        return None
    return {name: getattr(limits, name) for name in ("max_stake", "max_daily_loss", "max_open_orders")}
