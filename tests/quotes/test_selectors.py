"""Pages of ticks and candles, derived frames, instruments and the feed's health."""

from datetime import timedelta
from decimal import Decimal
from unittest.mock import patch

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from quotes import consumers, selectors, services
from quotes.errors import UnknownInstrument, UnknownInterval
from quotes.models import CalendarException, Instrument
from quotes.rules import FRAMES, FX_HOURS, bucket_start
from quotes.services import create_calendar, suspend_instrument
from tests.cast import olga  # noqa: F401
from tests.quotes.market import Clock, at, instrument, write


@pytest.fixture
def day(eurusd: Instrument, epoch: int) -> list[tuple[float, str]]:
    """A tick every 7 s for three hours, none in the second."""
    ticks = [
        (seconds, f"1.1{(seconds * 37) % 1000:03d}0")
        for seconds in range(0, 3 * 3600, 7)
        if not 3600 <= seconds < 7200
    ]
    write(epoch, eurusd, [(float(seconds), price) for seconds, price in ticks], until=3 * 3600 - 1)
    return [(float(seconds), price) for seconds, price in ticks]


@pytest.mark.parametrize("frame", sorted(FRAMES))
def test_every_frame_is_made_of_the_ticks(
    eurusd: Instrument, day: list[tuple[float, str]], frame: int
) -> None:
    groups: dict = {}
    for seq, (seconds, price) in enumerate(day, start=1):
        groups.setdefault(bucket_start(at(seconds), frame), []).append((seq, Decimal(price)))
    expected = [
        (
            start,
            group[0][1],
            max(price for _, price in group),
            min(price for _, price in group),
            group[-1][1],
            len(group),
            group[-1][0],
            start + timedelta(seconds=frame) > at(3 * 3600 - 1),
        )
        for start, group in sorted(groups.items())
    ]
    assert selectors.candles_page(eurusd, frame) == expected[-1000:]
    # Page by page, backwards, the same: no gap, no overlap.
    pages, end = [], None
    while page := selectors.candles_page(eurusd, frame, end, 7):
        pages = page + pages
        end = page[0].start
    assert pages == expected


def test_an_end_inside_a_bucket_does_not_cut_it(eurusd: Instrument, day: list[tuple[float, str]]) -> None:
    whole = selectors.candles_page(eurusd, 300, at(300), 1)
    assert selectors.candles_page(eurusd, 300, at(299.5), 1) == whole
    assert selectors.candles_page(eurusd, 300, at(0.000001), 1) == whole
    assert selectors.candles_page(eurusd, 300, at(0), 1) == []


def test_unknown_frames_are_refused(eurusd: Instrument) -> None:
    with pytest.raises(UnknownInterval) as refused:
        selectors.candles_page(eurusd, 7)
    assert refused.value.details["intervals"] == [1, 5, 10, 15, 30, 60, 300, 900, 1800, 3600, 14400, 86400]


def test_ticks_page_backwards(eurusd: Instrument, day: list[tuple[float, str]]) -> None:
    newest = selectors.ticks_page(eurusd, None, 3)
    assert [(tick.at, tick.price) for tick in newest] == [(at(s), Decimal(p)) for s, p in day[-3:]]
    before = selectors.ticks_page(eurusd, newest[0].at, 2)
    assert [tick.seq for tick in before] == [len(day) - 4, len(day) - 3]
    assert selectors.ticks_page(eurusd, at(0), 5) == []


