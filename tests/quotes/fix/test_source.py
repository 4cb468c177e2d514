"""The source against a scripted acceptor: what is asked for, what becomes a quote, what ends a session."""

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from config.core import clock
from quotes.errors import InvalidSource
from quotes.intake import Intake
from quotes.lanes import Connection
from quotes.models import Source
from quotes.sources.connection import Timing
from quotes.sources.fix import FixOptions, FixSource
from quotes.sources.fix.source import read_address
from tests.quotes.fix.peer import OPTIONS, Acceptor, Line, subscription, trading, until_quoted
from tests.quotes.fix.wire import fix, snapshot
from tests.quotes.market import Clock
from tests.quotes.test_binance import Heard, eventually

Numbers = Callable[[], Awaitable[tuple[int, int]]]
Rejects = Callable[[], Awaitable[list[Any]]]
E1, E2 = ("EURUSD", Decimal("1.1000"), Decimal("1.1002")), ("EURUSD", Decimal("1.1001"), Decimal("1.1003"))


async def serve(line: Line) -> None:
    """Log on, and answer every subscription with a quote."""
    await line.log_on((141, "Y"))
    while True:
        await line.listen("V")
        if line.got[-1][263] == "1":
            for symbol in line.got[-1].all(55):
                line.quote(symbol, "1.1000", "1.1002", (262, line.got[-1][262]))


def requests(line: Line) -> list[tuple[str, list[str]]]:
    return [(each[263], each.all(55)) for each in line.got if each.kind == "V"]


# --- logging on ---------------------------------------------------------------------------------------


