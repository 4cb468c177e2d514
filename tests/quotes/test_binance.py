"""The Binance adapter against a local server that speaks as the exchange does."""

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from decimal import Decimal

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.frames import Frame, Opcode

from quotes.intake import Intake, Link, Subscription
from quotes.lanes import Connection
from quotes.sources.binance import PATIENCE, BinanceSource, BookTicker, read_frame
from quotes.sources.connection import Backoff, ShuttingDown, SourceError, Timing
from tests.quotes.market import recording

QUICK = Timing(silence=0.5, dead=0.5, ping_every=0.05, connect=2, backoff_first=0.01, backoff_longest=0.05)


def subscription(symbol: str = "BTCUSDT", source_symbol: str = "btcusdt", **settings) -> Subscription:
    return Subscription(
        instrument_id=settings.pop("instrument_id", 1),
        symbol=symbol,
        price_decimals=2,
        source="binance",
        source_symbol=source_symbol,
        tick_interval_ms=0,
        max_quote_age_ms=5000,
        max_spread=Decimal("0.01"),
        max_jump=Decimal("0.5"),
        simulated_price=None,
        simulated_volatility=None,
        simulated_interval_ms=500,
    )


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in a server of another task
            await asyncio.sleep(0.005)


class Heard(Intake):
    """An intake that remembers what it was given, and by which connection."""

    def __init__(self, *subscriptions: Subscription) -> None:
        super().__init__()
        self.quotes: list[tuple[str, Decimal, Decimal]] = []
        self.links: list[Link] = []
        self.cuts: list[Link] = []
        self.withdrawn: list[str] = []
        self.answers = 0
        self.follow(subscriptions, {})

    def answer(self, link: Link, *, is_sign: bool = True) -> None:
        self.answers += 1
        super().answer(link, is_sign=is_sign)

    def quote(self, symbol: str, bid: Decimal, ask: Decimal, link: Link) -> bool:
        self.quotes.append((symbol, bid, ask))
        if link not in self.links:
            self.links.append(link)
        return super().quote(symbol, bid, ask, link)

    def withdraw(self, symbol: str, link: Link) -> None:
        self.withdrawn.append(symbol)
        super().withdraw(symbol, link)

    def cut(self, link: Link) -> None:
        self.cuts.append(link)
        super().cut(link)

    async def until(self, count: int) -> None:
        await eventually(lambda: len(self.quotes) >= count)


Script = Callable[["Exchange", ServerConnection], Awaitable[None]]


class Exchange:
    """A server that plays one script per connection, the last one again and again."""

    def __init__(self, *scripts: Script) -> None:
        self.scripts = list(scripts)
        self.paths: list[str] = []
        self.open = 0
        self.most_open = 0
        self.update = 0

    async def handle(self, socket: ServerConnection) -> None:
        script = self.scripts[min(len(self.paths), len(self.scripts) - 1)]
        self.paths.append(socket.request.path if socket.request else "")
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            with suppress(Exception):
                await script(self, socket)
        finally:
            self.open -= 1

    def frame(self, symbol: str = "BTCUSDT", bid: str = "100.00", ask: str = "100.02") -> str:
        self.update += 1
        return ticker(self.update, symbol, bid, ask)


def ticker(update: int, symbol: str = "BTCUSDT", bid: str = "100.00", ask: str = "100.02") -> str:
    return json.dumps(
        {
            "stream": f"{symbol.lower()}@bookTicker",
            "data": {"u": update, "s": symbol, "b": bid, "B": "1", "a": ask, "A": "1"},
        }
    )


async def forever(exchange: Exchange, socket: ServerConnection) -> None:
    """Quote every 20 ms."""
    while True:
        await socket.send(exchange.frame())
        await asyncio.sleep(0.02)


async def mute(exchange: Exchange, socket: ServerConnection) -> None:
    await socket.wait_closed()


@asynccontextmanager
async def streaming(
    exchange: Exchange,
    heard: Heard,
    timing: Timing = QUICK,
    *subscriptions: Subscription,
    patience: float = PATIENCE,
) -> AsyncIterator[BinanceSource]:
    async with serve(exchange.handle, "127.0.0.1", 0, ping_interval=None) as server:
        port = server.sockets[0].getsockname()[1]
        connection = Connection("binance", "binance", f"ws://127.0.0.1:{port}/")
        source = BinanceSource(heard, connection, timing, patience)
        source.watch(subscriptions or [subscription()])
        running = asyncio.create_task(source.run())
        try:
            yield source
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


