"""Simulated hours: committed before, sealed meanwhile, revealed and made again after."""

import asyncio
import hashlib
import re
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, redirect_stdout
from contextvars import copy_context
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.management import CommandError, call_command
from django.db import IntegrityError, OperationalError, connection, transaction

from quotes import services
from quotes.intake import Intake, subscription_of
from quotes.models import Gap, Instrument, SimulationHour, SimulationRun, Tick
from quotes.seeds import NotVerifiable, Verified, commitment_of, hour_of, run_key, seed_rows, verify_hour
from quotes.services.seeds import (
    HourRevealed,
    SeedUnreadable,
    _unseal,
    reveal_seeds,
    start_run,
)
from quotes.services.ticks import Stretch
from quotes.sources import simulated
from quotes.sources.simulated import SimulatedSource
from tests.quotes.market import NOON, Clock, at, instrument

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])
HOUR = timedelta(hours=1)


def vol100(symbol: str = "VOL100", **changed: Any) -> Instrument:
    settings = {
        "instrument_class": "volatility",
        "price_decimals": 2,
        "source": "simulated",
        "source_symbol": "",
        "simulated_price": Decimal("10000.00"),
        "simulated_volatility": Decimal(1),
        "simulated_interval_ms": 500,
    }
    return instrument(symbol, **{**settings, **changed})


@pytest.fixture
def made(noon: Clock, open_noon: None) -> Instrument:
    noon.move(-1)
    made = vol100()
    noon.move(1)
    return made


def begin(of: Instrument, price: str = "10000.00") -> Any:
    return start_run(
        instrument_id=of.pk,
        start_price=Decimal(price),
        volatility=Decimal(1),
        interval_ms=500,
        price_decimals=2,
    )


class Feed:
    """Writes what simulations make, by hand."""

    def __init__(self, of: Instrument) -> None:
        self.of, self.epoch = of, services.take_over([of.pk])
        self.last = Decimal("10000.00")

    def play(self, clock: Clock, ticks: int, *, every: float = 10.0) -> Any:
        """Begin a run and write so many of its prices."""
        run = begin(self.of, str(self.last))
        self._append([(clock.move(every), run.simulation.next()) for _ in range(ticks)])
        return run

    def write(self, instant: Any, price: Decimal) -> None:
        self._append([(instant, price)])

    def _append(self, ticks: list[tuple[Any, Decimal]]) -> None:
        instant, self.last = ticks[-1]
        stretch = Stretch(instant, ticks, "simulated")
        services.append_ticks(epoch=self.epoch, stretches={self.of.pk: stretch})


def reveal_all(clock: Clock) -> None:
    clock.instant = at(3 * 3600)
    reveal_seeds()


def verify(hour: int = 0) -> Any:
    return verify_hour(Instrument.objects.get(symbol="VOL100"), at(hour * 3600))


# --- a seed's life ------------------------------------------------------------------------------------


def test_an_hour_has_one_seed_committed_at_its_first_run(made: Instrument, noon: Clock) -> None:
    noon.move(5)
    first = begin(made)
    noon.move(5)
    second = begin(made, "10001.50")
    (record,) = SimulationHour.objects.all()
    assert (record.hour, record.committed_at, record.seed, record.revealed_at) == (NOON, at(5), "", None)
    assert record.commitment == hashlib.sha256(_unseal(record)).hexdigest()
    assert (first.number, first.started_at, first.ends_at) == (1, at(5), at(3600))
    assert (second.number, second.started_at) == (2, at(10))
    assert first.simulation.next() != second.simulation.next()
    noon.instant = at(3600)
    assert begin(made).number == 1
    seeds = [_unseal(each) for each in SimulationHour.objects.order_by("hour")]
    assert len(set(seeds)) == 2


def test_a_run_lies_past_the_watermark_and_past_the_run_before(made: Instrument, noon: Clock) -> None:
    feed = Feed(made)
    feed.write(at(0.04), Decimal("10000.00"))  # by a clock that was ahead
    instant = timedelta(microseconds=1)
    assert begin(made).started_at == at(0.04) + instant
    assert begin(made).started_at == at(0.04) + 2 * instant


