"""The simulated day: minute by minute what the platform would do, the same for the same seed, exact."""

import gzip
import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path
from random import Random
from typing import Any
from xml.etree import ElementTree

import pytest
from django.core.management import CommandError, call_command

from kyc.models import Jurisdiction
from payments.ledger.models import Book
from payments.ledger.selectors import system_balances
from tests.market import NOON, funded_account, person, trading_book
from tests.trading.conftest import Desk
from trading.models import Order, PayoutRate, Terms
from trading.rules import Policy, Price
from trading.services import enter_pending, recalculate_payouts, settle_due
from trading.simulation import Customers, Day, Offer, Ticks, Wish, draw, simulate

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get("SHARED_DATA") or ROOT.parent / "shared" / "data")
RECORDING = FOLDER / "dukascopy_eurusd_20190204-05.csv.gz"

D = Decimal
MINUTE, SECOND = timedelta(minutes=1), timedelta(seconds=1)
POLICY = Policy(
    fixed_rate=D("0.85"),
    min_rate=D("0.50"),
    max_rate=D("0.95"),
    margin=D("0.05"),
    max_step=D("0.02"),
    min_orders=10,
    skew=D("0.1"),
)
# Half of the orders are of customers who see two seconds ahead, at any hour.
QUICK = Customers(count=60, quick_hours=(0, 24))
HONEST = Customers(count=60, quick_hours=(0, 0), crowded_hours=(0, 0))


def prices(minutes: int) -> list[Price]:
    """A tick a second, which goes up, goes down or stays."""
    chance, price, found = Random(7), D("100.00000"), []
    for second in range(minutes * 60 + 1):
        found.append(Price(NOON + second * SECOND, second + 1, price))
        price += (int(chance.random() * 5) - 2) * D("0.00001")
    return found


def played(customers: Customers, minutes: int = 90, seed: int = 1, **offered: Any) -> Day:
    offer = replace(Offer(policy=POLICY), **offered)
    ticks, end = Ticks(prices(minutes)), NOON + minutes * MINUTE
    return simulate(ticks, customers, offer, start=NOON, end=end, seed=seed)


# --- the simulation -----------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_day() -> None:
    first, again, other = played(QUICK), played(QUICK), played(QUICK, seed=2)
    assert (first.minutes, first.placed) == (again.minutes, again.placed)
    assert first.minutes != other.minutes


def test_customers_send_the_same_orders_whatever_the_rate_is() -> None:
    low = played(QUICK, policy=replace(POLICY, fixed_rate=D("0.6"), max_rate=D("0.6")))
    assert {each.rate for each in low.minutes} != {each.rate for each in played(QUICK).minutes}
    assert [each.wish for each in low.placed] == [each.wish for each in played(QUICK).placed]


@pytest.mark.parametrize("customers", [QUICK, HONEST])
def test_every_minute_stays_within_the_bounds_and_the_step(customers: Customers) -> None:
    day = played(customers, minutes=120)
    assert [each.at for each in day.minutes] == [NOON + number * MINUTE for number in range(121)]
    before = POLICY.fixed_rate
    for minute in day.minutes:
        assert POLICY.min_rate <= minute.rate <= minute.exact <= POLICY.max_rate
        assert minute.rate == minute.rate.quantize(D("0.01"))
        assert abs(minute.exact - before) <= POLICY.max_step
        before = minute.exact
    assert {each.reason for each in day.minutes} == {"fixed rate", "recalculated"}


def test_the_house_keeps_its_margin_from_quick_customers_by_the_policy_and_not_by_a_fixed_rate() -> None:
    """Terms ask for 5 %: 4.9 % of the stakes with the policy, a loss of 2.9 % without."""
    day = played(QUICK, minutes=180)
    assert day.outcomes == {"won": 1658, "lost": 1309, "refunded": 142}
    assert (day.turnover, day.house, day.house_fixed) == (D("51940"), D("2546.55"), D("-1525.00"))


def test_without_an_edge_the_policy_gives_back_what_a_low_fixed_rate_keeps() -> None:
    day = played(HONEST, minutes=180)
    assert day.outcomes == {"won": 1622, "lost": 1673, "refunded": 140}
    assert (day.turnover, day.house, day.house_fixed) == (D("59210"), D("3967.10"), D("5939.25"))


def test_an_entry_later_than_they_see_takes_the_edge_from_quick_customers() -> None:
    day = played(QUICK, minutes=180, entry_delay=3 * SECOND)
    assert day.outcomes == {"won": 1466, "lost": 1472, "refunded": 169}
    assert (day.turnover, day.house, day.house_fixed) == (D("51510"), D("3046.90"), D("4020.50"))


