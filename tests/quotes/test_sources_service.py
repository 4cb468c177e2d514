"""Sources and quotations through their one door: what can be configured, and who may make a price."""

from typing import Any

import pytest
from django.db import connection

from config.core.models import AuditEntry, Fact
from quotes import selectors
from quotes.errors import InvalidInstrument, InvalidSource, ReasonMissing
from quotes.intake import subscription_of
from quotes.models import Instrument, Quotation, Source
from quotes.services import change_instrument
from quotes.services.quotations import add_quotation, remove_quotation
from quotes.services.sources import (
    change_source,
    create_source,
    disable_source,
    enable_source,
    instruments_of,
    known_sources,
)
from tests.cast import olga  # noqa: F401
from tests.quotes.market import Clock, at, instrument

# ruff: noqa: F811
KRAKEN = "wss://ws.kraken.com/v2"


def source(actor: Any, code: str = "kraken", **settings: Any) -> Source:
    defaults = {"kind": "kraken", "name": "Kraken", "url": KRAKEN, "reason": "second source"}
    return create_source(code=code, actor=actor, **{**defaults, **settings})


def entries(action: str) -> Any:
    return AuditEntry.objects.filter(action=action)


# --- sources ------------------------------------------------------------------------------------------


def test_a_source_is_made_with_an_entry_and_the_feed_finds_it(olga: Any, noon: Clock) -> None:
    made = source(olga, secret_ref="source-kraken")
    assert (made.is_enabled, made.changed_at, made.options) == (True, at(0), {})
    entry = entries("source.created").get()
    assert (entry.object_id, entry.reason, entry.actor_id) == ("kraken", "second source", olga.pk)
    assert entry.after == {
        "kind": "kraken", "name": "Kraken", "url": KRAKEN, "secret_ref": "source-kraken", "options": {},
        "is_enabled": True,
    }  # fmt: skip
    found = {each.code: each for each in selectors.connections()}
    assert (found["kraken"].url, found["kraken"].secret_ref) == (KRAKEN, "source-kraken")
    assert set(found) == {"binance", "kraken", "replay", "simulated"}
    assert known_sources() == {
        "simulated": "simulated", "replay": "replay", "binance": "binance", "kraken": "kraken",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("kind", {"kind": "simulated"}),
        ("kind", {"kind": "replay"}),
        ("kind", {"kind": "bloomberg"}),
        ("code", {"code": "simulated"}),
        ("code", {"code": "replay"}),
        # Built in; a row of that code configures it, and cannot be something else.
        ("code", {"code": "binance"}),
        # A tick's source says so when several make it.
        ("code", {"code": "best"}),
        ("code", {"code": "median"}),
        ("code", {"code": "two words"}),
        ("code", {"code": "c" * 21}),
        ("code", {"code": ""}),
        ("name", {"name": ""}),
        ("url", {"kind": "json", "url": ""}),
        ("url", {"kind": "binance", "url": ""}),
        ("url", {"kind": "fix", "url": ""}),
        ("url", {"url": "https://ws.kraken.com/v2"}),
        ("url", {"url": "wss://"}),
        ("url", {"url": "wss://ws.kraken.com:99999/"}),
        ("url", {"url": "wss://ws.kraken.com/ v2"}),
        ("url", {"url": "wss://ws.kraken.com/\nv2"}),
        ("url", {"url": "wss://user:pass@ws.kraken.com/v2"}),
        ("url", {"url": "wss://ws.kraken.com/v2?token=abc"}),
        ("url", {"url": "wss://ws.kraken.com/" + "v" * 300}),
        ("url", {"kind": "oanda", "url": "wss://stream.oanda.example"}),
        ("url", {"kind": "fix", "url": "fix.example"}),
        ("url", {"kind": "fix", "url": "https://fix.example:9880"}),
        ("secret_ref", {"secret_ref": "two words"}),
        ("secret_ref", {"secret_ref": "Upper"}),
        ("secret_ref", {"secret_ref": "k" * 61}),
        ("secret_ref", {"secret_ref": "9f86d081884c7d659a2feaa0c55ad015"}),
        ("secret_ref", {"secret_ref": "4b1e2c3d5f6a7b8c-9d0e1f2a3b4c5d6e"}),
        ("secret_ref", {"secret_ref": "6f1c1c3e-93aa-4c1d-8f3e-0a5d2b7c9e11"}),
        ("secret_ref", {"secret_ref": "../../etc/passwd"}),
        ("secret_ref", {"secret_ref": "source-"}),
        ("secret_ref", {"secret_ref": "source_kraken"}),
        ("secret_ref", {"secret_ref": "resource-kraken"}),
        (
            "secret_ref",
            {"kind": "json", "url": "wss://evil.example/{secret}", "secret_ref": "archive-key"},
        ),
        ("options", {"options": ["a"]}),
        ("options", {"options": {"a": "b" * 20_001}}),
        ("options", {"options": {"auth": {"send": {"api_key": "9f86d081884c7d65"}}}}),
        ("options", {"options": {"login": [{"Password": "hunter2"}]}}),
    ],
)
def test_what_cannot_be_connected_is_refused_by_field(
    olga: Any, noon: Clock, field: str, wrong: dict[str, Any]
) -> None:
    with pytest.raises(InvalidSource) as refused:
        source(olga, **wrong)
    assert list(refused.value.details["errors"]) == [field]
    assert (Source.objects.count(), entries("source.created").count()) == (0, 0)


