"""Two recorded trading days, 5,000 orders along them, and every outcome computed a second time.

The platform plays the recording at its own time: feed, placement and settlement step by step on a virtual
clock. Beside it stands `Oracle`, written from the published rules and fed by the CSV alone: its own mids, its
own look-ups, its own refunds, its own money. It foretells every refusal, entry, exit, outcome and balance.
"""

import csv
import gzip
import os
import random
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import connection

from config.core import clock
from config.core.errors import DomainError
from payments.ledger.checks import check_ledger
from payments.ledger.errors import AlreadyPosted
from payments.ledger.models import Account, Transfer
from payments.ledger.selectors import system_balances
from quotes.models import Gap, Instrument, Tick
from quotes.services import add_calendar_exception, create_calendar, create_instrument, record_gap
from quotes.sources.replay import ReplayFeed
from tests.flows.oracle import CUTOFF, LONGEST, MAX_QUOTE_AGE, SHORTEST, Oracle, Print, Rules, Wish
from tests.market import funded_account, person, trading_book
from trading.models import Order
from trading.services import PlaceOrder, enter_pending, place_order, set_payout_rate, set_terms, settle_due
from trading.services.claims import claim_expired
from trading.services.settlement import Claim, settle_batch

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get("SHARED_DATA") or ROOT.parent / "shared" / "data")
RECORDING = FOLDER / "dukascopy_eurusd_20190204-05.csv.gz"

pytestmark = [
    # The owner opens days of ticks.
    pytest.mark.django_db(transaction=True, databases=["default", "owner"]),
    pytest.mark.skipif(not RECORDING.is_file(), reason=f"the recording {RECORDING} is not here"),
    pytest.mark.timeout(600),
]

SEED = 20190204
STEPS, ORDERS_PER_STEP = 400, 15
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
GRACE = timedelta(seconds=60)
BOOKS = {"usd": ("USD", 2), "jpy": ("JPY", 0), "btc": ("BTC", 8)}


# --- the market, from the CSV alone -------------------------------------------------------------------


def prints() -> list[Print]:
    """Stamp every row with its own time, strictly later than the row before, and the rounded mid."""
    found: list[Print] = []
    with gzip.open(RECORDING, "rt", newline="") as file:
        for row in csv.DictReader(file):
            at = EPOCH + timedelta(milliseconds=int(row["ts_ms"]))
            if found and at <= found[-1].at:
                at = found[-1].at + MICROSECOND
            bid, ask = Decimal(row["bid"]), Decimal(row["ask"])
            assert 0 < bid <= ask
            mid = ((bid + ask) / 2).quantize(Decimal("0.00001"), rounding=ROUND_HALF_EVEN)
            found.append(Print(at, len(found) + 1, mid))
    return found


CHAPTERS = [
    Rules(Decimal("0.85")),
    Rules(Decimal("0.8333"), delay=timedelta(milliseconds=500)),
    Rules(Decimal("0.77"), ties_lose=True, exit_age=timedelta(seconds=4)),
    Rules(Decimal("0.9"), delay=timedelta(seconds=2), entry_wait=timedelta(milliseconds=1500)),
    Rules(Decimal("0.8012"), exit_age=timedelta(seconds=4)),
    Rules(Decimal("0.65"), delay=timedelta(milliseconds=300), ties_lose=True, exit_age=timedelta(seconds=6)),
]


# --- the platform -------------------------------------------------------------------------------------