def test_a_sealed_seed_is_read_by_nobody_without_the_key_and_in_its_own_place_alone(
    made: Instrument, noon: Clock, settings: Any
) -> None:
    begin(made)
    noon.instant = at(3600)
    begin(made)
    record, later = SimulationHour.objects.order_by("hour")
    seed = _unseal(record)
    assert seed not in bytes(record.sealed_seed)
    assert len(record.sealed_seed) == 12 + 32 + 16
    later.sealed_seed = record.sealed_seed
    with pytest.raises(SeedUnreadable):
        _unseal(later)
    record.sealed_seed = bytes(record.sealed_seed)[:-1] + b"\0"
    with pytest.raises(SeedUnreadable):
        _unseal(record)
    record.refresh_from_db()
    old, settings.SECRET_KEY = settings.SECRET_KEY, "another key " * 5
    with pytest.raises(SeedUnreadable):
        _unseal(record)
    with pytest.raises(SeedUnreadable):
        begin(made)
    settings.SECRET_KEY_FALLBACKS = [old]
    assert _unseal(record) == seed


def test_the_application_changes_no_commitment_and_forgets_no_run(made: Instrument) -> None:
    begin(made)
    for change in (
        "UPDATE quotes_simulationhour SET commitment = ''",
        "UPDATE quotes_simulationhour SET sealed_seed = ''",
        "DELETE FROM quotes_simulationhour",
        "UPDATE quotes_simulationrun SET start_price = 1",
        "DELETE FROM quotes_simulationrun",
    ):
        with pytest.raises(Exception, match="permission denied"), connection.cursor() as cursor:
            cursor.execute(change)


def test_a_seed_is_revealed_once_its_hour_is_over_and_not_a_moment_before(
    made: Instrument, noon: Clock
) -> None:
    begin(made)
    seed = _unseal(SimulationHour.objects.get())
    noon.instant = at(3601.999)
    begin(made)
    assert reveal_seeds() == 0
    assert [row["seed"] for row in seed_rows(made)] == [None, None]
    noon.instant = at(3602)
    assert reveal_seeds() == 1
    assert reveal_seeds() == 0
    record = SimulationHour.objects.get(hour=NOON)
    assert (record.seed, record.revealed_at) == (seed.hex(), at(3602))
    assert commitment_of(bytes.fromhex(record.seed)) == record.commitment


def test_one_seed_that_cannot_be_opened_holds_no_other_back(made: Instrument, noon: Clock) -> None:
    other = vol100("VOL50")
    SimulationHour.objects.create(
        instrument=other, hour=NOON, commitment="0" * 64, sealed_seed=b"rubbish", committed_at=NOON
    )
    begin(made)
    noon.instant = at(2 * 3600)
    assert reveal_seeds() == 1
    assert SimulationHour.objects.get(instrument=other).seed == ""


def test_nothing_is_made_by_a_seed_that_is_public(made: Instrument, noon: Clock) -> None:
    begin(made)
    SimulationHour.objects.update(seed="00" * 32, revealed_at=NOON)
    with pytest.raises(HourRevealed):
        begin(made)
    assert SimulationRun.objects.count() == 1


def test_everybody_sees_commitments_runs_and_revealed_seeds(made: Instrument, noon: Clock) -> None:
    feed = Feed(made)
    feed.play(noon, 2)
    noon.instant = at(3600)
    feed.play(noon, 1)
    noon.instant = at(3700)
    reveal_seeds()
    newest, oldest = seed_rows(made)
    seed = _unseal(SimulationHour.objects.get(hour=NOON)).hex()
    assert oldest == {
        "hour": "2030-03-05T12:00:00.000000Z",
        "commitment": commitment_of(bytes.fromhex(seed)),
        "committed_at": "2030-03-05T12:00:00.000000Z",
        "seed": seed,
        "revealed_at": "2030-03-05T13:01:40.000000Z",
        "runs": [
            {
                "number": 1,
                "started_at": "2030-03-05T12:00:00.000000Z",
                "start_price": "10000.00",
                "volatility": "1.0000",
                "interval_ms": 500,
                "price_decimals": 2,
            }
        ],
    }
    assert (newest["hour"], newest["seed"]) == ("2030-03-05T13:00:00.000000Z", None)
    assert seed_rows(made, limit=1) == [newest]
    assert seed_rows(made, at(3600)) == [oldest]
    assert seed_rows(made, NOON) == []


