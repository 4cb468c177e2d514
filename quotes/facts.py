"""What the market tells everybody."""

from config.core.facts import FactData, fact


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
