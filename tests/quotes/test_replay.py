"""Recordings played at their own time and live."""

import asyncio
import gzip
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path

import pytest
from django.db import connection

from config.core import clock
from quotes import selectors
from quotes.intake import Intake
from quotes.models import Candle, Tick, Watermark
from quotes.sources.replay import ReplayFeed, ReplaySource, read_quotes
from tests.quotes.market import instrument, recording, rows_of
from tests.quotes.test_binance import eventually, subscription

START = datetime(2030, 3, 5, 12, tzinfo=UTC)
# A recording opens its own days.
OWNER = pytest.mark.django_db(transaction=True, databases=["default", "owner"])


def write_recording(folder: Path, rows: list[tuple[int, str, str]], name: str = "made.csv.gz") -> Path:
    path = folder / name
    with gzip.open(path, "wt") as file:
        file.write("ts_ms,bid,ask,volume\n")
        for milliseconds, bid, ask in rows:
            file.write(f"{int(START.timestamp() * 1000) + milliseconds},{bid},{ask},1\n")
    return path


def test_both_columns_of_time_are_read(tmp_path: Path) -> None:
    path = tmp_path / "plain.csv"
    path.write_text(
        "recv_ns,update_id,bid,bid_qty,ask,ask_qty\n1723161254087891268,5,61837.63,1,61837.64,2\n"
    )
    assert list(read_quotes(path)) == [
        (datetime(2024, 8, 8, 23, 54, 14, 87891, tzinfo=UTC), Decimal("61837.63"), Decimal("61837.64"))
    ]


@OWNER
def test_a_recording_is_fed_step_by_step_at_its_own_time(tmp_path: Path) -> None:
    path = write_recording(
        tmp_path,
        [
            (0, "1.10000", "1.10002"),
            (400, "1.10010", "1.10012"),
            (90_000, "1.1", "1.0"),
            (95_000, "1.1", "1.1"),
        ],
    )
    feed = ReplayFeed(path)
    with feed.own_time():
        made = instrument()
        feed.follow(made)
        assert clock.now() == START - timedelta(seconds=1)
        first = feed.advance(START + timedelta(seconds=1))
        assert first is not None
        assert [(row[0], str(row[2])) for row in first.rows] == [
            (START, "1.10001"),
            (START + timedelta(milliseconds=400), "1.10011"),
        ]
        assert clock.now() == Watermark.objects.get().at == START + timedelta(seconds=1)
        quiet = feed.advance(START + timedelta(seconds=91))
        assert quiet is not None
        assert (quiet.rows, quiet.at) == ([], START + timedelta(seconds=91))
        assert not feed.has_ended
        assert list(feed.batches()) == [START + timedelta(seconds=95)]
        assert feed.has_ended
    assert Watermark.objects.get().last_seq == 3
    assert clock.now().year != 2030


@OWNER
def test_two_recorded_trading_days_become_exactly_their_ticks_and_candles() -> None:
    path = recording("dukascopy_eurusd_20190204-05.csv.gz")
    feed = ReplayFeed(path)
    with feed.own_time():
        made = instrument()
        feed.follow(made)
        for _ in feed.batches(size=5_000):
            pass
    unit = Decimal("0.00001")
    expected, floor = [], None
    for ms, bid, ask in rows_of(path):
        instant = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
        floor = instant if floor is None or instant > floor else floor + timedelta(microseconds=1)
        expected.append((floor, ((bid + ask) / 2).quantize(unit, rounding=ROUND_HALF_EVEN)))
    stored = list(Tick.objects.order_by("seq").values_list("at", "price", "seq", "is_late"))
    assert len(expected) == len(stored) == 266_219
    assert [(at, price) for at, price, _, _ in stored] == expected
    assert [seq for _, _, seq, _ in stored] == list(range(1, len(expected) + 1))
    assert not any(is_late for *_, is_late in stored)
    assert_candles_are_those_of_the_ticks()
    assert sum(Candle.objects.filter(interval_seconds=60).values_list("ticks", flat=True)) == 266_219


def assert_candles_are_those_of_the_ticks() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT count(*) FROM (
                SELECT f.frame, date_bin(make_interval(secs => f.frame), t.at, '1970-01-01Z') AS start,
                       (array_agg(price ORDER BY at))[1], max(price), min(price),
                       (array_agg(price ORDER BY at DESC))[1], count(*)::int, min(seq), max(seq)
                FROM quotes_tick t CROSS JOIN (VALUES (5), (60)) f(frame) GROUP BY 1, 2
                EXCEPT
                SELECT interval_seconds, start, open, high, low, close, ticks, first_seq, last_seq
                FROM quotes_candle
            ) different
            """
        )
        assert cursor.fetchone() == (0,)


async def test_a_live_replay_is_shifted_to_now_and_keeps_its_rhythm(tmp_path: Path) -> None:
    write_recording(tmp_path, [(0, "100", "100"), (20_000, "101", "101"), (40_000, "102", "102")])
    intake = Intake()
    wanted = replace(subscription("BTCUSDT", "made.csv.gz"), source="replay")
    intake.follow([wanted], {})
    source = ReplaySource(intake, tmp_path, speed=100)
    running = asyncio.create_task(source.run())
    began = clock.now()
    source.watch([wanted])
    await eventually(lambda: intake.waiting("BTCUSDT") >= 3)
    source.watch([])
    ticks = intake.collect()[1].stretch.ticks
    assert [price for _, price in ticks[:3]] == [Decimal(100), Decimal(101), Decimal(102)]
    assert 0.35 < (ticks[2][0] - began).total_seconds() < 0.8
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_missing_recording_is_an_error_not_a_crash(tmp_path: Path) -> None:
    intake = Intake()
    wanted = subscription("BTCUSDT", "../../etc/passwd")
    intake.follow([wanted], {})
    source = ReplaySource(intake, tmp_path, speed=0)
    source.watch([wanted])
    await asyncio.sleep(0.05)
    assert not intake.has_ticks()


@OWNER
def test_prices_are_shown_as_they_were_recorded(tmp_path: Path) -> None:
    feed = ReplayFeed(write_recording(tmp_path, [(0, "1.10000", "1.10002")]))
    with feed.own_time():
        feed.follow(instrument())
        list(feed.batches())
        state = selectors.instrument_by_symbol("EURUSD")
    assert (state.source, state.is_simulated) == ("replay", True)