def test_of_two_feeds_at_once_both_have_the_same_seed_and_runs_of_their_own(made: Instrument) -> None:
    gate, found = threading.Barrier(6), []

    def process() -> None:
        gate.wait()
        try:
            found.append(begin(made).number)
        finally:
            connection.close()

    threads = [threading.Thread(target=process) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert sorted(found) == [1, 2, 3, 4, 5, 6]
    assert SimulationHour.objects.count() == 1
    again = SimulationRun.objects.get(number=6)
    again.pk = None
    with pytest.raises(IntegrityError), transaction.atomic():
        again.save(force_insert=True)


# --- made again ---------------------------------------------------------------------------------------


@pytest.fixture
def two_hours(made: Instrument, noon: Clock) -> Feed:
    """Two hours with a restart in the middle of the first."""
    feed = Feed(made)
    feed.play(noon, 30)
    noon.move(0.1)
    feed.play(noon, 300)
    noon.instant = at(3600)
    feed.play(noon, 355)
    return feed


def test_two_hours_with_a_restart_are_made_again(two_hours: Feed, noon: Clock) -> None:
    with pytest.raises(NotVerifiable, match="not revealed"):
        verify()
    reveal_all(noon)
    assert verify() == Verified(runs=2, ticks=330)
    assert verify(1) == Verified(runs=1, ticks=355)
    out = StringIO()
    call_command("verify_simulation", "VOL100", "2030-03-05T12", stdout=out)
    assert out.getvalue() == (
        "VOL100 2030-03-05T12:00:00.000000Z: 330 ticks of 2 runs are those of the seed\n"
    )


def test_the_program_in_the_documents_makes_the_same_prices(two_hours: Feed, noon: Clock) -> None:
    """A second computation, from what is public and with nothing of the platform's."""
    reveal_all(noon)
    row = seed_rows(two_hours.of)[1]
    run = row["runs"][1]
    text = (Path(__file__).parents[2] / "docs" / "simulation.md").read_text()
    program = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)[0]
    given = {
        'bytes.fromhex("…"), 1, 10': f'bytes.fromhex("{row["seed"]}"), 2, 300',
        'Decimal("10000.00"), Decimal("1.0000"), 500, 2': (
            f'Decimal("{run["start_price"]}"), Decimal("{run["volatility"]}"), {run["interval_ms"]}, '
            f"{run['price_decimals']}"
        ),
    }
    for example, values in given.items():
        assert example in program
        program = program.replace(example, values)
    said = StringIO()
    with redirect_stdout(said):
        copy_context().run(exec, program, {})
    commitment, *prices = said.getvalue().splitlines()
    assert commitment == f"commitment {row['commitment']}"
    stored = Tick.objects.filter(seq__gt=30, seq__lte=330).order_by("seq").values_list("price", flat=True)
    assert prices == [f"{price:.2f}" for price in stored]


def tamper(sql: str, values: list[Any]) -> None:
    """Change the record behind the platform's back, as its owner with the triggers off could."""
    from django.db import connections

    with connections["owner"].cursor() as cursor:
        cursor.execute("ALTER TABLE quotes_tick DISABLE TRIGGER ALL")
        try:
            cursor.execute(sql, values)
        finally:
            cursor.execute("ALTER TABLE quotes_tick ENABLE TRIGGER ALL")


