"""The Kraken adapter against a local server that speaks WebSocket v2."""

import asyncio
import gzip
import itertools
import json
import logging
import time
from decimal import Decimal
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection

from config.core import clock
from quotes.errors import InvalidSource
from quotes.lanes import Connection
from quotes.sources.connection import SourceError, Timing
from quotes.sources.kraken import KrakenSource, Ticker, read_status, read_tickers
from tests.quotes.market import recording
from tests.quotes.peers import (
    ONCE,
    QUICK,
    Heard,
    SocketPeer,
    cut_within_a_frame,
    deaf,
    eventually,
    gone,
    quiet,
    running,
    saying,
    subscription,
    subscriptions,
)

ONLINE = {
    "channel": "status",
    "type": "update",
    "data": [
        {"version": "2.0.10", "system": "online", "api_version": "v2", "connection_id": 12393906104898154338}
    ],
}


def status(system: str) -> dict[str, Any]:
    return {"channel": "status", "type": "update", "data": [{"system": system}]}


def ticker(symbol: str = "BTC/USD", bid: str = "61685.9", ask: str = "61686.0", kind: str = "update") -> str:
    # As documented, with prices as JSON numbers of the exchange's own digits.
    return (
        f'{{"channel":"ticker","type":"{kind}","data":[{{"symbol":"{symbol}","bid":{bid},"bid_qty":740.0,'
        f'"ask":{ask},"ask_qty":1361.44813783,"last":0.10035,"volume":997038.98383185,"vwap":0.10148,'
        f'"low":0.09979,"high":0.10285,"change":-0.00017,"change_pct":-0.17}}]}}'
    )


class Exchange(SocketPeer):
    """Says that it is online, acknowledges, sends a snapshot, and answers pings."""

    def __init__(self, *scripts: Any, snapshot: bool = True, refused: tuple[str, ...] = ()) -> None:
        super().__init__(*(scripts or (quiet,)), answer=self.answers)
        self.snapshot, self.refused = snapshot, refused

    def answers(self, message: Any) -> Any:
        stamped = {"time_in": "2022-12-25T09:30:59.123456Z", "time_out": "2022-12-25T09:30:59.123466Z"}
        if message["method"] == "ping":
            yield {"method": "pong", "req_id": message["req_id"], **stamped}
            return
        for symbol in message["params"]["symbol"]:
            about = {"method": message["method"], "req_id": message["req_id"], **stamped}
            if symbol in self.refused:
                yield {
                    **about, "success": False, "symbol": symbol,
                    "error": f"Currency pair not supported {symbol}",
                }  # fmt: skip
                continue
            yield {**about, "success": True, "result": {"channel": "ticker", "symbol": symbol}}
            if message["method"] == "subscribe" and self.snapshot:
                yield json.loads(ticker(symbol, kind="snapshot"))

    def asked(self, method: str) -> list[list[str]]:
        return [each["params"]["symbol"] for each in self.received if each["method"] == method]


def kraken(heard: Heard, peer: SocketPeer, timing: Timing = QUICK) -> KrakenSource:
    return KrakenSource(heard, Connection("kraken", "kraken", peer.url), timing)


def bitcoin() -> Heard:
    return Heard(subscriptions("kraken", BTCUSD="BTC/USD"))


BTC = ("BTCUSD", Decimal("61685.9"), Decimal("61686.0"))


# --- frames -------------------------------------------------------------------------------------------


def read(frame: str) -> list[Ticker]:
    return read_tickers(json.loads(frame, parse_float=Decimal))


def test_prices_are_read_in_their_own_digits() -> None:
    assert read(ticker(bid="0.10025", ask="100000000.12345678")) == [
        Ticker("BTC/USD", Decimal("0.10025"), Decimal("100000000.12345678"))
    ]
    assert read(ticker(bid="7", ask="null")) == [Ticker("BTC/USD", Decimal(7), None)]


