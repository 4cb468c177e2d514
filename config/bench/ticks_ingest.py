"""ticks-ingest: a recording replayed as fast as it can be written, with candles and live prices."""

import csv
import gzip
import random
import tempfile
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from config.bench import stage
from quotes.services import create_calendar, create_instrument
from quotes.sources.replay import ReplayFeed
from quotes.sources.simulated import Simulation

QUOTES = 200_000
BATCH = 2_000
# As dense as a currency pair on a trading day: eight ticks in a five-second candle.
MEAN_GAP_MS = 650
BEGINS_AT = datetime(2019, 2, 4, tzinfo=UTC)


def run() -> stage.Row:
    """Measure from the first quote read to the last one durable and published."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recording.csv.gz"
        stage.say(f"recording {QUOTES} quotes")
        _record(path)
        feed = ReplayFeed(path, is_published=True)
        with feed.own_time():
            feed.follow(
                create_instrument(
                    symbol="EURUSD",
                    name="EUR/USD",
                    instrument_class="fx",
                    price_decimals=5,
                    calendar=create_calendar(code="always"),
                    source="replay",
                    source_symbol=path.name,
                )
            )
            seconds, batches = _play(feed)
    stage.say(f"{QUOTES} ticks in {seconds:.1f} s")
    return stage.Row(
        "ticks-ingest",
        QUOTES / seconds,
        "ticks/s",
        p50_ms=stage.percentile(batches, 0.5),
        p99_ms=stage.percentile(batches, 0.99),
    )


def _play(feed: ReplayFeed) -> tuple[float, list[float]]:
    batches = []
    began = before = time.perf_counter()
    for _ in feed.batches(BATCH):
        now = time.perf_counter()
        batches.append((now - before) * 1000)
        before = now
    return before - began, batches


def _record(path: Path) -> None:
    """Write a recording that is the same every time."""
    gaps = random.Random(1)  # noqa: S311 - not a secret: only the rhythm of a measure
    prices = Simulation(
        price=Decimal("1.10000"),
        volatility=Decimal("0.08"),
        interval_ms=MEAN_GAP_MS,
        price_decimals=5,
        seed=bytes(32),
    )
    at_ms = int(BEGINS_AT.timestamp() * 1000)
    with gzip.open(path, "wt", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["ts_ms", "bid", "ask"])
        for _ in range(QUOTES):
            at_ms += 1 + int(gaps.expovariate(1 / MEAN_GAP_MS))
            price = prices.next()
            rows.writerow([at_ms, price - Decimal("0.00001"), price + Decimal("0.00001")])
