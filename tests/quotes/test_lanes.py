"""Several sources, one price: the policies, what they pass over, and two real feeds merged."""

import heapq
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from quotes.lanes import Lane, Link, Subscription
from quotes.rules import BEGINNING, Quote, best_of, displayed, median_of
from tests.quotes.market import Clock, at, recording, rows_of

UNIT = Decimal("0.00001")


def subscription(aggregation: str, *sources: str, **settings: Any) -> Subscription:
    defaults: dict[str, Any] = {
        "tick_interval_ms": 0,
        "max_quote_age_ms": 5_000,
        "max_spread": Decimal("0.01"),
        "max_jump": Decimal("0.002"),
        "simulated_price": None,
        "simulated_volatility": None,
        "simulated_interval_ms": 500,
    }
    return Subscription(
        instrument_id=1,
        symbol="EURUSD",
        price_decimals=5,
        source=sources[0],
        source_symbol="EUR/USD",
        aggregation=aggregation,
        further=tuple((source, "EUR/USD") for source in sources[1:]),
        **{**defaults, **settings},
    )


class Desk:
    """A lane whose sources quote by hand at a standing clock."""

    def __init__(self, noon: Clock, aggregation: str, *sources: str, **settings: Any) -> None:
        self.clock = noon
        self.lane = Lane(subscription(aggregation, *sources, **settings))
        self.links = {source: Link(timedelta(seconds=1), 0, source) for source in sources}

    def quote(self, source: str, bid: str, ask: str | None = None) -> bool:
        link = self.links[source]
        link.sign = self.clock.instant
        return self.lane.take(Decimal(bid), Decimal(ask or bid), self.clock.instant, link)

    def written(self) -> list[str]:
        """Hand the ticks over as the feed does; return their prices."""
        prices = [f"{price:.5f}" for _, price in self.lane.ticks]
        self.lane.ticks = []
        return prices


# --- rules --------------------------------------------------------------------------------------------


def q(bid: str, ask: str) -> Quote:
    return Quote(Decimal(bid), Decimal(ask))


def test_the_best_bid_and_ask_of_all_and_where_they_cross_or_lock_their_mid_one_unit_wide() -> None:
    assert best_of([q("1.10000", "1.10030"), q("1.10010", "1.10040")], UNIT) == q("1.10010", "1.10030")
    assert best_of([q("1.10000", "1.10010"), q("1.10020", "1.10030")], UNIT) == q("1.100145", "1.100155")
    assert best_of([q("1.10000", "1.10010"), q("1.10010", "1.10020")], UNIT) == q("1.100095", "1.100105")


def test_the_median_of_an_odd_and_an_even_number_is_not_moved_by_one_outlier() -> None:
    near = [q("1.10000", "1.10010"), q("1.10004", "1.10012")]
    assert median_of([*near, q("1.50000", "1.50002")], UNIT).mid == Decimal("1.10008")
    assert median_of([*near, q("1.09990", "1.10000"), q("0.9", "0.90002")], UNIT).mid == Decimal("1.1")


def test_a_mark_up_goes_outward_to_the_grid_and_then_to_the_least_spread() -> None:
    raw = q("1.100004", "1.100016")
    assert displayed(raw, UNIT, Decimal(0), Decimal(0)) == q("1.10000", "1.10002")
    assert displayed(raw, UNIT, Decimal("0.00003"), Decimal(0)) == q("1.09997", "1.10005")
    assert displayed(raw, UNIT, Decimal(0), Decimal("0.00005")) == q("1.09999", "1.10004")
    assert displayed(q("0.00001", "0.00002"), UNIT, Decimal("0.00005"), Decimal(0)).bid == UNIT


# --- primary ------------------------------------------------------------------------------------------


def test_the_first_source_makes_the_price_and_the_others_are_passed_over(noon: Clock) -> None:
    desk = Desk(noon, "primary", "first", "second")
    assert not desk.quote("second", "1.20000")  # it waits: the first one may be a moment late
    assert desk.quote("first", "1.10000")
    assert not desk.quote("second", "1.20000")
    assert (desk.written(), desk.lane.label, desk.lane.passed_over) == (["1.10000"], "first", 2)


def test_the_second_begins_where_the_first_never_came(noon: Clock) -> None:
    desk = Desk(noon, "primary", "first", "second")
    assert not desk.quote("second", "1.10000")
    noon.move(3.001)
    assert desk.quote("second", "1.10001")
    assert (desk.written(), desk.lane.label) == (["1.10001"], "second")