@pytest.mark.parametrize(
    "frame",
    [
        '{"channel":"ticker"}',
        '{"channel":"ticker","data":5}',
        '{"channel":"ticker","data":["BTC/USD"]}',
        '{"channel":"ticker","data":[{"bid":1,"ask":2}]}',
        '{"channel":"ticker","data":[{"symbol":"BTC/USD","bid":true,"ask":2}]}',
        '{"channel":"ticker","data":[{"symbol":"BTC/USD","bid":[1],"ask":2}]}',
        '{"channel":"ticker","data":[{"symbol":"BTC/USD","bid":"one","ask":2}]}',
        '{"channel":"ticker","data":[{"symbol":"BTC/USD","bid":1e300,"ask":2}]}',
    ],
)
def test_what_cannot_be_read_is_an_error(frame: str) -> None:
    with pytest.raises(SourceError, match=r"unreadable|not a price"):
        read(frame)


@pytest.mark.parametrize("data", [[], {}, [{}], ["online"], None])
def test_a_status_without_a_word_is_an_error(data: Any) -> None:
    with pytest.raises(SourceError, match="unreadable"):
        read_status({"channel": "status", "data": data})


# --- the wire -----------------------------------------------------------------------------------------


async def test_it_subscribes_to_changes_of_the_book_and_takes_snapshot_and_updates() -> None:
    heard = Heard(subscriptions("kraken", BTCUSD="btc/usd", XBT="BTC/USD", ADAUSD="ADA/USD"))

    async def update(peer: SocketPeer, socket: ServerConnection) -> None:
        await socket.send(json.dumps(ONLINE))
        await eventually(lambda: len(heard.quotes) == 3)
        await socket.send('{"channel":"heartbeat"}')
        await socket.send(ticker("ADA/USD", "0.5666", "0.5667"))

    async with Exchange(update).serving() as peer, running(kraken(heard, peer), heard):
        await heard.until(4)
    (request,) = [each for each in peer.received if each["method"] == "subscribe"]
    assert request["params"] == {
        "channel": "ticker", "symbol": ["ADA/USD", "BTC/USD"], "event_trigger": "bbo", "snapshot": True,
    }  # fmt: skip
    assert isinstance(request["req_id"], int)
    assert sorted(heard.quotes[:3]) == sorted([("ADAUSD", *BTC[1:]), ("BTCUSD", *BTC[1:]), ("XBT", *BTC[1:])])
    assert heard.quotes[3] == ("ADAUSD", Decimal("0.5666"), Decimal("0.5667"))


async def test_a_recorded_book_sent_as_fast_as_it_can_is_taken_whole_and_in_order() -> None:
    with gzip.open(recording("binance_btcusdt_bookticker_20240808T2354Z.csv.gz"), "rt") as file:
        header = next(file).rstrip().split(",")
        rows = [
            dict(zip(header, line.rstrip().split(","), strict=True)) for line in itertools.islice(file, 5000)
        ]
    heard = bitcoin()

    async def flood(peer: SocketPeer, socket: ServerConnection) -> None:
        await eventually(lambda: len(heard.quotes) == 1)
        for row in rows:
            await socket.send(ticker(bid=row["bid"], ask=row["ask"]))

    # Patient: what is measured is that nothing is lost, not how busy this machine is.
    timing = Timing(silence=20, dead=20)
    async with Exchange(flood).serving() as peer, running(kraken(heard, peer, timing), heard):
        await heard.until(5001)
    assert heard.quotes[1:] == [("BTCUSD", Decimal(row["bid"]), Decimal(row["ask"])) for row in rows]
    assert peer.connects == 1
    assert heard.answers >= 1


async def test_the_answer_to_its_ping_measures_the_lag_and_shows_its_clock() -> None:
    heard = bitcoin()
    async with Exchange().serving() as peer, running(kraken(heard, peer), heard):
        await heard.until(1)
        await eventually(lambda: heard.answers >= 4)
    assert all("req_id" in each for each in peer.received if each["method"] == "ping")
    assert heard.links[0].lag_ms is not None
    assert heard.links[0].is_pinged
    # The documented instant lies years before ours.
    assert heard.health("kraken").offset_ms is not None
    assert heard.health("kraken").offset_ms < -(10**10)


async def test_an_answer_that_was_not_asked_for_measures_nothing() -> None:
    heard = bitcoin()
    foreign = saying(*({"method": "pong", "req_id": number} for number in (999, None, "x")))
    async with Exchange(foreign).serving() as peer, running(kraken(heard, peer), heard):
        await heard.until(1)
        await eventually(lambda: heard.signs >= 3)
    assert peer.connects == 1