def test_an_instrument_shows_its_hours_its_last_tick_and_that_it_is_simulated(
    epoch: int, eurusd: Instrument, noon: Clock
) -> None:
    write(epoch, eurusd, [(1, "1.10000")])
    fx = create_calendar(code="fx", time_zone="America/New_York", hours=FX_HOURS)
    instrument(
        "GBPUSD", calendar=fx, source="simulated", simulated_price=Decimal(1), simulated_volatility=Decimal(1)
    )
    instrument("HIDDEN", is_listed=False)
    found = {state.instrument.symbol: state for state in selectors.instruments()}
    assert sorted(found) == ["EURUSD", "GBPUSD"]
    assert found["EURUSD"].last == (at(1), 1, Decimal("1.10000"))
    assert (found["EURUSD"].is_simulated, found["GBPUSD"].is_simulated) == (True, True)
    assert (found["EURUSD"].is_open, found["EURUSD"].closes_at) == (True, None)
    # 2030-03-05 is a Tuesday; New York closes on Friday at 22:00 UTC, and opens in summer time.
    assert found["GBPUSD"].closes_at is not None
    assert found["GBPUSD"].closes_at.isoformat() == "2030-03-08T22:00:00+00:00"
    noon.instant = found["GBPUSD"].closes_at
    closed = selectors.instrument_by_symbol("GBPUSD")
    assert (closed.is_open, closed.closes_at, closed.last) == (False, None, None)
    assert closed.opens_at is not None
    assert closed.opens_at.isoformat() == "2030-03-10T21:00:00+00:00"
    with pytest.raises(UnknownInstrument):
        selectors.instrument_by_symbol("NOPE")


def test_a_suspended_instrument_is_not_open(eurusd: Instrument, olga) -> None:  # noqa: F811
    suspend_instrument(instrument=eurusd, actor=olga, reason="news")
    assert not selectors.instrument_by_symbol("EURUSD").is_open


def test_an_enabled_exchange_replaces_the_simulation_it_serves(eurusd: Instrument, settings) -> None:
    simulated = {"source": "simulated", "simulated_price": Decimal(1), "simulated_volatility": Decimal(1)}
    bitcoin = instrument(
        "BTCUSDT",
        instrument_class="crypto",
        source_symbol="btcusdt",
        **dict(simulated.items()),
    )
    assert selectors.source_of(bitcoin) == "simulated"
    settings.SOURCES = ["binance"]
    assert selectors.source_of(bitcoin) == "binance"
    assert selectors.source_of(eurusd) == "replay"


def test_the_feed_is_fresh_while_its_watermark_is(eurusd: Instrument, epoch: int, noon: Clock) -> None:
    write(epoch, eurusd, [(1, "1.10000")], until=3)
    noon.move(8)
    (state,) = selectors.feed_health()
    assert (state.watermark_age, state.last_tick_age, state.is_fresh) == (
        timedelta(seconds=5),
        timedelta(seconds=7),
        True,
    )
    noon.move(0.001)
    assert not selectors.feed_health()[0].is_fresh


def test_a_page_of_long_candles_is_made_of_so_many_stored_ones(eurusd: Instrument, epoch: int) -> None:
    assert [selectors.candles_limit(*asked) for asked in ((60, 2000), (3600, 2000), (86_400, 2000))] == [
        2000,
        833,
        34,
    ]
    write(epoch, eurusd, [(second, "1.10000") for second in range(0, 600, 60)])
    with patch.object(selectors.candles, "MOST_STORED", 5), CaptureQueriesContext(connection) as asked:
        assert len(selectors.candles_page(eurusd, 300, limit=2000)) == 1
    assert "LIMIT 5" in asked.captured_queries[-1]["sql"]


def test_a_market_outside_is_not_simulated(eurusd: Instrument, epoch: int) -> None:
    stretch = services.Stretch(at(1), [(at(1), Decimal("1.1"))], "binance")
    services.append_ticks(epoch=epoch, stretches={eurusd.pk: stretch})
    assert not selectors.instrument_by_symbol("EURUSD").is_simulated


def test_the_channels_of_an_unlisted_instrument_are_not_shown(db: None, noon: Clock) -> None:
    instrument("HIDDEN", is_listed=False)
    for snapshot in (
        lambda: consumers.quote_snapshot(None, "HIDDEN", ""),
        lambda: consumers.candle_snapshot(None, "HIDDEN", "5"),
    ):
        with pytest.raises(UnknownInstrument):
            snapshot()


def test_of_two_exceptions_the_last_written_wins_whatever_their_clocks_said(eurusd: Instrument) -> None:
    for is_open, recorded in ((True, at(5)), (False, at(4))):
        CalendarException.objects.create(
            calendar=eurusd.calendar, starts_at=at(-9), ends_at=at(9), is_open=is_open, recorded_at=recorded
        )
    assert not selectors.instrument_by_symbol("EURUSD").is_open
