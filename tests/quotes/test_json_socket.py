"""The adapter to any JSON over WebSocket, against local servers, with the examples of docs/sources.md."""

import asyncio
import itertools
import json
import logging
import re
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.server import ServerConnection

from quotes.errors import InvalidSource
from quotes.lanes import Connection
from quotes.sources.connection import SourceError, Timing
from quotes.sources.frames import instant_of, price_of, read_json
from quotes.sources.json_socket import JsonSource, Paths, Quoted, read_quotes
from quotes.sources.templates import MISSING, Match, fill, find, placeholders
from tests.quotes.peers import (
    ONCE,
    QUICK,
    SECRET,
    Heard,
    SocketPeer,
    SocketScript,
    cut_within_a_frame,
    eventually,
    gone,
    quiet,
    running,
    saying,
    subscription,
    subscriptions,
)

DOCS = Path(__file__).parents[2] / "docs" / "sources.md"
PLAIN: dict[str, Any] = {
    "subscribe": {"sub": "{symbol}"},
    "paths": {"symbol": "s", "bid": "b", "ask": "a"},
    "error": {"match": {"path": "error"}, "text": "error"},
}
ONE = {"s": "X", "b": "1.1", "a": "1.2"}
QUOTED = ("XUSD", Decimal("1.1"), Decimal("1.2"))


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_SOURCE_FEED", SECRET)


def example(title: str) -> tuple[str, dict[str, Any]]:
    """Return path and options of an example of the documents."""
    section = DOCS.read_text().split(f"### {title}\n", 1)[1].split("\n### ", 1)[0]
    address = re.search(r"Address: `wss://[^/?`]+([^`]*)`", section)
    options = re.search(r"```json\n(.*?)```", section, re.DOTALL)
    assert address is not None
    assert options is not None
    return address[1], json.loads(options[1])


@asynccontextmanager
async def served(
    heard: Heard, peer: SocketPeer, options: dict[str, Any], path: str = "", timing: Timing = QUICK
) -> AsyncIterator[JsonSource]:
    async with peer.serving():
        connection = Connection("feed", "json", peer.url + path, "source-feed", options)
        source = JsonSource(heard, connection, timing)
        async with running(source, heard):
            yield source


def wanted(**symbols: str) -> Heard:
    return Heard(subscriptions("feed", **(symbols or {"XUSD": "X"})))


# --- the examples of the documents --------------------------------------------------------------------


async def test_deriv() -> None:
    path, options = example("Deriv")

    def answer(message: Any) -> Iterable[Any]:
        if "ping" in message:
            yield {"echo_req": message, "msg_type": "ping", "ping": "pong"}
        elif message["ticks"] == "R_100":
            yield (
                '{"echo_req":{"ticks":"R_100","subscribe":1},"msg_type":"tick","subscription":{"id":"a1"},'
                '"tick":{"ask":1234.57,"bid":1234.55,"epoch":1893499200,"id":"a1","pip_size":2,'
                '"quote":1234.56,"symbol":"R_100"}}'
            )
        else:
            yield {
                "msg_type": "tick",
                "error": {"code": "InvalidSymbol", "message": "FOO is invalid."},
            }

    heard = wanted(VOL="R_100", FOO="FOO")
    options["heartbeat"]["every_seconds"] = 0.2
    peer = SocketPeer(answer=answer)
    async with served(heard, peer, options, path):
        health = heard.health("feed")
        await eventually(lambda: bool(heard.quotes and health.last_error) and {"ping": 1} in peer.received)
    assert heard.quotes == [("VOL", Decimal("1234.55"), Decimal("1234.57"))]
    assert peer.received[:2] == [{"ticks": "FOO", "subscribe": 1}, {"ticks": "R_100", "subscribe": 1}]
    assert (peer.paths, health.last_error) == (["/websockets/v3?app_id=1089"], "FOO is invalid.")
    assert health.offset_ms is not None