async def test_a_refused_symbol_is_a_complaint_and_the_others_are_delivered() -> None:
    heard = Heard(subscriptions("kraken", FOO="FOO/BAR", BTCUSD="BTC/USD"))
    async with Exchange(refused=("FOO/BAR",)).serving() as peer, running(kraken(heard, peer), heard):
        await heard.until(1)
        health = heard.health("kraken")
        await eventually(lambda: health.last_error != "")
        assert health.last_error == "Currency pair not supported FOO/BAR"
        assert (health.state, health.failures, peer.connects) == ("up", 1, 1)
    assert (heard.quotes, heard.withdrawn) == ([BTC], ["FOO"])


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        ({"error": "Malformed request", "success": False}, ": Malformed request"),
        ({"method": "subscribe", "success": False}, "refused without a reason"),
        ({"error": "Exceeded msg rate"}, "Exceeded msg rate"),
    ],
)
async def test_errors_that_concern_no_symbol_are_complaints(frame: Any, says: str) -> None:
    heard = bitcoin()
    async with Exchange(saying(frame)).serving() as peer, running(kraken(heard, peer), heard):
        await eventually(lambda: says.lstrip(": ") in heard.health("kraken").last_error)
        await heard.until(1)
        assert peer.connects == 1


async def test_while_the_exchange_is_not_online_nothing_counts_and_afterwards_everything_is_fresh() -> None:
    heard, maintained, online = bitcoin(), asyncio.Event(), asyncio.Event()

    async def script(peer: SocketPeer, socket: ServerConnection) -> None:
        await maintained.wait()
        await socket.send(json.dumps(status("maintenance")))
        await socket.send(ticker(bid="1.0", ask="1.1"))
        await online.wait()
        await socket.send(json.dumps(status("online")))

    async with Exchange(script).serving() as peer, running(kraken(heard, peer), heard):
        await heard.until(1)
        heard.collect()
        maintained.set()
        health = heard.health("kraken")
        await eventually(lambda: health.ignored["not_online"] == 1)
        assert health.last_error == "the exchange is not online: maintenance"
        # Answers to pings move no watermark.
        answers = heard.answers
        await eventually(lambda: heard.answers > answers)
        assert heard.collect() == {}
        assert not heard.is_up("BTCUSD")
        online.set()
        await heard.until(2)
        assert heard.is_up("BTCUSD")
        (collected,) = heard.collect().values()
    assert heard.quotes == [BTC, BTC]
    assert collected.resumes_at == collected.stretch.ticks[0][0]
    assert (peer.connects, peer.asked("subscribe"), peer.asked("unsubscribe")) == (
        1, [["BTC/USD"], ["BTC/USD"]], [["BTC/USD"]],
    )  # fmt: skip


@pytest.mark.parametrize(
    "said",
    [
        ticker(bid="null"),
        ticker(ask="null"),
        {
            "method": "subscribe",
            "success": False,
            "symbol": "BTC/USD",
            "error": "Currency pair not supported",
        },
    ],
)
async def test_a_price_taken_back_stops_the_watermark_until_a_fresh_one(said: Any) -> None:
    heard, halted, resumed = bitcoin(), asyncio.Event(), asyncio.Event()

    async def script(peer: SocketPeer, socket: ServerConnection) -> None:
        await halted.wait()
        await saying(said)(peer, socket)
        await resumed.wait()
        await saying(ticker())(peer, socket)

    async with Exchange(script).serving() as peer, running(kraken(heard, peer), heard):
        await heard.until(1)
        heard.collect()
        halted.set()
        await eventually(lambda: heard.withdrawn == ["BTCUSD"])
        answers = heard.answers
        await eventually(lambda: heard.answers > answers)
        assert heard.collect() == {}
        assert not heard.is_up("BTCUSD")
        resumed.set()
        await heard.until(2)
        (collected,) = heard.collect().values()
        assert collected.resumes_at == collected.stretch.ticks[0][0]
        assert peer.connects == 1