def test_an_order_pays_the_rate_it_was_accepted_at() -> None:
    """Three orders by hand: one won, one lost, one tied."""
    ticks = [Price(NOON + second * SECOND, second + 1, D(price)) for second, price in enumerate("34435")]
    day = Day(Ticks(ticks), Offer(policy=POLICY), D("0.70"), D("0.70"))
    day.place(Wish(NOON, 1, "up", D("10"), 2 * SECOND))  # 3 to 4
    day.place(Wish(NOON + SECOND, 2, "up", D("20"), 2 * SECOND))  # 4 to 3
    day.place(Wish(NOON + SECOND, 3, "down", D("5"), SECOND))  # 4 to 4
    day.place(Wish(NOON + 10 * SECOND, 3, "down", D("5"), SECOND))  # the last tick is six seconds old
    assert day.refused == 1
    day.close(NOON + SECOND)
    assert day.outcomes.total() == 0
    day.close(NOON + 3 * SECOND)
    assert day.outcomes == {"won": 1, "lost": 1, "refunded": 1}
    # Of 10 at 0.70 the house pays 7, at the fixed 0.85 it would 8.50; the 20 it keeps, the tie it gives back.
    assert (day.turnover, day.house, day.house_fixed) == (D("30"), D("13.00"), D("11.50"))
    day.recalculate(NOON + MINUTE)
    minute = day.minutes[0]
    assert (minute.orders, minute.ended, minute.up, minute.down) == (2, 2, 0, 0)
    assert (minute.reason, minute.rate) == ("fixed rate", D("0.85"))


# --- the platform -------------------------------------------------------------------------------------

STRETCH = 30
FEW = Customers(
    count=24, orders_per_minute=4, quick_hours=(12, 13), crowded_hours=(12, 13), lead=timedelta(seconds=3)
)


@pytest.fixture
def desk(db: None, make_desk: Callable[..., Desk]) -> Desk:
    """The platform with the terms of the simulation, and its customers with real money."""
    Jurisdiction.objects.update_or_create(
        country="AE", defaults={"allows_real": True, "licence_reference": "TEST"}
    )
    desk = make_desk(
        instrument={"price_decimals": 5},
        payout_policy="window",
        payout_window_minutes=10,
        payout_min_orders=32,
        entry_policy="delayed",
        entry_delay_ms=500,
    )
    book = trading_book("money", kind="real")
    desk.everybody = [  # type: ignore[attr-defined]
        funded_account(person(f"customer{number}@example.com").pk, book, "10000.00")
        for number in range(FEW.count)
    ]
    return desk


def test_every_minute_is_what_the_platform_itself_does_with_these_orders(desk: Desk) -> None:
    """Feed, placement, settlement and beat in the database, at each instant at which something happens."""
    ticks, end = prices(STRETCH), NOON + STRETCH * MINUTE
    day = simulate(Ticks(ticks), FEW, offer_of(Terms.objects.get()), start=NOON, end=end, seed=1)
    wishes = {each.wish.at: each.wish for each in day.placed}
    assert (day.refused, len(wishes)) == (0, len(day.placed))
    minutes = {each.at for each in day.minutes}
    ends = minutes | {each.closes_at for each in day.placed if each.closes_at <= end}
    seen = []
    for at in sorted(ends | wishes.keys()):
        bring(desk, ticks, at)
        if at in ends:
            settle_due()
        if at in minutes:
            enter_pending()
            recalculate_payouts()
            seen.append(in_force())
        if at in wishes:
            place(desk, wishes[at])
    assert seen == [(each.rate, each.exact) for each in day.minutes]
    # The window holds as many orders as the terms ask for now and then: the fixed rate comes and goes.
    assert ([each.reason for each in day.minutes].count("fixed rate"), len(set(seen))) == (21, 8)
    assert Order.objects.exclude(status="open").count() == day.outcomes.total() == 90
    assert Order.objects.filter(status="open").count() == len(day.placed) - day.outcomes.total()
    assert system_balances(Book.objects.get(kind="real"))["house"] == day.house


def offer_of(terms: Terms) -> Offer:
    return Offer(
        policy=replace(POLICY, min_orders=terms.payout_min_orders),
        window=terms.payout_window_minutes * MINUTE,
        entry_delay=timedelta(milliseconds=terms.entry_delay_ms),
    )


def bring(desk: Desk, ticks: Sequence[Price], at: datetime) -> None:
    """Write the ticks up to an instant, where the clock and the watermark then stand."""
    desk.clock.at = at
    rows = [(each.at, each.price) for each in ticks[desk.market.seq :] if each.at <= at]
    desk.market.append(rows, until=at)


def in_force() -> tuple[Decimal, Decimal]:
    newest = PayoutRate.objects.latest("id")
    return newest.rate, D(newest.inputs.get("exact", newest.rate))


def place(desk: Desk, wish: Wish) -> None:
    account = desk.everybody[wish.customer]  # type: ignore[attr-defined]
    desk.alice, desk.account = account.owner, account
    desk.place(wish.side, f"{wish.stake}", duration_seconds=int(wish.duration / SECOND))


