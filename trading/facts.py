"""What happens to orders, as others hear it."""

import msgspec

from config.core.facts import FactData, fact


class TickView(msgspec.Struct, frozen=True):
    """A tick in an order: instant, sequence number, price as a decimal string."""

    at: str
    seq: int
    price: str


class Distances(msgspec.Struct, frozen=True, omit_defaults=True):
    """Barriers agreed as distances from the entry, as signed decimal strings."""

    barrier: str | None = None
    low: str | None = None
    high: str | None = None


class OrderView(msgspec.Struct, frozen=True, omit_defaults=True):
    """An order as everybody outside sees it: REST, socket, facts.

    What its contract does not have is left out. Barriers are prices; those agreed as `distances` from the
    entry appear once it is known.
    """

    id: str
    client_id: str
    account: int
    symbol: str
    contract: str
    side: str
    stake: str
    currency: str
    payout_rate: str
    status: str
    refund_reason: str | None
    accepted_at: str
    entry_after: str | None
    duration_seconds: int | None
    expires_at: str
    entry: TickView | None
    exit: TickView | None
    payout: str | None
    closed_at: str | None
    terms: int
    duration_ticks: int | None = None
    barrier: str | None = None
    low: str | None = None
    high: str | None = None
    distances: Distances | None = None
    digit: int | None = None


@fact("order.opened")
class OrderOpened(FactData):
    """An order was accepted and its stake moved to escrow."""

    order: OrderView
    account: int
    version: int


@fact("order.entered")
class OrderEntered(FactData):
    """A delayed entry was found: the order now has its entry tick."""

    order: OrderView
    account: int


@fact("order.won")
class OrderWon(FactData):
    """An order was won; stake and profit are on the account."""

    order: OrderView
    account: int
    version: int


@fact("order.lost")
class OrderLost(FactData):
    """An order was lost; the stake went to the house."""

    order: OrderView
    account: int


@fact("order.refunded")
class OrderRefunded(FactData):
    """No outcome could be proven; the stake is back."""

    order: OrderView
    account: int
    version: int


@fact("order.sold")
class OrderSold(FactData):
    """An open order was bought back before its end; its price is on the account."""

    order: OrderView
    account: int
    version: int


@fact("order.corrected")
class OrderCorrected(FactData):
    """What a closed order had paid was put right: by `amount`, below zero when it was taken back."""

    order: OrderView
    account: int
    version: int
    amount: str
    paid: str
    reason: str


@fact("offers.changed")
class OffersChanged(FactData):
    """What can be bought or sold of an instrument changed: a curb was set or lifted. Read it again."""

    symbol: str


@fact("curb.set")
class CurbSet(FactData):
    """Trading is held back over what is named; what is empty is any."""

    curb: int
    effect: str
    book: str
    symbol: str
    instrument_class: str
    contract: str
    side: str
    is_automatic: bool


@fact("curb.lifted")
class CurbLifted(FactData):
    """A curb ended before its time."""

    curb: int
    effect: str
    book: str
    symbol: str
    instrument_class: str
    contract: str
    side: str
    is_automatic: bool


@fact("risk.alerted")
class RiskAlerted(FactData):
    """Four fifths of a limit are used or, without a limit, a house holds less than its floor."""

    alert: int
    book: str
    limit: int | None
    used: str
    most: str


@fact("payout.changed")
class PayoutChanged(FactData):
    """The payout rate of an instrument changed for orders accepted from now on."""

    symbol: str
    payout_rate: str
    previous_rate: str | None
    reason: str