@dataclass
class Stage:
    """The platform at the recording's time, and the oracle beside it."""

    feed: ReplayFeed
    instrument: Instrument
    accounts: dict[str, Account]
    scales: dict[str, int]
    operator: Any
    oracle: Oracle
    random: random.Random
    now: datetime
    refusals: Counter[str] = field(default_factory=Counter)
    settled: int = 0

    def move(self, to: datetime) -> None:
        """Bring time, the record and every order that is due to an instant."""
        self.now = self.oracle.now = to
        with self.feed.own_time():
            self.feed.advance(to)
        self.settle(to)

    def settle(self, watermark: datetime) -> None:
        before = len(self.oracle.open)
        settle_due()
        enter_pending()
        closed = before - Order.objects.filter(status="open").count()
        assert closed == self.oracle.settle(watermark), f"at {self.now}"
        self.settled += closed

    def stall(self, seconds: int, *, until_dead: bool) -> None:
        """Let the feed say nothing for so long: the pause becomes a gap, by the feed or by the settlers."""
        began = self.now
        self.now = self.oracle.now = began + timedelta(seconds=seconds)
        if until_dead:
            ends_at, reason = max(self.unsettled_after(timedelta(0))), "feed_dead"
        else:
            ends_at, reason = self.now - MICROSECOND, "feed_down"
            record_gap(instrument_id=self.instrument.pk, ends_at=ends_at, reason=reason)
        self.oracle.pause(began, ends_at, reason)
        self.settle(ends_at)
        assert Gap.objects.filter(starts_at=began, ends_at=ends_at, reason=reason).count() == 1

    def unsettled_after(self, silence: timedelta) -> list[datetime]:
        """Return the expiries whose grace will have passed if the feed is silent for so long."""
        return [wish.expires_at for wish in self.oracle.open if wish.expires_at + GRACE <= self.now + silence]

    def close_market(self, starts_in: timedelta, length: timedelta) -> None:
        start = self.now + starts_in
        add_calendar_exception(
            calendar=self.instrument.calendar,
            starts_at=start,
            ends_at=start + length,
            is_open=False,
            note="test",
            actor=self.operator,
            reason="test",
        )
        self.oracle.closures.append((start, start + length))

    def turn_to(self, rules: Rules) -> None:
        """Put other terms in force; open orders keep theirs."""
        set_terms(
            instrument=self.instrument,
            actor=self.operator,
            reason="next chapter",
            tie_policy="lose" if rules.ties_lose else "refund",
            entry_policy="latest_tick" if rules.delay is None else "delayed",
            entry_delay_ms=int((rules.delay or timedelta(0)) / timedelta(milliseconds=1)),
            max_entry_wait_ms=int(rules.entry_wait / timedelta(milliseconds=1)),
            max_exit_age_seconds=int(rules.exit_age.total_seconds()),
        )
        set_payout_rate(instrument=self.instrument, rate=rules.rate, actor=self.operator, reason="test")

    def place(self, number: int, rules: Rules) -> None:
        """Place one order drawn at random; platform and oracle must say the same."""
        name = self.random.choice(list(self.accounts))
        scale = self.scales[name]
        stake = Decimal(self.random.randint(10**scale, 40 * 10**scale)).scaleb(-scale)
        asked: dict[str, Any] = {}
        if self.random.random() < 0.2:
            minute = self.now.replace(second=0, microsecond=0)
            expires_at = minute + timedelta(minutes=self.random.choice([1, 1, 2, 3, 5, 16]))
            asked["expires_at"] = expires_at
        else:
            seconds = self.random.choice([5, 5, 5, 6, 10, 15, 30, 60, 120, 300, 899])
            asked["duration_seconds"] = seconds
            expires_at = self.now + (rules.delay or timedelta(0)) + timedelta(seconds=seconds)
        wish = Wish(
            client_id=f"order-{number}",
            account=name,
            scale=scale,
            side=self.random.choice(["up", "down"]),
            stake=stake,
            rules=rules,
            accepted_at=self.now,
            expires_at=expires_at,
            entry=None,
        )
        foretold = self.oracle.place(wish, "expires_at" in asked)
        account = self.accounts[name]
        command = PlaceOrder(
            client_id=wish.client_id,
            account=account.pk,
            symbol="EURUSD",
            contract="rise_fall",
            side=wish.side,
            stake=f"{stake:f}",
            **asked,
        )
        try:
            place_order(customer_id=account.owner_id, command=command)
            said = None
        except DomainError as refused:
            said = refused.code
        assert said == foretold, f"{wish} at {self.now}: {said}"
        if said is not None:
            self.refusals[said] += 1


