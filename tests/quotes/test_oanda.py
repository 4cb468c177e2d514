"""The OANDA adapter against a local server that speaks HTTP/1.1, chunk by chunk."""

import asyncio
import itertools
import json
import logging
import random
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from config.core import clock
from quotes.errors import InvalidSource
from quotes.lanes import Connection
from quotes.sources.connection import SourceError, Timing
from quotes.sources.oanda import LONGEST_LINE, Lines, OandaSource, Price, read_price
from tests.quotes.market import NOON, Clock, recording, rows_of
from tests.quotes.peers import (
    ONCE,
    QUICK,
    SECRET,
    Heard,
    StreamPeer,
    StreamScript,
    answering,
    chunk,
    eventually,
    head,
    running,
    streaming,
    subscription,
    subscriptions,
)

ACCOUNT = "101-004-1234567-001"
KEY = "source-oanda"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_SOURCE_OANDA", SECRET)


def stamp(at: datetime, nanoseconds: int = 0) -> str:
    """Write an instant as OANDA does, to the nanosecond."""
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond * 1000 + nanoseconds:09}Z"


def price(
    bid: str = "1.08491", ask: str = "1.08502", *, time: str = "", instrument: str = "EUR_USD", **changed: Any
) -> dict[str, Any]:
    """Return a price in its documented form."""
    return {
        "type": "PRICE",
        "time": time or "2016-09-20T15:05:47.960449532Z",
        "bids": [{"price": "1.00000", "liquidity": 1}, {"price": bid, "liquidity": 10000000}],
        "asks": [{"price": "2.00000", "liquidity": 1}, {"price": ask, "liquidity": 10000000}],
        "closeoutBid": "1.08480",
        "closeoutAsk": "1.08513",
        "status": "tradeable",
        "tradeable": True,
        "instrument": instrument,
        **changed,
    }


HEARTBEAT = {"type": "HEARTBEAT", "time": "2016-09-20T15:05:50.163791738Z"}
EUR = ("EURUSD", Decimal("1.08491"), Decimal("1.08502"))


def lines(*messages: Any) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in messages)


def oanda(heard: Heard, peer: StreamPeer, timing: Timing = QUICK, secret_ref: str = KEY) -> OandaSource:
    options = {"account": ACCOUNT}
    return OandaSource(heard, Connection("oanda", "oanda", peer.url, secret_ref, options), timing)


@asynccontextmanager
async def served(
    heard: Heard, *scripts: StreamScript, timing: Timing = QUICK, secret_ref: str = KEY, **options: Any
) -> AsyncIterator[StreamPeer]:
    """Run the adapter against a broker that plays these scripts, one a connection."""
    broker = StreamPeer(*scripts)
    async with broker.serving(**options), running(oanda(heard, broker, timing, secret_ref), heard):
        yield broker


def euro() -> Heard:
    return Heard(subscriptions("oanda", EURUSD="EUR/USD"))


# --- lines --------------------------------------------------------------------------------------------


def test_best_prices_are_found_in_whatever_order_they_come() -> None:
    assert read_price(price()) == Price(
        "EUR_USD", 1_474_383_947_960_449_532, Decimal("1.08491"), Decimal("1.08502"), True
    )
    assert read_price(price(bids=[], asks=[], tradeable=False)) == Price(
        "EUR_USD", 1_474_383_947_960_449_532, None, None, False
    )


@pytest.mark.parametrize("tradeable", [False, None, "true", 1])
def test_only_what_is_said_to_be_tradeable_is(tradeable: Any) -> None:
    assert not read_price(price(tradeable=tradeable)).is_tradeable


def test_the_status_tells_where_nothing_else_does() -> None:
    said = price()
    del said["tradeable"]
    assert read_price(said).is_tradeable
    assert not read_price({**said, "status": "non-tradeable"}).is_tradeable


@pytest.mark.parametrize(
    "changed",
    [
        {"bids": None},
        {"bids": 5},
        {"bids": [5]},
        {"bids": [{"liquidity": 1}]},
        {"asks": [{"price": None}]},
        {"asks": [{"price": True}]},
        {"asks": [{"price": "NaN"}]},
        {"asks": [{"price": "1e999999999"}]},
        {"asks": [{"price": " 1.1"}]},
        {"asks": {"price": "1.1"}},
    ],
)
def test_prices_of_a_wrong_type_are_errors(changed: dict[str, Any]) -> None:
    with pytest.raises(SourceError, match=r"unreadable|not a price"):
        read_price(price(**changed))


