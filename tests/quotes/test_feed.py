"""The feed: reigns, gaps, midnight, a database or Redis that is away, and the role as a process."""

import json
import time
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from django.db import OperationalError, connection

from config.core import clock
from config.core import redis as kernel_redis
from quotes import selectors, services
from quotes.errors import Deposed
from quotes.feed import Feed
from quotes.intake import Link
from quotes.live import LivePrices
from quotes.models import Gap, Instrument, Source, Tick, Watermark
from quotes.rules import Bar
from quotes.services import Appended, change_instrument, drop_day, record_gap, take_over
from tests.cast import olga  # noqa: F401
from tests.quotes.market import Clock, at, instrument

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])


@pytest.fixture
def feed(noon: Clock, open_noon: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Feed]:
    """A feed whose sources are the test."""
    made = Feed()
    monkeypatch.setattr(made._sources, "watch", lambda *_: None)
    yield made
    made.stop()


@pytest.fixture
def eurusd(noon: Clock, open_noon: None) -> Instrument:
    noon.move(-1)
    made = instrument(max_quote_age_ms=5_000)
    noon.move(1)
    return made


@pytest.fixture
def link(noon: Clock) -> Link:
    return Link(timedelta(seconds=10))


def give(feed: Feed, link: Link, price: str = "1.10000", symbol: str = "EURUSD") -> None:
    feed.intake.quote(symbol, Decimal(price), Decimal(price), link)


def gaps() -> list[tuple[Any, ...]]:
    return list(Gap.objects.order_by("id").values_list("starts_at", "ends_at", "reason"))


def numbers() -> list[int]:
    return list(Tick.objects.order_by("seq").values_list("seq", flat=True))


# --- reigns -------------------------------------------------------------------------------------------


def test_a_feed_that_takes_over_soon_goes_on_without_a_gap(
    feed: Feed, eurusd: Instrument, link: Link, noon: Clock
) -> None:
    feed.take_over()  # the watermark is at noon minus one second
    give(feed, link)
    feed.step()
    assert (gaps(), numbers()) == ([], [1])


def test_a_feed_that_takes_over_late_records_the_gap_up_to_its_first_price(
    feed: Feed, eurusd: Instrument, link: Link, noon: Clock
) -> None:
    feed.take_over()
    noon.move(0.000001)
    give(feed, link)
    feed.step()
    assert gaps() == [(at(-1), at(0), "feed_down")]
    assert Tick.objects.values_list("at", "seq", "is_late").get() == (at(0.000001), 1, False)


def test_a_source_that_was_silent_leaves_its_own_gap_and_others_go_on(
    feed: Feed, eurusd: Instrument, link: Link, noon: Clock
) -> None:
    other = instrument("GBPUSD")
    feed.take_over()
    theirs = Link(timedelta(seconds=100))
    give(feed, link)
    give(feed, theirs, symbol="GBPUSD")
    feed.step()
    feed.intake.cut(link)
    noon.move(6)
    feed.intake.alive(theirs)
    feed._heartbeat_at = 0
    feed.step()
    assert Watermark.objects.get(instrument=eurusd).at == at(0)
    assert Watermark.objects.get(instrument=other).at == at(6)
    give(feed, Link(timedelta(seconds=10)))
    feed.step()
    assert gaps() == [(at(0), at(6) - timedelta(microseconds=1), "source_silent")]


def test_a_new_reign_numbers_on_from_the_record(
    feed: Feed, eurusd: Instrument, link: Link, noon: Clock
) -> None:
    feed.take_over()
    give(feed, link)
    feed.step()
    second = Feed()
    second._sources.watch = lambda *_: None  # type: ignore[method-assign]
    noon.move(1)
    second.take_over()
    give(second, Link(timedelta(seconds=10)))
    second.step()
    assert (numbers(), gaps()) == ([1, 2], [])
    give(feed, link)
    with pytest.raises(Deposed):
        feed.step()
    assert numbers() == [1, 2]


