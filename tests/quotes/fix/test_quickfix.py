"""The source against QuickFIX: its own example for the session, an acceptor of ours for market data."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.db.models import F

from quotes.lanes import Connection
from quotes.models import FixSession, Source
from quotes.sources.fix import FixSource
from quotes.sources.fix.sender import stored
from tests.quotes.fix import quickfix
from tests.quotes.fix.peer import OPTIONS, QUICK, subscription, until_quoted
from tests.quotes.fix.quickfix import Engine
from tests.quotes.test_binance import Heard, eventually

Numbers = Callable[[], Awaitable[tuple[int, int]]]
Rejects = Callable[[], Awaitable[list[Any]]]
KEEPS = {"reset_on_logon": False}
EURO, POUND = subscription(), subscription("GBPUSD", "GBP/USD", 2)


@pytest.fixture
def executor(tmp_path: Path) -> Iterator[Engine]:
    """QuickFIX's example, which knows orders and nothing of market data; it checks our messages, too."""
    engine = Engine(quickfix.built(quickfix.example()), tmp_path, checks=True).start()
    yield engine
    engine.kill()


@pytest.fixture
def market(tmp_path: Path) -> Iterator[Engine]:
    """A market of QuickFIX, which checks each of our messages against its dictionary."""
    engine = Engine(quickfix.built(quickfix.market_data()), tmp_path, checks=True).start()
    yield engine
    engine.kill()


@asynccontextmanager
async def speaking(
    engine: Engine, *wanted: Any, secret_ref: str = "", **options: Any
) -> AsyncIterator[tuple[FixSource, Heard]]:
    heard = Heard(EURO, POUND, subscription("NOSUCH", "NOSUCH", 3))
    url = f"127.0.0.1:{engine.port}"
    source = FixSource(heard, Connection("lp", "fix", url, secret_ref, OPTIONS | options), QUICK)
    source.watch(wanted or (EURO,))
    running = asyncio.create_task(source.run())
    try:
        yield source, heard
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def received(engine: Engine, kind: str) -> list[str]:
    """Return the messages of a kind that the engine has received."""
    lines = engine.log().splitlines()
    return [line for line in lines if f"|35={kind}|49=TICKHOUSE|" in line]


def refused(engine: Engine) -> list[str]:
    """Return what the engine found wrong with our messages."""
    return re.findall(r"\|35=3\|49=LP\|.*", engine.log())


# --- the session --------------------------------------------------------------------------------------


async def test_a_request_its_example_does_not_know_is_refused_and_the_session_goes_on(
    lp: Source, executor: Engine, rejects: Rejects, numbers: Numbers
) -> None:
    async with speaking(executor, heartbeat_seconds=1) as (_, heard):
        health = heard.health("lp")
        await eventually(lambda: health.last_error.startswith("business_reject"))
        # Heartbeats of both, and another answer after 1.2 s.
        await eventually(lambda: len(received(executor, "1")) >= 2 and bool(received(executor, "0")))
        assert (health.state, health.connects) == ("up", 1)
    ((kind, ref_seq, text),) = await rejects()
    assert (kind, ref_seq) == ("business_reject", 3)
    assert "380=3" in text
    assert refused(executor) == []
    # A polite end: it has answered our Logout, which is counted.
    assert len(received(executor, "5")) == 1
    next_in, next_out = await numbers()
    assert re.findall(r"\|34=(\d+)\|", re.findall(r".*\|35=5\|.*49=LP\|.*", executor.log())[-1])[0] == str(
        next_in - 1
    )
    assert next_out == 1 + sum(line.count("|49=TICKHOUSE|") for line in executor.log().splitlines())


async def test_an_engine_without_a_dictionary_refuses_groups(
    lp: Source, tmp_path: Path, rejects: Rejects
) -> None:
    engine = Engine(quickfix.built(quickfix.example()), tmp_path, checks=False).start()
    try:
        async with speaking(engine) as (_, heard):
            await eventually(lambda: heard.health("lp").failures == 1)
            assert heard.health("lp").state == "up"
        assert await rejects() == [("reject", 3, "Tag appears more than once 371=269 372=V 373=13")]
    finally:
        engine.kill()


