"""Anti-sniping: orders that know the next movement are entered later, everybody's, and luck is none of it."""

from decimal import Decimal
from random import Random
from threading import Thread
from typing import Any

import pytest
from django.db import connections

from config.core.models import AuditEntry, Fact
from quotes.services import open_days
from tests.market import NOON, Clock, Market, funded_account, standing_clock, trading_book
from tests.trading.hedges import House, Outside
from trading import services
from trading.models import Order, Terms
from trading.rules import is_sniped, later_entry, timing_score
from trading.selectors import Timing, order_timing

D = Decimal
UNIT = D("0.00001")


# --- the rule -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("orders", "ahead", "score", "found"),
    [
        (0, 0, 0.0, False),
        (99, 99, 9.95, False),
        (100, 69, 3.8, False),
        (100, 70, 4.0, True),
        (100, 30, -4.0, False),
        (1_000, 563, 3.98, False),
        (1_000, 564, 4.05, True),
    ],
)
def test_more_than_chance(orders: int, ahead: int, score: float, found: bool) -> None:
    assert timing_score(orders, ahead) == pytest.approx(score, abs=0.01)
    assert is_sniped(orders, ahead) is found


@pytest.mark.parametrize(
    ("policy", "delay", "next_"),
    [
        ("latest_tick", 0, 500),
        ("latest_tick", 2_000, 500),
        ("delayed", 0, 250),
        ("delayed", 500, 750),
        ("delayed", 1_900, 2_000),
        ("delayed", 2_000, None),
        ("delayed", 5_000, None),
    ],
)
def test_a_step(policy: str, delay: int, next_: int | None) -> None:
    assert later_entry(policy, delay) == next_


# --- counting -----------------------------------------------------------------------------------------