def test_the_first_tick_that_was_tampered_with_is_named(two_hours: Feed, noon: Clock) -> None:
    reveal_all(noon)
    true = Tick.objects.get(seq=100).price
    tamper("UPDATE quotes_tick SET price = price + 0.01 WHERE seq IN (100, 200)", [])
    found = verify()
    assert (found.runs, found.ticks) == (2, 99)
    assert found.difference == (
        f"tick 100 at 2030-03-05T12:16:40.100000Z of run 2, {true + Decimal('0.01'):f}; "
        f"made again: {true:.2f}"
    )
    with pytest.raises(CommandError, match="tick 100 at 2030-03-05T12:16:40"):
        call_command("verify_simulation", "VOL100", "2030-03-05T12:00Z")


def test_a_tick_left_out_or_slipped_in_is_named(two_hours: Feed, noon: Clock) -> None:
    reveal_all(noon)
    tamper("DELETE FROM quotes_tick WHERE seq = 7", [])
    assert verify().difference.startswith("tick 8 at 2030-03-05T12:01:20.000000Z of run 1")
    tamper(
        "INSERT INTO quotes_tick SELECT instrument_id, at, 7, price, false FROM quotes_tick WHERE seq = 8", []
    )
    assert verify().difference.startswith("tick 7 at 2030-03-05T12:01:20.000000Z of run 1")


def test_ticks_before_every_run_and_a_start_out_of_nowhere_are_named(made: Instrument, noon: Clock) -> None:
    feed = Feed(made)
    noon.move(60)
    feed.write(noon.instant, Decimal("10000.00"))
    noon.move(60)
    feed.last = Decimal("9000.00")
    feed.play(noon, 3)
    noon.instant = at(3600)
    feed.last = Decimal("9000.00")
    feed.play(noon, 3)
    reveal_all(noon)
    assert verify().difference == ("tick 1 at 2030-03-05T12:01:00.000000Z, 10000.00000000: made by no run")
    assert verify(1).difference.startswith("run 1 starts from 9000.00000000; the tick before it was ")


def test_what_another_source_made_is_not_held_against_the_seed(made: Instrument, noon: Clock) -> None:
    feed = Feed(made)
    noon.move(60)
    feed.write(noon.instant, Decimal("10000.00"))
    noon.move(1)
    feed.last = Decimal("10500.00")
    services.record_gap(instrument_id=made.pk, ends_at=at(61), reason="source_changed")
    feed.play(noon, 5)
    noon.move(10)
    services.record_gap(instrument_id=made.pk, ends_at=noon.instant, reason="source_changed")
    noon.move(1)
    feed.write(noon.instant, Decimal("10700.00"))
    reveal_all(noon)
    assert (verify().ticks, verify().difference) == (5, "")


def test_a_late_tick_is_one_of_the_run(made: Instrument, noon: Clock) -> None:
    feed = Feed(made)
    run = feed.play(noon, 3)
    noon.move(10)
    services.record_gap(instrument_id=made.pk, ends_at=noon.instant, reason="feed_dead")
    for _ in range(2):
        feed.write(noon.instant, run.simulation.next())
        noon.move(10)
    reveal_all(noon)
    assert list(Tick.objects.order_by("at").values_list("is_late", flat=True))[3:] == [True, False]
    assert (verify().ticks, verify().difference) == (5, "")


def test_a_run_that_left_no_tick_changes_nothing(made: Instrument, noon: Clock) -> None:
    feed = Feed(made)
    run = feed.play(noon, 3)
    noon.move(1)
    begin(made, str(feed.last))  # by a feed that no longer reigns
    for _ in range(4):
        feed.write(noon.move(10), run.simulation.next())
    noon.move(1)
    begin(made, str(feed.last))
    reveal_all(noon)
    assert verify() == Verified(runs=3, ticks=7)
    tamper("UPDATE quotes_tick SET price = price + 0.01 WHERE seq = 4", [])
    assert verify().difference.startswith("tick 4 at 2030-03-05T12:00:41.000000Z of run 2")


def test_a_seed_that_was_not_committed_proves_nothing(two_hours: Feed, noon: Clock) -> None:
    reveal_all(noon)
    SimulationHour.objects.filter(hour=NOON).update(seed="11" * 32)
    assert verify().difference == "the seed is not the one that was committed"


