"""Several sources, one price: the policies, what they pass over, and two real feeds merged."""

import heapq
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from quotes.lanes import Lane, Link, Subscription
from quotes.rules import BEGINNING, REASONS, Quote, best_of, displayed, median_of
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
        if link.is_silent(self.clock.instant):  # as the intake does
            self.lane.cut(link)
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
    assert (desk.lane.is_live, desk.lane.quote) == (False, None)
    # What was ticked before is written under its own label first, and nothing is mixed with it.
    assert not desk.quote("first", "1.10001")
    assert (desk.lane.label, desk.written()) == ("best", ["1.10000"])
    assert desk.quote("first", "1.10002")
    assert (desk.lane.label, desk.written()) == ("first", ["1.10002"])


def test_another_source_of_the_same_label_loses_no_tick(noon: Clock) -> None:
    desk = Desk(noon, "primary", "first", "second")
    desk.quote("first", "1.10000")
    desk.lane.follow(subscription("primary", "first", "second", "third"))
    assert desk.quote("first", "1.10001")
    assert desk.written() == ["1.10000", "1.10001"]


def test_a_price_held_of_a_silent_source_does_not_keep_the_next_one_out(noon: Clock) -> None:
    desk = Desk(noon, "primary", "first", "second", tick_interval_ms=60_000)
    desk.quote("first", "1.10000")
    noon.move(4)
    assert desk.quote("second", "1.10001")
    assert (desk.lane.held, desk.lane.label) == ((Decimal("1.10001"), q("1.10001", "1.10001")), "second")


def test_a_quiet_source_whose_line_stands_earns_its_place_back(noon: Clock) -> None:
    desk = Desk(noon, "primary", "first", "second", fail_back_after_ms=10_000)
    desk.quote("first", "1.10000")
    desk.written()
    noon.move(4)
    desk.quote("second", "1.10000")
    desk.written()
    desk.quote("first", "1.10000")
    for _ in range(10):  # no quote for ten seconds, but signs of life
        noon.move(1)
        desk.links["first"].sign = desk.links["second"].sign = noon.instant
    assert desk.quote("first", "1.10001")
    assert desk.written() == ["1.10001"]


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
    assert dropped["oanda"] == dict.fromkeys(REASONS, 0)
    assert dropped["fxcm"]["crossed"] == sum(
        b > a for _, b, a in rows_of(recording("fxcm_eurusd_20140501-02.csv.gz"))
    )
    assert sum(dropped["fxcm"].values()) - dropped["fxcm"]["crossed"] < 5
    if policy == "best":
        assert lane.passed_over == 0
    else:
        # For moments the first one had not quoted for half a minute while the market was elsewhere.
        assert 0 < made["fxcm"] < 20
        assert made["oanda"] > asked["oanda"] - 100


# --- what is known, and what is not -------------------------------------------------------------------


def test_the_best_of_two_stands_when_the_fresh_one_is_cut_though_the_other_beats(noon: Clock) -> None:
    desk = Desk(noon, "best", "a", "b")
    desk.quote("b", "1.10000")
    for _ in range(20):
        noon.move(1)
        desk.links["b"].sign = noon.instant
        desk.quote("a", "1.10000")
    desk.lane.cut(desk.links["a"])
    assert (desk.lane.is_live, desk.lane.sign()) == (False, None)


def test_a_median_stops_when_the_market_moves_and_too_few_say_where_to(noon: Clock) -> None:
    desk = Desk(noon, "median", "a", "b", "c")
    for source in "abc":
        desk.quote(source, "1.10000")
    for _ in range(5):
        noon.move(1)
        for link in desk.links.values():
            link.sign = noon.instant
    assert desk.lane.sign() == noon.instant  # everybody is quiet: so is the market
    noon.move(0.1)
    assert not desk.quote("a", "1.10100")
    assert not desk.lane.is_live
    noon.move(2)
    assert not desk.quote("b", "1.10100")
    assert desk.quote("c", "1.10100")
    assert (desk.lane.is_live, desk.lane.resumes_at) == (True, noon.instant)


