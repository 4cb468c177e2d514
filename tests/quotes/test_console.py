"""The market in the operator console: sources, their dry run, the tick inspector, and what stays sealed."""

import json
import re
import threading
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse
from websockets.sync.server import serve

from config.core.models import AuditEntry
from quotes import selectors
from quotes.admin import dry_run, states, ticks
from quotes.models import (
    FixReject,
    Gap,
    Instrument,
    RecordDay,
    SimulationHour,
    Source,
    SourceState,
    Tick,
)
from quotes.services import Stretch, add_calendar_exception, append_ticks, create_calendar, record_gap
from quotes.services.sources import create_source
from tests.cast import browser_for, olga  # noqa: F401
from tests.quotes.market import Clock, at, instrument, write

# ruff: noqa: F811


@pytest.fixture
def console(olga: Any) -> Any:
    return browser_for(olga, verified=True)


def kraken(actor: Any, code: str = "kraken", **settings: Any) -> Source:
    defaults = {"kind": "kraken", "name": "Kraken", "url": "wss://ws.kraken.com/v2", "reason": "test"}
    return create_source(code=code, actor=actor, **{**defaults, **settings})


def text(answer: Any) -> str:
    assert answer.status_code == 200
    return re.sub(r"\s+", " ", answer.content.decode())


# --- sources ------------------------------------------------------------------------------------------


def test_an_operator_makes_changes_and_disables_a_source(console: Any, noon: Clock) -> None:
    values = {
        "code": "kraken", "kind": "kraken", "name": "Kraken", "url": "wss://ws.kraken.com/v2",
        "secret_ref": "", "options": "{}", "reason": "second source",
    }  # fmt: skip
    add = reverse("admin:quotes_source_add")
    offered = text(console.get(add))
    assert "OANDA" in offered
    assert 'value="simulated"' not in offered
    assert "This field is required" in text(console.post(add, {**values, "reason": ""}))
    assert "as host:port or tcps://" in text(console.post(add, {**values, "kind": "fix"}))
    assert "never holds a password" in text(console.post(add, {**values, "url": "wss://u:p@kraken.com"}))
    assert "looks like a key" in text(console.post(add, {**values, "secret_ref": "a1" * 16}))
    assert "Enter a valid JSON" in text(console.post(add, {**values, "options": "{"}))
    assert Source.objects.count() == 0
    assert console.post(add, values).status_code == 302
    made = Source.objects.get()
    assert AuditEntry.objects.get(action="source.created").reason == "second source"

    page = reverse("admin:quotes_source_change", args=["kraken"])
    assert "The feed has never asked for this source" in text(console.get(page))
    changes = {"name": "Kraken", "url": "wss://beta.kraken.com/v2", "secret_ref": "", "options": "{}"}
    assert console.post(page, {**changes, "reason": "moved"}).status_code == 302
    made.refresh_from_db()
    assert (made.url, made.kind) == ("wss://beta.kraken.com/v2", "kraken")
    assert (
        console.post(reverse("admin:quotes_source_delete", args=["kraken"]), {"post": "yes"}).status_code
        == 403
    )


def test_disabling_says_which_instruments_lose_their_prices(console: Any, olga: Any, noon: Clock) -> None:
    kraken(olga)
    kraken(olga, "kraken-2")
    instrument("BTCUSD", instrument_class="crypto", source="kraken", source_symbol="BTC/USD")
    url = reverse("admin:quotes_source_disable", args=["kraken"])
    asked = text(console.get(url))
    assert "kraken quotes BTCUSD. These listed instruments lose its prices" in asked
    assert Source.objects.get(pk="kraken").is_enabled
    idle = text(console.get(reverse("admin:quotes_source_disable", args=["kraken-2"])))
    assert "They quote no listed instrument." in idle
    many = {"action": "disable", "_selected_action": ["kraken", "kraken-2"], "index": "0"}
    assert "kraken quotes BTCUSD." in text(console.post(reverse("admin:quotes_source_changelist"), many))
    done = text(console.post(url, {"_reasoned": "1", "reason": "wrong prices"}, follow=True))
    assert "kraken is disabled." in done
    assert not Source.objects.get(pk="kraken").is_enabled
    console.post(
        reverse("admin:quotes_source_enable", args=["kraken"]), {"_reasoned": "1", "reason": "mended"}
    )
    assert Source.objects.get(pk="kraken").is_enabled


