"""What the market tells everybody."""

import msgspec

from config.core.facts import FactData, fact


class IndependentPriceView(msgspec.Struct, frozen=True):
    """What another source quoted at the instant of a tick, as a decimal string."""

    source: str
    price: str


@fact("instrument.changed")
class InstrumentChanged(FactData):
    """An operator has changed an instrument: what a screen shows of it, whole."""

    symbol: str
    name: str
    price_decimals: int
    is_listed: bool
    is_suspended: bool
    is_open: bool
    opens_at: str | None
    closes_at: str | None
    is_simulated: bool


@fact("tick.voided")
class TickVoided(FactData):
    """Two operators voided a tick: an order that rests on it and is open from now on gets its stake back."""

    symbol: str
    at: str
    seq: int
    price: str
    independent_prices: list[IndependentPriceView]
    deviation: str
    limit: str
    reason: str
    decided_at: str
