"""Sequence numbers and time, against a scripted acceptor: gaps, resends, resets, silence, and a kill."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import OperationalError

from config.core import clock
from config.embedded import environment as env
from quotes.models import FixMessage, FixReject, FixSession, Source
from quotes.services import fix as services
from quotes.sources.fix.messages import encode, header
from quotes.sources.fix.sender import stored
from tests.quotes.fix.peer import Acceptor, Ended, Line, subscription, trading, until_quoted
from tests.quotes.fix.test_source import E1, E2, serve
from tests.quotes.fix.wire import fix, snapshot
from tests.quotes.test_binance import Heard, eventually

Numbers = Callable[[], Awaitable[tuple[int, int]]]
Sent = Callable[[], Awaitable[list[int]]]
KEEPS = {"reset_on_logon": False}


async def go_on(line: Line) -> None:
    """Log on without a reset, and quote once."""
    await line.log_on()
    request = await line.expect("V")
    line.quote("EUR/USD", "1.1000", "1.1002", (262, request[262]))
    await line.listen()


# --- numbers that outlive a connection ----------------------------------------------------------------


async def test_numbers_go_on_over_a_restart(lp: Source, numbers: Numbers, sent: Sent) -> None:
    acceptor = Acceptor(go_on, goes_on=True)
    for restart in (1, 2):
        async with trading(acceptor, options=KEEPS) as (_, heard):
            await until_quoted(heard, 1)
            await eventually(lambda: heard.links[0].lag_ms is not None)
        first = 4 * (restart - 1) + 1
        assert [each.seq for each in acceptor.lines[-1].got] == list(range(first, first + 4))
        assert acceptor.lines[-1].got[0].get(141) is None
        assert await numbers() == (first + 4, first + 4)
    # The password and what only keeps a session alive are not kept.
    assert await sent() == [3, 7]


async def test_a_reset_begins_at_one_and_forgets_what_was_sent(
    lp: Source, numbers: Numbers, sent: Sent
) -> None:
    acceptor = Acceptor(go_on, serve, goes_on=True)
    async with trading(acceptor, options=KEEPS) as (_, heard):
        await until_quoted(heard, 1)
    acceptor.goes_on = False
    async with trading(acceptor) as (_, heard):
        await until_quoted(heard, 1)
    assert [each.seq for each in acceptor.lines[1].got][:3] == [1, 2, 3]
    assert await sent() == [3]


async def test_a_reset_by_the_peer_alone_numbers_both_from_one(lp: Source, numbers: Numbers) -> None:
    await stored(
        lambda: FixSession.objects.create(source=lp, next_in=57, next_out=90, changed_at=clock.now())
    )
    acceptor = Acceptor(serve)
    async with trading(acceptor, options=KEEPS) as (_, heard):
        await until_quoted(heard, 1)
    assert [each.seq for each in acceptor.lines[0].got][:3] == [90, 1, 2]


async def test_a_reset_in_the_midst_of_a_session_is_answered(lp: Source, numbers: Numbers) -> None:
    async def play(line: Line) -> None:
        await line.log_on((141, "Y"))
        await line.expect("V")
        line.seq = 1
        line.send("A", (98, "0"), (108, "30"), (141, "Y"))
        answer = await line.expect("A")
        assert (answer.seq, answer[141], answer[108]) == (1, "Y", "30")
        line.quote("EUR/USD", "1.1000", "1.1002")
        await line.listen()

    acceptor = Acceptor(play)
    async with trading(acceptor) as (_, heard):
        await until_quoted(heard, 1)
    assert len(acceptor.lines) == 1
    assert (await numbers())[0] == acceptor.lines[0].seq


# --- gaps in what comes -------------------------------------------------------------------------------


async def test_what_is_missing_is_asked_for_and_quoted_once_it_is_there(lp: Source) -> None:
    replay = asyncio.Event()

    async def lose(line: Line) -> None:
        await line.log_on((141, "Y"))
        await line.expect("V")
        line.quote("EUR/USD", "1.1000", "1.1002")
        await until_quoted(heard, 1)
        lost = snapshot(line.seq, "EUR/USD", "1.2000", "1.2002", dup="Y")
        line.seq += 1
        line.quote("EUR/USD", "1.1001", "1.1003")
        asked = await line.expect("2")
        assert (asked[7], asked[16]) == (str(line.seq - 2), "0")
        line.quote("EUR/USD", "1.1001", "1.1003")
        await replay.wait()
        line.raw(lost)
        await line.listen()

    acceptor, heard = Acceptor(lose), Heard(subscription())
    async with trading(acceptor, heard=heard):
        await eventually(lambda: any(each.kind == "2" for line in acceptor.lines for each in line.got))
        # Nothing is known meanwhile.
        assert not heard.is_up("EURUSD")
        assert heard.quotes == [E1]
        replay.set()
        await eventually(lambda: heard.is_up("EURUSD"))
        # Neither the price of then nor those held back on the way are quoted, but what they come to.
        assert set(heard.quotes) == {E1, E2}
        assert heard.lanes["EURUSD"].resumes_at is not None
    assert sum(each.kind == "2" for each in acceptor.lines[0].got) == 1


async def test_what_came_early_counts_even_if_it_is_not_sent_again(lp: Source) -> None:
    async def fill(line: Line) -> None:
        await line.log_on((141, "Y"))
        await line.expect("V")
        line.seq += 1
        line.quote("EUR/USD", "1.1000", "1.1002")
        line.send("j", (45, "3"), (380, "0"), (58, "slow down"))
        asked = await line.expect("2")
        assert (asked[7], line.seq) == ("3", 6)
        line.raw(fix("4", 3, (123, "Y"), (36, "6"), dup="Y"))
        await line.listen()

    acceptor = Acceptor(fill)
    async with trading(acceptor) as (_, heard):
        await until_quoted(heard, 1)
        assert heard.quotes == [E1]
        assert heard.health("lp").last_error == "business_reject: slow down 380=0"
    # Snapshots are whole, so nothing is asked for anew.
    assert [each.kind for each in acceptor.lines[0].got].count("V") == 1


async def test_books_of_changes_begin_anew_when_one_is_lost_for_good(lp: Source) -> None:
    async def fill(line: Line) -> None:
        await line.log_on((141, "Y"))
        first = await line.expect("V")
        line.quote("EUR/USD", "1.1000", "1.1002", (262, first[262]))
        change = [(279, "0"), (269, "0"), (55, "EUR/USD"), (270, "1.1001")]
        line.send("X", (268, "1"), *change)
        line.seq += 1
        line.send("X", (268, "1"), *change)
        asked = await line.expect("2")
        line.raw(fix("4", int(asked[7]), (123, "Y"), (36, str(line.seq)), dup="Y"))
        again, ended = await line.expect("V"), await line.expect("V")
        assert (again[263], again[55], ended[263], ended[262]) == ("1", "EUR/USD", "2", first[262])
        line.send("X", (268, "1"), (279, "0"), (269, "1"), (55, "EUR/USD"), (270, "9"))
        line.quote("EUR/USD", "1.1001", "1.1003", (262, again[262]))
        await line.listen()

    acceptor = Acceptor(fill)
    async with trading(acceptor) as (_, heard):
        await eventually(lambda: E2 in heard.quotes)
        assert heard.quotes == [E1, ("EURUSD", E2[1], E1[2]), E2]
    assert len(acceptor.lines) == 1


async def test_a_logon_with_too_high_a_number_is_recovered_by_a_gap_fill(
    lp: Source, numbers: Numbers
) -> None:
    async def ahead(line: Line) -> None:
        line.seq = 5
        await line.log_on()
        asked = await line.expect("2")
        assert (asked[7], asked[16]) == ("1", "0")
        line.raw(fix("4", 1, (123, "Y"), (36, "6"), dup="Y"))
        line.quote("EUR/USD", "1.1000", "1.1002")
        await line.listen()

    acceptor = Acceptor(ahead)
    async with trading(acceptor, options=KEEPS) as (_, heard):
        await until_quoted(heard, 1)
        assert heard.quotes == [E1]
    assert (await numbers())[0] == acceptor.lines[0].seq


async def test_duplicates_are_ignored_and_a_reset_is_honoured(lp: Source, numbers: Numbers) -> None:
    async def play(line: Line) -> None:
        await line.log_on((141, "Y"))
        await line.expect("V")
        line.raw(snapshot(1, "EUR/USD", "9", "9.1", dup="Y"))
        line.raw(fix("4", 1, (36, "50")))
        line.seq = 50
        line.quote("EUR/USD", "1.1000", "1.1002")
        line.raw(fix("4", 51, (36, "20")))  # backwards: refused
        refusal = await line.expect("3")
        assert (refusal[371], refusal[372], refusal[373]) == ("36", "4", "5")
        line.quote("EUR/USD", "1.1001", "1.1003")
        await line.listen()

    acceptor = Acceptor(play)
    async with trading(acceptor) as (_, heard):
        await until_quoted(heard, 2)
        assert heard.quotes == [E1, E2]
    assert (len(acceptor.lines), (await numbers())[0]) == (1, acceptor.lines[0].seq)


async def test_a_number_that_is_too_low_ends_the_session(lp: Source) -> None:
    async def repeat(line: Line) -> None:
        await line.log_on((141, "Y"))
        await line.expect("V")
        line.raw(fix("0", 1))
        goodbye = await line.expect("5")
        assert goodbye[58] == "MsgSeqNum too low, expecting 3 but received 1"
        with pytest.raises((Ended, ConnectionError)):
            await line.receive()

    acceptor = Acceptor(repeat, serve)
    async with trading(acceptor) as (_, heard):
        await until_quoted(heard, 1)
        assert heard.health("lp").last_error == "MsgSeqNum too low, expecting 3 but received 1"


async def test_without_what_is_missing_the_session_is_given_up(lp: Source) -> None:
    async def withhold(line: Line) -> None:
        await line.log_on((141, "Y"), heartbeat=1)
        line.seq += 1
        while True:
            line.send("0")
            await asyncio.sleep(0.2)

    acceptor = Acceptor(withhold, serve)
    async with trading(acceptor, options={"heartbeat_seconds": 1}) as (_, heard):
        await until_quoted(heard, 1)
        assert heard.health("lp").last_error in (
            "missing messages were not sent again",
            "a TestRequest was not answered",
        )


# --- what is asked of us ------------------------------------------------------------------------------


async def test_messages_are_sent_again_but_orders_and_the_sessions_own_are_not(lp: Source) -> None:
    def before() -> None:
        FixSession.objects.create(source=lp, next_in=1, next_out=8, changed_at=clock.now())
        head = partial(header, "TICKHOUSE", "LP")
        for seq, kind in ((2, "V"), (3, "D"), (4, "V"), (7, "D")):
            raw = encode(kind, head(seq, clock.now() - timedelta(days=1)), [(55, f"S{seq}")])
            FixMessage.objects.create(source=lp, seq=seq, raw=raw, sent_at=clock.now())

    await stored(before)
    heard_again: list[tuple[str, int, str | None]] = []

    async def play(line: Line) -> None:
        await line.log_on()  # 8, and 9 is a TestRequest
        await line.expect("V")
        line.send("2", (7, "1"), (16, "0"))
        while not heard_again or heard_again[-1][1] != 10:
            each = await line.receive()
            assert each[43] == "Y"
            assert each[122] <= each[52]
            heard_again.append((each.kind, each.seq, each.get(36) or each[55]))
        line.send("2", (7, "4"), (16, "5"))
        again = [await line.receive(), await line.receive()]
        assert [(each.kind, each.seq, each.get(36)) for each in again] == [("V", 4, None), ("4", 5, "6")]
        line.send("2", (7, "x"), (16, "0"))
        assert (await line.expect("3"))[371] == "7"
        line.quote("EUR/USD", "1.1000", "1.1002")
        await line.listen()

    acceptor = Acceptor(play)
    async with trading(acceptor, options=KEEPS) as (_, heard):
        await until_quoted(heard, 1)
    assert heard_again == [
        ("4", 1, "2"), ("V", 2, "S2"), ("4", 3, "4"), ("V", 4, "S4"), ("4", 5, "10"), ("V", 10, "EUR/USD"),
    ]  # fmt: skip


async def test_more_orders_than_are_read_at_once_are_filled_over(
    lp: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "MOST_RESENT", 3)

    def before() -> None:
        FixSession.objects.create(source=lp, next_in=1, next_out=9, changed_at=clock.now())
        for seq in range(1, 9):
            raw = encode("D" if seq != 5 else "V", header("TICKHOUSE", "LP", seq, clock.now()), [(55, "S")])
            FixMessage.objects.create(source=lp, seq=seq, raw=raw, sent_at=clock.now())

    await stored(before)

    async def play(line: Line) -> None:
        await line.log_on()
        line.send("2", (7, "1"), (16, "8"))
        fill = await line.expect("4")
        again = await line.expect("V")
        while again.get(43) is None:
            again = await line.expect("V")
        rest = await line.expect("4")
        assert [(fill.seq, fill[36]), (again.seq, again[43]), (rest.seq, rest[36])] == [
            (1, "5"), (5, "Y"), (6, "9"),
        ]  # fmt: skip
        line.quote("EUR/USD", "1.1000", "1.1002")
        await line.listen()

    async with trading(Acceptor(play), options=KEEPS) as (_, heard):
        await until_quoted(heard, 1)


async def test_a_test_request_is_answered_with_its_words(lp: Source) -> None:
    async def ask(line: Line) -> None:
        await line.log_on((141, "Y"))
        await line.expect("V")
        line.send("1", (112, "are you there"))
        while (answer := await line.expect("0")).get(112) != "are you there":
            pass
        assert answer.get(112) == "are you there"
        line.quote("EUR/USD", "1.1000", "1.1002")
        await line.listen()

    async with trading(Acceptor(ask)) as (_, heard):
        await until_quoted(heard, 1)


# --- time ---------------------------------------------------------------------------------------------


async def test_the_answered_heartbeat_sets_the_pace_and_silence_ends_the_session(lp: Source) -> None:
    async def fall_silent(line: Line) -> None:
        await line.log_on((141, "Y"), heartbeat=1)
        request = await line.expect("V")
        line.quote("EUR/USD", "1.1000", "1.1002", (262, request[262]))
        while True:
            await line.receive()  # and says nothing more

    acceptor = Acceptor(fall_silent, serve)
    async with trading(acceptor, options={"heartbeat_seconds": 30}) as (_, heard):
        await until_quoted(heard, 1)
        await until_quoted(heard, 2)
        assert heard.health("lp").last_error.startswith("silent for 2.")
    kinds = [each.kind for each in acceptor.lines[0].got]
    # Ours every second, and after 1.2 s a question.
    assert kinds[:3] == ["A", "1", "V"]
    assert kinds.count("1") == 2
    assert "0" in kinds


# --- the database -------------------------------------------------------------------------------------


async def test_while_the_database_is_away_nothing_is_sent_and_quotes_go_on(
    lp: Source, monkeypatch: pytest.MonkeyPatch, numbers: Numbers
) -> None:
    away = False
    take = services.take_fix_number

    def take_or_not(**values: Any) -> None:
        if away:
            raise OperationalError("away")
        take(**values)

    monkeypatch.setattr(services, "take_fix_number", take_or_not)

    async def play(line: Line) -> None:
        nonlocal away
        await line.log_on((141, "Y"))
        await line.expect("V")
        away = True
        line.send("1", (112, "one"))
        line.quote("EUR/USD", "1.1000", "1.1002")
        await until_quoted(heard, 1)
        away = False
        assert (await line.expect("0"))[112] == "one"
        line.quote("EUR/USD", "1.1001", "1.1003")
        await line.listen()

    heard = Heard(subscription())
    acceptor = Acceptor(play)
    async with trading(acceptor, heard=heard):
        await until_quoted(heard, 2)
    assert [each.seq for each in acceptor.lines[0].got] == list(range(1, len(acceptor.lines[0].got) + 1))
    assert (await numbers())[1] == len(acceptor.lines[0].got) + 1


async def test_a_database_that_stays_away_ends_the_session(
    lp: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: Any) -> None:
        raise OperationalError("away")

    monkeypatch.setattr(services, "take_fix_number", refuse)
    monkeypatch.setattr("quotes.sources.fix.sender.LONGEST_AWAY", 0.1)
    acceptor = Acceptor(serve)
    async with trading(acceptor) as (_, heard):
        await eventually(lambda: heard.health("lp").last_error == "the sequence numbers cannot be kept")
    assert all(line.got == [] for line in acceptor.lines)


def test_a_number_is_taken_once(lp: Source) -> None:
    services.open_fix_session(source="lp", reset=True)
    services.take_fix_number(source="lp", seq=1, next_in=1, raw=b"one")
    with pytest.raises(services.NumberTaken):
        services.take_fix_number(source="lp", seq=1, next_in=9)
    # A commit whose answer was lost is found again.
    services.take_fix_number(source="lp", seq=1, next_in=1, raw=b"one", is_repeat=True)
    with pytest.raises(services.NumberTaken):
        services.take_fix_number(source="lp", seq=7, next_in=1, is_repeat=True)
    assert services.open_fix_session(source="lp", reset=False) == (1, 2)
    assert services.sent_fix_messages(source="lp", first=1, last=9) == [(1, b"one")]


async def test_another_process_on_the_session_ends_this_one(lp: Source, numbers: Numbers) -> None:
    async def play(line: Line) -> None:
        await line.log_on()
        await line.expect("V")
        await stored(lambda: FixSession.objects.update(next_out=20))
        line.send("1", (112, "one"))
        await line.listen()

    acceptor = Acceptor(play, go_on, goes_on=True)
    async with trading(acceptor, options=KEEPS) as (_, heard):
        await until_quoted(heard, 1)
        assert "has been used by another process" in heard.health("lp").last_error
    assert acceptor.lines[1].got[0].seq == 20


def test_only_the_newest_refusals_are_kept(lp: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "MOST_REJECTS", 3)
    other = Source.objects.create(code="other", kind="fix", name="Other", changed_at=clock.now())
    services.record_fix_reject(source=other.pk, kind="reject", ref_seq=1, text="theirs")
    for number in range(5):
        services.record_fix_reject(source="lp", kind="reject", ref_seq=number, text=str(number))
    kept = FixReject.objects.order_by("id").values_list("source_id", "text")
    assert list(kept) == [("other", "theirs"), ("lp", "2"), ("lp", "3"), ("lp", "4")]


# --- kill -9 ------------------------------------------------------------------------------------------

PROCESS = """
import asyncio, sys
import django
django.setup()
from config.core import faults
from quotes.lanes import Connection
from quotes.sources.fix import FixSource
from tests.quotes.fix.peer import OPTIONS, QUICK, subscription
from tests.quotes.test_binance import Heard