class Floor:
    """A real-money market whose prices move by a unit after each order."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.price = clock, D("1.08000")
        self.house = House(clock)
        clock.at = NOON
        self.house.open()
        self.house.market.terms(max_open_orders=10_000, contracts=["rise_fall", "higher_lower", "touch"])
        clock.move(1)

    def tick(self, steps: int = 0) -> None:
        self.price += steps * UNIT
        self.house.market.tick(str(self.price))

    def order(self, side: str, moves: int, **asked: Any) -> None:
        """Let the price stand, buy, let it move within half a second, and be known a second later."""
        self.tick()
        self.house.place(side, "10.00", duration_seconds=3_000, **asked)
        self.clock.move(0.3)
        self.tick(moves)
        self.clock.move(0.7)
        self.house.market.quiet_until()

    def orders(self, count: int, share: float, seed: int = 1) -> int:
        """Buy, that share of them with the movement that comes; return how many went with it."""
        chance, ahead = Random(seed), 0
        for _ in range(count):
            moves, knows = chance.choice((1, -1)), chance.random() < share
            ahead += knows
            self.order("up" if (moves > 0) is knows else "down", moves)
        return ahead

    def counted(self) -> tuple[int, int]:
        (found,) = order_timing(self.house.market.instrument.pk)
        return found.orders, found.ahead

    def terms(self) -> tuple[int, str, int]:
        newest = Terms.objects.filter(instrument=self.house.market.instrument).latest("version")
        return newest.version, newest.entry_policy, newest.entry_delay_ms


@pytest.fixture
def floor(db: None, standing: Clock) -> Floor:
    return Floor(standing)


def test_what_counts(floor: Floor) -> None:
    floor.order("up", 1)
    floor.order("down", -1)
    floor.order("down", 1)
    assert floor.counted() == (3, 2)
    floor.order("up", 0)
    floor.order("touch", 1, contract="touch", barrier="+0.00200")
    floor.order("up", 1, contract="higher_lower", barrier="+0.00010")
    assert floor.counted() == (4, 3)


def test_orders_that_see_one_movement_count_once(floor: Floor) -> None:
    floor.tick()
    for _ in range(5):
        floor.house.place("up", "1.00", duration_seconds=3_000)
    floor.clock.move(0.3)
    floor.tick(1)
    floor.clock.move(0.7)
    floor.house.market.quiet_until()
    assert floor.counted() == (1, 1)


def test_what_the_watermark_has_not_passed_waits(floor: Floor) -> None:
    floor.tick()
    floor.house.place("up", "1.00", duration_seconds=3_000)
    floor.clock.move(0.3)
    floor.tick(1)
    assert floor.counted() == (0, 0)
    floor.clock.move(0.2)
    floor.house.market.quiet_until()
    assert floor.counted() == (1, 1)


def test_demo_orders_and_old_ones_do_not_count(floor: Floor) -> None:
    demo = funded_account(floor.house.alice.pk, trading_book("practice"), "1000.00")
    floor.order("up", 1, account=demo.pk)
    assert floor.counted() == (0, 0)
    floor.order("up", 1)
    floor.clock.move(30 * 60)
    floor.house.market.quiet_until()
    assert floor.counted() == (0, 0)


def test_prices_made_here_are_not_looked_at(floor: Floor) -> None:
    assert [each.instrument for each in order_timing()] == [floor.house.market.instrument.pk]
    made = Market("VOL75")
    made.terms()
    floor.clock.move(1)
    made.tick("100.00")
    assert [each.instrument for each in order_timing()] == [floor.house.market.instrument.pk]


# --- acting -------------------------------------------------------------------------------------------


def test_luck_changes_nothing(floor: Floor) -> None:
    floor.orders(300, 0.5, seed=7)
    before = floor.terms()
    assert services.delay_sniped_entries() == 0
    assert floor.terms() == before
    assert not AuditEntry.objects.filter(action="entry.delayed").exists()


def test_who_knows_three_of_four_is_entered_later_step_by_step(floor: Floor) -> None:
    ahead = floor.orders(150, 0.76)
    version, policy, _ = floor.terms()
    assert (policy, floor.counted()) == ("latest_tick", (150, ahead))
    before = list(Order.objects.values_list("pk", "terms_id"))
    assert services.delay_sniped_entries() == 1
    assert floor.terms() == (version + 1, "delayed", 500)
    # The same orders do not act twice.
    assert services.delay_sniped_entries() == 0
    assert floor.counted() == (0, 0)
    assert list(Order.objects.values_list("pk", "terms_id")) == before
    entry = AuditEntry.objects.get(action="entry.delayed")
    assert entry.actor_id is None
    assert entry.before == {"entry_policy": "latest_tick", "entry_delay_ms": "500"}
    assert entry.after == {"entry_policy": "delayed", "entry_delay_ms": "500"}
    assert f"{ahead} of 150 orders" in entry.reason
    assert Terms.objects.latest("version").reason == entry.reason
    (told,) = Fact.objects.filter(name="offers.changed", topic="instrument:EURUSD")
    assert told.payload["symbol"] == "EURUSD"


def test_at_the_longest_delay_it_is_only_told(floor: Floor, monkeypatch: pytest.MonkeyPatch) -> None:
    floor.orders(120, 1.0)
    monkeypatch.setattr(services.sniping, "later_entry", lambda *_: None)
    before, seen = floor.terms(), services.sniping.SNIPED._value.get()
    assert services.delay_sniped_entries() == 0
    assert (floor.terms(), services.sniping.SNIPED._value.get()) == (before, seen + 1)


def test_delayed_entries_are_compared_with_what_follows_them(floor: Floor) -> None:
    services.set_terms(
        instrument=floor.house.market.instrument, actor=None, reason="test", entry_policy="delayed",
        entry_delay_ms=500,
    )  # fmt: skip
    floor.clock.move(1)
    floor.tick()
    floor.house.place("up", "1.00", duration_seconds=3_000)
    floor.clock.move(0.6)
    floor.tick(-1)  # the entry: the movement before it is no matter
    services.enter_pending()
    floor.clock.move(0.3)
    floor.tick(1)
    floor.clock.move(0.7)
    floor.house.market.quiet_until()
    assert services.enter_pending() == 0
    assert floor.counted() == (1, 1)


def test_what_fails_for_one_stops_no_other(floor: Floor, monkeypatch: pytest.MonkeyPatch) -> None:
    floor.orders(110, 1.0)
    other = Outside("GBPUSD", price_decimals=5, max_quote_age_ms=5_000)
    floor.clock.move(1)
    other.tick("1.25000")
    mine = floor.house.market.instrument.pk
    both = [Timing(other.instrument.pk, NOON, 200, 200), Timing(mine, NOON, 110, 110)]

    def timing(pk: int | None = None) -> list[Timing]:
        return [each for each in both if pk in (None, each.instrument)]

    monkeypatch.setattr(services.sniping, "order_timing", timing)
    version, _, _ = floor.terms()
    with pytest.raises(Terms.DoesNotExist):  # an instrument without terms has no orders either
        services.delay_sniped_entries()
    assert floor.terms() == (version + 1, "delayed", 500)


@pytest.mark.django_db(transaction=True, databases=["default", "owner"])
def test_of_many_who_look_one_acts() -> None:
    open_days([NOON.date()])
    with standing_clock(NOON) as stands:
        stands.move(-1)
        floor = Floor(stands)
        floor.orders(110, 1.0)
        version, _, _ = floor.terms()
        answers: list[int] = []

        def look() -> None:
            try:
                answers.append(services.delay_sniped_entries())
            finally:
                connections.close_all()

        threads = [Thread(target=look) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(answers) == [0, 0, 0, 1]
    assert floor.terms() == (version + 1, "delayed", 500)
