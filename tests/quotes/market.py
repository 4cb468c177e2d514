"""An instrument at a standing clock, and the recordings."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from quotes.models import Instrument
from quotes.services import Appended, Stretch, append_ticks, create_calendar, create_instrument

NOON = datetime(2030, 3, 5, 12, tzinfo=UTC)
SHARED_DATA = Path(os.environ.get("SHARED_DATA") or Path(__file__).parents[3] / "shared" / "data")


def recording(name: str) -> Path:
    """Return a recorded file; skip the test where the folder is absent."""
    path = SHARED_DATA / name
    if not path.is_file():
        pytest.skip(f"the recordings are not here: {path}")
    return path


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def instrument(symbol: str = "EURUSD", **settings: Any) -> Instrument:
    """Make an instrument that tests quote by hand."""
    defaults: dict[str, Any] = {
        "name": symbol,
        "instrument_class": "fx",
        "price_decimals": 5,
        "calendar": settings.get("calendar") or create_calendar(code="always"),
        "source": "replay",
        "source_symbol": f"{symbol.lower()}.csv.gz",
    }
    return create_instrument(symbol=symbol, **{**defaults, **settings})


def write(
    epoch: int, made: Instrument, ticks: list[tuple[float, str]], until: float | None = None
) -> Appended:
    """Append ticks `(seconds after noon, price)` of one instrument."""
    stamped = [(at(seconds), Decimal(price)) for seconds, price in ticks]
    end = at(until) if until is not None else stamped[-1][0]
    return append_ticks(epoch=epoch, stretches={made.pk: Stretch(end, stamped, "replay", 0)})[made.pk]


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self, instant: datetime = NOON) -> None:
        self.instant = instant

    def __call__(self) -> datetime:
        return self.instant

    def move(self, seconds: float) -> datetime:
        self.instant += timedelta(seconds=seconds)
        return self.instant


def rows_of(path: Path) -> Iterator[tuple[int, Decimal, Decimal]]:
    """Read a recording independently of the platform's reader: (ms, bid, ask)."""
    import gzip

    with gzip.open(path, "rt") as file:
        next(file)
        for line in file:
            stamp, bid, ask, *_ = line.rstrip("\n").split(",")
            yield int(stamp), Decimal(bid), Decimal(ask)
