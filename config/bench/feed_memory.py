"""feed-memory: the feed's resident memory over ten minutes at 5,000 ticks a second; the value is its growth.

BENCH_SECONDS chooses another length.
"""

import gzip
import os
import tempfile
import time
from decimal import Decimal
from pathlib import Path
from statistics import median

import psutil
from django.db.models import Sum

from config.bench import stage
from config.core import clock
from quotes.models import Watermark
from quotes.services import create_calendar, create_instrument, open_days

INSTRUMENTS = 10
PER_SECOND = 500
RECORDED_SECONDS = 30
SECONDS = int(os.environ.get("BENCH_SECONDS", "600"))
EVERY_SECONDS = 5.0


def run() -> stage.Row:
    """Play recordings live into a real feed and look at it from outside."""
    open_days([clock.now().date()])
    with tempfile.TemporaryDirectory() as folder:
        _record(Path(folder) / "busy.csv.gz")
        for number in range(INSTRUMENTS):
            create_instrument(
                symbol=f"BUSY{number}",
                name=f"Busy {number}",
                instrument_class="crypto",
                price_decimals=3,
                calendar=create_calendar(code="always"),
                source="replay",
                source_symbol="busy.csv.gz",
            )
        with stage.process("manage.py", "stream_quotes", REPLAY_FOLDER=folder, REPLAY_SPEED="1") as feed:
            sizes, written, seconds = _watch(psutil.Process(feed.pid))
    if len(sizes) < 6:
        raise RuntimeError("the feed ended early")
    # The first fifth fills caches, and each end is the median of a fifth: one sample is no trend.
    fifth = max(1, len(sizes) // 5)
    before, after = median(sizes[fifth : 2 * fifth]), median(sizes[-fifth:])
    stage.say(f"{written / seconds:.0f} ticks/s; {before / 2**20:.1f} MiB, then {after / 2**20:.1f} MiB")
    return stage.Row("feed-memory", 100 * (after - before) / before, "% growth")


def _record(path: Path) -> None:
    with gzip.open(path, "wt") as file:
        file.write("ts_ms,bid,ask\n")
        for number in range(RECORDED_SECONDS * PER_SECOND):
            price = Decimal(100) + Decimal(number % 97) / 1000
            file.write(f"{number * 1000 // PER_SECOND},{price},{price + Decimal('0.002')}\n")


def _watch(feed: psutil.Process) -> tuple[list[int], int, float]:
    time.sleep(EVERY_SECONDS)
    began, first = time.monotonic(), _written()
    sizes: list[int] = []
    while (passed := time.monotonic() - began) < SECONDS and feed.is_running():
        sizes.append(feed.memory_info().rss)
        if len(sizes) % 12 == 0:
            stage.say(f"{passed:.0f} s: {sizes[-1] / 2**20:.1f} MiB")
        time.sleep(EVERY_SECONDS)
    return sizes, _written() - first, time.monotonic() - began


def _written() -> int:
    return int(Watermark.objects.aggregate(sum=Sum("last_seq"))["sum"] or 0)
