"""What an order would be if it were placed now: the same read, the same rules, and no write."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal

from config.core import clock
from config.core.errors import DomainError, Invalid, Unauthenticated
from trading.services.acceptance import (
    RULES,
    account_trades_instrument,
    duration_is_offered,
    instrument_is_offered,
    payout_is_as_seen,
    price_is_fresh,
    stake_is_allowed,
)
from trading.services.drafts import Draft, PlaceOrder
from trading.services.placement import draft_of, read_placement, require_well_formed

# Without what these make sure of, the rules after them have nothing to look at.
FUNDAMENTAL = (
    account_trades_instrument,
    instrument_is_offered,
    duration_is_offered,
    stake_is_allowed,
    price_is_fresh,
)


@dataclass(frozen=True, slots=True)
class Preview:
    """What placing would answer. Without `refusals` it would be accepted; levels are prices by name."""

    symbol: str
    price: Decimal | None
    price_decimals: int
    currency: str
    scale: int
    expires_at: datetime | None = None
    payout_rate: Decimal | None = None
    profit: Decimal | None = None
    payout: Decimal | None = None
    levels: dict[str, Decimal] = field(default_factory=dict)
    refusals: list[DomainError] = field(default_factory=list)


def preview_order(*, customer_id: int, command: PlaceOrder) -> Preview:
    """Price an order and name everything that would refuse it; nothing is written and nothing promised.

    Raises Invalid when the command itself is malformed, Unauthenticated for strangers, and what says that
    there is no such account or instrument.
    """
    require_well_formed(command)
    started = clock.now()
    found = read_placement(customer_id, None, command, started)
    if found is None or not found.is_signed_in:
        raise Unauthenticated("Your sign-in has ended. Sign in again.")
    draft = draft_of(command, found, started)
    refusals: list[DomainError] = []
    for rule in RULES:
        try:
            rule(draft)
        except Invalid:
            raise
        except DomainError as refusal:
            if found.account_id is None or found.instrument_id is None:
                raise
            refusals.append(refusal)
            if rule in FUNDAMENTAL or (rule is payout_is_as_seen and draft.payout_rate == 0):
                break
    return _preview(draft, refusals)


def _preview(draft: Draft, refusals: list[DomainError]) -> Preview:
    found = draft.found
    preview = Preview(
        symbol=draft.asked.symbol,
        price=found.last_price,
        price_decimals=found.price_decimals,
        currency=found.currency,
        scale=found.scale,
        refusals=refusals,
    )
    if found.last_price is None or draft.payout_rate == 0:
        return preview
    return replace(
        preview,
        expires_at=draft.expires_at,
        payout_rate=draft.payout_rate,
        profit=draft.profit,
        payout=draft.payout,
        levels=draft.levels(),
    )