async def test_twelve_data() -> None:
    path, options = example("Twelve Data")
    said = (
        '{"event":"price","symbol":"EUR/USD","currency_base":"Euro","type":"Physical Currency",'
        '"timestamp":1893499200,"price":1.08505,"bid":1.0850,"ask":1.0851}'
    )

    def answer(message: Any) -> Iterable[Any]:
        if message["action"] == "heartbeat":
            yield {"event": "heartbeat", "status": "ok"}
        else:
            names = message["params"]["symbols"].split(",")
            yield {
                "event": "subscribe-status",
                "status": "ok",
                "success": [{"symbol": each} for each in names],
            }
            # Stocks have no bid and ask there.
            yield {"event": "price", "symbol": "AAPL", "timestamp": 1893499200, "price": 342.0157}
            yield said

    heard = wanted(EURUSD="EUR/USD", APPLE="AAPL")
    options["heartbeat"]["every_seconds"] = 0.2
    peer = SocketPeer(answer=answer)
    async with served(heard, peer, options, path):
        await eventually(lambda: {"action": "heartbeat"} in peer.received and bool(heard.quotes))
    assert heard.quotes == [("EURUSD", Decimal("1.0850"), Decimal("1.0851"))]
    assert peer.received[0] == {"action": "subscribe", "params": {"symbols": "AAPL,EUR/USD"}}
    assert heard.health("feed").ignored == {"other": 1, "no_price": 1}
    # The key stands in the address, written as addresses are.
    assert peer.paths == ["/v1/quotes/price?apikey=s3cr3t%2Fkey%2Bthat%3Fnever%3Dleaves"]


async def test_finnhub() -> None:
    path, options = example("Finnhub")
    symbol = "OANDA:EUR_USD"

    def answer(message: Any) -> Iterable[Any]:
        yield {"type": "ping"}
        yield (
            f'{{"data":[{{"p":1.0849,"s":"{symbol}","t":1893499200000,"v":0}},'
            f'{{"p":7296.89,"s":"BINANCE:BTCUSDT","t":1893499200000,"v":0.011467}},'
            f'{{"p":1.0850,"s":"{symbol}","t":1893499200001,"v":0}}],"type":"trade"}}'
        )
        yield {"type": "error", "msg": "Invalid symbol"}

    heard, peer = wanted(EURUSD=symbol), SocketPeer(answer=answer)
    async with served(heard, peer, options, path):
        health = heard.health("feed")
        await eventually(lambda: health.last_error != "")
    assert heard.quotes == [
        ("EURUSD", Decimal("1.0849"), Decimal("1.0849")),
        ("EURUSD", Decimal("1.0850"), Decimal("1.0850")),
    ]
    assert peer.received == [{"type": "subscribe", "symbol": symbol}]
    assert (health.last_error, health.ignored) == ("Invalid symbol", {"unknown_symbol": 1})
    assert peer.paths[0].startswith("/?token=s3cr3t%2F")


async def test_massive() -> None:
    path, options = example("Massive")

    def answer(message: Any) -> Iterable[Any]:
        if message["action"] == "auth":
            yield [{"ev": "status", "status": "auth_success", "message": "authenticated"}]
        else:
            yield [{"ev": "status", "status": "success", "message": f"subscribed to: {message['params']}"}]
            yield (
                '[{"ev":"C","p":"EUR/USD","x":44,"a":1.08517,"b":1.08512,"t":1893499200000},'
                '{"ev":"C","p":"USD/CNH","x":44,"a":6.83366,"b":6.83363,"t":1893499200000}]'
            )

    heard = wanted(EURUSD="EUR/USD", USDCNH="USD/CNH")
    peer = SocketPeer(
        saying([{"ev": "status", "status": "connected", "message": "Connected"}]), answer=answer
    )
    async with served(heard, peer, options, path):
        await heard.until(4)
    assert heard.quotes[:2] == [
        ("EURUSD", Decimal("1.08512"), Decimal("1.08517")),
        ("USDCNH", Decimal("6.83363"), Decimal("6.83366")),
    ]
    assert peer.received == [
        {"action": "auth", "params": SECRET},
        {"action": "subscribe", "params": "C.EUR/USD"},
        {"action": "subscribe", "params": "C.USD/CNH"},
    ]
    assert peer.paths == ["/forex"]


# --- letting in ---------------------------------------------------------------------------------------

GUARDED: dict[str, Any] = {
    **PLAIN,
    "auth": {"send": {"login": "{secret}"}, "match": {"path": "login", "value": "ok"}},
}