async def test_a_session_logs_on_asks_and_delivers(
    lp: Source, numbers: Numbers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_SOURCE_LP_PASSWORD", "hush")
    acceptor = Acceptor(serve)
    async with trading(acceptor, options={"username": "tick"}, secret_ref="source-lp.password") as (_, heard):
        await until_quoted(heard, 1)
        await eventually(lambda: heard.links[0].lag_ms is not None)
    logon, *others = acceptor.lines[0].got
    assert logon.pairs[2:7] == [(35, "A"), (49, "TICKHOUSE"), (56, "LP"), (34, "1"), (52, logon[52])]
    assert logon.pairs[7:-1] == [(98, "0"), (108, "30"), (141, "Y"), (553, "tick"), (554, "hush")]
    (request,) = (each for each in others if each.kind == "V")
    assert request.pairs[8:-1] == [
        (263, "1"), (264, "1"), (265, "1"), (267, "2"), (269, "0"), (269, "1"), (146, "1"), (55, "EUR/USD"),
    ]  # fmt: skip
    assert heard.quotes == [E1]
    assert heard.health("lp").state == "up"
    assert heard.health("lp").offset_ms is not None
    # It has parted politely, and the numbers say so: of ours Logon, TestRequest, V and Logout.
    assert acceptor.lines[0].got[-1].kind == "5"
    assert [each.seq for each in acceptor.lines[0].got] == [1, 2, 3, 4]
    assert await numbers() == (5, 5)
    assert heard.cuts


async def test_a_logon_that_is_refused_is_told_to_the_operator(lp: Source, rejects: Rejects) -> None:
    async def refuse(line: Line) -> None:
        await line.expect("A")
        line.send("5", (58, "invalid password hush\0"))
        await line.listen()

    acceptor = Acceptor(refuse, serve)
    async with trading(acceptor) as (_, heard):
        await until_quoted(heard, 1)
        health = heard.health("lp")
        assert health.failures >= 1
        assert health.last_error == "the peer logged out: invalid password hush\0"
    assert await rejects() == [("logout", None, "invalid password hush?")]


async def test_the_password_is_not_repeated_after_the_peer(
    lp: Source, rejects: Rejects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_SOURCE_LP_PASSWORD", "hush")

    async def refuse(line: Line) -> None:
        await line.expect("A")
        line.send("5", (58, "bad password 'hush'"))
        await line.listen()

    async with trading(Acceptor(refuse), secret_ref="source-lp.password") as (_, heard):
        await eventually(lambda: heard.health("lp").failures >= 2)
        assert heard.health("lp").last_error.endswith("bad password '[secret]'")
    assert {text for _, _, text in await rejects()} == {"bad password '[secret]'"}


async def test_a_secret_that_is_missing_or_cannot_be_sent_is_said_without_it(
    lp: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with trading(Acceptor(serve), secret_ref="source-lp.password") as (_, heard):
        await eventually(lambda: "there is no secret source-lp.password" in heard.health("lp").last_error)
        monkeypatch.setenv("SECRET_SOURCE_LP_PASSWORD", "hüsh")
        await eventually(lambda: "cannot be sent" in heard.health("lp").last_error)
        assert "hüsh" not in heard.health("lp").last_error
        monkeypatch.setenv("SECRET_SOURCE_LP_PASSWORD", "hush")
        await until_quoted(heard, 1)


@pytest.mark.parametrize(
    ("first", "why"),
    [
        (fix("0", 1), "The first message is not a Logon"),
        (fix("A", 1, (98, "0"), (108, "30"), ours="OTHER"), "CompID problem"),
        (fix("A", 7, (98, "0"), (108, "30"), (141, "Y")), "MsgSeqNum too high, expecting 1 but received 7"),
        (fix("A", 1).replace(b"8=FIX.4.4", b"8=FIX.4.2"), None),
    ],
)
async def test_an_answer_that_is_no_logon_ends_it(lp: Source, first: bytes, why: str | None) -> None:
    async def answer(line: Line) -> None:
        await line.expect("A")
        line.raw(first)
        await line.listen()

    acceptor = Acceptor(answer, serve)
    timing = Timing(silence=5, connect=0.3 if why is None else 5, backoff_first=0.01, backoff_longest=0.01)
    async with trading(acceptor, timing=timing) as (_, heard):
        await until_quoted(heard, 1)
        said = heard.health("lp").last_error
    # A wrong checksum makes it no message at all, and nothing answers the Logon.
    assert said == (why or "the Logon was not answered within 0.3 s")
    assert [each.get(58) for each in acceptor.lines[0].got[1:]] == ([why] if why else [])


async def test_a_peer_that_never_answers_is_given_up(lp: Source) -> None:
    acceptor = Acceptor(Line.listen, serve)
    async with trading(acceptor, timing=Timing(connect=0.2, backoff_first=0.01)) as (_, heard):
        await until_quoted(heard, 1)
        assert "not answered within 0.2 s" in heard.health("lp").last_error


# --- quotes -------------------------------------------------------------------------------------------


async def test_snapshots_and_changes_become_quotes(lp: Source) -> None:
    async def play(line: Line) -> None:
        await line.log_on((141, "Y"))
        key = (262, (await line.expect("V"))[262])
        line.quote("EUR/USD", "1.1000", "1.1002", key)
        line.quote("EUR/USD", "1.1001", "1.1003")  # 262 is not echoed
        line.send("W", key, (268, "2"), (269, "1"), (270, "1.1002"), (269, "0"), (270, "1.1000"))  # nor 55
        line.send("W", key, (55, "EUR/USD"), (268, "1"), (269, "0"), (270, "1.1000"))  # a side is empty
        line.send("X", key, (268, "1"), (279, "0"), (269, "1"), (55, "EUR/USD"), (270, "1.1002"))
        line.send("X", (268, "2"), (279, "1"), (269, "0"), (55, "EUR/USD"), (270, "1.1001"),
                  (279, "1"), (269, "1"), (270, "1.1003"))  # fmt: skip
        line.quote("USD/JPY", "150", "151")  # nobody asked
        line.send("h", (336, "1"))  # a trading session's status
        line.send("W", key, (55, "EUR/USD"), (268, "1"), (269, "0"), (270, "much"))
        line.quote("EUR/USD", "1.1000", "1.1002")
        await line.listen()

    async with trading(Acceptor(play)) as (_, heard):
        await until_quoted(heard, 6)
        assert heard.quotes == [E1, E2, E1, E1, E2, E1]
        health = heard.health("lp")
        assert health.ignored == {"USD/JPY": 1, "message h": 1}
        assert health.last_error == "message 11 (EUR/USD): field 270 is no price"
        assert health.state == "up"


@pytest.mark.parametrize(
    ("kind", "pairs"),
    [
        ("X", [(268, "1"), (279, "0"), (269, "J"), (55, "EUR/USD")]),
        ("X", [(268, "1"), (279, "2"), (269, "0"), (55, "EUR/USD")]),
        ("X", [(268, "1"), (279, "1"), (269, "1"), (55, "EUR/USD"), (270, "1.1002"), (276, "B")]),
        ("W", [(55, "EUR/USD"), (268, "0")]),
        ("W", [(55, "EUR/USD"), (268, "1"), (269, "J")]),
        ("W", [(55, "EUR/USD"), (268, "1"), (269, "0"), (270, "1.1000")]),
        ("W", [(55, "EUR/USD"), (268, "1"), (269, "0"), (270, "much")]),
        ("Y", [(281, "0"), (58, "halted")]),
    ],
)
async def test_a_price_taken_back_stops_the_watermark_until_a_fresh_one(
    lp: Source, kind: str, pairs: list[tuple[int, str]]
) -> None:
    halted, resumed = asyncio.Event(), asyncio.Event()

    async def play(line: Line) -> None:
        await line.log_on((141, "Y"))
        key = (262, (await line.expect("V"))[262])
        line.quote("EUR/USD", "1.1000", "1.1002", key)
        await halted.wait()
        line.send(kind, key, *pairs)
        await resumed.wait()
        line.quote("EUR/USD", "1.1001", "1.1003", key)
        await line.listen()

    async with trading(Acceptor(play)) as (_, heard):
        await until_quoted(heard, 1)
        heard.collect()
        halted.set()
        await eventually(lambda: heard.withdrawn == ["EURUSD"])
        assert not heard.is_up("EURUSD")
        assert heard.collect() == {}
        resumed.set()
        await until_quoted(heard, 2)
        (collected,) = heard.collect().values()
        assert collected.resumes_at == collected.stretch.ticks[0][0]
        assert heard.quotes == [E1, E2]


async def test_a_change_that_cannot_be_read_opens_the_session_anew(lp: Source) -> None:
    async def garble(line: Line) -> None:
        await line.log_on((141, "Y"))
        await line.expect("V")
        line.send("X", (268, "1"), (279, "0"), (269, "0"), (55, "EUR/USD"), (270, "much"))
        await line.listen()

    acceptor = Acceptor(garble, serve)
    async with trading(acceptor) as (_, heard):
        await until_quoted(heard, 1)
        assert heard.quotes == [E1]
        assert "field 270 is no price" in heard.health("lp").last_error


async def test_one_symbol_may_be_several_instruments(lp: Source) -> None:
    wanted = (subscription(), subscription("EURUSDX", number=2))
    async with trading(Acceptor(serve), *wanted) as (_, heard):
        await until_quoted(heard, 2)
    assert {quote[0] for quote in heard.quotes} == {"EURUSD", "EURUSDX"}


async def test_requests_follow_a_changed_list_on_the_same_session(lp: Source) -> None:
    euro, pound = subscription(), subscription("GBPUSD", "GBP/USD", 2)
    yen, franc = subscription("USDJPY", "USD/JPY", 3), subscription("USDCHF", "USD/CHF", 4)
    acceptor, heard = Acceptor(serve), Heard(euro, pound, yen, franc)
    wanted = (euro, pound, yen)
    async with trading(acceptor, *wanted, heard=heard, options={"symbols_per_request": 2}) as (source, _):
        await until_quoted(heard, 3)
        line = acceptor.lines[0]
        assert requests(line) == [("1", ["EUR/USD", "GBP/USD"]), ("1", ["USD/JPY"])]
        source.watch([euro, franc])
        await eventually(lambda: len(requests(line)) == 5)
        # What stays is asked for before the request that held it ends.
        assert requests(line)[2:] == [
            ("1", ["EUR/USD", "USD/CHF"]), ("2", ["EUR/USD", "GBP/USD"]), ("2", ["USD/JPY"]),
        ]  # fmt: skip
        first, second, _, *ended = (each[262] for each in line.got if each.kind == "V")
        assert ended == [first, second]
        await until_quoted(heard, 5)
        # Nothing asked for, no session; something again, another one.
        source.watch([])
        await eventually(lambda: heard.health("lp").state == "idle" and acceptor.ended == 1)
        source.watch([pound])
        await until_quoted(heard, 6)
    assert (len(acceptor.lines), requests(acceptor.lines[1])) == (2, [("1", ["GBP/USD"])])


async def test_a_symbol_that_cannot_be_sent_is_left_out(lp: Source) -> None:
    wanted = (subscription(), subscription("EUROSIGN", "€", 2), subscription("NOTHING", "", 3))
    async with trading(Acceptor(serve), *wanted) as (_, heard):
        await until_quoted(heard, 1)
        assert heard.health("lp").last_error.startswith("the symbol of ")
    assert heard.quotes == [E1]


# --- refusals -----------------------------------------------------------------------------------------


async def test_what_the_peer_refuses_is_told_to_the_operator_and_the_session_goes_on(
    lp: Source, rejects: Rejects
) -> None:
    async def refuse(line: Line) -> None:
        await line.log_on((141, "Y"))
        request = await line.expect("V")
        line.send("3", (45, str(request.seq)), (371, "146"), (372, "V"), (373, "5"), (58, "no group"))
        line.send("j", (45, str(request.seq)), (372, "V"), (380, "3"), (58, "not supported"))
        line.send("Y", (262, request[262]), (281, "0"), (58, "x" * 400))
        line.quote("EUR/USD", "1.1000", "1.1002")
        await line.listen()

    acceptor = Acceptor(refuse)
    async with trading(acceptor) as (_, heard):
        await until_quoted(heard, 1)
        assert heard.health("lp").failures == 3
        request = next(each for each in acceptor.lines[0].got if each.kind == "V")
    assert await rejects() == [
        ("reject", request.seq, "no group 371=146 372=V 373=5"),
        ("business_reject", request.seq, "not supported 372=V 380=3"),
        ("market_data_reject", None, "x" * 300),
    ]
    assert len(acceptor.lines) == 1


async def test_a_logout_of_the_peer_is_answered_and_another_session_opened(
    lp: Source, rejects: Rejects
) -> None:
    async def leave(line: Line) -> None:
        await line.log_on((141, "Y"))
        await line.expect("V")
        line.send("5", (58, "end of day"))
        await line.expect("5")

    acceptor = Acceptor(leave, serve)
    async with trading(acceptor) as (_, heard):
        await until_quoted(heard, 1)
        assert heard.health("lp").last_error == "the peer logged out: end of day"
    assert await rejects() == [("logout", None, "end of day")]
    assert acceptor.lines[0].got[-1].kind == "5"


# --- settings -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"sender": "A"}, "missing required field `target`"),
        (OPTIONS | {"password": "hush"}, "unknown field `password`"),
        (OPTIONS | {"heartbeat_seconds": 0}, "heartbeat_seconds"),
        (OPTIONS | {"heartbeat_seconds": "30"}, "heartbeat_seconds"),
        (OPTIONS | {"sender": "A\x01B"}, "sender"),
        (OPTIONS | {"sender": ""}, "sender"),
        (OPTIONS | {"update_type": 2}, "update_type"),
        (OPTIONS | {"symbols_per_request": 0}, "symbols_per_request"),
        (OPTIONS | {"depth": -1}, "depth"),
        (OPTIONS | {"test_request_seconds": 0.5}, "test_request_seconds"),
        (OPTIONS | {"test_request_seconds": 61}, "test_request_seconds"),
        (OPTIONS | {"allow_plaintext": "yes"}, "allow_plaintext"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidSource, match=says):
        FixSource.check(Connection("lp", "fix", "127.0.0.1:1", "", options))


def test_options_have_their_defaults() -> None:
    made = FixSource.check(Connection("lp", "fix", "lp.example:443", "", {"sender": "A", "target": "B"}))
    assert made == FixOptions("A", "B", "", 30, True, 1, 1, 1, "", 2.0, False)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("lp.example:9000", ("lp.example", 9000, False)),
        ("tcps://lp.example:9000", ("lp.example", 9000, True)),
        ("[::1]:9000", ("::1", 9000, False)),
    ],
)
def test_addresses(url: str, expected: tuple[str, int, bool]) -> None:
    assert read_address(url) == expected


@pytest.mark.parametrize(
    "url", ["", "lp.example", "lp.example:0", "lp.example:x", "lp.example:99999", "wss://lp.example:1", ":5",
            "tcps://lp.example", "me:secret@lp.example:1", "lp.example:1/path", "a..b:1", "[::1:5"]
)  # fmt: skip
def test_addresses_that_cannot_be_are_refused(url: str) -> None:
    with pytest.raises(InvalidSource, match="url: "):
        read_address(url)


PLAIN_URLS = ["lp.example:9000", "tcp://lp.example:9000", "192.0.2.7:9000", "[2001:db8::1]:9000"]
SAFE_URLS = [
    "127.0.0.1:9000",
    "localhost:9000",
    "[::1]:9000",
    "tcp://127.0.0.1:9000",
    "tcps://lp.example:9000",
]


@pytest.mark.parametrize(
    ("secret_ref", "more"),
    [("source-lp", {}), ("", {"username": "tick"}), ("source-lp", {"username": "tick"})],
)
@pytest.mark.parametrize("url", PLAIN_URLS + SAFE_URLS)
def test_a_password_goes_to_another_machine_in_the_clear_only_where_that_is_allowed(
    url: str, secret_ref: str, more: dict[str, Any]
) -> None:
    options = OPTIONS | more
    if url in PLAIN_URLS:
        with pytest.raises(InvalidSource, match=r"url: .* with tcps:// only, or with `allow_plaintext`"):
            FixSource.check(Connection("lp", "fix", url, secret_ref, options))
    else:
        FixSource.check(Connection("lp", "fix", url, secret_ref, options))
    FixSource.check(Connection("lp", "fix", url, "", OPTIONS))
    FixSource.check(Connection("lp", "fix", url, secret_ref, options | {"allow_plaintext": True}))


async def test_no_secret_but_those_of_sources_is_sent(lp: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_SIGNING_KEY", "hush")
    acceptor = Acceptor(serve)
    async with trading(acceptor, secret_ref="signing-key") as (_, heard):
        await eventually(lambda: heard.health("lp").failures >= 1)
        said = "a source may only use secrets whose names begin with source-"
        assert heard.health("lp").last_error == said
    assert acceptor.lines == []


async def test_its_password_is_hidden_in_whatever_is_said(
    lp: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_SOURCE_LP_PASSWORD", "it's \\hush")
    async with trading(Acceptor(serve), secret_ref="source-lp.password") as (source, heard):
        await until_quoted(heard, 1)
        assert source.hidden("554=it's \\hush") == "554=[secret]"
        assert "hush" not in source.hidden(repr({"password": "it's \\hush"}))
        assert len(source.hidden("x" * 1000)) == 300


async def test_a_source_that_cannot_be_opened_says_why_and_harms_nobody() -> None:
    intake = Intake()
    source = FixSource(intake, Connection("lp", "fix", "127.0.0.1:1", "", OPTIONS | {"colour": "red"}))
    source.watch([subscription()])
    running = asyncio.create_task(source.run())
    await eventually(lambda: intake.health("lp").state == "down")
    assert "unknown field `colour`" in intake.health("lp").last_error
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_without_its_row_or_a_listener_it_tries_again(transactional_db: None) -> None:
    acceptor = Acceptor(serve)
    async with trading(acceptor) as (_, heard):
        # No row of this source: its numbers cannot be kept, so nothing is sent.
        await eventually(lambda: heard.health("lp").failures >= 2)
    assert [line.got for line in acceptor.lines if line.got] == []
    intake = Intake()
    source = FixSource(
        intake, Connection("lp", "fix", "127.0.0.1:1", "", OPTIONS), Timing(backoff_first=0.01)
    )
    source.watch([subscription()])
    running = asyncio.create_task(source.run())
    await eventually(lambda: intake.health("lp").failures >= 3)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def certified(folder: Path, name: str) -> tuple[ssl.SSLContext, Path]:
    """Return a server's context with a certificate that it has signed itself, and that certificate."""
    key, subject = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=True)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate, private = folder / "ca.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(Encoding.PEM))
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, private)
    return context, certificate


async def test_tls_is_spoken_with_whom_the_file_vouches_for(lp: Source, tmp_path: Path) -> None:
    context, certificate = certified(tmp_path, "localhost")
    async with trading(Acceptor(serve), tls=context, options={"ca_file": str(certificate)}) as (_, heard):
        await until_quoted(heard, 1)


@pytest.mark.parametrize(
    ("name", "is_named", "says"),
    [("localhost", False, "CERTIFICATE_VERIFY_FAILED"), ("other.example", True, "CERTIFICATE_VERIFY_FAILED")],
)
async def test_nobody_else_is_spoken_with(
    lp: Source, tmp_path: Path, name: str, is_named: bool, says: str
) -> None:
    context, certificate = certified(tmp_path, name)
    options = {"ca_file": str(certificate)} if is_named else {}
    acceptor = Acceptor(serve)
    async with trading(acceptor, tls=context, options=options) as (_, heard):
        await eventually(lambda: heard.health("lp").failures >= 2)
        assert says in heard.health("lp").last_error
    assert acceptor.lines == []


async def test_a_missing_file_of_certificates_is_said(lp: Source, tmp_path: Path) -> None:
    context, _ = certified(tmp_path, "localhost")
    missing = {"ca_file": str(tmp_path / "none.pem")}
    async with trading(Acceptor(serve), tls=context, options=missing) as (_, heard):
        await eventually(lambda: heard.health("lp").failures >= 1)
        assert "No such file" in heard.health("lp").last_error


# --- what is known ------------------------------------------------------------------------------------


async def test_a_cut_connection_stops_the_watermark_until_a_fresh_quote(lp: Source) -> None:
    allowed, seen = asyncio.Event(), asyncio.Event()

    async def cut(line: Line) -> None:
        await line.log_on((141, "Y"))
        await line.expect("V")
        line.quote("EUR/USD", "1.1000", "1.1002")
        await seen.wait()

    async def later(line: Line) -> None:
        await allowed.wait()
        await serve(line)

    acceptor = Acceptor(cut, later)
    async with trading(acceptor) as (_, heard):
        await until_quoted(heard, 1)
        assert heard.is_up("EURUSD")
        seen.set()
        await eventually(lambda: len(acceptor.lines) == 2 and not heard.is_up("EURUSD"))
        allowed.set()
        await until_quoted(heard, 2)
        assert heard.is_up("EURUSD")


async def test_what_waited_while_the_loop_stood_still_makes_no_tick_until_an_answer(lp: Source) -> None:
    held = asyncio.Event()

    async def play(line: Line) -> None:
        await line.log_on((141, "Y"))
        await line.listen("V")
        line.quote("EUR/USD", "1.1000", "1.1002")
        await held.wait()
        await line.listen()

    acceptor = Acceptor(play)
    async with trading(acceptor, timing=Timing(silence=0.3, connect=5)) as (_, heard):
        await until_quoted(heard, 1)
        heard.collect()
        acceptor.lines[0].quote("EUR/USD", "1.1001", "1.1003")
        await acceptor.lines[0].writer.drain()
        time.sleep(0.5)  # noqa: ASYNC251 - a loop that stands still is what is tested
        await until_quoted(heard, 2)
        assert heard.lanes["EURUSD"].ticks == []
        assert not heard.is_up("EURUSD")
        # Once the peer has answered, the book it has come to is quoted, though nothing new was said.
        held.set()
        await eventually(lambda: heard.is_up("EURUSD"))
        assert heard.quotes == [E1, E2, E2]
        assert [tick[1] for tick in heard.lanes["EURUSD"].ticks] == [Decimal("1.10")]


async def test_a_stall_shorter_than_the_heartbeat_is_a_gap(lp: Source) -> None:
    answers, stands = asyncio.Event(), Clock()

    async def play(line: Line) -> None:
        await line.log_on((141, "Y"))
        await line.listen("V")
        line.quote("EUR/USD", "1.1000", "1.1002")
        await answers.wait()
        await line.listen()

    acceptor = Acceptor(play)
    with clock.ticking(stands):
        async with trading(acceptor) as (_, heard):
            await until_quoted(heard, 1)
            (before,) = heard.collect().values()
            assert heard.links[0].silence == timedelta(seconds=4.5)
            # Less than a sixth of the heartbeat; what comes then may have waited.
            stands.move(4.6)
            acceptor.lines[0].quote("EUR/USD", "1.1001", "1.1003")
            await until_quoted(heard, 2)
            assert not heard.is_up("EURUSD")
            assert heard.collect() == {}
            answers.set()
            await eventually(lambda: heard.is_up("EURUSD"))
            (after,) = heard.collect().values()
            assert after.resumes_at == after.stretch.ticks[0][0] > before.stretch.until
            assert heard.quotes == [E1, E2, E2]
    assert len(acceptor.lines) == 1


async def test_a_pause_that_is_not_longer_than_two_questions_is_none(lp: Source) -> None:
    stands = Clock()
    with clock.ticking(stands):
        acceptor = Acceptor(serve)
        async with trading(acceptor, options={"test_request_seconds": 4}) as (_, heard):
            await until_quoted(heard, 1)
            await eventually(lambda: heard.links[0].lag_ms is not None)
            heard.collect()
            stands.move(8.5)
            acceptor.lines[0].quote("EUR/USD", "1.1001", "1.1003")
            await until_quoted(heard, 2)
            (collected,) = heard.collect().values()
            assert collected.resumes_at is None


async def test_the_peer_is_asked_far_more_often_than_its_heartbeat(lp: Source) -> None:
    acceptor = Acceptor(serve)
    async with trading(acceptor, options={"test_request_seconds": 1}) as (_, heard):
        await until_quoted(heard, 1)
        # One right after the Logon, and another a second after each answer; the heartbeat is 30 s.
        await eventually(lambda: [each.kind for each in acceptor.lines[0].got].count("1") == 3)
    asked = [each[112] for each in acceptor.lines[0].got if each.kind == "1"]
    assert asked == ["TEST1", "TEST2", "TEST3"]


@pytest.mark.parametrize("changes", [False, True])
async def test_market_data_passed_over_by_a_reset_is_a_gap(lp: Source, changes: bool) -> None:
    reset, resumed = asyncio.Event(), asyncio.Event()

    async def play(line: Line) -> None:
        await line.log_on((141, "Y"))
        await line.listen("V")
        line.quote("EUR/USD", "1.1000", "1.1002")
        if changes:
            line.send("X", (268, "1"), (279, "1"), (269, "0"), (55, "EUR/USD"), (270, "1.1000"))
        await reset.wait()
        line.raw(fix("4", line.seq, (36, str(line.seq + 10))))
        line.seq += 10
        await resumed.wait()
        line.quote("EUR/USD", "1.1001", "1.1003")
        await line.listen()

    async with trading(Acceptor(play)) as (_, heard):
        await until_quoted(heard, 1 + changes)
        heard.collect()
        reset.set()
        await eventually(lambda: heard.cuts == [heard.links[0]])
        assert not heard.is_up("EURUSD")
        resumed.set()
        await until_quoted(heard, 2 + changes)
        (collected,) = heard.collect().values()
        assert collected.resumes_at == collected.stretch.ticks[0][0]


async def test_bytes_split_anywhere_and_a_wrong_message_between_change_nothing(lp: Source) -> None:
    async def play(line: Line) -> None:
        await line.log_on((141, "Y"))
        await line.expect("V")
        data = snapshot(line.seq, "EUR/USD", "1.1000", "1.1002") + b"noise 8=FIX.4.4\x01"
        data += snapshot(line.seq + 1, "EUR/USD", "1.1001", "1.1003")
        line.seq += 2
        for at in range(0, len(data), 7):
            line.raw(data[at : at + 7])
            await asyncio.sleep(0)
        await line.listen()

    async with trading(Acceptor(play)) as (_, heard):
        await until_quoted(heard, 2)
        assert heard.quotes == [E1, E2]
        assert heard.health("lp").last_error.startswith("garbled: ")