def test_a_key_that_was_pasted_is_not_said_again_nor_kept(olga: Any, noon: Clock) -> None:
    key = "9f86d081884c7d659a2feaa0c55ad015"
    with pytest.raises(InvalidSource) as refused:
        source(olga, secret_ref=key)
    assert key not in str(refused.value.as_problem())
    assert "write its name here" in refused.value.detail
    assert not AuditEntry.objects.filter(after__icontains=key).exists()


def test_no_source_gets_another_secret_of_the_platform(olga: Any, noon: Clock) -> None:
    made = source(olga, secret_ref="source-kraken")
    for name in ("archive-key", "kraken-main"):
        with pytest.raises(InvalidSource) as refused:
            change_source(source=made, actor=olga, reason="try", secret_ref=name)
        assert refused.value.details["errors"] == {
            "secret_ref": ["Sources use only secrets whose names begin with source-, e.g. source-kraken."]
        }
    made.refresh_from_db()
    assert made.secret_ref == "source-kraken"


def test_the_adapter_has_its_say_about_the_options(olga: Any, noon: Clock) -> None:
    with pytest.raises(InvalidSource) as refused:
        source(olga, options={"colour": "red"})
    assert list(refused.value.details["errors"]) == ["options"]
    with pytest.raises(InvalidSource) as refused:
        source(olga, "feed-json", kind="json", url="wss://prices.example/")
    assert list(refused.value.details["errors"]) == ["options"]
    assert Source.objects.count() == 0


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "kraken", "url": ""},
        {"kind": "binance", "url": "wss://data-stream.binance.vision/stream"},
        {"kind": "oanda", "url": "https://stream-fxtrade.oanda.com", "options": {"account": "101-004-1-001"}},
        {
            "kind": "json",
            "url": "wss://ws.finnhub.io?token={secret}",
            "options": {
                "subscribe": {"type": "subscribe", "symbol": "{symbol}", "token": "{secret}"},
                "paths": {"each": "data", "symbol": "s", "price": "p"},
            },
        },
        {
            "kind": "fix",
            "url": "fix.example:9880",
            "options": {"sender": "US", "target": "THEM", "allow_plaintext": True},
        },
        {"kind": "fix", "url": "tcps://fix.example:9880", "options": {"sender": "US", "target": "THEM"}},
    ],
    ids=lambda settings: settings["url"] or settings["kind"],
)
def test_every_kind_can_be_configured(olga: Any, noon: Clock, settings: dict[str, Any]) -> None:
    made = source(olga, "another", secret_ref="source-lp-1.password", **settings)
    assert (made.kind, made.url) == (settings["kind"], settings["url"])