@pytest.mark.parametrize(
    ("symbol", "hour", "words"),
    [
        ("VOL100", "2030-03-05T15", "There is no seed"),
        ("VOL100", "2030-03-05T12:30", "whole hour"),
        ("VOL100", "yesterday", "Invalid isoformat"),
        ("NOPE", "2030-03-05T12", "no instrument NOPE"),
    ],
)
def test_what_cannot_be_verified_is_refused(made: Instrument, symbol: str, hour: str, words: str) -> None:
    with pytest.raises(CommandError, match=words):
        call_command("verify_simulation", symbol, hour)


# --- the source ---------------------------------------------------------------------------------------


@asynccontextmanager
async def running(*rows: Instrument, intake: Intake | None = None) -> AsyncIterator[tuple[Intake, Any]]:
    """Run a source for instruments, and end it."""
    intake = intake or Intake()
    subscriptions = [await sync_to_async(subscription_of)(row) for row in rows]
    intake.follow(subscriptions, dict.fromkeys(row.symbol for row in rows))
    source = SimulatedSource(intake)
    task = asyncio.create_task(source.run())
    source.watch(subscriptions)
    try:
        yield intake, source
    finally:
        tasks = [task, *source._tasks.values()]
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition: Any, seconds: float = 10) -> Any:
    deadline = asyncio.get_running_loop().time() + seconds
    while not (found := condition()):
        assert asyncio.get_running_loop().time() < deadline, "it did not come about in time"
        await asyncio.sleep(0.01)
    return found


def collected(intake: Intake) -> list[tuple[Any, Decimal]]:
    return [tick for each in intake.collect().values() for tick in each.stretch.ticks]


@pytest.fixture
def quick(noon: Clock, open_noon: None) -> Instrument:
    noon.move(-1)
    made = vol100(simulated_interval_ms=20, simulated_price=Decimal("250000.00"))
    noon.move(1)
    return made


async def test_the_commitment_is_there_before_the_first_price(quick: Instrument, noon: Clock) -> None:
    async with running(quick) as (intake, _):
        await until(lambda: intake.waiting("VOL100") >= 3)
        ticks = collected(intake)
    record = await SimulationHour.objects.aget()
    run = await SimulationRun.objects.aget()
    assert record.committed_at <= run.started_at <= ticks[0][0]
    seed = await sync_to_async(_unseal)(record)
    made = simulated.Simulation(
        price=Decimal("250000.00"),
        volatility=Decimal(1),
        interval_ms=20,
        price_decimals=2,
        seed=run_key(seed, 1),
    )
    assert [price for _, price in ticks] == [made.next() for _ in ticks]


async def test_the_hour_changes_with_the_clock_and_goes_on_from_the_last_price(
    quick: Instrument, noon: Clock
) -> None:
    noon.instant = at(3599)
    async with running(quick) as (intake, _):
        await until(lambda: intake.waiting("VOL100") >= 3)
        assert await SimulationHour.objects.acount() == 1
        noon.instant = at(3600)
        await asyncio.sleep(0.1)
        # What was made is not written yet: there may be another feed by now.
        assert await SimulationHour.objects.acount() == 1
        before = collected(intake)
        await until(lambda: intake.waiting("VOL100") >= 3)
        after = collected(intake)
    hours = [each async for each in SimulationHour.objects.order_by("hour")]
    assert [each.hour for each in hours] == [NOON, at(3600)]
    assert all(instant < at(3600) for instant, _ in before)
    assert all(instant >= at(3600) for instant, _ in after)
    run = await SimulationRun.objects.aget(hour=hours[1])
    assert (run.number, run.start_price) == (1, before[-1][1])