# --- frames -------------------------------------------------------------------------------------------


def test_a_book_ticker_is_read_in_decimals() -> None:
    assert read_frame(ticker(7, bid="61685.99000000", ask="61686.00000000")) == BookTicker(
        "BTCUSDT", 7, Decimal("61685.99000000"), Decimal("61686.00000000")
    )


@pytest.mark.parametrize(
    "frame",
    ['{"stream":"btcusdt@trade","data":{"e":"trade","p":"1"}}', '{"result":null,"id":1}'],
)
def test_other_frames_are_no_quotes(frame: str) -> None:
    assert read_frame(frame) is None


@pytest.mark.parametrize(
    "frame", ['{"e":"serverShutdown","E":1}', '{"stream":"x","data":{"e":"serverShutdown","E":1}}']
)
def test_the_announced_end_is_understood(frame: str) -> None:
    with pytest.raises(ShuttingDown):
        read_frame(frame)


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        ('{"code":2,"msg":"Invalid request","id":1}', "2: Invalid request"),
        ("not json", "unreadable"),
        ("[]", "unreadable"),
        ('{"stream":"btcusdt@bookTicker","data":{"u":1,"s":"BTCUSDT"}}', "unreadable"),
        ('{"stream":"btcusdt@bookTicker","data":{"u":1,"s":"B","b":"x","a":"1"}}', "unreadable"),
    ],
)
def test_errors_are_named(frame: str, says: str) -> None:
    with pytest.raises(SourceError, match=says):
        read_frame(frame)


def test_backoff_doubles_to_its_limit_and_begins_anew_after_a_healthy_minute(monkeypatch) -> None:
    monkeypatch.setattr("random.uniform", lambda low, high: (low, high))
    backoff = Backoff(Timing())
    assert [backoff.seconds(1) for _ in range(8)] == [
        (0, 0.5), (0, 1.0), (0, 2.0), (0, 4.0), (0, 8.0), (0, 16.0), (0, 30.0), (0, 30.0),
    ]  # fmt: skip
    assert backoff.seconds(60) == (0, 0.5)


# --- the wire -----------------------------------------------------------------------------------------


async def test_every_book_ticker_of_the_recorded_wire_becomes_exactly_its_quote() -> None:
    with gzip.open(recording("binance_wire_btcusdt_20240809.jsonl.gz"), "rt") as file:
        frames = [line.split(" ", 1)[1] for line in file]
    expected, last = [], 0
    for frame in frames:
        message = json.loads(frame)
        if message["stream"] == "btcusdt@bookTicker" and message["data"]["u"] > last:
            last = message["data"]["u"]
            expected.append(("BTCUSDT", Decimal(message["data"]["b"]), Decimal(message["data"]["a"])))

    async def play(exchange: Exchange, socket: ServerConnection) -> None:
        for frame in frames:
            await socket.send(frame)
            if "bookTicker" in frame:
                await socket.send(frame)  # twice: an update that is known already
        await mute(exchange, socket)

    heard = Heard(subscription())
    async with streaming(Exchange(play), heard, Timing()):
        await heard.until(len(expected))
        await asyncio.sleep(0.1)
    assert len(expected) > 10_000
    assert heard.quotes == expected


async def test_streams_are_asked_for_by_normalised_names_and_reach_every_instrument() -> None:
    both = [subscription("BTCUSDT", "BTC/USDT"), subscription("BITCOIN", "btcusdt", instrument_id=2)]
    ether = subscription("ETHUSDT", "eth-usdt", instrument_id=3)
    exchange, heard = Exchange(forever), Heard(*both, ether)
    async with streaming(exchange, heard, QUICK, *both, ether):
        await heard.until(2)
    assert exchange.paths == ["/stream?streams=btcusdt@bookTicker/ethusdt@bookTicker"]
    assert {quote[0] for quote in heard.quotes} == {"BTCUSDT", "BITCOIN"}