def test_the_list_of_sources_costs_the_same_however_many(
    console: Any, olga: Any, noon: Clock, django_assert_max_num_queries: Any
) -> None:
    instrument("BTCUSD", instrument_class="crypto", source="binance", source_symbol="btcusd")
    for number in range(12):
        kraken(olga, f"kraken-{number}")
    with django_assert_max_num_queries(14):
        assert "kraken-11" in text(console.get(reverse("admin:quotes_source_changelist")))


def test_a_source_shows_how_it_fares_and_refreshes_itself(console: Any, olga: Any, noon: Clock) -> None:
    made = kraken(olga)
    quotes = {"BTCUSD": {"accepted": 90, "dropped": {"crossed": 9, "jump": 1, "spread": 0}}, "ETHUSD": {}}
    SourceState.objects.create(
        source="kraken", state="down", quotes_per_second=12.5, lag_ms=1240, offset_ms=-20, silent_ms=3000,
        connects=3, failures=2, last_error="ConnectionRefusedError: <b>", last_error_at=at(-1), quotes=quotes,
        updated_at=at(-1),
    )  # fmt: skip
    FixReject.objects.create(source=made, at=at(0), kind="reject", ref_seq=7, text="unknown tag")
    page = reverse("admin:quotes_source_change", args=["kraken"])
    shown = text(console.get(page))
    live = reverse("admin:quotes_source_live", args=["kraken"])
    assert f'hx-get="{live}"' in shown
    part = text(console.get(live))
    for words in (
        "Down, waiting to try again",
        "12.5<small> /s",
        "1,240<small> ms",
        "20<small> ms behind",
        "ConnectionRefusedError: &lt;b&gt;",
        "9 bid above ask (9.0 %)",
        "1 too far from the last (1.0 %)",
        "unknown tag",
    ):
        assert words in part, words
        assert words in shown, words
    assert "<html" not in part
    assert console.post(live).status_code == 405
    noon.move(10)
    assert "Unknown: the feed has said nothing since" in text(console.get(live))
    assert "unknown" in text(console.get(reverse("admin:quotes_source_changelist")))


def test_those_built_in_have_a_panel_as_well(console: Any, noon: Clock) -> None:
    SourceState.objects.create(source="simulated", state="up", updated_at=at(0))
    instrument(
        "EURUSD", source="simulated", price_decimals=5, simulated_price="1.085", simulated_volatility="1.5"
    )
    listed = text(console.get(reverse("admin:quotes_sourcestate_changelist")))
    assert "simulated" in listed
    shown = text(console.get(reverse("admin:quotes_sourcestate_change", args=["simulated"])))
    assert "Connected" in shown
    assert "quotes EURUSD" in shown


def test_what_became_of_quotes_is_counted_in_parts() -> None:
    assert states.fates({}) == []
    nothing, some = states.fates(
        {
            "B": {"accepted": 1, "dropped": {"new_reason": 2, "crossed": 1}},
            "A": {"accepted": 0, "dropped": {}},
        }
    )
    assert nothing == ("A", 0, 0.0, 0, [])
    assert some == ("B", 1, 25.0, 3, [("new_reason", 2, 50.0), ("bid above ask", 1, 25.0)])


# --- the dry run --------------------------------------------------------------------------------------


@pytest.fixture
def exchange() -> Iterator[str]:
    """A server that speaks Binance's wire to whoever connects; return its address."""

    def quote(socket: Any) -> None:
        for number in range(1, 400):
            data = {"u": number, "s": "BTCUSDT", "b": "60000.10", "B": "1", "a": "60000.30", "A": "1"}
            socket.send(json.dumps({"stream": "btcusdt@bookTicker", "data": data}))
            if stop.wait(0.02):
                return

    stop = threading.Event()
    with serve(quote, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}/stream"
        stop.set()
        server.shutdown()
        thread.join()


def test_a_dry_run_shows_what_came_and_touches_nothing(
    console: Any, olga: Any, exchange: str, monkeypatch: Any, db: None
) -> None:
    monkeypatch.setattr(dry_run, "SECONDS", 0.7)
    kraken(olga, "binance-2", kind="binance", url=exchange)
    instrument("BTCUSDT", instrument_class="crypto", source="binance-2", source_symbol="btcusdt")
    url = reverse("admin:quotes_source_dry_run", args=["binance-2"])
    assert 'value="btcusdt"' in text(console.get(url)), "what its instruments are called there"
    assert "Name one to 20 symbols" in text(console.post(url, {"symbols": " , "}))
    shown = text(console.post(url, {"symbols": "btcusdt, btcusdt"}))
    assert re.search(r"<strong>\d+ quotes came in", shown)
    assert "60000.10" in shown
    assert "0.20" in shown
    entry = AuditEntry.objects.get(action="source.tried")
    assert (entry.actor_id, entry.object_id, entry.after["symbols"]) == (olga.pk, "binance-2", ["btcusdt"])
    assert entry.after["quotes"] > 0
    assert (Tick.objects.count(), SourceState.objects.count()) == (0, 0)