@pytest.fixture
def stage() -> Iterator[Stage]:
    ticks = prints()
    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit = off")  # nothing is pulled out of the wall here
    feed = ReplayFeed(RECORDING)
    held: list[Stage] = []
    with clock.ticking(lambda: held[0].now if held else ticks[0].at - timedelta(seconds=1)):
        instrument = create_instrument(
            symbol="EURUSD",
            name="Euro / US dollar",
            instrument_class="fx",
            price_decimals=5,
            calendar=create_calendar(code="always"),
            source="replay",
            source_symbol=RECORDING.name,
            max_quote_age_ms=int(MAX_QUOTE_AGE / timedelta(milliseconds=1)),
        )
        set_terms(
            instrument=instrument,
            actor=None,
            reason="test",
            contracts=["rise_fall"],
            fixed_rate=CHAPTERS[0].rate,
            min_rate=Decimal("0.5"),
            max_rate=Decimal("0.95"),
            min_stake=Decimal(1),
            max_stake=Decimal(1000),
            min_duration_seconds=int(SHORTEST.total_seconds()),
            max_duration_seconds=int(LONGEST.total_seconds()),
            cutoff_seconds=int(CUTOFF.total_seconds()),
            settle_grace_seconds=int(GRACE.total_seconds()),
            max_open_orders=1_000,
        )
        accounts, scales = {}, {}
        people = [person(f"{name}@example.com") for name in ("alice", "bob", "mallory")]
        for code, (currency, scale) in BOOKS.items():
            book = trading_book(code, currency=currency, scale=scale)
            for customer in people:
                name = f"{customer.email} {code}"
                # In dollars Mallory has little, and runs out of it.
                amount = "400" if name == "mallory@example.com usd" else "20000"
                accounts[name] = funded_account(customer.pk, book, amount)
                scales[name] = scale
        feed.follow(instrument)
        oracle = Oracle(ticks, ticks[0].at, {name: account.balance for name, account in accounts.items()})
        operator = person("olga@example.com")
        held.append(
            Stage(feed, instrument, accounts, scales, operator, oracle, random.Random(SEED), oracle.now)
        )
        yield held[0]
    connection.close()