def test_it_fails_over_after_silence_and_back_only_after_a_healthy_while(noon: Clock) -> None:
    desk = Desk(noon, "primary", "first", "second", fail_back_after_ms=10_000)
    desk.quote("first", "1.10000")
    noon.move(3)
    assert not desk.quote("second", "1.10001")  # not silent for longer than three seconds yet
    desk.written()
    noon.move(0.001)
    assert desk.quote("second", "1.10002")
    assert desk.lane.resumes_at == noon.instant
    assert (desk.written(), desk.lane.label) == (["1.10002"], "second")
    # The first one is back, and must prove itself: it delivers for ten seconds before its turn comes.
    for _ in range(10):
        noon.move(1)
        assert not desk.quote("first", "1.10003")
        assert desk.quote("second", "1.10004")
    assert desk.written() == ["1.10004"] * 10
    noon.move(1)
    assert desk.quote("first", "1.10005")
    assert (desk.written(), desk.lane.label) == (["1.10005"], "first")


def test_a_source_that_beats_every_five_seconds_is_not_left_after_three(noon: Clock) -> None:
    desk = Desk(noon, "primary", "first", "second")
    desk.links["first"].silence = timedelta(seconds=10)
    desk.quote("first", "1.10000")
    desk.written()
    noon.move(9)
    assert not desk.quote("second", "1.10001")
    noon.move(1.5)
    assert desk.quote("second", "1.10001")


def test_a_source_that_flaps_is_not_trusted_again(noon: Clock) -> None:
    desk = Desk(noon, "primary", "first", "second", fail_back_after_ms=10_000)
    desk.quote("first", "1.10000")
    desk.written()
    noon.move(4)
    desk.quote("second", "1.10000")
    desk.written()
    for _ in range(5):  # five seconds up, four down: never ten in a row
        for step in (1, 1, 1, 1, 1, 4):
            noon.move(step)
            desk.quote("second", "1.10000")
            assert not desk.quote("first", "1.10000") or step == 4
            desk.written()
    assert desk.lane.label == "second"


def test_a_batch_has_ticks_of_one_source(noon: Clock) -> None:
    desk = Desk(noon, "primary", "first", "second")
    desk.quote("first", "1.10000")
    noon.move(4)
    assert not desk.quote("second", "1.10001")  # a tick of the first waits to be written
    assert desk.written() == ["1.10000"]
    assert desk.quote("second", "1.10002")


def test_a_cut_primary_stops_the_watermark_until_the_next_takes_over(noon: Clock) -> None:
    desk = Desk(noon, "primary", "first", "second")
    desk.quote("first", "1.10000")
    desk.written()
    desk.lane.cut(desk.links["first"])
    assert (desk.lane.is_live, desk.lane.sign()) == (False, None)
    noon.move(0.1)
    assert desk.quote("second", "1.10001")
    assert desk.lane.is_live
    assert desk.lane.resumes_at == noon.instant


# --- best and median ----------------------------------------------------------------------------------


def test_a_stale_quote_does_not_count_among_the_others(noon: Clock) -> None:
    desk = Desk(noon, "best", "first", "second")
    desk.quote("first", "1.10000", "1.10010")
    noon.move(5)
    desk.quote("second", "1.10004", "1.10020")
    assert desk.lane.quote == q("1.10004", "1.10010")
    noon.move(0.001)
    desk.quote("second", "1.10004", "1.10020")
    assert desk.lane.quote == q("1.10004", "1.10020")
    assert desk.written() == ["1.10005", "1.10007", "1.10012"]
    assert desk.lane.label == "best"


def test_the_median_waits_for_three(noon: Clock) -> None:
    desk = Desk(noon, "median", "a", "b", "c")
    assert not desk.quote("a", "1.10000")
    assert not desk.quote("b", "1.10010")
    assert (desk.lane.is_live, desk.lane.sign()) == (False, None)
    assert desk.quote("c", "1.10500", "1.10500")
    assert (desk.written(), desk.lane.label) == (["1.10010"], "median")
    desk.lane.cut(desk.links["b"])
    assert (desk.lane.is_live, desk.lane.sign()) == (False, None)


