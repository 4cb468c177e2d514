"""Live prices and candles over the socket: open to everybody, the latest of each channel wins."""

from typing import Any

from config.core import sockets
from config.core.errors import Invalid
from quotes import selectors
from quotes.errors import UnknownInstrument
from quotes.models import Instrument
from quotes.rules import STANDARD
from quotes.rules.candles import LIVE_FRAMES


def register() -> None:
    """Declare the public channels of the market; the feed publishes them, the price hub carries them."""
    sockets.register("quotes:<symbol>", snapshot=quote_snapshot, variant=_group)
    sockets.register("candles:<symbol>:<interval>", snapshot=candle_snapshot)


def _group(user: Any) -> str:
    group: str = getattr(user, "group", STANDARD)
    return "" if group == STANDARD else group


def quote_snapshot(_user: Any, symbol: str, variant: str) -> dict[str, Any]:
    """Return the last tick, the bid and ask of a customer group, and whether the instrument takes orders.

    Raises UnknownInstrument.
    """
    state = _listed(symbol)
    last, decimals = state.last, state.instrument.price_decimals
    shown = selectors.displayed_quote(state, variant or STANDARD)
    return {
        "symbol": symbol,
        "last": last and {"at": last.at, "seq": last.seq, "price": f"{last.price:.{decimals}f}"},
        "bid": shown and f"{shown.bid:.{decimals}f}",
        "ask": shown and f"{shown.ask:.{decimals}f}",
        "is_open": state.is_open,
        "opens_at": state.opens_at,
        "closes_at": state.closes_at,
    }


def candle_snapshot(_user: Any, symbol: str, interval: str) -> dict[str, Any]:
    """Return the newest candle of a live frame; raise UnknownInstrument, and Invalid for other frames."""
    instrument: Instrument = _listed(symbol).instrument
    if interval not in map(str, LIVE_FRAMES):
        frames = ", ".join(map(str, LIVE_FRAMES))
        raise Invalid(f"Candles of {frames} seconds are live; the others are made of these.")
    found = selectors.candles_page(instrument, int(interval), limit=1)
    return {
        "symbol": symbol,
        "interval": int(interval),
        "candle": selectors.candle_row(found[0], instrument.price_decimals) if found else None,
    }


def _listed(symbol: str) -> selectors.InstrumentState:
    state = selectors.instrument_by_symbol(symbol)
    if not state.instrument.is_listed:
        raise UnknownInstrument(f"There is no instrument {symbol}.", symbol=symbol)
    return state