async def test_a_wrong_key_is_told_once_and_waits_longest(caplog, monkeypatch) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr("random.uniform", lambda low, high: 0)
    heard = wanted()
    peer = SocketPeer(answer=lambda message: [{"error": f"no such key: {message['login']}"}])
    async with served(heard, peer, GUARDED, timing=ONCE) as source:
        health = heard.health("feed")
        await eventually(lambda: health.failures == 1)
        await eventually(lambda: not peer.open)
        assert (health.state, health.last_error) == ("down", "no such key: [secret]")
        assert (peer.connects, peer.received) == (1, [{"login": SECRET}])
        for text in (caplog.text, repr(source), str(vars(health))):
            assert SECRET not in text


async def test_a_service_that_does_not_answer_the_key_lets_nobody_in() -> None:
    heard = wanted()
    timing = Timing(connect=0.2, backoff_first=60, backoff_longest=60)
    peer = SocketPeer(saying({"hello": "there"}))
    async with served(heard, peer, GUARDED, timing=timing):
        health = heard.health("feed")
        await eventually(lambda: health.failures == 1)
        assert health.last_error == "no answer for 0.2 s"
    assert peer.received == [{"login": SECRET}]


async def test_the_key_is_in_no_log_and_no_error_whatever_the_service_says_of_it(caplog) -> None:
    caplog.set_level(logging.DEBUG)
    heard, errors = wanted(), set()

    async def closing(peer: SocketPeer, socket: ServerConnection) -> None:
        await socket.close(1008, SECRET)

    async def complaining(peer: SocketPeer, socket: ServerConnection) -> None:
        await saying({"error": {"complaint": SECRET}})(peer, socket)
        await asyncio.sleep(0.1)
        socket.transport.abort()

    scripts = [
        saying(f"not json {SECRET}"),
        saying(f"cannot serve /{quote(SECRET, safe='')}"),
        saying("x" * 290 + SECRET),
        saying({"s": "X", "b": SECRET, "a": "1"}),
        complaining,
        closing,
        saying(ONE),
    ]
    peer = SocketPeer(*scripts, answer=lambda message: [{"login": "ok"}] if "login" in message else [])
    path = "/{secret}?token={secret}"
    async with served(heard, peer, GUARDED, path) as source:
        health = heard.health("feed")

        def seen() -> bool:
            errors.add(health.last_error)
            return bool(heard.quotes)

        await eventually(seen)
        for text in (caplog.text, repr(source), *errors, str(vars(health))):
            assert SECRET not in text
            assert "s3cr3t" not in text
    assert all(path.startswith("/s3cr3t%2Fkey") for path in peer.paths)
    assert "{'complaint': '[secret]'}" in errors


@pytest.mark.parametrize(("status", "is_refused"), [(401, True), (403, True), (404, True), (503, False)])
async def test_a_service_that_refuses_the_connection(status: int, is_refused: bool, monkeypatch) -> None:
    monkeypatch.setattr("random.uniform", lambda low, high: 0)
    heard = wanted()
    peer = SocketPeer(quiet, refuses=(status, f"wrong token {SECRET}"))
    async with served(heard, peer, PLAIN, timing=ONCE):
        health = heard.health("feed")
        await eventually(lambda: health.failures >= (1 if is_refused else 3))
        assert f"HTTP {status}" in health.last_error
        assert ("wrong token" in health.last_error) is is_refused
        assert SECRET.encode() not in str(vars(health)).encode()
        if is_refused:
            assert health.failures == 1


# --- frames -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "paths", "expected"),
    [
        ('{"s":"X","b":1.10,"a":"1.20"}', {"bid": "b", "ask": "a"}, ("X", "1.10", "1.20")),
        ('{"s":"X","b":1,"a":2e0}', {"bid": "b", "ask": "a"}, ("X", "1", "2")),
        ('{"s":"X","d":[{"b":[0,"1.5"]}]}', {"price": "d.0.b.1"}, ("X", "1.5", "1.5")),
        ('{"s":"X","b":null,"a":1}', {"bid": "b", "ask": "a"}, ("X", None, "1")),
        ('{"s":"X","d":[]}', {"price": "d.0"}, ("X", None, None)),
    ],
)
def test_quotes_are_found_by_their_paths(frame: str, paths: dict[str, str], expected: Any) -> None:
    symbol, bid, ask = expected
    read = list(read_quotes(read_json(frame), Paths(symbol="s", **paths)))
    assert read == [Quoted(symbol, bid and Decimal(bid), ask and Decimal(ask), MISSING)]
    assert [str(each) for each in read[0][1:3]] == [str(bid), str(ask)]