@given(
    texts=st.lists(st.text(st.characters(exclude_characters="\n", codec="utf-8"))),
    rest=st.binary(max_size=5).filter(lambda held: b"\n" not in held),
    data=st.data(),
)
def test_however_chunks_are_cut_the_lines_are_the_same(texts: list[str], rest: bytes, data) -> None:
    sent = "".join(f"{each}\n" for each in texts).encode() + rest
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)))))
    found, reader = [], Lines()
    for start, end in itertools.pairwise([0, *cuts, len(sent)]):
        found += reader.feed(sent[start:end])
    assert found == [each.encode() for each in texts if each.encode().strip()]


@pytest.mark.parametrize("tail", [b"", b"\n"])
def test_a_line_too_long_is_refused_before_more_of_it_is_held(tail: bytes) -> None:
    reader = Lines()
    assert list(reader.feed(b"x" * LONGEST_LINE)) == []
    with pytest.raises(SourceError, match="a line longer than 1048576 bytes"):
        reader.feed(b"x" + tail)


# --- the wire -----------------------------------------------------------------------------------------


async def test_it_asks_as_documented() -> None:
    heard = Heard(subscriptions("oanda", EURUSD="eur/usd", EURO="EUR_USD", USDJPY="USD_JPY"))
    async with served(heard, streaming(lines(price()))) as peer:
        await heard.until(2)
    (request,) = peer.requests
    method, target, _ = request.split(" ", 2)
    assert (method, urlsplit(target).path) == ("GET", f"/v3/accounts/{ACCOUNT}/pricing/stream")
    assert parse_qs(urlsplit(target).query) == {"instruments": ["EUR_USD,USD_JPY"], "snapshot": ["true"]}
    assert f"authorization: bearer {SECRET.lower()}\r\n" in request.lower()
    assert "accept-encoding: identity\r\n" in request.lower()
    assert heard.quotes == [EUR, ("EURO", *EUR[1:])]


async def test_a_recording_cut_anywhere_becomes_exactly_its_quotes() -> None:
    rows = list(itertools.islice(rows_of(recording("oanda_eurusd_20140501-02.csv.gz")), 3000))
    began, messages = datetime(1970, 1, 1, tzinfo=UTC), []
    for number, (ms, bid, ask) in enumerate(rows):
        at = stamp(began + timedelta(milliseconds=ms), number)
        # Beside it a word of several bytes a letter, which a cut may part.
        messages += [
            price(str(bid), str(ask), time=at, note="цена €"),
            *([{"type": "HEARTBEAT", "time": at}] if number % 50 == 0 else []),
        ]
    sent = b"".join(json.dumps(each, ensure_ascii=False).encode() + b"\r\n" for each in messages)
    chance = random.Random(20140501)
    cuts = [0, *sorted(chance.sample(range(len(sent)), 4000)), len(sent)]
    chunks = [sent[start:end] for start, end in itertools.pairwise(cuts)]
    heard = euro()
    timing = Timing(silence=20, dead=20)
    async with served(heard, streaming(*chunks), timing=timing) as peer:
        await heard.until(len(rows))
    assert heard.quotes == [("EURUSD", bid, ask) for _, bid, ask in rows]
    assert (heard.signs, peer.connects) == (60, 1)


async def test_what_cannot_be_traded_at_is_a_sign_of_life_and_no_quote() -> None:
    heard = euro()
    sent = lines(
        {"type": "HEARTBEAT", "time": price()["time"]},
        price(bids=[]),
        price(asks=[]),
        price(tradeable=False),
        price(instrument="USD_JPY"),
        {"type": "NEWS", "time": "x"},
        price(),
    )
    async with served(heard, streaming(sent)):
        await heard.until(1)
    assert (heard.quotes, heard.signs, heard.withdrawn) == ([EUR], 3, ["EURUSD"] * 3)
    assert heard.health("oanda").ignored == {"not_tradeable": 3, "unknown_symbol": 1, "other": 1}