async def test_without_the_database_there_is_no_price_and_a_gap_follows(
    quick: Instrument, noon: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    noon.instant = at(3599)
    async with running(quick) as (intake, source):
        await until(lambda: intake.waiting("VOL100") >= 1)

        def refuse(**_: Any) -> None:
            raise OperationalError("away")

        with monkeypatch.context() as away:
            away.setattr(simulated, "start_run", refuse)
            noon.instant = at(3600)
            await until(lambda: not collected(intake) and source._health.last_error == "away")
            noon.move(5)
            await asyncio.sleep(0.25)
            assert intake.waiting("VOL100") == 0
            found = intake.collect()[quick.pk]
            assert found.stretch.until < at(3600)
        noon.move(1)
        await until(lambda: intake.waiting("VOL100") >= 1)
        assert intake.collect()[quick.pk].resumes_at == at(3606)


async def test_a_changed_setting_begins_another_run_and_who_is_not_asked_for_is_silent(
    quick: Instrument, noon: Clock
) -> None:
    price = Decimal("250000.00")
    other = await sync_to_async(vol100)("VOL50", simulated_interval_ms=20, simulated_price=price)
    noon.move(1)
    async with running(quick, other) as (intake, source):
        await until(lambda: intake.waiting("VOL100") and intake.waiting("VOL50"))
        last = intake.last_price("VOL100")
        subscription = await sync_to_async(subscription_of)(quick)
        wilder = replace(subscription, simulated_volatility=Decimal(2))
        source.watch([wilder])
        last = intake.last_price("VOL100")
        collected(intake)
        noon.move(1)
        await until(lambda: intake.waiting("VOL100"))
        found = intake.collect()
        assert found[quick.pk].stretch.until >= at(2)
        assert (found[other.pk].stretch.ticks, found[other.pk].stretch.until < at(2)) == ([], True)
    runs = [each async for each in SimulationRun.objects.filter(hour__instrument=quick).order_by("number")]
    assert [(run.number, run.volatility) for run in runs] == [(1, 1), (2, 2)]
    assert runs[1].start_price == last


async def test_settings_changed_while_a_run_begins_begin_one_after_another(
    quick: Instrument, noon: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, started = threading.Event(), simulated.start_run

    def slow(**given: Any) -> Any:
        gate.wait(5)
        return started(**given)

    monkeypatch.setattr(simulated, "start_run", slow)
    async with running(quick) as (intake, source):
        await asyncio.sleep(0.05)
        subscription = await sync_to_async(subscription_of)(quick)
        for volatility in (2, 3):
            source.watch([replace(subscription, simulated_volatility=Decimal(volatility))])
            await asyncio.sleep(0.05)
        gate.set()
        await until(lambda: noon.move(0.01) and intake.waiting("VOL100"))
        ticks = collected(intake)
    runs = [each async for each in SimulationRun.objects.order_by("number")]
    assert [run.volatility for run in runs] == [1, 3]
    assert ticks[0][0] >= runs[-1].started_at


async def test_a_beat_speaks_for_those_that_make_prices(noon: Clock, open_noon: None) -> None:
    slow = await sync_to_async(vol100)(simulated_interval_ms=60_000)
    noon.move(1)
    async with running(slow) as (intake, _):
        await until(lambda: intake.waiting("VOL100") == 1)
        first = intake.collect()[slow.pk]
        noon.move(1)
        found = await until(lambda: (each := intake.collect()[slow.pk]).stretch.until == at(2) and each)
        assert (first.stretch.source_lag_ms, found.stretch.ticks, found.resumes_at) == (0, [], None)


def test_a_killed_feed_leaves_runs_that_are_made_again(roles: Any) -> None:
    """The role itself: killed, followed by another, and every tick is one that the seed makes."""
    import time

    from config.core import clock

    row = vol100(simulated_interval_ms=20, simulated_price=Decimal("250000.00"))
    # Not across a change of the hour.
    while clock.now().minute == 59:
        time.sleep(0.5)
    for count in (20, 40):
        roles.start("feed")
        deadline = time.monotonic() + 30
        while Tick.objects.count() < count:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        roles.kill9("feed") if count == 20 else roles.stop("feed")
    hour = hour_of(clock.now())
    with clock.ticking(lambda: hour + 2 * HOUR):
        assert reveal_seeds() == 1
    found = verify_hour(row, hour)
    assert (found.runs, found.ticks, found.difference) == (2, Tick.objects.count(), "")
    assert Gap.objects.exclude(reason="feed_down").count() == 0
