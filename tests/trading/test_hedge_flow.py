"""Hedging against QuickFIX: the command as a process that is killed, its sessions alone, and other peers."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError

from config.core import clock
from config.embedded.machine import free_port
from quotes.models import FixReject, FixSession
from quotes.services import open_days
from quotes.services.fix import open_fix_session
from quotes.sources.fix.sender import stored
from tests.market import Clock
from tests.platform import Roles
from tests.quotes.fix import quickfix
from tests.quotes.fix.peer import QUICK, Acceptor, Line
from tests.quotes.fix.quickfix import Engine
from tests.quotes.fix.wire import Read, fix
from tests.trading.hedges import D, House, Outside
from trading import services
from trading.hedging import session
from trading.hedging.desk import Desk
from trading.models import HedgeExecution, HedgeOrder

# The owner opens days of ticks.
pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])
ENDED_BY_ITSELF = 137
HOUR_MS = 3_600_000


class Wire:
    """A house, its provider, and what went over the wire between them."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        open_days([clock.now().date()])
        self.house = House(Clock(), max_quote_age_ms=HOUR_MS).open(engine.port)

    def set(self, **changes: Any) -> None:
        services.set_hedge_terms(
            instrument=self.house.market.instrument, actor=self.house.olga, reason="test", **changes
        )

    def orders(self) -> list[str]:
        """Return the ClOrdIDs of the orders that the engine has received, in their order."""
        return re.findall(r"\|35=D\|.*?\|11=([^|]+)\|", self.engine.log())

    def fills(self) -> list[tuple[str, str]]:
        """Return ClOrdID and ExecID of what the engine has executed; what it sent again is left out."""
        lines = [line for line in self.engine.log().splitlines() if "|35=8|" in line and "|43=Y|" not in line]
        return [(re.search(r"\|11=([^|]+)", line)[1], re.search(r"\|17=([^|]+)", line)[1]) for line in lines]

    def said(self) -> str:
        return self.engine.log()[-3000:]


def wait(holds: Callable[[], bool], said: Callable[[], str], turn: Callable[[], None] | None = None) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, said()
        turn() if turn else time.sleep(0.05)


@pytest.fixture
def executor(tmp_path: Path) -> Iterator[Engine]:
    """QuickFIX's example, which fills every limit order at its limit."""
    folder = tmp_path / "executor"
    folder.mkdir()
    engine = Engine(quickfix.built(quickfix.example()), folder, checks=False).start()
    yield engine
    engine.kill()


# --- the command, killed ------------------------------------------------------------------------------


class Process(Wire):
    """The command as a process."""

    def __init__(self, engine: Engine, roles: Roles) -> None:
        super().__init__(engine)
        self.roles = roles
        roles.commands["hedger"] = "python manage.py hedge_orders"
        roles.metrics_ports["hedger"] = free_port({engine.port, *roles.metrics_ports.values()})

    def start(self, fault: str = "") -> None:
        self.roles.start("hedger", wait=False, **({"FAULTPOINT": f"{fault}:exit"} if fault else {}))

    def ends_at(self, fault: str) -> None:
        """Start the command and wait until it ends as by kill -9 at a point."""
        self.start(fault)
        process, _ = self.roles.running["hedger"]
        wait(lambda: process.poll() is not None, self.said)
        assert process.returncode == ENDED_BY_ITSELF, self.said()
        self.roles.kill9("hedger")

    def until_order(self, **wanted: object) -> HedgeOrder:
        wait(lambda: HedgeOrder.objects.filter(**wanted).exists(), self.said)
        return HedgeOrder.objects.get(**wanted)

    def said(self) -> str:
        return f"{self.roles.log('hedger')}\n{super().said()}"


@pytest.fixture
def process(executor: Engine, roles: Roles) -> Process:
    return Process(executor, roles)