@pytest.mark.parametrize("gone", [{"tradeable": False}, {"bids": []}, {"asks": []}])
async def test_a_price_taken_back_stops_the_watermark_until_a_fresh_one(gone: dict[str, Any]) -> None:
    heard, halted, resumed = euro(), asyncio.Event(), asyncio.Event()

    async def script(peer: StreamPeer, writer: asyncio.StreamWriter) -> None:
        await head(writer)
        await chunk(writer, lines(price()))
        await halted.wait()
        # At the time of the last price, as when a market closes: that makes it no late one.
        await chunk(writer, lines(HEARTBEAT, price(**gone), HEARTBEAT))
        await resumed.wait()
        await chunk(writer, lines(price("1.3", "1.4", time=HEARTBEAT["time"])))
        await asyncio.sleep(60)

    async with served(heard, script):
        await heard.until(1)
        heard.collect()
        halted.set()
        await eventually(lambda: heard.signs == 2)
        assert (heard.withdrawn, heard.cuts) == (["EURUSD"], [])
        assert not heard.is_up("EURUSD")
        assert heard.collect() == {}
        resumed.set()
        await heard.until(2)
        (collected,) = heard.collect().values()
        assert collected.resumes_at == collected.stretch.ticks[0][0]


async def test_an_older_word_of_another_stream_takes_no_price_back() -> None:
    heard, said = euro(), asyncio.Event()
    older, newer = "2016-09-20T15:05:46Z", "2016-09-20T15:05:48Z"

    async def second(peer: StreamPeer, writer: asyncio.StreamWriter) -> None:
        await head(writer)
        await chunk(writer, lines(price(time=older, tradeable=False)))
        await said.wait()
        await chunk(writer, lines(price(time=newer, tradeable=False)))
        await asyncio.sleep(60)

    async with StreamPeer(streaming(lines(price())), second).serving() as peer:
        source = oanda(heard, peer)
        async with running(source, heard):
            await heard.until(1)
            source.watch([*heard.wanted, subscription("oanda", "USDJPY", "USD_JPY", 2)])
            await eventually(lambda: peer.connects == 2 and peer.open == 1)
            assert (heard.is_up("EURUSD"), heard.withdrawn) == (True, [])
            said.set()
            await eventually(lambda: heard.withdrawn == ["EURUSD"])
            assert not heard.is_up("EURUSD")


async def test_prices_that_have_waited_somewhere_are_dropped_until_they_come_in_time_again() -> None:
    heard, stands = euro(), Clock()

    def at(seconds: float) -> str:
        return stamp(NOON + timedelta(seconds=seconds))

    def quoted(bid: str, seconds: float) -> dict[str, Any]:
        return price(bid, "1.2", time=at(seconds))

    stalled, ended = asyncio.Event(), asyncio.Event()

    async def script(peer: StreamPeer, writer: asyncio.StreamWriter) -> None:
        await head(writer)
        await chunk(writer, lines({"type": "HEARTBEAT", "time": at(0)}, quoted("1.10", 0)))
        await stalled.wait()
        # The clock has gone on by 4 s: these are 2, 1.001 and 1.5 s old.
        await chunk(writer, lines(quoted("1.11", 2), quoted("1.12", 2.999), quoted("1.13", 2.5)))
        await ended.wait()
        await chunk(writer, lines(quoted("1.14", 3)))
        await asyncio.sleep(60)

    with clock.ticking(stands):
        async with served(heard, script) as peer:
            await heard.until(1)
            heard.collect()
            stands.move(4)
            stalled.set()
            health = heard.health("oanda")
            await eventually(lambda: health.ignored["late"] == 3)
            assert heard.cuts == [heard.links[0]]
            assert heard.collect() == {}
            # A whole second is still in time.
            ended.set()
            await heard.until(2)
            (collected,) = heard.collect().values()
            assert collected.resumes_at == collected.stretch.ticks[0][0]
            assert peer.connects == 1
    assert [str(bid) for _, bid, _ in heard.quotes] == ["1.10", "1.14"]


async def test_a_quiet_market_with_heartbeats_keeps_its_watermark_moving() -> None:
    heard = euro()

    async def beating(peer: StreamPeer, writer: asyncio.StreamWriter) -> None:
        await head(writer)
        await chunk(writer, lines(price()))
        while True:
            await asyncio.sleep(0.02)
            await chunk(writer, lines({"type": "HEARTBEAT", "time": stamp(clock.now())}))

    async with served(heard, beating) as peer:
        await heard.until(1)
        before = heard.collect()[1].stretch.until
        signs = heard.signs
        # For longer than the longest silence.
        await eventually(lambda: heard.signs >= signs + 35)
        after = heard.collect()[1].stretch
    assert (after.ticks, peer.connects) == ([], 1)
    assert after.until > before