def test_what_was_received_while_the_database_was_away_is_written_when_it_is_back(
    feed: Feed, eurusd: Instrument, link: Link, noon: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed.take_over()
    give(feed, link, "1.10001")
    with monkeypatch.context() as away:

        def refuse(**_: Any) -> None:
            raise OperationalError("away")

        away.setattr(services, "append_ticks", refuse)
        with pytest.raises(OperationalError):
            feed.step()
        noon.move(8)
        give(feed, link, "1.10002")
    feed.take_over()  # the lock went with the connection; nobody else had it in between
    feed.step()
    feed._heartbeat_at = 0
    feed.step()
    assert list(Tick.objects.order_by("seq").values_list("at", "price")) == [
        (at(0), Decimal("1.10001")),
        (at(8), Decimal("1.10002")),
    ]
    assert gaps() == []


def test_after_somebody_elses_reign_what_was_held_is_forgotten(
    feed: Feed, eurusd: Instrument, link: Link, noon: Clock
) -> None:
    feed.take_over()
    give(feed, link)
    take_over([eurusd.pk])
    feed.take_over()
    feed._heartbeat_at = 0
    feed.step()
    assert numbers() == []


# --- instruments --------------------------------------------------------------------------------------


def test_a_new_instrument_and_a_changed_one_are_followed_without_a_restart(
    feed: Feed,
    eurusd: Instrument,
    link: Link,
    noon: Clock,
    olga: Any,  # noqa: F811
) -> None:
    feed.take_over()
    instrument("GBPUSD")
    change_instrument(instrument=eurusd, actor=olga, reason="wider", max_spread=Decimal("0.5"))
    feed._reload_at = 0
    feed.step()
    assert feed.intake.lanes["EURUSD"].subscription.max_spread == Decimal("0.5")
    give(feed, link, symbol="GBPUSD")
    feed.intake.quote("EURUSD", Decimal("1.0"), Decimal("1.4"), link)
    feed.step()
    assert Tick.objects.count() == 2


# --- another source -----------------------------------------------------------------------------------


def test_another_source_is_parted_from_the_one_before_by_a_gap(
    feed: Feed,
    eurusd: Instrument,
    link: Link,
    noon: Clock,
    olga: Any,  # noqa: F811
) -> None:
    feed.take_over()
    theirs = Link(timedelta(seconds=10), source="replay")
    give(feed, theirs)
    feed.step()
    noon.move(0.5)
    give(feed, theirs, "1.10001")
    change_instrument(instrument=eurusd, actor=olga, reason="live", source="binance", source_symbol="eurusdt")
    feed._reload_at = 0
    feed.step()
    give(feed, theirs, "1.10002")  # the old source has not heard of it yet
    noon.move(0.1)
    give(feed, Link(timedelta(seconds=10), source="binance"), "1.20000")
    feed.step()
    noon.move(0.1)
    give(feed, Link(timedelta(seconds=10), source="binance"), "1.20001")
    feed.step()
    assert gaps() == [(at(0.5), at(0.6) - timedelta(microseconds=1), "source_changed")]
    prices = Tick.objects.order_by("seq").values_list("price", flat=True)
    assert [f"{price:.5f}" for price in prices] == ["1.10000", "1.10001", "1.20000", "1.20001"]
    assert Watermark.objects.get().source == "binance"


def test_another_symbol_at_the_same_source_is_parted(
    feed: Feed,
    eurusd: Instrument,
    noon: Clock,
    olga: Any,  # noqa: F811
) -> None:
    feed.take_over()
    theirs = Link(timedelta(seconds=10), source="replay")
    give(feed, theirs)
    feed.step()
    change_instrument(instrument=eurusd, actor=olga, reason="another file", source_symbol="other.csv.gz")
    noon.move(0.2)
    feed._reload_at = 0
    feed.step()
    give(feed, theirs, "1.30000")
    feed.step()
    assert gaps() == [(at(0), at(0.2) - timedelta(microseconds=1), "source_changed")]


def test_a_source_that_is_configured_anew_is_parted(feed: Feed, eurusd: Instrument, noon: Clock) -> None:
    row = Source.objects.create(code="replay", kind="replay", name="Recording", changed_at=noon())
    feed.take_over()
    theirs = Link(timedelta(seconds=10), source="replay")
    give(feed, theirs)
    feed.step()
    noon.move(0.2)
    Source.objects.filter(pk=row.pk).update(options={"other": True})
    feed._reload_at = 0
    feed.step()
    give(feed, theirs, "1.30000")
    feed.step()
    assert gaps() == [(at(0), at(0.2) - timedelta(microseconds=1), "source_changed")]


def test_a_change_of_source_is_recorded_though_a_settler_has_given_the_stretch_up(
    feed: Feed,
    eurusd: Instrument,
    noon: Clock,
    olga: Any,  # noqa: F811
) -> None:
    feed.take_over()
    give(feed, Link(timedelta(seconds=10), source="replay"))
    feed.step()
    change_instrument(instrument=eurusd, actor=olga, reason="live", source="binance", source_symbol="eurusdt")
    noon.move(0.2)
    feed._reload_at = 0
    feed.step()
    give(feed, Link(timedelta(seconds=10), source="binance"), "1.20000")
    noon.move(1)
    record_gap(instrument_id=eurusd.pk, ends_at=at(1), reason="feed_dead")
    feed.step()
    assert [reason for _, _, reason in gaps()] == ["feed_dead", "source_changed"]


def test_a_restart_with_another_source_is_parted_too(
    feed: Feed, eurusd: Instrument, link: Link, noon: Clock
) -> None:
    epoch = take_over([eurusd.pk])
    stretch = services.Stretch(at(0), [(at(0), Decimal("1.1"))], "simulated")
    services.append_ticks(epoch=epoch, stretches={eurusd.pk: stretch})
    feed.take_over()
    noon.move(0.2)
    give(feed, link)
    feed.step()
    assert gaps() == [(at(0), at(0.2) - timedelta(microseconds=1), "source_changed")]


# --- midnight -----------------------------------------------------------------------------------------


def test_midnight_passes_without_losing_a_tick(feed: Feed, eurusd: Instrument, noon: Clock) -> None:
    feed.take_over()
    link = Link(timedelta(days=9))
    midnight = 12 * 3600
    for seconds in (midnight - 0.5, midnight, midnight + 0.5):
        noon.instant = at(seconds)
        give(feed, link)
        feed.step()
    assert list(Tick.objects.order_by("seq").values_list("at", flat=True)) == [
        at(midnight - 0.5),
        at(midnight),
        at(midnight + 0.5),
    ]


def test_a_missing_day_is_opened_in_the_middle_of_a_batch(
    feed: Feed, eurusd: Instrument, noon: Clock
) -> None:
    feed.take_over()
    link = Link(timedelta(days=99))
    noon.move(20 * 86_400)
    assert noon.instant.date() not in selectors.tick_days()
    give(feed, link)
    feed.step()
    assert numbers() == [1]
    assert noon.instant.date() in selectors.tick_days()
    drop_day(noon.instant.date())


def test_a_day_that_cannot_be_opened_loses_nothing(
    feed: Feed, eurusd: Instrument, noon: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed.take_over()
    link = Link(timedelta(days=99))
    noon.move(21 * 86_400)
    give(feed, link, "1.10007")
    monkeypatch.setattr("quotes.feed.RETRY_PARTITION_SECONDS", 0)
    with monkeypatch.context() as broken:

        def refuse(days: Any) -> None:
            raise OperationalError("the owner is away")

        broken.setattr(services, "open_days", refuse)
        with pytest.raises(OperationalError, match="a day of ticks cannot be opened"):
            feed.step()
    assert Watermark.objects.get().last_seq == 0
    feed.step()
    assert Tick.objects.values_list("price", flat=True).get() == Decimal("1.10007")
    drop_day(noon.instant.date())


# --- live prices --------------------------------------------------------------------------------------


class Listener:
    """What a gateway hears."""

    def __init__(self) -> None:
        self._pubsub = kernel_redis.client().pubsub(ignore_subscribe_messages=True)
        self._pubsub.subscribe(kernel_redis.key("prices"))
        self._pubsub.get_message(timeout=1)

    def messages(self) -> list[dict[str, Any]]:
        found = []
        while (message := self._pubsub.get_message(timeout=0.2)) is not None:
            found.extend(json.loads(message["data"]).values())
        return found


def test_the_newest_price_and_the_forming_candles_are_published(
    feed: Feed, eurusd: Instrument, link: Link, noon: Clock
) -> None:
    heard = Listener()
    feed.take_over()
    for price in ("1.10000", "1.10030", "1.10010"):
        noon.move(1)
        give(feed, link, price)
    feed.step()
    second, quote, one, five, sixty = heard.messages()
    assert quote == {
        "v": 1, "channel": "quotes:EURUSD", "at": "2030-03-05T12:00:03.000000Z", "type": "quote",
        "symbol": "EURUSD", "seq": 3, "price": "1.10010", "bid": "1.10010", "ask": "1.10010",
    }  # fmt: skip
    assert five == {
        "v": 1, "channel": "candles:EURUSD:5", "at": "2030-03-05T12:00:03.000000Z", "type": "candle",
        "symbol": "EURUSD", "interval": 5, "start": "2030-03-05T12:00:00.000000Z", "open": "1.10000",
        "high": "1.10030", "low": "1.10000", "close": "1.10010", "ticks": 3, "is_forming": True,
        "last_seq": 3,
    }  # fmt: skip
    assert (sixty["channel"], sixty["interval"], sixty["ticks"]) == ("candles:EURUSD:60", 60, 3)
    assert [(each["channel"], each["start"][17:19], each["is_forming"]) for each in (second, one)] == [
        ("candles:EURUSD:1", "02", False),
        ("candles:EURUSD:1", "03", True),
    ]
    # The bucket ends by the heartbeat alone, and is told once.
    noon.move(2)
    feed.intake.alive(link)
    for _ in range(2):
        feed._heartbeat_at = 0
        feed.step()
    at_five = "2030-03-05T12:00:05.000000Z"
    assert heard.messages() == [{**each, "at": at_five, "is_forming": False} for each in (one, five)]


def test_a_candle_closed_by_the_next_ones_tick_is_told_before_it(
    feed: Feed, eurusd: Instrument, link: Link, noon: Clock
) -> None:
    heard = Listener()
    feed.take_over()
    noon.instant = at(4)
    give(feed, link, "1.10000")
    noon.instant = at(6)
    give(feed, link, "1.10010")
    feed.step()
    told = [
        (message["start"][17:19], message["is_forming"])
        for message in heard.messages()
        if message["channel"] == "candles:EURUSD:5"
    ]
    assert told == [("00", False), ("05", True)]


def test_a_feed_that_takes_over_closes_the_candle_it_found_forming(
    feed: Feed, eurusd: Instrument, link: Link, noon: Clock
) -> None:
    epoch = take_over([eurusd.pk])
    services.append_ticks(
        epoch=epoch, stretches={eurusd.pk: services.Stretch(at(1), [(at(1), Decimal("1.1"))])}
    )
    heard = Listener()
    feed.take_over()
    noon.instant = at(6)
    give(feed, link)
    feed.step()
    closed = [message for message in heard.messages() if message.get("is_forming") is False]
    assert [(message["channel"], message["ticks"]) for message in closed] == [
        ("candles:EURUSD:1", 1),
        ("candles:EURUSD:5", 1),
    ]


def test_redis_may_be_away(monkeypatch: pytest.MonkeyPatch, noon: Clock) -> None:
    import redis

    def refuse(messages: Any) -> None:
        raise redis.ConnectionError("away")

    monkeypatch.setattr("quotes.live.publish_latest", refuse)
    row = (at(1), 1, Decimal("1.1"))
    bar = Bar(at(0), row[2], row[2], row[2], row[2], 1, at(1), 1, at(1), 1)
    LivePrices().publish({"EURUSD": (5, Appended(at(1), [row], 0, [(5, bar)]))})


# --- the role -----------------------------------------------------------------------------------------


def ticks_by_seq(symbol: str) -> list[tuple[int, Any]]:
    return list(
        Tick.objects.filter(instrument__symbol=symbol, is_late=False).order_by("seq").values_list("seq", "at")
    )


def wait_for(condition: Any, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.05)


def test_a_killed_feed_is_followed_by_another_and_the_record_has_no_hole(roles: Any) -> None:
    for symbol in ("VOL100", "VOL50"):
        instrument(
            symbol,
            instrument_class="volatility",
            price_decimals=2,
            source="simulated",
            simulated_price=Decimal(10_000),
            simulated_volatility=Decimal(1),
            simulated_interval_ms=20,
            max_quote_age_ms=60_000,
        )
    roles.start("feed")
    wait_for(lambda: Watermark.objects.filter(last_seq__gt=20).count() == 2)
    before = Watermark.objects.order_by("pk").values_list("epoch", flat=True)[0]
    roles.kill9("feed")
    roles.start("feed")
    wait_for(lambda: Watermark.objects.filter(epoch__gt=before).count() == 2)
    reached = max(Watermark.objects.values_list("last_seq", flat=True))
    wait_for(lambda: Watermark.objects.filter(last_seq__gt=reached + 20).count() == 2)
    roles.stop("feed")
    for symbol in ("VOL100", "VOL50"):
        ticks = ticks_by_seq(symbol)
        assert [seq for seq, _ in ticks] == list(range(1, len(ticks) + 1))
        assert all(earlier[1] < later[1] for earlier, later in pairwise(ticks))
        mark = Watermark.objects.get(instrument__symbol=symbol)
        assert (mark.last_seq, mark.last_at) == ticks[-1]
        assert mark.at <= clock.now()
    # What the pause hid is a gap of each, unless it was no longer than a few batches.
    assert Gap.objects.exclude(reason="feed_down").count() == 0
    for gap in Gap.objects.all():
        assert not Tick.objects.filter(
            instrument=gap.instrument, at__gt=gap.starts_at, at__lte=gap.ends_at, is_late=False
        ).exists()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM quotes_tick t JOIN quotes_candle c ON c.instrument_id = t.instrument_id "
            "AND c.interval_seconds = 5 AND c.start = date_bin('5 s', t.at, '1970-01-01Z')"
        )
        assert cursor.fetchone() == (Tick.objects.count(),)
        cursor.execute("SELECT sum(ticks) FROM quotes_candle WHERE interval_seconds = 5")
        assert cursor.fetchone() == (Tick.objects.count(),)