def test_a_price_taken_back_counts_no_longer(noon: Clock) -> None:
    desk = Desk(noon, "primary", "first", "second")
    desk.quote("first", "1.10000")
    desk.written()
    desk.lane.withdraw(desk.links["first"])
    assert (desk.lane.is_live, desk.lane.sign()) == (False, None)
    assert desk.quote("second", "1.10001")
    best = Desk(noon, "best", "first", "second")
    best.quote("first", "1.10000", "1.10010")
    best.quote("second", "1.10002", "1.10008")
    best.lane.withdraw(best.links["second"])
    assert best.lane.sign() == noon.instant
    best.quote("first", "1.10000", "1.10010")
    assert best.lane.quote == q("1.10000", "1.10010")


def test_the_lag_is_that_of_the_slowest_who_made_the_price(noon: Clock) -> None:
    desk = Desk(noon, "best", "a", "b", "c")
    desk.links["a"].lag_ms, desk.links["b"].lag_ms, desk.links["c"].lag_ms = 20, 900, None
    for source in "abc":
        desk.quote(source, "1.10000")
    assert desk.lane.lag(noon.instant) == 900
    noon.move(6)
    desk.quote("a", "1.10000")
    assert desk.lane.lag(noon.instant) == 20


def test_another_symbol_at_the_same_source_is_parted_from_the_one_before(noon: Clock) -> None:
    desk = Desk(noon, "primary", "first")
    desk.quote("first", "1.10000")
    other = replace(subscription("primary", "first"), source_symbol="ETH/USD")
    desk.lane.follow(other)
    assert (desk.lane.must_part, desk.lane.ticks, desk.lane.is_live) == (True, [], False)
    assert desk.quote("first", "5.00000")  # which is no jump: it is something else
    assert desk.lane.must_part


def test_a_changed_interval_writes_no_older_price_behind_a_newer_one(noon: Clock) -> None:
    desk = Desk(noon, "primary", "first", tick_interval_ms=1_000)
    desk.quote("first", "1.10000")
    desk.lane.follow(subscription("primary", "first"))
    noon.move(0.5)
    desk.quote("first", "1.10001")
    desk.lane.release(at(2))
    assert desk.written() == ["1.10001"]


def test_bid_and_ask_are_those_of_the_tick_and_not_of_the_next(noon: Clock) -> None:
    desk = Desk(noon, "primary", "first", tick_interval_ms=1_000)
    desk.quote("first", "1.10000")
    noon.move(1)
    desk.quote("first", "1.10050")
    assert (desk.written(), desk.lane.quote) == (["1.10000"], q("1.10000", "1.10000"))


def test_the_first_quote_after_a_reconnect_is_no_way_around_the_filter(noon: Clock) -> None:
    desk = Desk(noon, "primary", "a", "b")
    desk.quote("a", "1.10000")
    desk.quote("b", "1.10000")
    desk.lane.cut(desk.links["a"])
    noon.move(0.2)
    assert not desk.quote("a", "3.30000")
    assert desk.quote("a", "1.10001")


def test_a_source_that_no_longer_quotes_while_the_market_leaves_is_left(noon: Clock) -> None:
    desk = Desk(noon, "primary", "a", "b")
    desk.quote("a", "1.10000", "1.10010")
    desk.written()
    for _ in range(30):
        noon.move(1)
        desk.links["a"].sign = noon.instant
        assert not desk.quote("b", "1.10020", "1.10030")
    noon.move(0.1)
    desk.links["a"].sign = noon.instant
    assert not desk.quote("b", "1.10005", "1.10015")  # overlapping: a may be right
    assert desk.quote("b", "1.10020", "1.10030")
    assert desk.lane.label == "b"


def test_three_real_walks_of_one_market_have_a_median_that_one_of_them_cannot_move(noon: Clock) -> None:
    desk = Desk(noon, "median", "a", "b", "c")
    rows = list(rows_of(recording("oanda_eurusd_20140501-02.csv.gz")))[:5_000]
    for ms, bid, ask in rows:
        noon.instant = BEGINNING + timedelta(milliseconds=ms)
        for link in desk.links.values():
            link.sign = noon.instant
        desk.quote("a", str(bid), str(ask))
        desk.quote("b", str(bid), str(ask))
        desk.quote("c", str(bid * Decimal("1.001")), str(ask * Decimal("1.001")))  # one that is off
        _, price = desk.lane.ticks[-1]
        assert abs(price - (bid + ask) / 2) <= UNIT / 2
        desk.lane.ticks = []