def test_open_orders_are_hedged_and_given_back_at_their_end_and_what_is_off_is_not(process: Process) -> None:
    house, quiet = process.house, Outside("GBPUSD", price_decimals=5, max_quote_age_ms=HOUR_MS)
    quiet.terms()
    quiet.tick("1.25000")
    services.set_hedge_terms(
        instrument=quiet.instrument, actor=house.olga, reason="test", provider=house.lp,
        source_symbol="GBP/USD", currency="USD", threshold=D(1), lot=D(1), max_quantity=D(1000),
    )  # fmt: skip
    house.place(symbol="GBPUSD", duration_seconds=600)
    house.place(duration_seconds=600)
    process.start()
    bought = process.until_order(state="filled")
    assert (bought.instrument.symbol, bought.side, bought.cum_quantity) == ("EURUSD", "buy", bought.quantity)
    assert (bought.average_price, bought.is_reconciled) == (D("1.08108"), True)
    (execution,) = HedgeExecution.objects.all()
    assert (execution.exec_id, execution.quantity, execution.price) == ("1", bought.quantity, D("1.08108"))
    assert [32, f"{bought.quantity.normalize():f}"] in execution.fields
    # Every open order counts as ended.
    process.set(cutoff_seconds=3_600)
    sold = process.until_order(state="filled", side="sell")
    assert sold.quantity == bought.quantity
    assert services.hedging.held_of(house.market.instrument.pk) == 0
    assert process.roles.stop("hedger") == 0
    assert process.fills() == [(str(bought.pk), "1"), (str(sold.pk), "2")]
    assert process.orders() == [str(bought.pk), str(sold.pk)]
    assert HedgeOrder.objects.count() == 2
    # A polite end, and nothing that the engine found wrong.
    assert "|35=5|49=TICKHOUSE|" in process.engine.log()
    assert "|35=3|" not in process.engine.log()
    assert not FixReject.objects.exists()


# Where the command is killed, one after another, over one intention: each time it goes on from there.
POINTS = (
    "hedge.after_decide",  # intended, not told
    "fix.before_order",  # its number is kept, its bytes are not sent
    "fix.after_order",  # they are sent, as a possible duplicate, and nothing is heard
    "fix.before_record",  # the fill is heard and not recorded
    "fix.after_record",  # it is recorded, and not counted as heard
)


@pytest.mark.parametrize(
    "points",
    [
        POINTS[:3],
        pytest.param(POINTS, marks=pytest.mark.long),
        *(pytest.param((point,), marks=pytest.mark.long, id=point) for point in POINTS),
        pytest.param(("fix.after_order", "fix.after_record"), marks=pytest.mark.long),
    ],
)
def test_one_intention_is_executed_once_wherever_the_command_is_killed(
    process: Process, points: tuple[str, ...]
) -> None:
    process.set(max_age_seconds=600)
    process.house.place(duration_seconds=3_600)
    for point in points:
        process.ends_at(point)
    process.start()
    order = process.until_order(state="filled")
    process.set(cutoff_seconds=7_200)
    back = process.until_order(state="filled", side="sell")
    assert process.fills() == [(str(order.pk), "1"), (str(back.pk), "2")]
    assert process.orders() == [str(order.pk), str(back.pk)]
    assert HedgeOrder.objects.count() == HedgeExecution.objects.count() == 2
    assert services.hedging.held_of(order.instrument_id) == 0


@pytest.mark.long
def test_a_standby_takes_over_and_sends_nothing_again(process: Process) -> None:
    process.house.place(duration_seconds=3_600)
    process.start()
    process.until_order(state="filled")
    process.roles.start_another("hedger", "second hedger", wait=False)
    process.roles.kill9("hedger")
    process.set(cutoff_seconds=7_200)
    wait(lambda: HedgeOrder.objects.filter(state="filled", side="sell").exists(), process.said)
    assert len(process.orders()) == len(set(process.orders())) == HedgeOrder.objects.count() == 2


# --- the sessions alone -------------------------------------------------------------------------------