def test_a_dry_run_that_fails_says_why(console: Any, olga: Any, monkeypatch: Any, db: None) -> None:
    monkeypatch.setattr(dry_run, "SECONDS", 0.5)
    kraken(olga, url="ws://127.0.0.1:9/v2")
    url = reverse("admin:quotes_source_dry_run", args=["kraken"])
    shown = text(console.post(url, {"symbols": "BTC/USD"}))
    assert "It could not be connected" in shown
    assert AuditEntry.objects.get(action="source.tried").after["error"] != ""
    Source.objects.update(options={"of": "an older release"})
    assert "It could not be tried" in text(console.post(url, {"symbols": "BTC/USD"}))
    assert "refused" in AuditEntry.objects.filter(action="source.tried").latest("id").after


def test_one_dry_run_at_a_time(console: Any, olga: Any, db: None) -> None:
    kraken(olga)
    url = reverse("admin:quotes_source_dry_run", args=["kraken"])
    with dry_run._one_at_a_time:
        assert "Another dry run is under way" in text(console.post(url, {"symbols": "BTC/USD"}))
    assert not AuditEntry.objects.filter(action="source.tried").exists()


def test_who_may_only_look_runs_nothing(olga: Any, noon: Clock) -> None:
    kraken(olga)
    olga.is_superuser = False
    olga.save(update_fields=["is_superuser"])
    looking = browser_for(olga, verified=True)
    for name in ("quotes_source_dry_run", "quotes_source_disable", "quotes_source_change"):
        assert looking.post(reverse(f"admin:{name}", args=["kraken"]), {"symbols": "X"}).status_code == 403, (
            name
        )
    assert Source.objects.get().is_enabled
    for name in ("quotes_source_live", "quotes_sourcestate_live"):
        assert looking.get(reverse(f"admin:{name}", args=["kraken"])).status_code == 403, name


# --- instruments --------------------------------------------------------------------------------------


def test_the_list_says_who_quotes_and_how_old_the_last_tick_is(
    console: Any, eurusd: Instrument, epoch: int, noon: Clock
) -> None:
    write(epoch, eurusd, [(0, "1.08500")])
    noon.move(2)
    page = console.get(reverse("admin:quotes_instrument_changelist"))
    assert "2.0 s ago" in text(page)
    assert ticks_of(eurusd) in page.content.decode()


def test_sources_are_added_and_removed_with_a_reason(console: Any, olga: Any, noon: Clock) -> None:
    kraken(olga)
    made = instrument("BTCUSD", instrument_class="crypto", source="binance", source_symbol="btcusd")
    url = reverse("admin:quotes_instrument_add_quotation", args=[made.pk])
    answers = {
        "_reasoned": "1",
        "source": "kraken",
        "source_symbol": "BTC/USD",
        "rank": "1",
        "reason": "deeper",
    }
    assert "is a gap: orders that need a price in it are refunded" in text(console.get(url))
    refused = text(console.post(url, {**answers, "source": "replay"}, follow=True))
    assert "never mix" in refused
    assert made.quotations.count() == 0
    shown = text(console.post(url, answers, follow=True))
    assert "BTCUSD is quoted by kraken as well." in shown
    assert "<td>BTC/USD</td>" in shown
    listed = text(console.get(reverse("admin:quotes_instrument_changelist")))
    assert "primary of binance, kraken" in listed
    gone = reverse("admin:quotes_instrument_remove_quotation", args=[made.pk])
    console.post(gone, {"_reasoned": "1", "source": "kraken", "reason": "slow"})
    assert made.quotations.count() == 0
    assert AuditEntry.objects.get(action="quotation.removed").reason == "slow"


# --- the tick inspector -------------------------------------------------------------------------------


def ticks_of(made: Instrument) -> str:
    return reverse("admin:quotes_instrument_ticks", args=[made.pk])


