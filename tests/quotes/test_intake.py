"""From quotes to stamped ticks: order, conflation, connections that come and go."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from quotes import lanes
from quotes.intake import Intake, Link
from tests.quotes.market import Clock, at
from tests.quotes.test_binance import subscription


@pytest.fixture
def intake(noon: Clock) -> Intake:
    made = Intake()
    made.follow([subscription()], {})
    return made


@pytest.fixture
def link(noon: Clock) -> Link:
    return Link(timedelta(seconds=10))


def give(intake: Intake, link: Link, price: str = "100.00") -> bool:
    return intake.quote("BTCUSDT", Decimal(price), Decimal(price), link)


def test_ticks_are_stamped_in_order_even_while_the_clock_stands_or_goes_back(
    intake: Intake, link: Link, noon: Clock
) -> None:
    give(intake, link)
    give(intake, link)
    noon.move(-5)
    give(intake, link)
    noon.move(6)
    give(intake, link)
    collected = intake.collect()[1]
    assert [tick[0] for tick in collected.stretch.ticks] == [at(0), at(0.000001), at(0.000002), at(1)]
    # What comes after a collection is later than what it said was complete.
    noon.move(-3)
    give(intake, link)
    assert intake.collect()[1].stretch.ticks[0][0] == at(1.000001)


def test_an_unchanged_price_makes_a_tick_too_and_a_crossed_quote_none(
    intake: Intake, link: Link, noon: Clock
) -> None:
    assert give(intake, link)
    noon.move(1)
    assert give(intake, link)
    assert not intake.quote("BTCUSDT", Decimal("100.02"), Decimal("100.01"), link)
    assert not intake.quote("NOPE", Decimal(1), Decimal(1), link)
    assert len(intake.collect()[1].stretch.ticks) == 2
    assert next(iter(intake.counts().values()))["BTCUSDT"]["dropped"]["crossed"] == 1


def test_the_watermark_stands_at_the_last_sign_of_life(intake: Intake, link: Link, noon: Clock) -> None:
    give(intake, link)
    noon.move(3)
    assert intake.collect()[1].stretch.until == at(0)
    intake.alive(link)
    noon.move(1)
    assert intake.collect()[1].stretch.until == at(3)
    intake.cut(link)
    assert intake.collect() == {}


def test_after_a_pause_the_first_quote_says_where_it_resumes(intake: Intake, link: Link, noon: Clock) -> None:
    give(intake, link)
    assert intake.collect()[1].resumes_at == at(0)
    intake.cut(link)
    noon.move(7)
    again = Link(timedelta(seconds=10))
    intake.alive(again)
    assert intake.collect() == {}
    assert not give(intake, again, "999.00")  # a pause is no way around the filter
    give(intake, again, "100.10")
    collected = intake.collect()[1]
    assert (collected.resumes_at, len(collected.stretch.ticks)) == (at(7), 1)


def test_a_connection_silent_for_too_long_is_a_pause_even_if_it_speaks_again(
    intake: Intake, link: Link, noon: Clock
) -> None:
    give(intake, link)
    intake.collect()
    noon.move(10)
    give(intake, link)
    assert intake.collect()[1].resumes_at is None
    noon.move(10.000001)
    intake.alive(link)
    assert intake.collect() == {}
    give(intake, link)
    assert intake.collect()[1].resumes_at == at(20.000001)


def test_a_pinged_connection_that_stalled_delivers_nothing_before_a_fresh_answer(
    intake: Intake, noon: Clock
) -> None:
    pinged = Link(timedelta(seconds=1), is_pinged=True)
    intake.ask(pinged)
    noon.move(0.1)
    intake.answer(pinged)
    assert give(intake, pinged)
    assert intake.collect()[1].stretch.source_lag_ms == 100
    noon.move(0.2)
    intake.ask(pinged)
    noon.move(0.9)
    assert intake.collect()[1].stretch.source_lag_ms == 900
    noon.move(3.6)
    # All at once: what was sent meanwhile, and the answer to the ping of before.
    assert not give(intake, pinged, "200.00")
    intake.answer(pinged)
    assert not give(intake, pinged, "201.00")
    assert intake.collect() == {}
    noon.move(0.1)
    intake.ask(pinged)
    noon.move(0.1)
    assert not give(intake, pinged, "202.00")
    intake.answer(pinged)
    assert give(intake, pinged, "100.10")
    collected = intake.collect()[1]
    assert (collected.resumes_at, collected.stretch.source_lag_ms) == (at(5), 100)
    assert [price for _, price in collected.stretch.ticks] == [Decimal("100.10")]


def test_a_ping_not_answered_is_a_stall_however_much_else_comes(intake: Intake, noon: Clock) -> None:
    pinged = Link(timedelta(seconds=1), is_pinged=True)
    intake.ask(pinged)
    for _ in range(10):
        noon.move(0.1)
        assert give(intake, pinged)
    noon.move(0.1)
    assert not give(intake, pinged)


def test_a_stalled_connection_is_not_moved_to_the_next(intake: Intake, noon: Clock) -> None:
    pinged = Link(timedelta(seconds=1), is_pinged=True)
    give(intake, pinged)
    noon.move(1.5)
    intake.move(pinged, Link(timedelta(seconds=1)))
    assert not intake.is_up("BTCUSDT")


def test_one_connection_goes_on_where_another_ends(intake: Intake, link: Link, noon: Clock) -> None:
    give(intake, link)
    noon.move(1)
    new = Link(timedelta(seconds=10))
    intake.move(link, new)
    intake.cut(link)
    collected = intake.collect()[1]
    assert collected.stretch.until == at(1)


def test_conflation_keeps_the_last_price_of_each_interval(link: Link, noon: Clock) -> None:
    intake = Intake()
    intake.follow([replace(subscription(), tick_interval_ms=1000)], {})
    for seconds, price in [(0.1, "100.00"), (0.5, "101.00"), (0.9, "102.00")]:
        noon.instant = at(seconds)
        give(intake, link, price)
    assert not intake.has_ticks()
    assert intake.collect()[1].stretch.ticks == []
    noon.instant = at(1)
    assert not intake.has_ticks()  # nothing was heard since: the line may be dead
    intake.alive(link)
    assert intake.has_ticks()
    assert intake.collect()[1].stretch.ticks == [(at(1), Decimal("102.00"))]
    noon.instant = at(1.7)
    give(intake, link, "103.00")
    noon.instant = at(5.2)
    give(intake, link, "104.00")  # ends the interval of the one before
    assert intake.collect()[1].stretch.ticks == [(at(5.2), Decimal("103.00"))]
    noon.instant = at(6)
    intake.alive(link)
    assert intake.collect()[1].stretch.ticks == [(at(6), Decimal("104.00"))]


def test_what_is_held_goes_with_its_connection(link: Link, noon: Clock) -> None:
    intake = Intake()
    intake.follow([replace(subscription(), tick_interval_ms=1000)], {})
    give(intake, link)
    intake.collect()
    intake.cut(link)
    noon.move(5)
    assert not intake.has_ticks()
    assert intake.collect() == {}


def test_what_is_held_has_a_limit_beyond_which_it_is_a_pause(
    intake: Intake, link: Link, noon: Clock, monkeypatch
) -> None:
    monkeypatch.setattr(lanes, "MOST_HELD", 3)
    for _ in range(5):
        noon.move(1)
        give(intake, link)
    collected = intake.collect()[1]
    assert [tick[0] for tick in collected.stretch.ticks] == [at(4), at(5)]
    assert collected.resumes_at == at(4)


def test_changed_settings_keep_what_is_held_and_a_changed_source_begins_anew(
    intake: Intake, link: Link, noon: Clock
) -> None:
    give(intake, link)
    intake.follow([replace(subscription(), max_spread=Decimal("0.5"))], {})
    assert len(intake.collect()[1].stretch.ticks) == 1
    assert intake.is_up("BTCUSDT")
    intake.follow([replace(subscription(), source="simulated")], {})
    assert not intake.is_up("BTCUSDT")
    intake.follow([], {})
    assert intake.lanes == {}