async def test_its_clock_is_measured_and_its_lag_by_the_quickest_heartbeat() -> None:
    heard, stands = euro(), Clock()

    def at(seconds: float) -> str:
        return stamp(NOON + timedelta(seconds=seconds))

    def beat(seconds: float) -> bytes:
        return lines({"type": "HEARTBEAT", "time": at(seconds)})

    async def script(peer: StreamPeer, writer: asyncio.StreamWriter) -> None:
        await head(writer)
        # How it stood when the stream began: as old as it likes to be.
        await chunk(writer, lines(price(time=at(-900))))
        for number, (moved, said) in enumerate(steps, start=1):
            await eventually(lambda number=number: len(lags) >= number)
            stands.move(moved)
            await chunk(writer, said)
        await asyncio.sleep(60)

    steps = [
        (0, beat(1.27)),  # ahead of us
        (5, beat(6.30)),  # 30 ms quicker
        (5, beat(10.0)),  # 1300 ms later than that
        (0, lines(price("1.1", "1.2", time=at(10.9)))),  # 400 ms later
    ]
    lags: list[int | None] = []
    with clock.ticking(stands):
        async with served(heard, script):
            await heard.until(1)
            link, health = heard.links[0], heard.health("oanda")
            assert (link.lag_ms, health.offset_ms) == (None, None)
            for step in range(1, 4):
                lags.append(link.lag_ms)
                await eventually(lambda step=step: heard.signs == step)
            lags.append(link.lag_ms)
            await heard.until(2)
            lags.append(link.lag_ms)
            # Of 1270, 1300, 0 and 900 ms.
            assert health.offset_ms == 1085
    assert lags == [None, 0, 0, 1300, 400]


async def test_a_price_repeated_or_behind_on_the_same_stream() -> None:
    """Its own time never decides: what comes later on the stream is later, and only a repeat is none."""
    heard = euro()
    sent = lines(
        price("1.1", "1.2", time="2016-09-20T15:05:47.960449532Z"),
        price("1.1", "1.2", time="2016-09-20T15:05:47.960449532Z"),
        price("1.3", "1.4", time="2016-09-20T15:05:47.960449531Z"),
        price("1.5", "1.6", time="no time at all"),
        price("1.5", "1.6", time="no time at all"),
    )
    async with served(heard, streaming(sent)):
        await heard.until(4)
    assert [str(bid) for _, bid, _ in heard.quotes] == ["1.1", "1.3", "1.5", "1.5"]
    assert heard.health("oanda").ignored == {"repeated": 1}


async def test_a_changed_list_goes_to_a_new_stream_and_nothing_is_lost_or_doubled() -> None:
    heard = Heard(subscriptions("oanda", EURUSD="EUR_USD", USDJPY="USD_JPY"))
    euro_only, both = heard.wanted[:1], heard.wanted
    sent: list[tuple[str, Decimal, Decimal]] = []
    writers: list[asyncio.StreamWriter] = []

    async def both_streams(peer: StreamPeer, writer: asyncio.StreamWriter) -> None:
        await head(writer)
        await chunk(writer, lines(HEARTBEAT))
        writers.append(writer)
        await asyncio.sleep(60)

    async def quoting() -> None:
        for number in itertools.count():
            bid = Decimal(100_000 + number).scaleb(-5)
            ask, at = bid + Decimal("0.00010"), stamp(NOON + timedelta(milliseconds=number))
            said = lines(price(str(bid), str(ask), time=at))
            sent.append(("EURUSD", bid, ask))
            for writer in writers:
                # The one that is dropped.
                with suppress(ConnectionError):
                    await chunk(writer, said)
            await asyncio.sleep(0.002)

    async with StreamPeer(both_streams).serving() as peer:
        source = oanda(heard, peer)
        async with running(source, heard):
            source.watch(euro_only)
            await eventually(lambda: len(writers) == 1)
            quotes = asyncio.create_task(quoting())
            await heard.until(5)
            assert heard.collect()[1].resumes_at is not None
            source.watch(both)
            await eventually(lambda: peer.connects == 2 and peer.open == 1)
            await heard.until(len(heard.quotes) + 5)
            quotes.cancel()
            (collected,) = heard.collect().values()
    assert peer.most_open == 2
    assert [parse_qs(urlsplit(each).query)["instruments"] for each in peer.targets] == [
        ["EUR_USD"],
        ["EUR_USD,USD_JPY"],
    ]
    assert heard.quotes == sent[: len(heard.quotes)]
    assert collected.resumes_at is None
    assert len(heard.links) == 2