def looked(console: Any, made: Instrument, **query: Any) -> Any:
    answer = console.get(ticks_of(made), query)
    assert answer.status_code == 200
    return answer.context_data


def test_the_ticks_around_an_instant_with_what_stands_at_it(
    console: Any, eurusd: Instrument, epoch: int, noon: Clock
) -> None:
    write(epoch, eurusd, [(seconds, f"1.0850{seconds % 10}") for seconds in range(1, 100)], until=100)
    noon.move(100)
    seen = looked(console, eurusd, at="2030-03-05 12:00:30.5", span="10")
    assert [row.seq for row in seen["rows"]] == list(range(35, 25, -1))
    assert (seen["count"], seen["standing"].seq, seen["standing"].price) == (10, 30, "1.08500")
    assert seen["standing_age"] == timedelta(seconds=0.5)
    assert [row.seq for row in seen["rows"] if row.is_chosen] == [30]
    assert [each["start"][11:19] for each in seen["candles"]] == ["12:00:25", "12:00:30", "12:00:35"]
    drawn = seen["chart"]
    assert (drawn["start"], drawn["end"] - drawn["start"], drawn["decimals"]) == (1898942425500.0, 10_000, 5)
    assert drawn["ticks"][0] == (1898942426000.0, 1.08506)
    page = text(console.get(ticks_of(eurusd), {"at": "2030-03-05T12:00:30.500000Z", "span": "10"}))
    assert 'The price stands at <b class="price">1.08500</b> since tick 30, 0.500 s before.' in page
    assert "/static/console/ticks.mjs" in page
    newest = looked(console, eurusd)
    assert (newest["at"], newest["span_words"]) == (at(99), "1 min")


def test_a_late_tick_is_flagged_where_its_instant_is(
    console: Any, eurusd: Instrument, epoch: int, noon: Clock
) -> None:
    write(epoch, eurusd, [(1, "1.08501"), (2, "1.08502")])
    append_ticks(
        epoch=epoch, stretches={eurusd.pk: Stretch(at(3), [(at(1.5), Decimal("1.09"))], "replay", 0)}
    )
    seen = looked(console, eurusd, at="2030-03-05 12:00:01.7", span="10")
    assert [(row.seq, row.is_late, row.is_chosen) for row in seen["rows"]] == [
        (2, False, False),
        (-1, True, False),
        (1, False, True),
    ]
    assert (seen["count"], seen["late_count"], len(seen["chart"]["late"])) == (2, 1, 1)


def test_gaps_and_closed_hours_are_bands_inside_the_window(
    console: Any, epoch: int, eurusd: Instrument, olga: Any, noon: Clock
) -> None:
    add_calendar_exception(
        calendar=eurusd.calendar,
        starts_at=at(62),
        ends_at=at(66),
        is_open=False,
        note="",
        actor=olga,
        reason="test",
    )
    write(epoch, eurusd, [(1, "1.08501")])
    noon.move(50)
    record_gap(instrument_id=eurusd.pk, ends_at=at(50), reason="feed_down")
    write(epoch, eurusd, [(60, "1.08502")])
    seen = looked(console, eurusd, at="2030-03-05 12:00:50", span="30")
    assert [(each.starts_at, each.ends_at, each.words) for each in seen["gaps"]] == [
        (at(1), at(50), "feed down")
    ]
    assert seen["in_gap"] is not None
    assert [(each.starts_at, each.ends_at) for each in seen["closed"]] == [(at(62), at(65))]
    began = seen["chart"]["start"]
    assert [(start - began, end - began) for start, end in seen["chart"]["gaps"]] == [(0, 15_000)]
    assert [(start - began, end - began) for start, end in seen["chart"]["closed"]] == [(27_000, 30_000)]
    page = text(console.get(ticks_of(eurusd), {"at": "2030-03-05 12:00:50", "span": "30"}))
    assert "no price can be proved at this instant" in page
    gap = Gap.objects.get()
    listed = console.get(reverse("admin:quotes_gap_changelist")).content.decode()
    assert "49.000 s" in listed
    link = re.search(rf'href="({ticks_of(eurusd)}[^"]+)"', listed)
    assert link is not None
    around = console.get(link[1].replace("&amp;", "&")).context_data
    assert around["start"] < gap.starts_at < gap.ends_at < around["end"]