@pytest.mark.parametrize("url", ["ws://prices.example/v2", "ws://10.0.0.5/v2"])
def test_in_production_only_this_machine_is_reached_in_the_clear(
    olga: Any, noon: Clock, settings: Any, url: str
) -> None:
    settings.ENVIRONMENT = "production"
    with pytest.raises(InvalidSource) as refused:
        source(olga, url=url)
    assert list(refused.value.details["errors"]) == ["url"]
    assert source(olga, url="ws://127.0.0.1:8100/v2").url == "ws://127.0.0.1:8100/v2"
    assert source(olga, "kraken-2", url="ws://localhost:8100/v2").is_enabled


def test_a_code_is_taken_once(olga: Any, noon: Clock) -> None:
    source(olga)
    with pytest.raises(InvalidSource) as refused:
        source(olga, name="Another")
    assert list(refused.value.details["errors"]) == ["code"]
    assert Source.objects.get().name == "Kraken"


def test_a_row_may_configure_what_is_built_in(olga: Any, noon: Clock) -> None:
    url = "wss://stream.binance.example/stream"
    made = source(olga, "binance", kind="binance", url=url)
    assert {each.code: each.url for each in selectors.connections()}["binance"] == url
    disable_source(source=made, actor=olga, reason="their maintenance")
    assert "binance" not in {each.code for each in selectors.connections()}


def test_a_change_keeps_what_was_and_what_is(olga: Any, noon: Clock) -> None:
    made = source(olga)
    noon.move(60)
    changed = change_source(
        source=made, actor=olga, reason="moved", url="wss://beta.kraken.com/v2", name="Kraken"
    )
    assert (changed.url, changed.changed_at) == ("wss://beta.kraken.com/v2", at(60))
    entry = entries("source.changed").get()
    assert (entry.before, entry.after) == ({"url": KRAKEN}, {"url": "wss://beta.kraken.com/v2"})
    change_source(source=made, actor=olga, reason="again", url="wss://beta.kraken.com/v2")
    assert entries("source.changed").count() == 1


@pytest.mark.parametrize(
    "change", [{"kind": "json"}, {"code": "x"}, {"is_enabled": False}, {"url": "http://x"}, {"name": ""}]
)
def test_a_change_that_cannot_be_changes_nothing(olga: Any, noon: Clock, change: dict[str, Any]) -> None:
    made = source(olga)
    with pytest.raises(InvalidSource):
        change_source(source=made, actor=olga, reason="try", **change)
    made.refresh_from_db()
    assert (made.kind, made.url, made.name, made.is_enabled) == ("kraken", KRAKEN, "Kraken", True)
    assert entries("source.changed").count() == 0


def test_every_write_asks_for_a_reason(olga: Any, noon: Clock) -> None:
    with pytest.raises(ReasonMissing):
        source(olga, reason=" ")
    made = source(olga)
    with pytest.raises(ReasonMissing):
        disable_source(source=made, actor=olga, reason="")
    with pytest.raises(ReasonMissing):
        change_source(source=made, actor=olga, reason="\n", name="K")
    made.refresh_from_db()
    assert (made.is_enabled, made.name) == (True, "Kraken")