async def test_in_a_quiet_market_the_new_stream_goes_on_where_the_old_one_ends() -> None:
    heard, later = euro(), asyncio.Event()

    async def quiet(peer: StreamPeer, writer: asyncio.StreamWriter) -> None:
        await head(writer)
        # Older than what the other stream has brought already.
        await chunk(writer, lines(price("1.1", "1.2", time="2016-09-20T15:05:46Z")))
        await later.wait()
        await chunk(writer, lines(price("1.3", "1.4", time="2016-09-20T15:05:48Z")))
        await asyncio.sleep(60)

    async with StreamPeer(streaming(lines(price())), quiet).serving() as peer:
        source = oanda(heard, peer)
        async with running(source, heard):
            await heard.until(1)
            heard.collect()
            source.watch([*heard.wanted, subscription("oanda", "USDJPY", "USD_JPY", 2)])
            await eventually(lambda: peer.connects == 2 and peer.open == 1)
            assert heard.is_up("EURUSD")
            later.set()
            await heard.until(2)
            assert heard.collect()[1].resumes_at is None
    assert heard.quotes == [EUR, ("EURUSD", Decimal("1.3"), Decimal("1.4"))]
    assert heard.health("oanda").ignored == {"repeated": 1}


async def test_a_list_the_broker_refuses_leaves_the_old_stream_as_it_is() -> None:
    heard = Heard(subscriptions("oanda", EURUSD="EUR_USD", FOOBAR="FOO_BAR"))
    refusal = answering("400 Bad Request", b'{"errorMessage":"Invalid value specified for \'instruments\'"}')
    second = lines(price("1.3", "1.4", time="2016-09-20T15:05:48Z"))
    third = lines(price("1.5", "1.6", time="2016-09-20T15:05:49Z"))
    refused = asyncio.Event()

    async def patient(peer: StreamPeer, writer: asyncio.StreamWriter) -> None:
        await head(writer)
        await chunk(writer, lines(price()))
        await refused.wait()
        await chunk(writer, second)
        await asyncio.sleep(60)

    last = streaming(third)
    async with StreamPeer(patient, refusal, last).serving() as peer:
        source = oanda(heard, peer, ONCE)
        async with running(source, heard):
            source.watch(heard.wanted[:1])
            await heard.until(1)
            heard.collect()
            source.watch(heard.wanted)
            health = heard.health("oanda")
            await eventually(lambda: health.failures == 1)
            assert health.last_error == "HTTP 400 Invalid value specified for 'instruments'"
            assert health.state == "up"
            refused.set()
            await heard.until(2)
            await eventually(lambda: peer.open == 1)
            # The longest wait ends when the list is another one.
            source.watch(heard.wanted[:1])
            await heard.until(3)
            await eventually(lambda: peer.open == 1)
            assert peer.connects == 3
            (collected,) = heard.collect().values()
            assert collected.resumes_at is None


async def test_nothing_asked_for_is_no_stream() -> None:
    heard = euro()
    async with StreamPeer(streaming(lines(price()))).serving() as peer:
        source = oanda(heard, peer)
        async with running(source, heard):
            await heard.until(1)
            source.watch([])
            await eventually(lambda: not peer.open)
            assert (heard.health("oanda").state, heard.is_up("EURUSD")) == ("idle", False)
            source.watch([subscription("oanda", "EURUSD", "EUR_USD")])
            await heard.until(2)
            assert peer.connects == 2


# --- how it ends --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "says"),
    [
        (streaming(lines(price()), ends=True), "the stream has ended"),
        (streaming(lines(price()), is_cut=True), "RemoteProtocolError"),
        (streaming(lines(price()) + b'{"type":"PRI'), "silent for 0.5 s"),
        (streaming(lines(price(), 7)), "unreadable frame"),
        (streaming(lines(price()) + b"not json\n"), "unreadable frame"),
        (streaming(lines(price()) + b"\xff\xfe\n"), "unreadable frame"),
        (streaming(lines(price(), price(bids=3))), "unreadable frame"),
        (streaming(lines(price(), {"errorMessage": "Too many streams"})), "Too many streams"),
        (streaming(lines(price()), *[b"x" * 65536] * 17), "a line longer than 1048576 bytes"),
    ],
)
async def test_whatever_ends_a_stream_another_delivers(script: StreamScript, says: str) -> None:
    heard = euro()
    async with served(heard, script, streaming(lines(price()))) as peer:
        await heard.until(2)
        assert says in heard.health("oanda").last_error
        assert heard.cuts[0] is heard.links[0]
        # After the cut its quote was stale until the fresh one.
        assert heard.collect()[1].resumes_at is not None
    assert peer.connects == 2