@pytest.mark.parametrize("frame", ["7", "null", '"text"', "{}", "[]", '{"s":7}', '{"s":null}', '{"s":{}}'])
def test_a_frame_without_a_symbol_says_nothing_of_prices(frame: str) -> None:
    assert list(read_quotes(read_json(frame), Paths(symbol="s", price="p"))) == []


@pytest.mark.parametrize(
    "value", [True, {}, [], "", "1,5", "1_0", " 1", "+1", "0x1", "NaN", "Infinity", "1e9999"]
)
def test_what_is_no_price_is_an_error(value: Any) -> None:
    with pytest.raises(SourceError, match="not a price"):
        list(read_quotes({"s": "X", "p": value}, Paths(symbol="s", price="p")))


def test_a_list_that_is_none_is_an_error() -> None:
    paths = Paths(symbol="s", price="p", each="data")
    assert list(read_quotes({"type": "ping"}, paths)) == []
    with pytest.raises(SourceError, match="unreadable"):
        list(read_quotes({"data": {"s": "X"}}, paths))


@given(st.decimals(min_value="-1e11", max_value="1e11", allow_nan=False, places=8))
def test_prices_are_exact_whether_numbers_or_text(price: Decimal) -> None:
    assert price_of(read_json(f"[{price:f}]")[0]) == price
    assert price_of(f"{price:f}") == price


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists), st.text())
def test_any_path_into_any_frame_finds_something_or_nothing(value: Any, path: str) -> None:
    find(value, path)
    Match(path="a.0").holds(value)


@pytest.mark.parametrize(
    ("found", "value", "holds"),
    [(1, 1, True), (True, 1, False), (1, True, False), ("1", 1, False), (Decimal("1.5"), 1.5, True),
     (None, "ok", False), ("ok", "ok", True)],
)  # fmt: skip
def test_a_match_compares_as_json_does(found: Any, value: Any, holds: bool) -> None:
    assert Match(path="a", value=value).holds({"a": found}) is holds
    assert not Match(path="b", value=value).holds({"a": found})


def test_a_match_without_a_value_wants_something_there() -> None:
    assert Match(path="a").holds({"a": False})
    assert not Match(path="a").holds({"a": None})
    assert not Match(path="a.b").holds({"a": 7})


NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (1893499200, "s", NOON),
        ("1893499200.000", "s", NOON),
        (Decimal("1893499200000.0"), "ms", NOON),
        (1893499200000000, "us", NOON),
        ("1893499200000000999", "ns", NOON),
        ("2030-01-01T12:00:00Z", "iso", NOON),
        ("2030-01-01T14:00:00.000000999+02:00", "iso", NOON),
        ("2030-01-01 12:00:00", "iso", NOON),
        ("2030-13-01T12:00:00Z", "iso", None),
        ("yesterday", "iso", None),
        (7, "iso", None),
        (True, "s", None),
        ("soon", "s", None),
        (10**19, "s", None),
        (10**30, "ns", None),
        (Decimal("1e999999999"), "s", None),
        ({}, "ms", None),
    ],
)
def test_instants_are_read_in_their_unit(value: Any, unit: str, expected: datetime | None) -> None:
    assert instant_of(value, unit) == expected


# --- messages -----------------------------------------------------------------------------------------


def test_messages_are_filled_once_and_only_with_what_they_name() -> None:
    values = {"secret": "{symbol}", "symbol": "{secret}", "symbols": ["A", "B"]}
    template = {"k-{symbol}": ["{symbols}", "C"], "a": "{symbols}", "n": [1, None, {"x": "{secret}{other}"}]}
    assert placeholders(template) == {"symbol", "symbols", "secret"}
    assert fill(template, values) == {
        "k-{secret}": ["A", "B", "C"],
        "a": "A,B",
        "n": [1, None, {"x": "{symbol}{other}"}],
    }