async def test_numbers_go_on_when_either_side_is_killed(
    lp: Source, executor: Engine, rejects: Rejects, numbers: Numbers
) -> None:
    async def refusals(count: int) -> None:
        async with asyncio.timeout(20):
            while len(await rejects()) < count:  # noqa: ASYNC110 - written by threads
                await asyncio.sleep(0.02)

    async with speaking(executor, **KEEPS) as (_, heard):
        await refusals(1)
        executor.kill()
        await eventually(lambda: heard.health("lp").failures > 1)
        executor.start()
        await refusals(2)
        assert heard.health("lp").connects == 2

    # Killed between the number and the bytes: it finds two missing, and is told that nothing comes.
    _, lost = await numbers()
    await stored(lambda: FixSession.objects.update(next_out=F("next_out") + 2))
    async with speaking(executor, **KEEPS):
        await refusals(3)
    assert f"|7={lost}|16=0|" in executor.log()
    fill = received(executor, "4")[-1]
    assert f"|34={lost}|" in fill
    assert "|123=Y|" in fill

    # Killed before the last of its numbers were kept: it sends again what it has sent.
    await stored(lambda: FixSession.objects.update(next_in=F("next_in") - 4))
    async with speaking(executor, **KEEPS) as (_, heard):
        await eventually(lambda: len(received(executor, "2")) == 1)
        await refusals(5)
        assert heard.health("lp").connects == 1
    assert refused(executor) == []
    assert "too low" not in executor.log()


async def test_a_peer_that_has_lost_its_numbers_is_refused_and_a_reset_helps(
    lp: Source, executor: Engine, rejects: Rejects
) -> None:
    async with speaking(executor, **KEEPS) as (_, heard):
        await eventually(lambda: heard.health("lp").failures == 1)
        executor.kill()
        for file in (executor.folder / "store").iterdir():
            file.unlink()
        executor.start()
        await eventually(lambda: "MsgSeqNum too low" in heard.health("lp").last_error)
    async with speaking(executor) as (_, heard):
        await eventually(lambda: heard.health("lp").last_error.startswith("business_reject"))


# --- market data --------------------------------------------------------------------------------------


async def test_quickfix_serves_snapshots_and_changes(lp: Source, market: Engine, rejects: Rejects) -> None:
    nosuch = subscription("NOSUCH", "NOSUCH", 3)
    async with speaking(market, EURO, nosuch, symbols_per_request=2) as (source, heard):
        await until_quoted(heard, 5)
        assert heard.quotes[0] == ("EURUSD", Decimal("1.10000"), Decimal("1.10002"))
        assert {quote[2] - quote[1] for quote in heard.quotes} == {Decimal("0.00002")}
        await eventually(lambda: heard.links[0].lag_ms is not None)
        assert [each[0] for each in await rejects()] == ["market_data_reject"]
        # Another list: the pound comes, the euro goes.
        source.watch([POUND])
        await eventually(lambda: heard.quotes[-1][0] == "GBPUSD")
        await eventually(lambda: sum("|263=2|" in line for line in received(market, "V")) == 1)
        count = len(heard.quotes)
        await until_quoted(heard, count + 3)
        assert {quote[0] for quote in heard.quotes[count:]} == {"GBPUSD"}
        assert heard.health("lp").connects == 1
    assert refused(market) == []


async def test_a_market_that_is_killed_is_reached_again(lp: Source, market: Engine) -> None:
    async with speaking(market) as (_, heard):
        await until_quoted(heard, 3)
        market.kill()
        await eventually(lambda: bool(heard.cuts) and not heard.is_up("EURUSD"))
        count = len(heard.quotes)
        market.start()
        await until_quoted(heard, count + 3)
        assert heard.is_up("EURUSD")
        assert heard.quotes[count] == ("EURUSD", Decimal("1.10000"), Decimal("1.10002"))
    assert refused(market) == []


async def test_a_wrong_password_is_told_and_the_right_one_lets_in(
    lp: Source, market: Engine, monkeypatch: pytest.MonkeyPatch, rejects: Rejects
) -> None:
    monkeypatch.setenv("SECRET_SOURCE_LP_PASSWORD", "guess")
    async with speaking(market, secret_ref="source-lp.password", username="tick") as (_, heard):
        await eventually(lambda: "wrong password" in heard.health("lp").last_error)
        monkeypatch.setenv("SECRET_SOURCE_LP_PASSWORD", "hush")
        await until_quoted(heard, 1)
    assert ("logout", None, "Rejected Logon Attempt: wrong password") in await rejects()