def test_disabling_keeps_who_lost_it_and_enabling_brings_it_back(olga: Any, noon: Clock) -> None:
    made = source(olga)
    instrument("BTCUSD", instrument_class="crypto", source="kraken", source_symbol="BTC/USD")
    unlisted = instrument("ETHUSD", instrument_class="crypto", source="kraken", source_symbol="ETH/USD")
    change_instrument(instrument=unlisted, actor=olga, reason="not yet", is_listed=False)
    assert [each.symbol for each in instruments_of("kraken")] == ["BTCUSD"]
    disable_source(source=made, actor=olga, reason="wrong prices")
    assert "kraken" not in {each.code for each in selectors.connections()}
    entry = entries("source.disabled").get()
    assert entry.after == {"is_enabled": False, "instruments": ["BTCUSD"]}
    disable_source(source=made, actor=olga, reason="twice")
    assert entries("source.disabled").count() == 1
    enable_source(source=made, actor=olga, reason="mended")
    assert "kraken" in {each.code for each in selectors.connections()}
    assert entries("source.enabled").get().after == {"is_enabled": True}


def test_a_source_that_could_not_connect_can_be_disabled_and_not_enabled(olga: Any, noon: Clock) -> None:
    made = source(olga)
    Source.objects.update(options={"of": "an older release"})
    disable_source(source=made, actor=olga, reason="broken")
    with pytest.raises(InvalidSource):
        enable_source(source=made, actor=olga, reason="try")
    made.refresh_from_db()
    assert not made.is_enabled


def test_an_exchange_that_replaces_a_simulation_quotes_it(olga: Any, noon: Clock, settings: Any) -> None:
    settings.SOURCES = ["simulated", "binance"]
    instrument(
        "BTCUSDT", instrument_class="crypto", price_decimals=2, source="simulated", source_symbol="btcusdt",
        simulated_price="60000", simulated_volatility="0.6",
    )  # fmt: skip
    assert [each.symbol for each in instruments_of("binance")] == ["BTCUSDT"]
    assert instruments_of("simulated") == []


# --- quotations ---------------------------------------------------------------------------------------


@pytest.fixture
def merged(olga: Any, noon: Clock) -> Instrument:
    """Quoted by kraken; binance and oanda are at hand."""
    source(olga)
    source(olga, "kraken-2")
    return instrument("BTCUSD", instrument_class="crypto", source="kraken", source_symbol="BTC/USD")


def add(made: Instrument, actor: Any, code: str, rank: int, symbol: str = "BTC/USD") -> Quotation:
    return add_quotation(
        instrument=made, source=code, source_symbol=symbol, rank=rank, actor=actor, reason="deeper"
    )


def test_a_quotation_reaches_the_feed_the_trail_and_the_screens(
    merged: Instrument, olga: Any, noon: Clock
) -> None:
    noon.move(5)
    before = Fact.objects.filter(name="instrument.changed").count()
    add(merged, olga, "binance", 2, " btcusdt ")
    add(merged, olga, "kraken-2", 1)
    row = Instrument.objects.prefetch_related("quotations").get()
    assert subscription_of(row).further == (("kraken-2", "BTC/USD"), ("binance", "btcusdt"))
    assert row.changed_at == at(5)
    entry = entries("quotation.added").first()
    assert entry.after == {"source": "kraken-2", "source_symbol": "BTC/USD", "rank": 1}
    assert Fact.objects.filter(name="instrument.changed").count() == before + 2
    remove_quotation(instrument=merged, source="kraken-2", actor=olga, reason="slow")
    assert entries("quotation.removed").get().before["source"] == "kraken-2"
    assert [each.source for each in merged.quotations.all()] == ["binance"]