async def test_a_changed_list_is_followed_with_messages_where_there_are_some() -> None:
    options = {**PLAIN, "subscribe": {"sub": ["{symbols}"]}, "unsubscribe": {"end": "{symbol}"}}
    heard, peer = wanted(A="a", B="b"), SocketPeer(quiet)
    a, b = heard.wanted
    async with served(heard, peer, options) as source:
        await eventually(lambda: peer.received == [{"sub": ["a", "b"]}])
        c = subscription("feed", "C", "c", 3)
        source.watch([b, c])
        await eventually(lambda: peer.received[1:] == [{"end": "a"}, {"sub": ["c"]}])
        source.watch([a, b, c])
        await eventually(lambda: peer.received[3:] == [{"sub": ["a"]}])
        source.watch([])
        await eventually(lambda: not peer.open)
        source.watch([a])
        await eventually(lambda: peer.received[4:] == [{"sub": ["a"]}])
        assert peer.connects == 2


async def test_without_a_message_to_end_it_what_is_not_wanted_comes_for_nothing() -> None:
    heard = wanted(A="a", B="b")
    a, b = heard.wanted
    peer = SocketPeer(quiet, answer=lambda message: [{"s": "a", "b": 1, "a": 2}])
    async with served(heard, peer, PLAIN) as source:
        await heard.until(2)
        source.watch([b, subscription("feed", "C", "c", 3)])
        await eventually(lambda: heard.health("feed").ignored["unknown_symbol"] == 1)
        # Back again: it is being sent already.
        source.watch([a, b])
        source.watch([a, b, subscription("feed", "D", "d", 4)])
        await heard.until(3)
        assert peer.connects == 1
    assert peer.received == [{"sub": "a"}, {"sub": "b"}, {"sub": "c"}, {"sub": "d"}]


# --- how it ends --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "says"),
    [
        (saying("not json"), "unreadable frame"),
        (saying(b"\xff"), "unreadable frame"),
        (saying("[" * 200_000), "unreadable frame"),
        (saying({"s": "X", "b": {}, "a": 1}), "not a price: {}"),
        (saying("x" * ((1 << 20) + 1)), "1009"),
        (cut_within_a_frame(ONE), "no close frame"),
    ],
)
async def test_whatever_ends_a_connection_another_delivers(script: SocketScript, says: str) -> None:
    heard, peer = wanted(), SocketPeer(script, saying(ONE))
    async with served(heard, peer, PLAIN):
        await eventually(lambda: peer.connects == 2 and bool(heard.quotes) and heard.is_up("XUSD"))
        assert says in heard.health("feed").last_error
        assert set(heard.quotes) == {QUOTED}


async def test_errors_are_complaints_once_we_are_in() -> None:
    heard, peer = wanted(), SocketPeer(saying(*[{"error": "slow down"}] * 3, ONE))
    async with served(heard, peer, PLAIN):
        await heard.until(1)
        health = heard.health("feed")
        await eventually(lambda: health.state == "up")
        assert (health.failures, health.last_error, peer.connects) == (3, "slow down", 1)


async def test_frames_alone_break_the_silence_and_pongs_do_not() -> None:
    heard = wanted()
    options = {**PLAIN, "silence_seconds": 1}
    peer = SocketPeer(saying(ONE), saying(ONE))
    async with served(heard, peer, options):
        await heard.until(2)
        assert heard.health("feed").last_error == "silent for 1.0 s"
        assert heard.answers > 2
        assert heard.cuts[0] is heard.links[0]
        assert heard.links[0].is_pinged


async def test_pongs_measure_the_lag_and_move_no_watermark() -> None:
    """They may come from what stands before a service that is dead."""
    heard, goes_on = wanted(), asyncio.Event()

    async def script(peer: SocketPeer, socket: ServerConnection) -> None:
        await saying(ONE)(peer, socket)
        await goes_on.wait()
        await saying({"hello": "there"})(peer, socket)

    async with served(heard, SocketPeer(script), PLAIN):
        await heard.until(1)
        link, answers = heard.links[0], heard.answers
        before = link.sign
        await eventually(lambda: heard.answers >= answers + 20)
        assert (link.sign, heard.cuts, heard.is_up("XUSD")) == (before, [], True)
        assert heard.collect()[1].stretch.until == before
        assert link.lag_ms is not None
        goes_on.set()
        await eventually(lambda: link.sign > before)
        assert heard.collect()[1].resumes_at is None