async def test_bytes_without_a_line_are_no_sign_of_life() -> None:
    heard = euro()

    async def dribbling(peer: StreamPeer, writer: asyncio.StreamWriter) -> None:
        await head(writer)
        await chunk(writer, lines(price()))
        while True:
            await asyncio.sleep(0.05)
            await chunk(writer, b" ")

    async with served(heard, dribbling, streaming(lines(price()))):
        await heard.until(2)
        assert heard.health("oanda").last_error == "silent for 0.5 s"


def test_the_broker_is_given_up_after_two_missed_heartbeats() -> None:
    timing = OandaSource(Heard([]), Connection("oanda", "oanda")).timing
    assert (timing.silence, timing.dead) == (10.0, 10.0)


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        ("401 Unauthorized", b'{"errorMessage":"Insufficient authorization to perform request."}',
         "HTTP 401 Insufficient authorization to perform request."),
        ("403 Forbidden", b'{"errorMessage":"Forbidden"}', "HTTP 403 Forbidden"),
        ("404 Not Found", b"<html>nothing here</html>", "HTTP 404 <html>nothing here</html>"),
        ("400 Bad Request", b"[]", "HTTP 400 []"),
        ("401 Unauthorized", f'{{"errorMessage":"no such key: {SECRET}"}}'.encode(),
         "HTTP 401 no such key: [secret]"),
        ("401 Unauthorized", b"", "HTTP 401"),
    ],
)  # fmt: skip
async def test_a_refusal_is_told_in_the_brokers_words_and_waits_longest(
    status: str, body: bytes, says: str, monkeypatch
) -> None:
    # Chance would say: at once. What is refused does not ask it.
    monkeypatch.setattr("random.uniform", lambda low, high: 0)
    heard = euro()
    async with (
        StreamPeer(answering(status, body)).serving() as peer,
        running(oanda(heard, peer, ONCE), heard),
    ):
        health = heard.health("oanda")
        await eventually(lambda: health.failures == 1)
        for _ in range(50):
            await asyncio.sleep(0)
        assert (peer.connects, health.state, health.last_error) == (1, "down", says)


async def test_another_list_ends_the_longest_wait() -> None:
    heard = euro()
    refusal = answering("400 Bad Request", b"no such instrument")
    async with StreamPeer(refusal, streaming(lines(price()))).serving() as peer:
        source = oanda(heard, peer, ONCE)
        async with running(source, heard):
            source.watch(subscriptions("oanda", FOOBAR="FOO_BAR"))
            await eventually(lambda: heard.health("oanda").failures == 1)
            source.watch(heard.wanted)
            await heard.until(1)
    assert peer.connects == 2


@pytest.mark.parametrize(
    "script",
    [
        answering("503 Service Unavailable", b"busy"),
        answering("429 Too Many Requests", b""),
        answering("302 Found", b""),
    ],
)
async def test_what_passes_by_itself_is_tried_again(script: StreamScript) -> None:
    heard = euro()
    async with served(heard, script, script, streaming(lines(price()))) as peer:
        await heard.until(1)
    assert peer.connects == 3


async def test_an_answer_that_does_not_end_is_not_read_to_its_end() -> None:
    async def endless(peer: StreamPeer, writer: asyncio.StreamWriter) -> None:
        await head(writer, "500 Oops")
        while True:
            await chunk(writer, b"x" * 65536)

    heard = euro()
    async with served(heard, endless, streaming(lines(price()))):
        await heard.until(1)
        assert heard.health("oanda").last_error.startswith("HTTP 500 xxx")