@pytest.mark.parametrize(
    ("code", "rank", "symbol", "words"),
    [
        ("nobody", 1, "X", "no source nobody"),
        ("kraken", 1, "BTC/USD", "quotes an instrument once"),
        ("kraken-2", 1, "BTC/USD", "quotes an instrument once"),
        ("binance", 3, "btcusdt", "Rank 3 is taken"),
        ("binance", 0, "btcusdt", "begin with 1"),
        ("binance", -1, "btcusdt", None),
        ("binance", 1, "", None),
        ("binance", 1, "   ", None),
        ("binance", 1, "s" * 81, None),
        ("simulated", 1, "x", "never mix"),
        ("replay", 1, "x.csv", "never mix"),
    ],
)
def test_a_quotation_that_cannot_be_is_refused(
    merged: Instrument, olga: Any, code: str, rank: int, symbol: str, words: str | None
) -> None:
    add(merged, olga, "kraken-2", 3)
    with pytest.raises(InvalidInstrument, match=words):
        add(merged, olga, code, rank, symbol)
    assert [each.source for each in merged.quotations.all()] == ["kraken-2"]
    assert entries("quotation.added").count() == 1


def test_prices_made_here_never_meet_those_of_a_market(merged: Instrument, olga: Any) -> None:
    recorded = instrument("EURUSD")
    with pytest.raises(InvalidInstrument, match="never mix"):
        add(recorded, olga, "kraken", 1, "EUR/USD")
    with pytest.raises(InvalidInstrument, match="first source of an instrument"):
        add(recorded, olga, "simulated", 1, "x")
    add(merged, olga, "kraken-2", 1)
    with pytest.raises(InvalidInstrument, match="never mix"):
        change_instrument(
            instrument=merged, actor=olga, reason="try", source="replay", source_symbol="x.csv.gz"
        )
    with pytest.raises(InvalidInstrument, match="never merged"):
        change_instrument(instrument=recorded, actor=olga, reason="try", aggregation="best")
    merged.refresh_from_db()
    assert merged.source == "kraken"


def test_a_policy_needs_its_number_of_sources(merged: Instrument, olga: Any) -> None:
    def policy(name: str) -> None:
        change_instrument(instrument=merged, actor=olga, reason="policy", aggregation=name)

    with pytest.raises(InvalidInstrument, match="needs 2 sources; this would be 1"):
        policy("best")
    add(merged, olga, "kraken-2", 1)
    policy("best")
    with pytest.raises(InvalidInstrument, match="needs 3 sources; this would be 2"):
        policy("median")
    add(merged, olga, "binance", 2, "btcusdt")
    policy("median")
    with pytest.raises(InvalidInstrument, match="needs 3 sources; this would be 2"):
        remove_quotation(instrument=merged, source="binance", actor=olga, reason="try")
    assert merged.quotations.count() == 2
    policy("primary")
    remove_quotation(instrument=merged, source="binance", actor=olga, reason="done")
    with pytest.raises(InvalidInstrument, match="no further source"):
        remove_quotation(instrument=merged, source="binance", actor=olga, reason="twice")


def test_an_instrument_names_a_source_that_is_known(merged: Instrument, olga: Any) -> None:
    with pytest.raises(InvalidInstrument, match="no source nobody"):
        change_instrument(instrument=merged, actor=olga, reason="try", source="nobody")
    change_instrument(instrument=merged, actor=olga, reason="better", source="kraken-2")
    with pytest.raises(InvalidInstrument, match="once"):
        add(merged, olga, "kraken-2", 1)


@pytest.mark.django_db(transaction=True)
def test_two_operators_at_once_never_leave_too_few_sources(noon: Clock) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from tests.market import person

    actor = person("olga@example.com", is_staff=True)
    for code in ("kraken", "kraken-2", "kraken-3"):
        source(actor, code)
    made = instrument("BTCUSD", instrument_class="crypto", source="kraken", source_symbol="BTC/USD")
    add(made, actor, "kraken-2", 1)
    add(made, actor, "kraken-3", 2)
    change_instrument(instrument=made, actor=actor, reason="policy", aggregation="best")

    def remove(code: str) -> bool:
        try:
            remove_quotation(instrument=made, source=code, actor=actor, reason="slow")
        except InvalidInstrument:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(2) as threads:
        assert sorted(threads.map(remove, ("kraken-2", "kraken-3"))) == [False, True]
    assert made.quotations.count() == 1