# --- the command --------------------------------------------------------------------------------------


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Two hours of bid and ask, a second apart, an hour and a half of them before midnight."""
    path, start = tmp_path / "tour.csv.gz", datetime(2030, 1, 15, 22, 30, tzinfo=UTC)
    with gzip.open(path, "wt") as file:
        file.write("ts_ms,bid,ask\n")
        for each in prices(120):
            at = int((start + (each.at - NOON)).timestamp() * 1000)
            file.write(f"{at},{each.price - D('0.00002')},{each.price + D('0.00002')}\n")
    return path


def told(*arguments: Any) -> str:
    out = StringIO()
    call_command("simulate_payouts", *map(str, arguments), stdout=out)
    return out.getvalue()


def test_the_command_prints_hours_and_the_result(recording: Path) -> None:
    assert told(recording, "--orders-per-minute", 1_000).splitlines() == [
        "tour.csv.gz, 2030-01-15, seed 1",
        "",
        "Hour     Ended       Rate      Won  Fuller side  House, policy  House, fixed",
        "22:00      541    61-89 %   55.3 %         60 %        +135.55       -385.00",
        "23:00      589    68-93 %   53.0 %         63 %        +892.80       +426.75",
        "",
        "1,190 orders accepted: 542 lost, 43 refunded, 588 won, 17 still open; 0 refused for want of a fresh "
        "price.",
        "Stakes of won and lost orders: 20,660.00.",
        "The house: +1,028.35 with the policy (+4.98 %), +41.75 at 0.85 (+0.20 %).",
    ]


def test_the_command_prints_every_minute(recording: Path) -> None:
    day = json.loads(told(recording, "--day", "2030-01-16", "--json", "--payout-margin", "0.08"))
    assert (day["policy"]["margin"], day["window_minutes"], day["refused"]) == ("0.08", 30, 0)
    first = day["minutes"][0]
    assert (first["at"], first["rate"], first["reason"]) == (
        "2030-01-16T00:00:00.000000Z",
        "0.85",
        "fixed rate",
    )
    assert day["minutes"][-1]["at"] == "2030-01-16T00:30:00.000000Z"
    assert len(day["minutes"]) == 31


def test_the_command_needs_no_database(recording: Path) -> None:
    """No mark lets these tests near it: a query would fail them."""
    assert told(recording) == told(recording)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--day", "2030-01-17"], "tour.csv.gz has no two minutes of prices on 2030-01-17."),
        (["--min-rate", "0.9"], "0 < min <= fixed <= max < 1"),
        (["--max-rate", "1"], "1 is not a part of one"),
        (["--payout-skew", "much"], "much is not a number"),
        (["--customers", "0"], "There must be a customer."),
        (["--customers", "-1"], "-1 is not a whole number"),
    ],
)
def test_the_command_says_what_is_wrong(recording: Path, arguments: list[str], words: str) -> None:
    with pytest.raises(CommandError, match=re.escape(words)):
        told(recording, *arguments)


def test_the_command_says_what_is_wrong_with_the_file(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="There is no file"):
        told(tmp_path / "none.csv")
    (tmp_path / "odd.csv").write_text("ts_ms,bid,ask\n1,one,2\n")
    with pytest.raises(CommandError, match="Line 2 is not a quote: 1, one, 2"):
        told(tmp_path / "odd.csv")


# --- the picture --------------------------------------------------------------------------------------


def test_the_picture_is_an_svg_that_says_what_it_shows(recording: Path, tmp_path: Path) -> None:
    told(recording, "--svg", tmp_path / "day.svg")
    root = ElementTree.parse(tmp_path / "day.svg").getroot()
    assert (root.get("width"), root.get("viewBox")) == ("900", "0 0 900 818")
    words = [each.text for each in root.iter("{http://www.w3.org/2000/svg}text")]
    for said in (
        "A day of the payout policy",
        "Payout rate",
        "fixed 85 %",
        "bounds 50 and 95 %",
        "Orders ended in the last 30 minutes",
        "time (UTC)",
    ):
        assert said in words
    assert "nan" not in (tmp_path / "day.svg").read_text()


def test_a_value_is_drawn_as_steps_that_break_where_it_is_not_known() -> None:
    day = played(HONEST, minutes=3)
    policy = replace(POLICY, fixed_rate=D("0.5"))
    drawn = draw(replace(day, offer=replace(day.offer, policy=policy)), HONEST, "<a & b>")
    assert "&lt;a &amp; b&gt;" in drawn


@pytest.mark.long
@pytest.mark.skipif(not RECORDING.is_file(), reason=f"the recording {RECORDING} is not here")
def test_the_picture_of_the_documentation_is_what_the_command_draws(tmp_path: Path) -> None:
    told(RECORDING, "--svg", tmp_path / "day.svg")
    assert (tmp_path / "day.svg").read_bytes() == (ROOT / "docs/img/payout-day.svg").read_bytes()