async def test_a_broker_that_hangs_up_is_met_with_growing_patience(monkeypatch) -> None:
    waits: list[float] = []

    def longest(low: float, high: float) -> float:
        waits.append(high)
        return high

    async def gone(peer: StreamPeer, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    monkeypatch.setattr("random.uniform", longest)
    heard = euro()
    timing = Timing(backoff_first=0.002, backoff_longest=0.008, connect=2)
    async with served(heard, gone, timing=timing) as peer:
        await eventually(lambda: peer.connects >= 6)
        assert waits[:5] == [0.002, 0.004, 0.008, 0.008, 0.008]
        assert peer.connects <= len(waits) + 1


# --- keys and settings --------------------------------------------------------------------------------


def self_signed(folder: Path) -> ssl.SSLContext:
    """Return the context of a server whose certificate nobody vouches for."""
    made = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(made.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(made, hashes.SHA256())
    )
    path = folder / "server.pem"
    path.write_bytes(
        made.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


async def test_a_certificate_nobody_vouches_for_is_refused_before_the_key_is_sent(tmp_path) -> None:
    heard = euro()
    async with served(heard, streaming(lines(price())), timing=ONCE, ssl=self_signed(tmp_path)) as peer:
        health = heard.health("oanda")
        await eventually(lambda: health.failures == 1)
        assert "CERTIFICATE_VERIFY_FAILED" in health.last_error
    assert (peer.requests, heard.quotes) == ([], [])


async def test_the_key_is_nowhere_but_on_the_wire(caplog) -> None:
    caplog.set_level(logging.DEBUG)
    said = f'{{"errorMessage":"the key {SECRET} has expired"}}'.encode()
    scripts = [
        streaming(lines(price()) + said + b"\n"),
        streaming(lines(price()) + b"x" * 300 + SECRET.encode() + b"\n"),
        answering("500 Oops", SECRET.encode()),
        streaming(lines(price())),
    ]
    heard, errors = euro(), set()
    async with StreamPeer(*scripts).serving() as peer:
        source = oanda(heard, peer)
        async with running(source, heard):
            health = heard.health("oanda")

            def seen() -> bool:
                errors.add(health.last_error)
                return peer.connects >= 4 and len(heard.quotes) >= 3

            await eventually(seen)
    assert all(SECRET in request for request in peer.requests)
    assert "the key [secret] has expired" in errors
    for text in (caplog.text, *errors, repr(source), repr(heard.health("oanda")), str(vars(health))):
        assert SECRET not in text


@pytest.mark.parametrize(
    ("prepare", "reference", "says"),
    [
        (lambda patch: None, "", "a key is needed: secret_ref names it"),
        (lambda patch: patch.setenv("SECRET_OANDA", SECRET), "oanda",
         "a source may only use secrets whose names begin with source-"),
        (lambda patch: None, "source-nowhere", "there is no secret source-nowhere"),
        (lambda patch: patch.setenv("SECRET_SOURCE_OANDA", "two\nlines"), "source-oanda",
         "the secret source-oanda has characters that cannot be sent"),
        (lambda patch: patch.setenv("SECRET_SOURCE_OANDA", "ключ"), "source-oanda",
         "the secret source-oanda has characters that cannot be sent"),
    ],
)  # fmt: skip
async def test_without_a_key_that_can_be_sent_nothing_is_opened(
    prepare: Callable[[Any], None], reference: str, says: str, monkeypatch
) -> None:
    prepare(monkeypatch)
    heard = euro()
    async with served(heard, streaming(lines(price())), timing=ONCE, secret_ref=reference) as peer:
        health = heard.health("oanda")
        await eventually(lambda: health.failures == 1)
        assert says in health.last_error
        assert peer.connects == 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "options: Object missing required field `account`"),
        ({"account": ""}, "`account` is letters, digits and dashes"),
        ({"account": "1/../2"}, "`account` is letters, digits and dashes"),
        ({"account": 7}, "Expected `str`, got `int` - at `account`"),
        ({"account": "1", "practice": True}, "Object contains unknown field `practice`"),
    ],
)
def test_options_are_read_strictly(options: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidSource) as refusal:
        OandaSource.check(Connection("oanda", "oanda", options=options))
    assert says in refusal.value.detail


@pytest.mark.parametrize("url", ["http://stream-fxtrade.oanda.com", "https://key@host", "wss://host", "host"])
def test_the_key_goes_over_tls_only(url: str) -> None:
    with pytest.raises(InvalidSource, match="url: "):
        OandaSource.check(Connection("oanda", "oanda", url, options={"account": ACCOUNT}))