async def test_a_server_ping_is_answered_with_its_payload() -> None:
    answered: list[bytes] = []

    async def ping(exchange: Exchange, socket: ServerConnection) -> None:
        original = socket.protocol.recv_frame

        def spy(frame: Frame) -> None:
            if frame.opcode is Opcode.PONG:
                answered.append(bytes(frame.data))
            original(frame)

        socket.protocol.recv_frame = spy  # type: ignore[method-assign]
        await (await socket.ping(b"1723161600001"))
        await forever(exchange, socket)

    heard = Heard(subscription())
    async with streaming(Exchange(ping), heard):
        await heard.until(1)
    assert answered[0] == b"1723161600001"


async def test_rotation_opens_the_next_connection_first_and_nothing_is_lost_or_doubled() -> None:
    exchange, heard = Exchange(forever), Heard(subscription())
    timing = Timing(rotate_after=0.3, silence=1, dead=1, ping_every=0.05, connect=2)
    async with streaming(exchange, heard, timing):
        lane = heard.lanes["BTCUSDT"]
        while len(exchange.paths) < 4:
            await asyncio.sleep(0.01)
            heard.collect()
            assert lane.is_live or not heard.quotes
    assert exchange.most_open == 2
    # Each update came over whichever connection was there, once: the server counts across connections.
    assert len(heard.quotes) <= exchange.update
    assert len(heard.links) >= 3
    assert lane.resumes_at is None


async def test_an_announced_end_moves_to_another_connection_without_a_pause() -> None:
    async def ending(exchange: Exchange, socket: ServerConnection) -> None:
        await socket.send(exchange.frame())
        await socket.send('{"e":"serverShutdown","E":1723161600001}')
        await forever(exchange, socket)

    exchange, heard = Exchange(ending, forever), Heard(subscription())
    async with streaming(exchange, heard):
        await heard.until(1)
        heard.collect()
        await heard.until(10)
        assert len(exchange.paths) == 2
        (collected,) = heard.collect().values()
        assert collected.resumes_at is None
        assert exchange.open == 1


async def test_an_error_frame_ends_the_connection_and_the_next_one_delivers() -> None:
    async def failing(exchange: Exchange, socket: ServerConnection) -> None:
        await socket.send('{"code":3,"msg":"Invalid JSON","id":null}')
        await mute(exchange, socket)

    exchange, heard = Exchange(failing, failing, forever), Heard(subscription())
    async with streaming(exchange, heard):
        await heard.until(3)
    assert len(exchange.paths) == 3


async def test_a_cut_connection_stops_the_watermark_until_a_fresh_quote() -> None:
    allowed = asyncio.Event()

    async def cut(exchange: Exchange, socket: ServerConnection) -> None:
        await socket.send(exchange.frame())
        socket.transport.abort()

    async def quiet(exchange: Exchange, socket: ServerConnection) -> None:
        await allowed.wait()
        await forever(exchange, socket)

    exchange, heard = Exchange(cut, quiet), Heard(subscription())
    async with streaming(exchange, heard):
        await heard.until(1)
        first = heard.collect()[1]
        assert first.resumes_at == first.stretch.ticks[0][0]
        await eventually(lambda: len(exchange.paths) >= 2 and heard.cuts != [])
        heard.collect()
        await asyncio.sleep(0.3)
        assert heard.collect() == {}  # connected and answering pings, but no quote is fresh
        allowed.set()
        await heard.until(2)
        again = heard.collect()[1]
        assert again.resumes_at == again.stretch.ticks[0][0]


async def test_a_quiet_market_with_a_living_line_keeps_its_watermark_moving() -> None:
    async def once(exchange: Exchange, socket: ServerConnection) -> None:
        await socket.send(exchange.frame())
        await mute(exchange, socket)

    heard = Heard(subscription())
    async with streaming(Exchange(once), heard):
        await heard.until(1)
        before = heard.collect()[1].stretch.until
        await asyncio.sleep(0.3)
        after = heard.collect()[1].stretch
    assert after.ticks == []
    assert 0.1 < (after.until - before).total_seconds() < 0.4
    assert after.source_lag_ms is not None


async def test_a_line_that_answers_no_ping_is_dead() -> None:
    async def deaf(exchange: Exchange, socket: ServerConnection) -> None:
        await socket.send(exchange.frame())
        await asyncio.sleep(0.1)
        socket.transport.pause_reading()
        await asyncio.sleep(2)
        socket.transport.abort()

    exchange, heard = Exchange(deaf, forever), Heard(subscription())
    async with streaming(exchange, heard):
        await heard.until(3)
    assert len(exchange.paths) == 2
    # The watermark stood at the last answer, not at the moment the silence was noticed.
    assert len(heard.cuts) >= 1