async def test_a_refusal_to_end_a_subscription_takes_no_price_back() -> None:
    heard = bitcoin()
    refusal = {"method": "unsubscribe", "success": False, "symbol": "BTC/USD", "error": "not subscribed"}
    async with Exchange(saying(refusal)).serving() as peer, running(kraken(heard, peer), heard):
        await heard.until(1)
        await eventually(lambda: heard.health("kraken").last_error != "")
        assert heard.withdrawn == []


async def test_a_changed_list_is_followed_on_the_same_connection() -> None:
    heard = Heard(subscriptions("kraken", BTCUSD="BTC/USD", ETHUSD="ETH/USD"))
    source_of = {each.symbol: each for each in heard.wanted}
    async with Exchange().serving() as peer:
        source = kraken(heard, peer)
        async with running(source, heard):
            await heard.until(2)
            heard.collect()
            solana = subscription("kraken", "SOLUSD", "SOL/USD", 3)
            source.watch([source_of["ETHUSD"], solana])
            await eventually(lambda: heard.quotes[-1][0] == "SOLUSD")
            assert peer.asked("subscribe") == [["BTC/USD", "ETH/USD"], ["SOL/USD"]]
            assert peer.asked("unsubscribe") == [["BTC/USD"]]
            source.watch([])
            await eventually(lambda: not peer.open)
            assert heard.health("kraken").state == "idle"
            source.watch([solana])
            await eventually(lambda: peer.asked("subscribe")[-1:] == [["SOL/USD"]] and peer.connects == 2)


async def test_what_was_not_asked_for_is_a_sign_of_life_and_no_quote() -> None:
    heard = bitcoin()
    foreign = saying(ticker("DOGE/USD"), ticker(bid="null"), {"channel": "trade", "data": []})
    async with Exchange(foreign, snapshot=False).serving() as peer, running(kraken(heard, peer), heard):
        health = heard.health("kraken")
        await eventually(lambda: health.ignored == {"unknown_symbol": 1, "no_price": 1})
        assert (heard.quotes, peer.connects) == ([], 1)


@pytest.mark.parametrize(
    "frame", ["not json", "[]", "7", '{"channel":"ticker","data":7}', "[" * 100_000, '{"x":NaN}', b"\xff\xfe"]
)
async def test_wrong_frames_end_the_connection_and_the_next_one_delivers(frame: str | bytes) -> None:
    heard = bitcoin()
    exchange = Exchange(saying(frame), quiet, snapshot=True)
    async with exchange.serving() as peer, running(kraken(heard, peer), heard):
        await eventually(lambda: peer.connects == 2)
        await heard.until(1)
        assert "unreadable frame" in heard.health("kraken").last_error
        assert len(heard.health("kraken").last_error) <= 300


async def test_a_cut_in_the_middle_of_a_frame_leaves_a_quote_stale_until_a_fresh_one() -> None:
    heard, allowed = bitcoin(), asyncio.Event()

    async def later(peer: SocketPeer, socket: ServerConnection) -> None:
        await allowed.wait()
        await socket.send(ticker(bid="61700.0", ask="61700.1"))

    exchange = Exchange(cut_within_a_frame(ticker()), later, snapshot=False)
    async with exchange.serving() as peer, running(kraken(heard, peer), heard):
        await heard.until(1)
        heard.collect()
        await eventually(lambda: peer.connects == 2 and heard.health("kraken").state == "up")
        answers = heard.answers
        await eventually(lambda: heard.answers > answers)
        assert heard.collect() == {}
        allowed.set()
        await heard.until(2)
        (collected,) = heard.collect().values()
        assert collected.resumes_at == collected.stretch.ticks[0][0]
    assert heard.quotes == [BTC, ("BTCUSD", Decimal("61700.0"), Decimal("61700.1"))]


async def test_a_line_that_falls_silent_is_given_up() -> None:
    heard = bitcoin()

    async def then_deaf(peer: SocketPeer, socket: ServerConnection) -> None:
        await heard.until(1)
        await deaf(peer, socket)

    async with Exchange(then_deaf, quiet).serving() as peer, running(kraken(heard, peer), heard):
        await heard.until(2)
        assert peer.connects == 2
        assert "silent for 0.5 s" in heard.health("kraken").last_error
        assert heard.cuts[0] is heard.links[0]