async def test_what_waited_in_a_buffer_makes_no_tick() -> None:
    """The loop stands still while quotes are under way: those it finds then are of an unknown age."""
    heard = wanted()

    async def going_on(peer: SocketPeer, socket: ServerConnection) -> None:
        for number in itertools.count(1):
            await socket.send(json.dumps({"s": "X", "b": f"1.1{number:05}", "a": "1.2"}))
            await asyncio.sleep(0.02)

    timing = Timing(silence=0.3, ping_every=0.05, connect=2)
    peer = SocketPeer(going_on)
    async with served(heard, peer, PLAIN, timing=timing):
        await heard.until(5)
        await eventually(lambda: heard.answers >= 2)
        heard.collect()
        before = len(heard.quotes)
        time.sleep(0.6)  # noqa: ASYNC251 - a loop that stands still is what is tested
        await heard.until(before + 1)
        assert heard.lanes["XUSD"].ticks == []
        await eventually(lambda: heard.is_up("XUSD"))
        (collected,) = heard.collect().values()
        assert collected.resumes_at == collected.stretch.ticks[0][0]
        assert peer.connects == 1


async def test_heartbeats_keep_a_quiet_connection() -> None:
    options = {
        **PLAIN,
        "silence_seconds": 1,
        "heartbeat": {"send": {"beat": 1}, "every_seconds": 0.2, "match": {"path": "beat"}},
    }
    heard = wanted()
    peer = SocketPeer(saying(ONE), answer=lambda message: [{"beat": 1}] if "beat" in message else [])
    async with served(heard, peer, options):
        await eventually(lambda: peer.received.count({"beat": 1}) >= 7)
        assert (peer.connects, heard.health("feed").failures) == (1, 0)
        assert heard.health("feed").ignored == {}


async def test_where_pings_are_not_answered_the_heartbeat_measures_the_lag() -> None:
    options = {
        **PLAIN,
        "ping_frames": False,
        "heartbeat": {"send": {"beat": 1}, "every_seconds": 0.2, "match": {"path": "beat"}},
    }
    heard = wanted()
    peer = SocketPeer(saying(ONE), answer=lambda message: [{"beat": 1}] if "beat" in message else [])
    async with served(heard, peer, options):
        await eventually(lambda: heard.answers >= 3 and bool(heard.quotes))
        link = heard.links[0]
        assert link.is_pinged
        assert link.lag_ms is not None
        assert link.silence.total_seconds() == 30
        # This answer is the service's own.
        before = link.sign
        await eventually(lambda: link.sign > before)


async def test_where_nothing_is_answered_no_lag_is_known() -> None:
    options = {**PLAIN, "ping_frames": False, "heartbeat": {"send": {"beat": 1}, "every_seconds": 0.2}}
    heard, peer = wanted(), SocketPeer(saying(ONE))
    async with served(heard, peer, options):
        await eventually(lambda: {"beat": 1} in peer.received and bool(heard.quotes))
        assert (heard.links[0].is_pinged, heard.links[0].lag_ms) == (False, None)


async def test_a_flood_is_taken_whole_and_in_order() -> None:
    frames = [{"s": "X", "b": str(number), "a": f"{number}.5"} for number in range(1, 5001)]
    heard, peer = wanted(), SocketPeer(saying(*frames))
    async with served(heard, peer, PLAIN, timing=Timing(silence=20, dead=20)):
        await heard.until(5000)
    assert heard.quotes == [("XUSD", Decimal(each["b"]), Decimal(each["a"])) for each in frames]


async def test_a_service_that_hangs_up_is_met_with_growing_patience(monkeypatch) -> None:
    waits: list[float] = []

    def longest(low: float, high: float) -> float:
        waits.append(high)
        return high

    monkeypatch.setattr("random.uniform", longest)
    heard, peer = wanted(), SocketPeer(gone)
    timing = Timing(backoff_first=0.002, backoff_longest=0.008, connect=2)
    async with served(heard, peer, PLAIN, timing=timing):
        await eventually(lambda: peer.connects >= 6)
        assert waits[:5] == [0.002, 0.004, 0.008, 0.008, 0.008]
        assert peer.connects <= len(waits) + 1