class Turning(Wire):
    """The sessions in this process, turned by hand."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.desk = Desk()

    def until(self, holds: Callable[[], bool]) -> None:
        def turn() -> None:
            self.desk.follow(services.hedges_by_provider())
            self.desk.turn(0.05)

        wait(holds, self.said, turn)

    def until_state(self, order: HedgeOrder, state: str) -> HedgeOrder:
        self.until(lambda: HedgeOrder.objects.filter(pk=order.pk, state=state).exists())
        order.refresh_from_db()
        return order


@pytest.fixture
def turning(executor: Engine) -> Iterator[Turning]:
    turning = Turning(executor)
    yield turning
    turning.desk.close()


def test_a_number_whose_bytes_were_lost_is_sent_again_while_it_is_fresh(turning: Turning) -> None:
    turning.house.place()
    (order,) = turning.house.decide()
    turning.house.send(order)
    turning.until_state(order, "filled")
    assert turning.fills() == [(str(order.pk), "1")]
    (line,) = re.findall(r".*\|35=D\|.*", turning.engine.log())
    assert "|34=1|43=Y|" in line


def test_what_never_arrived_and_is_too_old_is_passed_over_and_decided_anew(turning: Turning) -> None:
    turning.house.place()
    (first,) = turning.house.decide()
    turning.house.send(first)
    with clock.ticking(lambda: first.good_until):
        turning.until_state(first, "lapsed")
        assert turning.desk.up() == {"lp"}
    (second,) = services.decide_hedges(providers=turning.desk.up())
    turning.until_state(second, "filled")
    assert turning.orders() == [str(second.pk)]
    assert turning.fills() == [(str(second.pk), "1")]
    (fill,) = re.findall(r".*\|35=4\|49=TICKHOUSE\|.*", turning.engine.log())
    assert "|34=1|" in fill
    assert "|123=Y|" in fill


def test_an_order_whose_numbers_were_forgotten_is_asked_about_and_not_sent_again(
    turning: Turning, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "ASK_SECONDS", 0.1)
    turning.house.place()
    (order,) = turning.house.decide()
    turning.house.send(order)
    open_fix_session(source="lp", reset=True)
    turning.until(lambda: "|35=H|" in turning.engine.log() and FixReject.objects.exists())
    # The example cannot answer; nobody guesses.
    assert FixReject.objects.first().text.startswith("Unsupported Message Type")
    order.refresh_from_db()
    assert order.state == "sent"
    assert turning.house.decide() == []
    assert turning.orders() == []


def test_a_provider_that_is_killed_is_reached_again(turning: Turning) -> None:
    turning.house.place()
    (order,) = turning.house.decide()
    turning.until_state(order, "filled")
    turning.engine.kill()
    turning.until(lambda: "closed the connection" in turning.desk.complaint())
    assert turning.desk.up() == set()
    turning.engine.start()
    turning.until(lambda: turning.desk.up() == {"lp"})
    assert turning.desk.complaint() == ""
    turning.set(cutoff_seconds=3_600)
    (back,) = turning.house.decide()
    turning.until_state(back, "filled")
    # Its ExecIDs begin anew; they count once an order.
    assert turning.fills() == [(str(order.pk), "1"), (str(back.pk), "1")]
    assert services.hedging.held_of(order.instrument_id) == 0


def test_an_order_the_provider_does_not_take_is_rejected(tmp_path: Path) -> None:
    """The engine knows market data and nothing of orders."""
    engine = Engine(quickfix.built(quickfix.market_data()), tmp_path, checks=False).start()
    turning = Turning(engine)
    try:
        turning.house.place()
        (order,) = turning.house.decide()
        turning.until_state(order, "rejected")
        assert order.said.startswith("Unsupported Message Type")
        assert services.hedging.held_of(order.instrument_id) == 0
    finally:
        turning.desk.close()
        engine.kill()


def test_nobody_is_spoken_to_while_hedging_is_off(turning: Turning) -> None:
    services.switch_hedging(terms=turning.house.terms, is_on=False, actor=turning.house.olga, reason="test")
    turning.house.place()
    assert services.hedges_by_provider() == {}
    services.switch_hedging(terms=turning.house.terms, is_on=True, actor=turning.house.olga, reason="test")
    turning.until(lambda: turning.desk.up() == {"lp"})
    services.switch_hedging(terms=turning.house.terms, is_on=False, actor=turning.house.olga, reason="test")
    turning.until(lambda: "|35=5|49=TICKHOUSE|" in turning.engine.log())
    assert turning.orders() == []


def test_a_source_that_quotes_is_not_traded_on(turning: Turning) -> None:
    instrument = turning.house.market.instrument
    instrument.quotations.create(rank=1, source="lp", source_symbol="EUR/USD")
    turning.until(lambda: "Instruments are quoted by it" in turning.desk.complaint())
    assert "|35=A|" not in turning.engine.log()


# --- what QuickFIX's example does not say -------------------------------------------------------------


@asynccontextmanager
async def speaking(acceptor: Acceptor) -> AsyncIterator[tuple[House, HedgeOrder]]:
    """Send one order to an acceptor that plays scripts."""
    server = await asyncio.start_server(acceptor.handle, "127.0.0.1", 0)

    def begin() -> tuple[House, HedgeOrder]:
        open_days([clock.now().date()])
        house = House(Clock(), max_quote_age_ms=HOUR_MS).open(server.sockets[0].getsockname()[1])
        house.place()
        return house, house.decide()[0]

    house, order = await stored(begin)
    (connection,) = await stored(services.hedges_by_provider)
    provider = session.Provider(connection, QUICK)

    async def follow() -> None:
        while True:
            found = await stored(services.hedges_by_provider)
            provider.orders = found[connection]
            await asyncio.sleep(0.05)

    tasks = [asyncio.create_task(each) for each in (provider.run(), follow())]
    try:
        yield house, order
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        server.close()
        assert [each for each in acceptor.failures if isinstance(each, AssertionError)] == []


def report(order: Read, exec_id: str, exec_type: str, status: str, filled: str) -> list[tuple[int, str]]:
    quantity = [(32, filled), (31, order[44])] if exec_type == "F" else []
    return [
        (37, "O1"),
        (17, exec_id),
        (150, exec_type),
        (39, status),
        (11, order[11]),
        *quantity,
        (14, filled),
    ]


async def until_state(order: HedgeOrder, state: str) -> HedgeOrder:
    async with asyncio.timeout(20):
        while True:
            await stored(order.refresh_from_db)
            if order.state == state:
                return order
            await asyncio.sleep(0.02)


async def test_the_order_on_the_wire_and_a_fill_in_parts() -> None:
    async def fill(line: Line) -> None:
        await line.log_on()
        order = await line.expect("D")
        line.send("8", *report(order, "E1", "0", "0", "0"))
        line.send("8", *report(order, "E2", "F", "1", "300"))
        line.send("8", *report(order, "E3", "4", "4", "300"))
        await line.listen()

    acceptor = Acceptor(fill)
    async with speaking(acceptor) as (_, order):
        await until_state(order, "partly_filled")
    (sent,) = (each for each in acceptor.lines[0].got if each.kind == "D")
    assert sent.pairs[7:-1] == [
        (11, str(order.pk)), (55, "EUR/USD"), (54, "1"), (60, sent[60]), (38, "68300"), (40, "2"),
        (44, "1.08108"), (59, "3"),
    ]  # fmt: skip
    assert acceptor.lines[0].got[0].get(141) is None
    assert (order.cum_quantity, order.is_reconciled) == (300, True)


async def test_a_fill_that_could_not_be_recorded_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    record, broken = services.record_execution, asyncio.Event()

    def fail_once(**values: Any) -> bool:
        if not broken.is_set():
            broken.set()
            raise DatabaseError("out of space")
        return record(**values)

    monkeypatch.setattr(services, "record_execution", fail_once)

    async def fill(line: Line) -> None:
        await line.log_on()
        order = await line.expect("D")
        # Both at once: the answer to the question takes a number while the fill waits to be recorded.
        question, fill = fix("1", line.seq, (112, "q")), report(order, "E1", "F", "2", order[38])
        line.raw(question + fix("8", line.seq + 1, *fill))
        line.fill = (line.seq + 1, fill)  # type: ignore[attr-defined]
        line.seq += 2
        await line.listen()

    async def again(line: Line) -> None:
        seq, fill = acceptor.lines[0].fill  # type: ignore[attr-defined]
        kept = await stored(lambda: FixSession.objects.get(pk="lp").next_in)
        assert kept == seq
        await line.log_on()
        asked = await line.expect("2")
        assert asked[7] == str(seq)
        line.raw(fix("8", seq, *fill, dup="Y"))
        line.raw(fix("4", seq + 1, (123, "Y"), (36, str(line.seq)), dup="Y"))
        await line.listen()

    acceptor = Acceptor(fill, again, goes_on=True)
    async with speaking(acceptor) as (house, order):
        await until_state(order, "filled")
        held = await stored(lambda: services.hedging.held_of(house.market.instrument.pk))
        assert held == order.quantity
    assert broken.is_set()


async def test_a_provider_that_knows_nothing_of_an_order_frees_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "ASK_SECONDS", 0.1)

    async def forget(line: Line) -> None:
        await line.log_on()
        await line.expect("D")
        asked = await line.expect("H")
        assert asked.pairs[7:-1] == [(11, str(order.pk)), (55, "EUR/USD"), (54, "1")]
        unknown = [(17, "0"), (150, "I"), (39, "8"), (11, asked[11]), (14, "0"), (58, "unknown order")]
        line.send("8", *unknown)
        await line.listen()

    async with speaking(Acceptor(forget)) as (_, order):
        await until_state(order, "rejected")
    assert order.said == "unknown order"


async def test_a_report_that_cannot_be_read_is_told_and_stops_hedging() -> None:
    async def mumble(line: Line) -> None:
        await line.log_on()
        order = await line.expect("D")
        line.send("8", (17, "E1"), (150, "F"), (39, "2"), (11, order[11]), (32, "many"), (31, "1"), (14, "1"))
        await line.listen()

    async with speaking(Acceptor(mumble)) as (house, order):
        async with asyncio.timeout(20):
            while not await stored(FixReject.objects.exists):  # noqa: ASYNC110 - written by a thread
                await asyncio.sleep(0.02)
        assert await stored(house.decide) == []
        await stored(order.refresh_from_db)
    assert order.state == "sent"
    (told,) = await stored(lambda: list(FixReject.objects.values_list("kind", "text")))
    assert told[0] == "unreadable"
    assert told[1].endswith("cannot be read: field 32 is no price")


async def test_a_report_that_the_database_refuses_is_told_and_the_session_goes_on() -> None:
    async def exaggerate(line: Line) -> None:
        await line.log_on()
        order = await line.expect("D")
        # Each fits, and what is held then does not.
        line.send("8", *report(order, "E1", "F", "1", "999999999999"))
        line.send("8", *report(order, "E2", "F", "1", "999999999999"))
        line.send("8", *report(order, "E\0", "4", "4", "0"))
        line.send("8", *report(order, "E3", "4", "4", "999999999999"), (58, "a\0b"))
        await line.listen()

    acceptor = Acceptor(exaggerate)
    async with speaking(acceptor) as (house, order):
        await until_state(order, "partly_filled")
        kept = await stored(
            lambda: list(HedgeExecution.objects.order_by("pk").values_list("exec_id", "fields"))
        )
        held = await stored(lambda: services.hedging.held_of(house.market.instrument.pk))
    assert len(acceptor.lines) == 1
    assert (order.said, order.is_reconciled, held) == ("a?b", True, D("999999999999"))
    assert [exec_id for exec_id, _ in kept] == ["E1", "E3"]
    assert [58, "a?b"] in kept[1][1]
    told = await stored(lambda: list(FixReject.objects.order_by("pk").values_list("kind", "ref_seq", "text")))
    assert [(kind, text.splitlines()[0]) for kind, _, text in told] == [
        ("unreadable", f"message {told[0][1]} cannot be read: numeric field overflow"),
        ("unreadable", f"message {told[1][1]} cannot be read: field 17 is missing or cannot be"),
    ]