async def test_what_waited_in_a_buffer_makes_no_tick() -> None:
    """The loop stands still while quotes are under way: those it finds then are of an unknown age."""
    heard = bitcoin()

    async def going_on(peer: SocketPeer, socket: ServerConnection) -> None:
        for number in itertools.count():
            await socket.send(ticker(bid=f"61685.{number:05}", ask="61690.0"))
            await asyncio.sleep(0.02)

    timing = Timing(silence=0.3, ping_every=0.05, connect=2)
    async with Exchange(going_on).serving() as peer, running(kraken(heard, peer, timing), heard):
        await heard.until(5)
        heard.collect()
        before = len(heard.quotes)
        time.sleep(0.6)  # noqa: ASYNC251 - a loop that stands still is what is tested
        await heard.until(before + 1)
        assert heard.lanes["BTCUSD"].ticks == []
        await eventually(lambda: heard.is_up("BTCUSD"))
        (collected,) = heard.collect().values()
        assert collected.resumes_at == collected.stretch.ticks[0][0]
        assert peer.connects == 1


def test_the_exchange_is_given_up_after_five_silent_seconds() -> None:
    assert KrakenSource(Heard([]), Connection("kraken", "kraken")).timing.dead == 5.0


async def test_a_server_that_accepts_and_answers_nothing_is_no_connection() -> None:
    heard = bitcoin()
    timing = Timing(connect=0.2, dead=5, backoff_first=0.01, backoff_longest=0.05)
    async with Exchange(deaf, quiet).serving() as peer, running(kraken(heard, peer, timing), heard):
        await heard.until(1)
        assert peer.connects == 2
        assert heard.health("kraken").last_error == "no answer for 0.2 s"


async def test_a_server_that_hangs_up_is_met_with_growing_patience(monkeypatch) -> None:
    waits: list[float] = []

    def longest(low: float, high: float) -> float:
        waits.append(high)
        return high

    monkeypatch.setattr("random.uniform", longest)
    heard = bitcoin()
    timing = Timing(backoff_first=0.002, backoff_longest=0.016, connect=2)
    async with SocketPeer(gone).serving() as peer, running(kraken(heard, peer, timing), heard):
        await eventually(lambda: peer.connects >= 7)
        assert waits[:6] == [0.002, 0.004, 0.008, 0.016, 0.016, 0.016]
        # One wait before each further attempt: never two attempts for one.
        assert peer.connects <= len(waits) + 1
    assert heard.health("kraken").failures == len(waits)


async def test_between_two_attempts_nothing_is_tried(monkeypatch) -> None:
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    heard = bitcoin()
    async with SocketPeer(gone).serving() as peer, running(kraken(heard, peer, ONCE), heard):
        health = heard.health("kraken")
        await eventually(lambda: health.failures == 1)
        for _ in range(50):
            await asyncio.sleep(0)
        assert (peer.connects, health.state) == (1, "down")


@pytest.mark.parametrize("url", ["ws://ws.kraken.com/v2", "wss://", "http://ws.kraken.com", "wss://a b", "x"])
def test_an_address_must_be_a_safe_one(url: str) -> None:
    with pytest.raises(InvalidSource, match="url: "):
        KrakenSource.check(Connection("kraken", "kraken", url))


def test_it_needs_neither_an_address_nor_options() -> None:
    KrakenSource.check(Connection("kraken", "kraken"))
    with pytest.raises(InvalidSource, match="options: Object contains unknown field `depth`"):
        KrakenSource.check(Connection("kraken", "kraken", options={"depth": 1}))


async def test_a_source_configured_wrongly_says_so_and_waits(caplog) -> None:
    caplog.set_level(logging.DEBUG)
    heard = bitcoin()
    source = KrakenSource(heard, Connection("kraken", "kraken", options={"depth": 1}), QUICK)
    async with running(source, heard):
        health = heard.health("kraken")
        await eventually(lambda: health.failures >= 2)
        assert health.last_error == "options: Object contains unknown field `depth`"
        assert health.state == "down"
    assert clock.now() >= health.last_error_at
