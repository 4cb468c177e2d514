"""The newest price and candles of each instrument, published once their transaction has committed."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

import structlog
from redis import RedisError

from config.core.prices import publish_latest
from quotes.rules import STANDARD, Bar, Quote, bars_of, displayed, widen
from quotes.rules.candles import LIVE_FRAMES
from quotes.services import Appended

log = structlog.get_logger(__name__)
Messages = dict[str, dict[str, Any]]


# Of both sides, and the least spread; see `quotes.models.MarkUp`.
MarkUp = tuple[Decimal, Decimal]
MarkUps = Mapping[tuple[str, str], MarkUp]
NOTHING = (Decimal(0), Decimal(0))


def quotes_channel(symbol: str, group: str) -> str:
    """Return the channel on which a customer group hears an instrument's quotes."""
    return f"quotes:{symbol}" if group == STANDARD else f"quotes:{symbol}@{group}"


class LivePrices:
    """Tells every socket what was written: last tick, forming candles, each candle as it closes."""

    def __init__(self) -> None:
        self._forming: dict[tuple[str, int], Bar] = {}
        self._mark_ups: defaultdict[str, dict[str, MarkUp]] = defaultdict(dict)
        self._is_away = False

    def know(self, symbol: str, frame: int, bar: Bar) -> None:
        """Take over a candle that an earlier feed has left forming."""
        self._forming[symbol, frame] = bar

    def mark_up(self, mark_ups: MarkUps) -> None:
        """Show bid and ask by these mark-ups, of an instrument and a customer group, from now on."""
        self._mark_ups = defaultdict(dict)
        for (symbol, group), mark_up in mark_ups.items():
            self._mark_ups[symbol][group] = mark_up

    def _shown(self, symbol: str, quote: Quote, decimals: int) -> Iterator[tuple[str, dict[str, str]]]:
        unit = Decimal(1).scaleb(-decimals)
        for group, (amount, min_spread) in {STANDARD: NOTHING, **self._mark_ups[symbol]}.items():
            bid, ask = displayed(quote, unit, amount, min_spread)
            yield group, {"bid": f"{bid:.{decimals}f}", "ask": f"{ask:.{decimals}f}"}

    def publish(self, appended: Mapping[str, tuple[int, Appended]]) -> None:
        """Publish what was written, by symbol with its `price_decimals`; Redis may be away."""
        closed: Messages = {}
        newest: Messages = {}
        for symbol, (decimals, each) in appended.items():
            self._close(symbol, decimals, each, closed)
            if each.rows:
                at, seq, price = each.rows[-1]
                said = {
                    "type": "quote",
                    "symbol": symbol,
                    "at": at,
                    "seq": seq,
                    "price": f"{price:.{decimals}f}",
                }
                for group, shown in self._shown(symbol, each.quote or Quote(price, price), decimals):
                    newest[quotes_channel(symbol, group)] = {**said, **shown}
            for frame in LIVE_FRAMES:
                bar = self._forming.get((symbol, frame))
                if bar is not None and each.rows:
                    newest[f"candles:{symbol}:{frame}"] = _candle(symbol, frame, decimals, bar, True)
        try:
            # A closed candle goes first, and alone: on its channel the next one would take its place.
            if closed:
                publish_latest(closed)
            if newest:
                publish_latest(newest)
        except RedisError as error:
            if not self._is_away:
                log.warning("live prices are not published: Redis is away", error=str(error))
            self._is_away = True
        else:
            self._is_away = False

    def _close(self, symbol: str, decimals: int, each: Appended, closed: Messages) -> None:
        """Take the candles in and name those that the watermark or a later one has ended."""
        seconds = [(1, bar) for bar in self._seconds(symbol, each)]
        bars = sorted([*seconds, *each.candles], key=lambda item: (item[0], item[1].start))
        for frame in LIVE_FRAMES:
            key = symbol, frame
            for _, bar in (item for item in bars if item[0] == frame):
                known = self._forming.get(key)
                if known is not None and known.start < bar.start:
                    closed[f"candles:{symbol}:{frame}"] = _candle(symbol, frame, decimals, known, False)
                if known is None or known.start <= bar.start:
                    self._forming[key] = bar
            known = self._forming.get(key)
            if known is not None and known.start + timedelta(seconds=frame) <= each.at:
                closed[f"candles:{symbol}:{frame}"] = _candle(symbol, frame, decimals, known, False)
                del self._forming[key]

    def _seconds(self, symbol: str, each: Appended) -> Iterator[Bar]:
        """Go on with the second that forms: it is kept nowhere but here."""
        known = self._forming.get((symbol, 1))
        return widen([*([known] if known else []), *bars_of(each.rows, 1)], 1)


def _candle(symbol: str, frame: int, decimals: int, bar: Bar, is_forming: bool) -> dict[str, Any]:
    return {
        "type": "candle",
        "symbol": symbol,
        "interval": frame,
        "start": bar.start,
        "open": f"{bar.open:.{decimals}f}",
        "high": f"{bar.high:.{decimals}f}",
        "low": f"{bar.low:.{decimals}f}",
        "close": f"{bar.close:.{decimals}f}",
        "ticks": bar.ticks,
        "is_forming": is_forming,
        "last_seq": bar.last_seq,
    }
