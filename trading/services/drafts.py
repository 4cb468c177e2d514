"""An order on its way: what was asked, what was found, what follows."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

import msgspec

from config.core import money
from config.core.ids import new_id
from trading.facts import OrderView


@dataclass(frozen=True, kw_only=True, slots=True)
class PlaceOrder:
    """What a customer asks for. Exactly one of `duration_seconds`, `duration_ticks` and `expires_at`."""

    client_id: str
    account: int
    symbol: str
    contract: str
    side: str
    stake: str
    duration_seconds: int | None = None
    expires_at: datetime | None = None
    min_payout_rate: str | None = None
    price: str | None = None
    max_slippage: str | None = None
    # Where the contract takes them; a barrier with a sign is a distance from the entry.
    duration_ticks: int | None = None
    barrier: str | None = None
    low: str | None = None
    high: str | None = None
    digit: int | None = None

    @property
    def length(self) -> str:
        """Return what its end is counted in, as contracts name it."""
        if self.duration_ticks is not None:
            return "ticks"
        return "clock" if self.expires_at is not None else "seconds"


class LimitFound(msgspec.Struct, array_like=True):
    """A risk limit of the house that covers the order, and what of it is used. Empty names cover all."""

    instrument_class: str
    is_of_instrument: bool
    side: str
    most: Decimal
    used: Decimal

    @property
    def is_exact(self) -> bool:
        """Whether one row of the exposure is all it covers, so that it can be kept under that row's lock."""
        return self.is_of_instrument and self.side != ""


class CurbFound(msgspec.Struct, array_like=True):
    """A curb in force over the order's account, instrument and side; `contract` is empty for all."""

    effect: str
    contract: str
    cut: Decimal | None
    ends_at: datetime | None

    def covers(self, contract: str) -> bool:
        """Tell whether it holds for a contract."""
        return self.contract in ("", contract) and (self.effect != "event" or contract != "rise_fall")


class Found(msgspec.Struct, array_like=True):
    """The row of the read statement `trading_read_placement`, in its order."""

    is_signed_in: bool
    is_restricted: bool
    jurisdiction_allows: bool
    account_id: int | None
    owner_id: int
    balance: Decimal
    escrow_id: int
    book_id: int
    book_kind: str
    currency: str
    scale: int
    book_is_open: bool
    book_closes_at: datetime | None
    book_trades: bool
    book_code: str
    instrument_id: int | None
    is_listed: bool
    is_suspended: bool
    price_decimals: int
    max_quote_age_ms: int
    max_source_lag_ms: int
    calendar_zone: str
    calendar_weeks: str | None
    calendar_overrides: str | None
    terms_id: int | None
    terms_version: int
    contracts: list[str]
    min_stake: Decimal
    max_stake: Decimal
    min_duration_seconds: int
    max_duration_seconds: int
    cutoff_seconds: int
    min_duration_ticks: int
    max_duration_ticks: int
    max_tick_wait_seconds: int
    margin: Decimal
    min_priced_rate: Decimal
    max_priced_rate: Decimal
    max_open_orders: int
    entry_policy: str
    entry_delay_ms: int
    payout_rate: Decimal | None
    volatility_id: int | None
    volatility_at: datetime
    volatility_per_sqrt_second: float
    tick_seconds: float
    watermark_at: datetime | None
    last_at: datetime | None
    last_seq: int
    last_price: Decimal
    source_lag_ms: int | None
    is_simulated: bool | None
    repeated_id: UUID | None
    open_orders: int
    max_own_stake: Decimal | None
    max_own_loss: Decimal | None
    max_own_open_orders: int | None
    limits: list[LimitFound] | None
    curbs: list[CurbFound] | None
    # What all open orders of the account may pay out together, and what they can now; null without a limit.
    max_open_payout: Decimal | None
    open_payout: Decimal | None


class Draft:
    """An order on its way through the rules: what was asked, what was found, what follows."""

    __slots__ = (
        "accepted_at",
        "asked",
        "barrier",
        "entry_after",
        "expires_at",
        "found",
        "high",
        "is_relative",
        "low",
        "most_profit",
        "order_id",
        "payout_rate",
        "profit",
        "stake",
        "view",
        "volatility_id",
    )

    def __init__(self, asked: PlaceOrder, found: Found, accepted_at: datetime) -> None:
        self.asked = asked
        self.found = found
        self.order_id = new_id()
        self.accepted_at = accepted_at
        self.entry_after: datetime | None = None
        self.expires_at = accepted_at
        self.stake = self.payout_rate = self.profit = money.ZERO
        self.most_profit: Decimal | None = None
        self.barrier: Decimal | None = None
        self.low: Decimal | None = None
        self.high: Decimal | None = None
        self.is_relative = False
        self.volatility_id: int | None = None
        self.view: OrderView

    @property
    def payout(self) -> Decimal:
        """Return what it pays if it wins, by the stake and the rate that were agreed."""
        return self.stake + self.profit

    def levels(self) -> dict[str, Decimal]:
        """Return the barriers as they would be if the latest price were the entry, by name."""
        base = self.found.last_price if self.is_relative else money.ZERO
        agreed = {"barrier": self.barrier, "low": self.low, "high": self.high}
        return {name: base + level for name, level in agreed.items() if level is not None}