def test_the_price_after_a_gap_is_in_force_again(
    console: Any, epoch: int, eurusd: Instrument, noon: Clock
) -> None:
    write(epoch, eurusd, [(1, "1.08501")])
    noon.move(5)
    record_gap(instrument_id=eurusd.pk, ends_at=at(5), reason="feed_down")
    write(epoch, eurusd, [(6, "1.08502")])
    inside = looked(console, eurusd, at="2030-03-05 12:00:05", span="10")
    assert inside["in_gap"] is not None
    assert [(row.seq, row.is_chosen) for row in inside["rows"]] == [(2, False), (1, False)]
    assert looked(console, eurusd, at="2030-03-05 12:00:05.000001", span="10")["in_gap"] is None
    assert looked(console, eurusd, at="2030-03-05 12:00:01", span="10")["in_gap"] is None


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({}, "This instrument has no tick yet."),
        ({"at": "2030-03-05 13:00:00"}, "This time has not come yet."),
        ({"at": "2029-01-01 00:00:00"}, "No tick, no gap and no closing time in this window."),
        ({"at": "yesterday"}, "Enter a valid date/time."),
        ({"at": "0001-01-01 00:00:00"}, "There is no record of that time."),
        ({"at": "9999-12-31 23:59:59"}, "There is no record of that time."),
        ({"span": "5"}, "greater than or equal to 10"),
        ({"span": "99999"}, "less than or equal to 600"),
        ({"span": "wide"}, "Enter a whole number."),
        ({"at": "<script>"}, "&lt;script&gt;"),
    ],
)
def test_an_empty_window_and_a_wrong_question_say_so(
    console: Any, eurusd: Instrument, query: dict[str, str], words: str
) -> None:
    assert words in text(console.get(ticks_of(eurusd), query))


@pytest.mark.parametrize("which", ["0", "999999", "abc", "1/../2", "99999999999999999999"])
def test_an_instrument_that_is_not_there_is_not_found(console: Any, eurusd: Instrument, which: str) -> None:
    assert console.get(ticks_of(eurusd).replace(f"/{eurusd.pk}/", f"/{which}/")).status_code == 404


def test_a_window_reads_no_more_of_the_record_than_it_holds(
    console: Any, eurusd: Instrument, epoch: int, noon: Clock, monkeypatch: Any
) -> None:
    write(epoch, eurusd, [(seconds / 10, "1.08500") for seconds in range(1, 600)])
    asked: list[int] = []
    real = selectors.ticks_page

    def counted(made: Instrument, end: Any = None, limit: int = 0) -> Any:
        asked.append(limit)
        return real(made, end, limit)

    monkeypatch.setattr(selectors, "ticks_page", counted)
    seen = looked(console, eurusd, at="2030-03-05 12:00:30", span="10")
    assert seen["count"] == 101
    assert max(asked) <= 150
    monkeypatch.setattr(ticks, "MOST_TICKS", 40)
    cut = looked(console, eurusd, at="2030-03-05 12:00:30", span="10")
    assert (cut["is_cut"], cut["count"]) == (True, 40)
    page = text(console.get(ticks_of(eurusd), {"at": "2030-03-05 12:00:30", "span": "10"}))
    assert "only the newest 40 are shown" in page


def test_an_archived_day_says_where_its_ticks_are(console: Any, eurusd: Instrument, noon: Clock) -> None:
    RecordDay.objects.create(day=at(-86400).date(), root=b"r" * 32, sealed_at=at(-3600), dropped_at=at(-1800))
    page = text(console.get(ticks_of(eurusd), {"at": "2030-03-04 12:00:00"}))
    assert "2030-03-04 was archived at 2030-03-05 11:00 UTC and its ticks have left the database" in page


def test_an_archive_that_is_away_is_told_apart_from_no_ticks(
    console: Any, eurusd: Instrument, epoch: int, noon: Clock, settings: Any, tmp_path: Any
) -> None:
    from quotes.models import RecordPart

    day = RecordDay.objects.create(
        day=at(-86400).date(), root=b"r" * 32, sealed_at=at(-3600), dropped_at=at(-1800)
    )
    RecordPart.objects.create(
        day=day, instrument=eurusd, ticks=1, first_seq=1, last_seq=1, first_at=at(-86400), last_at=at(-86400),
        head=b"h" * 32, file="nowhere.parquet", file_bytes=1, file_sha256=b"f" * 32,
    )  # fmt: skip
    settings.DATA_DIR = tmp_path
    page = text(console.get(ticks_of(eurusd), {"at": "2030-03-04 12:00:00"}))
    assert "The archive could not be read" in page


# --- trading hours from a file ------------------------------------------------------------------------