# --- options ------------------------------------------------------------------------------------------


def check(options: Any, url: str = "wss://feed.example.com", secret_ref: str = "source-feed") -> None:
    JsonSource.check(Connection("feed", "json", url, secret_ref, options))


@pytest.mark.parametrize("title", ["Deriv", "Twelve Data", "Finnhub", "Massive"])
def test_the_examples_are_read(title: str) -> None:
    path, options = example(title)
    check(options, f"wss://feed.example.com{path}")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"paths": None}, "Expected `object`, got `null` - at `paths`"),
        ({"subscribe": "text"}, "at `subscribe`"),
        ({"subscribe": {"sub": "all"}}, "`subscribe` needs {symbol}"),
        ({"subscribe": {"sub": "{symbol}{symbols}"}}, "`subscribe` needs {symbol}"),
        ({"unsubscribe": {"end": 1}}, "`unsubscribe` needs {symbol}"),
        ({"surprise": 1}, "unknown field `surprise`"),
        ({"paths": {"symbol": "s", "price": "p", "volume": "v"}}, "unknown field `volume` - at `paths`"),
        ({"paths": {"symbol": "s"}}, "`paths` needs both `bid` and `ask`, or `price`"),
        ({"paths": {"symbol": "s", "bid": "b"}}, "`paths` needs both `bid` and `ask`, or `price`"),
        ({"paths": {"symbol": "s", "bid": "b", "ask": "a", "price": "p"}}, "`paths` needs both"),
        ({"paths": {"symbol": "s..t", "price": "p"}}, "'s..t' is no path"),
        ({"paths": {"symbol": "", "price": "p"}}, "'' is no path"),
        ({"paths": {"symbol": "s", "price": "p", "time_unit": "days"}}, "at `paths.time_unit`"),
        ({"auth": {"send": {"key": "abc"}}}, "`auth.send` has no {secret} in it"),
        ({"auth": {"send": {"key": "{secret}", "s": "{symbol}"}}}, "`auth.send` concerns no symbol"),
        ({"auth": {"send": {"key": "{secret}"}, "match": {"value": 1}}}, "missing required field `path`"),
        ({"heartbeat": {"send": {"x": "{symbols}"}}}, "`heartbeat.send` concerns no symbol"),
        ({"heartbeat": {"every_seconds": 0.1}}, "at `heartbeat.every_seconds`"),
        ({"heartbeat": {"send": {}, "every_seconds": 30}}, "`heartbeat.every_seconds` lies below"),
        ({"silence_seconds": 0.5}, "at `silence_seconds`"),
        ({"silence_seconds": "30"}, "got `str` - at `silence_seconds`"),
        ({"error": {"match": {"path": "x"}, "text": "."}}, "'.' is no path"),
        ({"ping_frames": 1}, "Expected `bool`, got `int` - at `ping_frames`"),
    ],
)
def test_options_are_read_strictly_and_the_field_is_named(changed: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidSource) as refusal:
        check({**PLAIN, **changed})
    assert says in refusal.value.detail
    assert refusal.value.code == "invalid_source"


@pytest.mark.parametrize("options", [None, [], "text", {}])
def test_options_that_are_none_are_refused(options: Any) -> None:
    with pytest.raises(InvalidSource, match="options: "):
        check(options)


@pytest.mark.parametrize(
    "url",
    ["ws://feed.example.com", "wss://{secret}.example.com", "wss://user:key@example.com", "wss://a:99999",
     "wss://example.com/{symbol}", "", "wss://example.com/a b", "wss://" + "a" * 300],
)  # fmt: skip
def test_an_address_must_be_a_safe_one(url: str) -> None:
    with pytest.raises(InvalidSource, match="url: "):
        check(PLAIN, url)


def test_a_secret_that_is_to_be_sent_must_be_named() -> None:
    check(PLAIN, secret_ref="")
    for options, url in ((GUARDED, "wss://example.com"), (PLAIN, "wss://example.com/?key={secret}")):
        with pytest.raises(InvalidSource, match="secret_ref: "):
            check(options, url, secret_ref="")