def play(stage: Stage) -> int:
    """Play both days to their end with orders along them; return how many orders were tried."""
    recorded = list(stage.oracle.ticks)
    end = recorded[-1].at
    pauses = [tick.seq - 1 for tick, after in pairwise(recorded) if after.at - tick.at > MAX_QUOTE_AGE]
    number, deaths = 0, 1
    rules = CHAPTERS[0]
    for step in range(STEPS):
        chapter = CHAPTERS[step * 18 // STEPS % len(CHAPTERS)]
        if chapter is not rules:
            rules = chapter
            stage.turn_to(rules)
        # By the number of ticks, so that orders fall where trading is, and now and then where it pauses.
        place = (step + 1) * (len(recorded) - 5_000) // STEPS
        if step % 4 == 3:
            place = pauses[bisect_right(pauses, place)]
        tick = recorded[place]
        wait = stage.random.choice([0, 0, 0.001, 0.25, 1, 4, 6])
        stage.move(max(stage.now + MICROSECOND, tick.at + timedelta(seconds=wait)))
        for _ in range(ORDERS_PER_STEP):
            stage.place(number, rules)
            number += 1
        if step in {60, 230, 330}:
            stage.stall(40, until_dead=False)
        if step in {100, 200, 365}:
            stage.close_market(timedelta(seconds=61), timedelta(seconds=600))
        if step > 150 * deaths and stage.unsettled_after(timedelta(seconds=90)):
            stage.stall(90, until_dead=True)
            deaths += 1
    stage.move(end)
    stage.move(end + LONGEST)
    return number


def test_every_outcome_is_what_anybody_computes_from_the_recording(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    tried = play(stage)
    oracle = stage.oracle
    assert oracle.open == []
    assert len(oracle.closed) == stage.settled == tried - stage.refusals.total() >= 5_000

    assert_the_record_is_the_recording(stage)
    assert_orders_agree(stage)
    assert_money_agrees(stage)
    assert_settling_again_changes_nothing(stage)

    outcomes = Counter(wish.reason or wish.status for wish in oracle.closed)
    with capsys.disabled():
        print(f"\nreplay: {len(oracle.ticks)} ticks, {oracle.late} late, {stage.settled} orders;")
        print(f"  outcomes {dict(outcomes.most_common())}")
        print(f"  refusals {dict(stage.refusals.most_common())}")
    # Every rule had its say, none of them once by accident.
    for code in ("won", "lost"):
        assert outcomes[code] > 800
    for code in ("tie", "no_exit"):
        assert outcomes[code] > 50
    for code in ("no_entry", "stale_exit", "feed_gap", "feed_dead", "market_closed"):
        assert outcomes[code] >= 5, code
    for code in (
        *("price_stale", "insufficient_funds", "market_closed"),
        *("expiry_cutoff", "duration_out_of_range"),
    ):
        assert stage.refusals[code] >= 5, code


def assert_the_record_is_the_recording(stage: Stage) -> None:
    stored = Tick.objects.filter(instrument=stage.instrument, is_late=False).order_by("at")
    assert list(stored.values_list("at", "seq", "price")) == [
        (tick.at, tick.seq, tick.price) for tick in stage.oracle.ticks
    ]
    assert Tick.objects.filter(is_late=True).count() == stage.oracle.late > 0


def assert_orders_agree(stage: Stage) -> None:
    names = {account.pk: name for name, account in stage.accounts.items()}
    orders = {order.client_id: order for order in Order.objects.all()}
    assert orders.keys() == {wish.client_id for wish in stage.oracle.closed}
    for wish in stage.oracle.closed:
        order = orders[wish.client_id]
        platform = (
            (names[order.account_id], order.side, order.stake, order.payout_rate),
            (order.accepted_at, order.expires_at),
            (order.entry_at, order.entry_seq, order.entry_price),
            (order.exit_at, order.exit_seq, order.exit_price),
            (order.status, order.refund_reason, order.payout),
        )
        assert platform == (
            (wish.account, wish.side, wish.stake, wish.rules.rate),
            (wish.accepted_at, wish.expires_at),
            (wish.entry.at, wish.entry.seq, wish.entry.price) if wish.entry else (None, None, None),
            (wish.exit.at, wish.exit.seq, wish.exit.price) if wish.exit else (None, None, None),
            (wish.status, wish.reason, wish.payout),
        ), wish


def assert_money_agrees(stage: Stage) -> None:
    for name, account in stage.accounts.items():
        account.refresh_from_db()
        assert account.balance == stage.oracle.balances[name], name
    assert check_ledger(whole=True).differences == []
    for account in {account.book_id: account for account in stage.accounts.values()}.values():
        held = system_balances(account.book)
        assert held["escrow"] == 0
        mine = [
            wish for wish in stage.oracle.closed if stage.accounts[wish.account].book_id == account.book_id
        ]
        assert held["house"] == sum(wish.stake - wish.payout for wish in mine)


def assert_settling_again_changes_nothing(stage: Stage) -> None:
    """Closed orders are not found; one that is put back by force cannot be paid a second time."""
    everything = set(Transfer.objects.values_list("id", flat=True))
    before = list(Order.objects.order_by("id").values())
    assert settle_due() == enter_pending() == 0
    for order in stage.random.sample(list(Order.objects.all()), 200):
        assert settle_batch(claim_of(order)) == 0
    for order in stage.random.sample(list(Order.objects.all()), 20):
        with pytest.raises(AlreadyPosted):
            settle_reopened(order)
    assert list(Order.objects.order_by("id").values()) == before
    assert set(Transfer.objects.values_list("id", flat=True)) == everything


def claim_of(order: Order) -> Claim:
    return partial(claim_expired, shard=order.shard, cutoff=clock.now(), only=order.pk)


def settle_reopened(order: Order) -> None:
    """Do as the owner would who passes the trigger, and put everything back."""
    closed = (order.status, order.payout, order.closed_at, order.refund_reason)
    by_force(order, "open", None, None, None)
    try:
        settle_batch(claim_of(order))
    finally:
        by_force(order, *closed)


def by_force(order: Order, *values: Any) -> None:
    with psycopg.connect(os.environ["DATABASE_OWNER_URL"]) as owner:
        owner.execute("ALTER TABLE trading_order DISABLE TRIGGER USER")
        owner.execute(
            "UPDATE trading_order SET (status, payout, closed_at, refund_reason) = (%s, %s, %s, %s)"
            " WHERE id = %s",
            (*values, order.pk),
        )
        owner.execute("ALTER TABLE trading_order ENABLE TRIGGER USER")