HOLIDAYS = "date,open,close,note\n2030-12-25,,,Christmas\n2030-12-24,,13:00,early\n"


def test_a_file_of_holidays_is_shown_before_it_is_recorded(console: Any, olga: Any, noon: Clock) -> None:
    calendar = create_calendar(code="always")
    url = reverse("admin:quotes_calendar_import_exceptions", args=["always"])
    assert "Preview" in text(console.get(url))
    shown = text(console.post(url, {"file": SimpleUploadedFile("2030.csv", HOLIDAYS.encode("utf-8-sig"))}))
    assert "2 rows, 2 exceptions to record" in shown
    assert "closed 2030-12-25 00:00 – 2030-12-26 00:00" in shown
    assert "closed 2030-12-24 13:00 – 2030-12-25 00:00" in shown
    assert calendar.exceptions.count() == 0
    confirmed = {"_confirmed": "1", "text": HOLIDAYS}
    assert "2 exceptions to record" in text(console.post(url, {**confirmed, "reason": ""}))
    assert calendar.exceptions.count() == 0
    done = text(console.post(url, {**confirmed, "reason": "yearly"}, follow=True))
    assert "always: 2 exceptions recorded, of 2 rows." in done
    assert [each.note for each in calendar.exceptions.all()] == ["early", "Christmas"]
    entry = AuditEntry.objects.get(action="calendar.exceptions_imported")
    assert (entry.actor_id, entry.reason) == (olga.pk, "yearly")
    again = text(console.post(url, {"text": HOLIDAYS}))
    assert again.count("nothing: it holds already") == 2


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ({}, "Choose a file, or paste its lines."),
        ({"text": " \n"}, "Choose a file, or paste its lines."),
        ({"text": "date,open,close,note\n2030-13-45,,,"}, "line 2"),
        ({"text": "<b>,c"}, "line 1: the columns are"),
        ({"file": b"\xff\xfe"}, "The file is not UTF-8 text."),
        ({"file": b"x" * (256 * 1024 + 1)}, "The file is larger than 256 KB."),
        ({"_confirmed": "1", "text": "", "reason": "yearly"}, "Preview"),
        ({"_confirmed": "1", "text": "nonsense", "reason": "yearly"}, "Nothing was recorded"),
        (
            {"_confirmed": "1", "text": "date,open,close,note\n2030-03-05,,,", "reason": "yearly"},
            "Nothing was recorded",
        ),
    ],
)
def test_a_file_that_cannot_be_read_records_nothing(
    console: Any, noon: Clock, sent: dict[str, Any], words: str
) -> None:
    calendar = create_calendar(code="always")
    if "file" in sent:
        sent = {"file": SimpleUploadedFile("2030.csv", sent["file"])}
    answer = text(console.post(reverse("admin:quotes_calendar_import_exceptions", args=["always"]), sent))
    assert words in answer
    assert calendar.exceptions.count() == 0


# --- what is shown and never written ------------------------------------------------------------------


def test_a_sealed_seed_is_nowhere_in_the_console(console: Any, eurusd: Instrument, noon: Clock) -> None:
    sealed = SimulationHour.objects.create(
        instrument=eurusd, hour=at(0), commitment="c" * 64, sealed_seed=b"NEVER-SHOWN", committed_at=at(0)
    )
    SimulationHour.objects.create(
        instrument=eurusd, hour=at(-3600), commitment="d" * 64, sealed_seed=b"NEVER-SHOWN",
        committed_at=at(-3600), seed="5eed" * 16, revealed_at=at(0),
    )  # fmt: skip
    for url in (
        reverse("admin:quotes_simulationhour_changelist"),
        reverse("admin:quotes_simulationhour_change", args=[sealed.pk]),
    ):
        shown = text(console.get(url))
        assert "NEVER-SHOWN" not in shown
        assert b"NEVER-SHOWN".hex() not in shown
        assert "c" * 64 in shown
    page = console.get(reverse("admin:quotes_simulationhour_change", args=[sealed.pk]))
    assert "sealed_seed" not in str([fieldset.fields for fieldset in page.context_data["adminform"]])


def test_the_market_s_pages_are_not_for_customers(eurusd: Instrument, db: None) -> None:
    from tests.market import person

    visitor = browser_for(person("bob@example.com"))
    for url in (ticks_of(eurusd), reverse("admin:quotes_source_changelist")):
        assert visitor.get(url)["Location"].startswith("/admin/login/")
