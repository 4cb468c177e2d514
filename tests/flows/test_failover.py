"""Two feeds, one killed under load: the other goes on, and the record is whole."""

import gzip
import time
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from quotes.models import Candle, Gap, Tick, Watermark
from tests.quotes.market import instrument

SYMBOLS = ("AAA", "BBB", "CCC")
PER_SECOND = 300


def wait_for(condition: Callable[[], bool], seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.02)


def record(path: Path, seconds: int) -> None:
    """Write a recording of a busy market."""
    with gzip.open(path, "wt") as file:
        file.write("ts_ms,bid,ask\n")
        for number in range(seconds * PER_SECOND):
            price = Decimal(100) + Decimal(number % 97) / 1000
            file.write(f"{number * 1000 // PER_SECOND},{price},{price + Decimal('0.002')}\n")


def start_two(roles: Any, folder: Path) -> None:
    """Run a leading feed and a standby on recordings at full rate."""
    record(folder / "busy.csv.gz", 60)
    for symbol in SYMBOLS:
        instrument(symbol, instrument_class="crypto", price_decimals=3, source_symbol="busy.csv.gz")
    roles.env["REPLAY_FOLDER"] = str(folder)
    roles.start("feed")
    wait_for(lambda: Watermark.objects.filter(last_seq__gt=PER_SECOND).count() == len(SYMBOLS))
    roles.start_another("feed", "standby")


def fail_over(roles: Any) -> None:
    """Kill the leader, and wait until the standby has written for a while."""
    epoch = Watermark.objects.order_by("pk").values_list("epoch", flat=True)[0]
    roles.kill9("feed")
    wait_for(lambda: Watermark.objects.filter(epoch__gt=epoch).count() == len(SYMBOLS))
    reached = max(Watermark.objects.values_list("last_seq", flat=True))
    wait_for(lambda: Watermark.objects.filter(last_seq__gt=reached + PER_SECOND).count() == len(SYMBOLS))
    roles.stop("standby")


def pauses(symbol: str) -> list[Any]:
    """Return the stretches of more than a second between ticks; no tick may be twice or out of order."""
    ticks = list(
        Tick.objects.filter(instrument__symbol=symbol, is_late=False).order_by("seq").values_list("seq", "at")
    )
    assert [seq for seq, _ in ticks] == list(range(1, len(ticks) + 1))
    assert all(earlier[1] < later[1] for earlier, later in pairwise(ticks))
    return [(a[1], b[1]) for a, b in pairwise(ticks) if b[1] - a[1] > timedelta(seconds=1)]


@pytest.mark.django_db(transaction=True, databases=["default", "owner"])
def test_a_standby_goes_on_where_a_killed_feed_ended(roles: Any, tmp_path: Path) -> None:
    start_two(roles, tmp_path)
    fail_over(roles)
    for symbol in SYMBOLS:
        gaps = list(Gap.objects.filter(instrument__symbol=symbol, reason="feed_down").order_by("starts_at"))
        for before, after in pauses(symbol):
            assert any(before <= gap.starts_at and gap.ends_at < after for gap in gaps)
        for gap in gaps:
            inside = Tick.objects.filter(
                instrument=gap.instrument, at__gt=gap.starts_at, at__lte=gap.ends_at, is_late=False
            )
            assert not inside.exists()
        ticks = Tick.objects.filter(instrument__symbol=symbol, is_late=False).count()
        told = Candle.objects.filter(instrument__symbol=symbol, interval_seconds=5)
        assert sum(told.values_list("ticks", flat=True)) == ticks


@pytest.mark.long
@pytest.mark.django_db(transaction=True, databases=["default", "owner"])
def test_the_standby_writes_again_within_three_seconds(roles: Any, tmp_path: Path) -> None:
    start_two(roles, tmp_path)
    fail_over(roles)
    longest = max((after - before for symbol in SYMBOLS for before, after in pauses(symbol)), default=None)
    assert longest is None or longest < timedelta(seconds=3)