async def test_a_dead_backend_behind_a_living_edge_is_noticed_and_another_connection_tried() -> None:
    allowed = asyncio.Event()

    async def once(exchange: Exchange, socket: ServerConnection) -> None:
        await socket.send(exchange.frame())
        await mute(exchange, socket)

    async def later(exchange: Exchange, socket: ServerConnection) -> None:
        await allowed.wait()
        await forever(exchange, socket)

    exchange, heard = Exchange(once, later), Heard(subscription())
    async with streaming(exchange, heard, QUICK, patience=0.3) as source:
        await heard.until(1)
        heard.collect()
        await eventually(lambda: len(exchange.paths) >= 3)
        # The old one was dropped when the next one stood; neither it nor the pongs of either tell anything.
        assert exchange.most_open == 2
        assert heard.health("binance").last_error == "no frame for 0.3 s"
        assert (heard.collect(), heard.is_up("BTCUSDT")) == ({}, False)
        allowed.set()
        await eventually(lambda: heard.is_up("BTCUSDT"))
        collected = heard.collect()[1]
        assert collected.resumes_at == collected.stretch.ticks[0][0]
        # A connection that goes on delivering stays.
        connects, quotes = len(exchange.paths), len(heard.quotes)
        await heard.until(quotes + 25)
        assert len(exchange.paths) <= connects + 1
        assert source.health.state == "up"


async def test_pongs_alone_sign_no_connection_that_has_brought_nothing_for_too_long() -> None:
    """Not even when no other connection can be opened, so that the old one stays."""
    heard = Heard(subscription())

    async def once(exchange: Exchange, socket: ServerConnection) -> None:
        await socket.send(exchange.frame())
        await mute(exchange, socket)

    async def refuse(exchange: Exchange, socket: ServerConnection) -> None:
        socket.transport.abort()

    async with streaming(Exchange(once, refuse), heard, QUICK, patience=0.2):
        await heard.until(1)
        link = heard.links[0]
        await eventually(lambda: link in heard.cuts)
        signed, answers = link.sign, heard.answers
        await eventually(lambda: heard.answers >= answers + 5)
        assert link.sign == signed


async def test_a_count_that_begins_anew_with_a_new_connection_is_followed() -> None:
    async def far(exchange: Exchange, socket: ServerConnection) -> None:
        await socket.send(ticker(10**12))
        socket.transport.abort()

    exchange, heard = Exchange(far, forever), Heard(subscription())
    async with streaming(exchange, heard):
        await heard.until(3)


async def test_what_waited_in_a_buffer_makes_no_tick() -> None:
    """The loop stands still while the exchange goes on: the frames it finds then are of an unknown age."""
    heard = Heard(subscription())
    async with streaming(Exchange(forever), heard, Timing(silence=0.3, ping_every=0.05, connect=2)):
        await heard.until(3)
        heard.collect()
        # The server stands still as well, but what it has sent before waits here.
        before = len(heard.quotes)
        time.sleep(0.6)  # noqa: ASYNC251 - a loop that stands still is what is tested
        await heard.until(before + 1)
        assert heard.lanes["BTCUSDT"].ticks == []
        await eventually(lambda: heard.is_up("BTCUSDT"))
        collected = heard.collect()[1]
        assert collected.resumes_at == collected.stretch.ticks[0][0]


async def test_a_changed_list_goes_to_a_new_connection_while_the_old_delivers() -> None:
    exchange, heard = (
        Exchange(forever),
        Heard(subscription(), subscription("ETHUSDT", "ethusdt", instrument_id=2)),
    )
    async with streaming(exchange, heard) as source:
        await heard.until(2)
        source.watch([subscription(), subscription("ETHUSDT", "ethusdt", instrument_id=2)])
        await eventually(lambda: len(exchange.paths) >= 2)
        await heard.until(len(heard.quotes) + 3)
        assert exchange.paths[1] == "/stream?streams=btcusdt@bookTicker/ethusdt@bookTicker"
        assert exchange.most_open == 2
        source.watch([])
        await eventually(lambda: not exchange.open)