async def main(port, arm_later):
    pound = subscription("GBPUSD", "GBP/USD", 2)
    heard = Heard(subscription(), pound)
    options = OPTIONS | {"reset_on_logon": False}
    source = FixSource(heard, Connection("lp", "fix", f"127.0.0.1:{port}", "", options), QUICK)
    source.watch([subscription()])
    running = asyncio.create_task(source.run())
    if arm_later:
        while not heard.quotes or heard.links[0].lag_ms is None:
            await asyncio.sleep(0.01)
        faults._name, faults._action = "fix.before_send", "exit"
        source.watch([subscription(), pound])
    await running

asyncio.run(main(int(sys.argv[1]), sys.argv[2] == "later"))
"""


async def killed_before_sending(acceptor: Acceptor, when: str) -> None:
    """Run the session in a process that ends as by kill -9 once a number is kept, its bytes not sent."""
    server = await asyncio.start_server(acceptor.handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    fault = {} if when == "later" else {"FAULTPOINT": "fix.before_send:exit"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROCESS, str(port), when,
        env=env.load() | {"DJANGO_SETTINGS_MODULE": "config.settings"} | fault, cwd=env.ROOT,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(30):
            _, said = await process.communicate()
        assert process.returncode == 137, said.decode()[-2000:]
    finally:
        if process.returncode is None:
            os.kill(process.pid, signal.SIGKILL)
        server.close()


async def test_killed_between_number_and_bytes_a_session_goes_on_behind_the_number(
    lp: Source, numbers: Numbers, sent: Sent
) -> None:
    acceptor = Acceptor(Line.listen, go_on, goes_on=True)
    await killed_before_sending(acceptor, "at the first")
    assert (await numbers(), acceptor.lines[0].got) == ((1, 2), [])

    async def ask(line: Line) -> None:
        logon = await line.log_on()
        assert logon.seq == 2
        line.send("2", (7, "1"), (16, "0"))
        fill = await line.expect("4")
        assert (fill.seq, fill[123]) == (1, "Y")
        line.quote("EUR/USD", "1.1000", "1.1002")
        await line.listen()

    acceptor.scripts = [ask]
    async with trading(acceptor, options=KEEPS) as (_, heard):
        await until_quoted(heard, 1)


async def test_a_request_lost_by_a_kill_is_sent_again_when_asked_for(
    lp: Source, numbers: Numbers, sent: Sent
) -> None:
    acceptor = Acceptor(go_on, goes_on=True)
    await killed_before_sending(acceptor, "later")
    got = [each.kind for each in acceptor.lines[0].got]
    assert got == ["A", "1", "V"]
    lost = len(got) + 1
    assert (await numbers())[1] == lost + 1
    assert await sent() == [3, lost]

    async def ask(line: Line) -> None:
        assert (await line.log_on()).seq == lost + 1
        line.send("2", (7, str(lost)), (16, str(lost)))
        while (again := await line.expect("V")).seq != lost:
            pass
        assert (again[55], again[43]) == ("GBP/USD", "Y")
        assert again[122] < again[52]
        line.quote("EUR/USD", "1.1000", "1.1002")
        await line.listen()

    acceptor.scripts = [ask]
    async with trading(acceptor, options=KEEPS) as (_, heard):
        await until_quoted(heard, 1)
    # What it had received before the kill and not kept is only asked for again.
    assert (await numbers())[0] <= acceptor.lines[1].seq