def test_what_is_known_is_what_enough_of_the_sources_know(noon: Clock) -> None:
    desk = Desk(noon, "median", "a", "b", "c")
    for source in "abc":
        desk.quote(source, "1.10000")
        noon.move(1)
    assert desk.lane.sign() == at(0)
    best = Desk(noon, "best", "a", "b")
    best.quote("a", "1.10000")
    noon.move(1)
    best.quote("b", "1.10000")
    assert best.lane.sign() == noon.instant


def test_a_jump_that_another_source_stands_at_is_accepted_at_once(noon: Clock) -> None:
    desk = Desk(noon, "best", "first", "second", max_source_age_ms=1_000)
    desk.quote("first", "1.10000")
    desk.quote("second", "1.10000")
    noon.move(2)
    assert not desk.quote("second", "1.20000")  # alone with it
    assert desk.quote("second", "1.20000")  # repeated
    assert desk.quote("first", "1.20001")  # where the other one stands
    counted = {source: each.filter.dropped["jump"] for source, each in desk.lane.quoters.items()}
    assert counted == {"first": 0, "second": 1}


def test_other_settings_keep_the_quoters_and_other_sources_begin_anew(noon: Clock) -> None:
    desk = Desk(noon, "best", "first", "second")
    desk.quote("first", "1.10000")
    quoters = dict(desk.lane.quoters)
    desk.lane.follow(subscription("best", "first", "second", max_spread=Decimal("0.02")))
    assert desk.lane.quoters == quoters
    desk.lane.follow(subscription("primary", "first", "second"))
    assert (desk.lane.ticks, desk.lane.is_live, desk.lane.quote) == ([], False, None)


# --- two real feeds -----------------------------------------------------------------------------------


def real_feeds() -> Iterator[tuple[int, str, Decimal, Decimal]]:
    """Merge the two recordings by their time: (ms, source, bid, ask)."""
    named = {"oanda": "oanda_eurusd_20140501-02.csv.gz", "fxcm": "fxcm_eurusd_20140501-02.csv.gz"}
    feeds = [
        [(ms, source, bid, ask) for ms, bid, ask in rows_of(recording(file))]
        for source, file in named.items()
    ]
    return heapq.merge(*feeds, key=lambda row: row[0])


@pytest.mark.parametrize("policy", ["best", "primary"])
def test_two_real_feeds_merged_are_never_crossed_and_every_quote_is_accounted_for(
    policy: str, noon: Clock
) -> None:
    lane = Lane(subscription(policy, "oanda", "fxcm"))
    links = {source: Link(timedelta(hours=12), 0, source) for source in ("oanda", "fxcm")}
    asked: Counter[str] = Counter()
    made: Counter[str] = Counter()
    last: tuple[datetime, Decimal] = (BEGINNING, Decimal(0))
    for ms, source, bid, ask in real_feeds():
        noon.instant = BEGINNING + timedelta(milliseconds=ms)
        for link in links.values():  # both lines stand: what is quiet is the market
            link.sign = noon.instant
        asked[source] += 1
        if lane.take(bid, ask, noon.instant, links[source]):
            made[source] += 1
            assert lane.quote is not None
            # One source may lock by itself; several together never do.
            assert lane.quote.bid < lane.quote.ask or policy == "primary"
            assert lane.quote.bid <= lane.quote.ask
            (tick,) = lane.ticks
            assert tick > last
            last, lane.ticks = tick, []
    assert asked == {"oanda": 73_520, "fxcm": 147_459}
    dropped = {source: dict(each.filter.dropped) for source, each in lane.quoters.items()}
    for source, quoter in lane.quoters.items():
        assert quoter.filter.accepted + sum(dropped[source].values()) + quoter.stalled == asked[source]
    accepted = sum(each.filter.accepted for each in lane.quoters.values())
    assert sum(made.values()) + lane.passed_over == accepted
    # What is lost is what the bank feed contradicts itself with, and next to nothing else.
    assert dropped["oanda"] == {"non_positive": 0, "crossed": 0, "spread": 0, "jump": 0}
    assert dropped["fxcm"]["crossed"] == sum(
        b > a for _, b, a in rows_of(recording("fxcm_eurusd_20140501-02.csv.gz"))
    )
    assert sum(dropped["fxcm"].values()) - dropped["fxcm"]["crossed"] < 5
    if policy == "best":
        assert lane.passed_over == 0
    else:
        assert made == {"oanda": asked["oanda"]}
