"""A source is tried: real adapters against local servers, and the record is left alone."""

import asyncio
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from config.core import clock
from config.core.errors import Invalid
from quotes.errors import InvalidSource
from quotes.intake import Intake, Link, Subscription
from quotes.lanes import Connection
from quotes.models import Gap, Instrument, Source, SourceState, Tick, Watermark
from quotes.rules import Quote
from quotes.sources import probe as probing
from quotes.sources.probe import ProbeReport, check_options, probe
from quotes.sources.thread import MAKERS
from tests.quotes.peers import SECRET, SocketPeer, StreamPeer, answering, gone, saying, streaming
from tests.quotes.test_kraken import Exchange
from tests.quotes.test_oanda import ACCOUNT, HEARTBEAT, lines, price

PLAIN = {"subscribe": {"sub": "{symbol}"}, "paths": {"symbol": "s", "bid": "b", "ask": "a"}}
BTC = Quote(Decimal("61685.9"), Decimal("61686.0"))


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_SOURCE_FEED", SECRET)
    monkeypatch.setattr(probing, "TELL_SECONDS", 0.5)


@contextmanager
def away(peer: Any) -> Iterator[Any]:
    """Serve from another thread, since whoever probes waits."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    serving = peer.serving()
    try:
        yield asyncio.run_coroutine_threadsafe(serving.__aenter__(), loop).result(5)
    finally:
        asyncio.run_coroutine_threadsafe(serving.__aexit__(None, None, None), loop).result(5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()


def kraken(peer: Any) -> Connection:
    return Connection("kraken", "kraken", peer.url)


# --- what it says -------------------------------------------------------------------------------------


def test_what_came_is_reported() -> None:
    told: list[ProbeReport] = []
    with away(Exchange(refused=("FOO/BAR",))) as peer:
        report = probe(kraken(peer), ["BTC/USD", " ETH/USD ", "FOO/BAR", "BTC/USD"], 1, told.append)
    assert [(each.symbol, each.quotes) for each in report.symbols] == [
        ("BTC/USD", 1), ("ETH/USD", 1), ("FOO/BAR", 0),
    ]  # fmt: skip
    bitcoin, _, nothing = report.symbols
    assert (bitcoin.first, bitcoin.last, bitcoin.spread) == (BTC, BTC, Decimal("0.1"))
    assert bitcoin.first_at == bitcoin.last_at
    assert (nothing.first, nothing.last_at, nothing.spread) == (None, None, None)
    assert (report.source, report.quotes, report.connects, report.is_quoting) == ("kraken", 2, 1, True)
    assert report.error == "Currency pair not supported FOO/BAR"
    # Answers to pings, and acknowledgements.
    assert report.heartbeats >= 3
    assert report.lag_ms is not None
    assert report.offset_ms is not None
    assert told
    assert told[-1].quotes == 2
    assert not peer.open


def test_the_first_and_the_last_quote_are_kept() -> None:
    options, peer = {"account": ACCOUNT}, StreamPeer(
        streaming(lines(price(), HEARTBEAT, price("1.3", "1.4", time="2016-09-20T15:05:51Z"), price(bids=[])))
    )  # fmt: skip
    with away(peer):
        report = probe(Connection("oanda", "oanda", peer.url, "source-feed", options), ["EUR/USD"], 1)
    (euro,) = report.symbols
    assert (euro.quotes, euro.first, euro.last) == (
        2, Quote(Decimal("1.08491"), Decimal("1.08502")), Quote(Decimal("1.3"), Decimal("1.4")),
    )  # fmt: skip
    assert (report.heartbeats, report.ignored, report.error) == (2, {"not_tradeable": 1}, "")


def test_a_source_that_says_nothing_of_them_is_not_quoting() -> None:
    with away(SocketPeer(saying({"hello": "there"}))) as peer:
        report = probe(Connection("feed", "json", peer.url, "source-feed", PLAIN), ["X"], 1)
    assert (report.is_quoting, report.quotes, report.error, report.connects) == (False, 0, "", 1)
    assert report.ignored == {"other": 1}


# --- how it ends --------------------------------------------------------------------------------------


def test_where_nothing_can_be_opened_it_ends_before_its_time() -> None:
    with away(SocketPeer(gone)) as peer:
        report = probe(kraken(peer), ["BTC/USD"], 300)
    assert (report.is_quoting, report.connects) == (False, 0)
    assert report.error != ""
    assert report.seconds < 60


def test_a_refusal_is_reported_without_the_key() -> None:
    said = f'{{"errorMessage":"no such key: {SECRET}"}}'.encode()
    with away(StreamPeer(answering("401 Unauthorized", said))) as peer:
        connection = Connection("oanda", "oanda", peer.url, "source-feed", {"account": ACCOUNT})
        report = probe(connection, ["EUR_USD"], 300)
    assert report.error == "HTTP 401 no such key: [secret]"
    assert SECRET not in repr(report)


class Broken:
    """An adapter with a mistake in it."""

    name = "feed"

    def __init__(self, intake: Intake, connection: Connection) -> None:
        self.intake = intake

    def watch(self, subscriptions: Collection[Subscription]) -> None:
        pass

    async def run(self) -> None:
        raise ZeroDivisionError("by nothing")


class Stubborn(Broken):
    """An adapter that does not end, and quotes for as long as it is let."""

    enough = threading.Event()

    async def run(self) -> None:
        self.intake.quote("X", Decimal(1), Decimal(2), Link(silence=timedelta(1), source="feed"))
        self.enough.wait(20)


@pytest.mark.django_db
def test_a_mistake_of_the_adapter_is_reported(monkeypatch) -> None:
    monkeypatch.setitem(MAKERS, "fix", Broken)
    report = probe(Connection("feed", "fix"), ["X"], 300)
    assert (report.error, report.quotes) == ("ZeroDivisionError: by nothing", 0)


@pytest.mark.django_db
def test_an_adapter_that_cannot_even_be_made_is_reported(monkeypatch) -> None:
    monkeypatch.setitem(MAKERS, "fix", lambda intake, connection: 1 / 0)
    assert probe(Connection("feed", "fix"), ["X"], 300).error == "ZeroDivisionError: division by zero"


@pytest.mark.django_db
def test_whoever_waits_is_let_go_even_if_the_adapter_does_not_end(monkeypatch) -> None:
    monkeypatch.setitem(MAKERS, "fix", Stubborn)
    monkeypatch.setattr(probing, "CLOSING_SECONDS", 0.2)
    try:
        report = probe(Connection("feed", "fix"), ["X"], 0.1)
    finally:
        Stubborn.enough.set()
    assert (report.error, report.quotes) == ("it did not end in time", 1)


async def test_it_may_be_called_from_a_thread_with_a_loop() -> None:
    with away(Exchange()) as peer:
        assert probe(kraken(peer), ["BTC/USD"], 1).is_quoting


# --- what is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("connection", "says"),
    [
        (Connection("simulated", "simulated"), "kind: simulated is nothing to connect to"),
        (Connection("replay", "replay"), "kind: replay is nothing to connect to"),
        (Connection("x", "pigeon"), "kind: pigeon is nothing to connect to"),
        (Connection("oanda", "oanda"), "options: Object missing required field `account`"),
        (Connection("feed", "json", "wss://example.com", "", {**PLAIN, "x": 1}), "unknown field `x`"),
        (Connection("feed", "json", "ws://example.com", "", PLAIN), "url: wss:// is needed"),
        (Connection("kraken", "kraken", "wss://ws.kraken.com/v2", "", {"depth": 1}), "unknown field `depth`"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_opened(connection: Connection, says: str) -> None:
    for attempt in (lambda: check_options(connection), lambda: probe(connection, ["X"], 1)):
        with pytest.raises(InvalidSource) as refusal:
            attempt()
        assert says in refusal.value.detail
        assert refusal.value.status == 400


@pytest.mark.parametrize(
    ("symbols", "seconds"),
    [([], 1), (["", " "], 1), ([str(each) for each in range(101)], 1), (["X"], 0), (["X"], -1),
     (["X"], 301), (["X"], float("nan"))],
)  # fmt: skip
def test_symbols_and_seconds_have_limits(symbols: list[str], seconds: float) -> None:
    with away(Exchange()) as peer:
        with pytest.raises(Invalid, match="A probe "):
            probe(kraken(peer), symbols, seconds)
        assert peer.connects == 0


# --- the command --------------------------------------------------------------------------------------


def tried(*arguments: Any, **options: Any) -> str:
    said = StringIO()
    call_command("probe_source", *arguments, stdout=said, **options)
    return said.getvalue()


@pytest.fixture
def bitcoin(eurusd: Instrument) -> Instrument:
    """Quoted by kraken first, and by the feed as a further source."""
    Instrument.objects.filter(pk=eurusd.pk).update(source="kraken", source_symbol="BTC/USD")
    eurusd.quotations.create(rank=1, source="feed", source_symbol="X")
    return eurusd


def source(code: str, kind: str, url: str, **settings: Any) -> Source:
    return Source.objects.create(
        code=code, kind=kind, name=code, url=url, changed_at=datetime.now(UTC), **settings
    )


def test_the_command_prints_what_came_and_leaves_the_record_alone(bitcoin: Instrument) -> None:
    before = list(Watermark.objects.values())
    with away(Exchange()) as peer:
        source("kraken", "kraken", peer.url, is_enabled=False)
        said = tried("kraken", seconds=1)
    first, progress, *_, line, summary = said.splitlines()
    assert first == "kraken (kraken): BTC/USD"
    assert progress.endswith("heartbeats")
    assert " 1 quotes, " in progress
    assert line == "BTC/USD: 1 quotes, first 61685.9 / 61686.0, last 61685.9 / 61686.0, spread 0.1"
    assert summary.startswith("1 quotes and ")
    assert " over 1 connections in " in summary
    assert list(Watermark.objects.values()) == before
    assert (Tick.objects.count(), Gap.objects.count(), SourceState.objects.count()) == (0, 0, 0)


def test_the_command_asks_for_what_is_quoted_or_for_what_is_named(bitcoin: Instrument) -> None:
    with away(SocketPeer(saying(*[{"s": name, "b": 1, "a": 2} for name in "XYZ"]))) as peer:
        source("feed", "json", peer.url, options=PLAIN)
        assert "X: 1 quotes" in tried("feed", seconds=1)
        assert "Y: 1 quotes" in tried("feed", "--symbols", "Y", "Z", seconds=1)
    assert peer.received == [{"sub": "X"}, {"sub": "Y"}, {"sub": "Z"}]


def test_the_command_ends_with_one_when_nothing_came(bitcoin: Instrument) -> None:
    said = StringIO()
    with away(StreamPeer(answering("401 Unauthorized", SECRET.encode()))) as peer:
        source("feed", "oanda", peer.url, secret_ref="source-feed", options={"account": ACCOUNT})
        with pytest.raises(CommandError, match="no quote came") as refusal:
            call_command("probe_source", "feed", stdout=said)
    assert refusal.value.returncode == 1
    assert said.getvalue().splitlines()[-1] == "last error: HTTP 401 [secret]"
    assert "X: nothing\n" in said.getvalue()


def test_the_command_refuses_in_words(bitcoin: Instrument) -> None:
    source("oanda", "oanda", "https://example.com")
    with pytest.raises(CommandError, match="there is no source nobody"):
        tried("nobody")
    with pytest.raises(CommandError, match="no instrument is quoted by oanda: name some --symbols"):
        tried("oanda")
    with pytest.raises(CommandError, match="missing required field `account`"):
        tried("oanda", "--symbols", "EUR/USD")
    with pytest.raises(CommandError, match="simulated is nothing to connect to"):
        tried("simulated", "--symbols", "X")


@pytest.mark.django_db
def test_a_fix_session_in_use_is_not_probed() -> None:
    options = {"sender": "US", "target": "THEM"}
    connection = Connection("broker", "fix", "127.0.0.1:1", options=options)
    SourceState.objects.create(source="broker", state="up", updated_at=clock.now())
    with pytest.raises(InvalidSource) as refused:
        probe(connection, ["EUR/USD"], 0.1)
    assert "Disable it first" in refused.value.detail
