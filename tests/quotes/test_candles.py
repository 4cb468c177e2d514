"""Candles of one second, and the nightly comparison of stored candles with their ticks."""

import random
from datetime import timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from config.core import clock, wire
from config.core.errors import Invalid
from quotes import consumers, rules, seconds, selectors, tasks
from quotes.errors import UnknownInterval
from quotes.live import LivePrices
from quotes.models import Candle, CandleCheck, Instrument, RecordDay
from quotes.rules import Bar, bucket_start
from quotes.services import append_ticks, drop_day, open_days, record_gap, take_over
from quotes.services.candles import DayNotKept, verify_candles, verify_candles_of
from quotes.services.ticks import Appended, Stretch
from tests.quotes.market import NOON, Clock, at, instrument, write

# The day after the instrument was made, which begins so many seconds after noon.
MIDNIGHT = 12 * 3600
DAY = NOON.date() + timedelta(days=1)


def price(units: int) -> str:
    return f"{Decimal(units) / 100_000:.5f}"


def drawn(seed: int, count: int, step: float) -> list[tuple[float, str]]:
    """Ticks at random instants, some many in a second, some after long rests."""
    chance, now, ticks = random.Random(seed), 0.0, []
    for _ in range(count):
        now += chance.choice([0.001, 0.02, 0.3, 1.0, step])
        ticks.append((round(now, 3), price(chance.randint(109_000, 111_000))))
    return ticks


# --- one second ---------------------------------------------------------------------------------------


def expected(ticks: list[tuple[float, str]], mark: float) -> list[tuple[Any, ...]]:
    groups: dict[Any, list[tuple[int, Decimal]]] = {}
    for seq, (second, said) in enumerate(ticks, start=1):
        groups.setdefault(bucket_start(at(second), 1), []).append((seq, Decimal(said)))
    return [
        (
            start,
            group[0][1],
            max(each for _, each in group),
            min(each for _, each in group),
            group[-1][1],
            len(group),
            group[-1][0],
            start + timedelta(seconds=1) > at(mark),
        )
        for start, group in sorted(groups.items())
    ]


@pytest.mark.parametrize(("most", "likely"), [(50_000, 8), (40, 8), (7, 1), (3, 1)])
def test_seconds_are_made_of_the_ticks_page_by_page(
    eurusd: Instrument, epoch: int, monkeypatch: pytest.MonkeyPatch, most: int, likely: int
) -> None:
    monkeypatch.setattr(seconds, "MOST_TICKS", most)
    monkeypatch.setattr(seconds, "LIKELY_TICKS", likely)
    ticks = drawn(1, 250, 9.0)
    write(epoch, eurusd, ticks)
    wanted = expected(ticks, ticks[-1][0])
    assert selectors.candles_page(eurusd, 1) == wanted
    for size in (1, 7, 50):
        pages, end = [], None
        while page := selectors.candles_page(eurusd, 1, end, size):
            pages, end = page + pages, page[0].start
            assert len(page) == size or page[0] == wanted[0]
        assert pages == wanted


@pytest.mark.parametrize("frame", sorted(rules.FRAMES))
def test_a_written_page_is_byte_for_byte_what_its_rows_give(
    eurusd: Instrument, epoch: int, frame: int
) -> None:
    ticks = drawn(2, 400, 30.0)
    write(epoch, eurusd, ticks, until=ticks[-1][0])
    for end, limit in ((None, 1000), (at(300), 1000), (None, 3), (at(-5), 10)):
        page = selectors.candles_page(eurusd, frame, end, limit)
        written, count, start = selectors.written_candles(eurusd, frame, end, limit)
        assert written == wire.encode([selectors.candle_row(each, 5) for each in page])
        assert (count, start) == (len(page), page[0].start if page else None)
    assert selectors.candles_page(eurusd, frame)[-1].is_forming is True


def test_there_is_no_written_page_of_another_frame(eurusd: Instrument) -> None:
    with pytest.raises(UnknownInterval):
        selectors.written_candles(eurusd, 7)


def test_an_end_inside_a_second_does_not_cut_it(eurusd: Instrument, epoch: int) -> None:
    write(epoch, eurusd, [(0.1, "1.10000"), (0.9, "1.10010"), (1.5, "1.10020")], until=2)
    whole = selectors.candles_page(eurusd, 1, at(1))
    assert [(bar.ticks, bar.is_forming) for bar in whole] == [(2, False)]
    assert selectors.candles_page(eurusd, 1, at(0.5)) == whole
    assert selectors.candles_page(eurusd, 1, at(0)) == []


def test_a_late_tick_is_in_no_candle(eurusd: Instrument, epoch: int) -> None:
    write(epoch, eurusd, [(0.1, "1.10000")], until=0.5)
    write(epoch, eurusd, [(0.2, "9.00000")])
    assert [bar.ticks for bar in selectors.candles_page(eurusd, 1)] == [1]


def test_a_page_of_seconds_reads_so_many_ticks_and_no_more(eurusd: Instrument, epoch: int) -> None:
    write(epoch, eurusd, [(second / 4, "1.10000") for second in range(4000)])
    assert selectors.candles_limit(1, 5000) == 1000
    with CaptureQueriesContext(connection) as asked:
        assert len(selectors.candles_page(eurusd, 1, limit=100)) == 100
    statements = [query["sql"] for query in asked.captured_queries if "date_bin" in query["sql"]]
    assert len(statements) == 1
    assert "LIMIT 800" in statements[0]


def test_seconds_before_the_days_kept_come_from_the_archive(
    eurusd: Instrument, epoch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(epoch, eurusd, [(5.2, "1.10000"), (6.1, "1.10010")])
    asked: list[Any] = []

    def candle_rows(of: Instrument, frame: int, end: Any, limit: int, *, known: list[Bar]) -> list[Bar]:
        asked.append((of, frame, limit, [bar.start for bar in known]))
        value = Decimal("1.2")
        archived = [Bar(at(s), value, value, value, value, 1, at(s), s, at(s), s) for s in (-9, -8)]
        return [*archived, *known[::-1]][-limit:]

    monkeypatch.setattr("quotes.history.candle_rows", candle_rows)
    found = selectors.candles_page(eurusd, 1, limit=4)
    assert [bar.start for bar in found] == [at(-9), at(-8), at(5), at(6)]
    assert asked == [(eurusd, 1, 4, [at(6), at(5)])]
    assert [bar.start for bar in selectors.candles_page(eurusd, 1, limit=1)] == [at(6)]
    assert [bar.start for bar in selectors.candles_page(eurusd, 1, at(4.5), limit=2)] == [at(-9), at(-8)]


def test_the_newest_second_is_the_snapshot_of_its_channel(eurusd: Instrument, epoch: int) -> None:
    assert consumers.candle_snapshot(None, "EURUSD", "1")["candle"] is None
    write(epoch, eurusd, [(0.9, "1.10000"), (1.1, "1.10010"), (1.2, "1.10005")])
    assert consumers.candle_snapshot(None, "EURUSD", "1") == {
        "symbol": "EURUSD",
        "interval": 1,
        "candle": {
            "start": "2030-03-05T12:00:01.000000Z",
            "open": "1.10010",
            "high": "1.10010",
            "low": "1.10005",
            "close": "1.10005",
            "ticks": 2,
            "is_forming": True,
            "last_seq": 3,
        },
    }


@pytest.mark.parametrize("interval", ["2", "0", "05", "300", "x", "٥", "1.0", "-1"])
def test_other_frames_are_not_live(eurusd: Instrument, interval: str) -> None:
    with pytest.raises(Invalid, match="Candles of 1, 5, 60 seconds are live"):
        consumers.candle_snapshot(None, "EURUSD", interval)


class Told:
    """What LivePrices publishes, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.messages: list[dict[str, Any]] = []
        monkeypatch.setattr("quotes.live.publish_latest", lambda told: self.messages.extend(told.values()))

    def seconds(self) -> list[tuple[Any, int, int, bool]]:
        found = [each for each in self.messages if each["type"] == "candle" and each["interval"] == 1]
        self.messages.clear()
        return [(each["start"], each["ticks"], each["last_seq"], each["is_forming"]) for each in found]


def test_a_second_forms_over_several_batches_and_closes_once(
    eurusd: Instrument, epoch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, live = Told(monkeypatch), LivePrices()

    def publish(ticks: list[tuple[float, str]], until: float | None = None) -> None:
        live.publish({"EURUSD": (5, write(epoch, eurusd, ticks, until))})

    publish([(0.1, "1.10000"), (0.3, "1.10020")])
    publish([(0.4, "1.09990")])
    assert told.seconds() == [(at(0), 2, 2, True), (at(0), 3, 3, True)]
    publish([], until=0.9)
    assert told.seconds() == []
    publish([], until=1)
    publish([], until=1.5)
    assert told.seconds() == [(at(0), 3, 3, False)]
    publish([(1.7, "1.10000")])
    publish([(2.1, "1.10000")])
    assert told.seconds() == [(at(1), 1, 4, True), (at(1), 1, 4, False), (at(2), 1, 5, True)]
    whole = selectors.candles_page(eurusd, 1)
    assert [(bar.open, bar.high, bar.low, bar.close) for bar in whole[:1]] == [
        tuple(Decimal(said) for said in ("1.10000", "1.10020", "1.09990", "1.09990"))
    ]


def test_a_feed_that_takes_over_goes_on_with_the_second_it_finds(
    eurusd: Instrument, epoch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(epoch, eurusd, [(0.1, "1.10000"), (0.3, "1.10020")])
    told, live = Told(monkeypatch), LivePrices()
    found = selectors.newest_candle(eurusd.pk, 1)
    assert found is not None
    assert (found.start, found.ticks, found.first_seq, found.last_seq) == (at(0), 2, 1, 2)
    live.know("EURUSD", 1, found)
    live.publish({"EURUSD": (5, write(epoch, eurusd, [(0.5, "1.10010")]))})
    assert told.seconds() == [(at(0), 3, 3, True)]
    assert selectors.newest_candle(instrument("GBPUSD").pk, 1) is None


def test_a_batch_of_many_seconds_tells_the_last_that_closed(
    eurusd: Instrument, epoch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, live = Told(monkeypatch), LivePrices()
    live.publish({"EURUSD": (5, write(epoch, eurusd, [(s + 0.5, "1.10000") for s in range(4)]))})
    assert told.seconds() == [(at(2), 1, 3, False), (at(3), 1, 4, True)]


def test_nothing_is_told_of_nothing(monkeypatch: pytest.MonkeyPatch, noon: Clock) -> None:
    told = Told(monkeypatch)
    LivePrices().publish({"EURUSD": (5, Appended(at(1)))})
    assert told.messages == []


# --- verified by night --------------------------------------------------------------------------------


@pytest.fixture
def day(eurusd: Instrument, epoch: int, noon: Clock) -> list[tuple[float, str]]:
    """A day with ticks at its first and last instants, one before it, and the watermark at its end."""
    within = [(MIDNIGHT + 7 + second, said) for second, said in drawn(2, 900, 60.0)]
    ticks = [(MIDNIGHT, "1.10000"), *within, (MIDNIGHT + 86_400 - 0.000001, "1.10000")]
    write(epoch, eurusd, [(MIDNIGHT - 0.000001, "1.20000")])
    write(epoch, eurusd, ticks, until=MIDNIGHT + 86_400)
    noon.instant = at(MIDNIGHT + 86_400 + 3600)
    return ticks


def candles() -> list[dict[str, Any]]:
    return list(Candle.objects.order_by("interval_seconds", "start").values())


def test_candles_that_are_right_are_left_alone(eurusd: Instrument, day: Any, noon: Clock) -> None:
    before = candles()
    (check,) = verify_candles(day=DAY)
    fives, minutes = ({bucket_start(at(second), frame) for second, _ in day} for frame in (5, 60))
    assert (check.day, check.instrument, check.candles, check.repaired, check.checked_at) == (
        DAY,
        eurusd,
        len(fives) + len(minutes),
        [],
        noon.instant,
    )
    assert candles() == before


def test_wrong_missing_and_invented_candles_are_put_right_and_named(eurusd: Instrument, day: Any) -> None:
    before = candles()
    five, sixty = Candle.objects.filter(interval_seconds=5), Candle.objects.filter(interval_seconds=60)
    wrong, missing = five.order_by("start")[4], sixty.order_by("start")[3]
    Candle.objects.filter(pk=wrong.pk).update(high=Decimal("1.5"), ticks=99)
    Candle.objects.filter(pk=missing.pk).delete()
    invented = {**before[0], "interval_seconds": 5, "start": at(MIDNIGHT + 23 * 3600)}
    Candle.objects.create(**invented)
    last = five.order_by("start").last()
    assert last is not None
    Candle.objects.filter(pk=last.pk).update(last_seq=1)
    (check,) = verify_candles(day=DAY)
    assert candles() == before
    assert [(each["interval"], each["start"][11:19]) for each in check.repaired] == [
        (5, f"{wrong.start:%H:%M:%S}"),
        (5, "23:00:00"),
        (5, "23:59:55"),
        (60, f"{missing.start:%H:%M:%S}"),
    ]
    assert check.repaired[0]["stored"]["high"] == "1.50000000"
    assert check.repaired[0]["stored"]["ticks"] == 99
    assert check.repaired[0]["stored"]["first_at"] == clock.iso(wrong.first_at)
    assert check.repaired[3]["stored"] is None
    assert verify_candles(day=DAY)[0].repaired == []
    assert CandleCheck.objects.count() == 2


def test_late_ticks_and_the_days_beside_are_not_counted(eurusd: Instrument, epoch: int, day: Any) -> None:
    instant = at(MIDNIGHT + 1)
    append_ticks(epoch=epoch, stretches={eurusd.pk: Stretch(instant, [(instant, Decimal(9))], "replay", 0)})
    Candle.objects.filter(start__lt=at(MIDNIGHT)).update(high=Decimal(7))
    assert verify_candles(day=DAY)[0].repaired == []
    assert Candle.objects.filter(high=Decimal(7)).count() == 2


def test_a_day_is_verified_once_the_watermark_has_passed_it(
    eurusd: Instrument, epoch: int, noon: Clock
) -> None:
    other = instrument("GBPUSD")
    write(epoch, eurusd, [(MIDNIGHT + 1, "1.10000")], until=MIDNIGHT + 86_399)
    Candle.objects.update(high=Decimal(7))
    noon.instant = at(MIDNIGHT + 90_000)
    assert verify_candles(day=DAY) == []
    with pytest.raises(DayNotKept, match="the watermark has not passed 2030-03-06"):
        verify_candles_of(instrument=eurusd, day=DAY)
    record_gap(instrument_id=eurusd.pk, ends_at=at(MIDNIGHT + 86_400), reason="feed_dead")
    record_gap(instrument_id=other.pk, ends_at=at(MIDNIGHT + 86_400), reason="feed_dead")
    (check,) = verify_candles(day=DAY)
    assert (check.instrument, len(check.repaired)) == (eurusd, 2)


@pytest.mark.django_db(transaction=True, databases=["default", "owner"])
def test_a_day_whose_ticks_are_gone_keeps_its_candles(open_noon: None, noon: Clock) -> None:
    gone = NOON.date() - timedelta(days=40)
    noon.move(-40 * 86_400)
    open_days([gone])
    made = instrument()
    epoch = take_over([made.pk])
    write(epoch, made, [(-40 * 86_400 + 1, "1.10000")], until=-38 * 86_400)
    noon.instant = NOON
    before = candles()
    drop_day(gone)
    with pytest.raises(DayNotKept, match="are not in the database"):
        verify_candles(day=gone)
    with pytest.raises(DayNotKept, match="was dropped meanwhile"):
        verify_candles_of(instrument=made, day=gone)
    assert candles() == before


def test_a_day_that_came_from_a_file_is_not_compared(eurusd: Instrument, day: Any) -> None:
    RecordDay.objects.create(day=DAY, root=bytes(32), is_backfilled=True, sealed_at=NOON)
    with pytest.raises(DayNotKept):
        verify_candles(day=DAY)


def test_the_command_and_the_task_take_yesterday(eurusd: Instrument, day: Any, noon: Clock) -> None:
    Candle.objects.filter(interval_seconds=60, start=at(MIDNIGHT)).update(low=Decimal("0.5"))
    out = StringIO()
    call_command("verify_candles", stdout=out)
    count = Candle.objects.filter(start__gte=at(MIDNIGHT)).count()
    assert out.getvalue().splitlines() == [
        f"EURUSD 2030-03-06: {count} candles, 1 repaired",
        "  60 s at 2030-03-06T00:00:00.000000Z",
    ]
    call_command("verify_candles", "2030-03-06", stdout=out)
    tasks.verify_candles()
    assert [len(check.repaired) for check in CandleCheck.objects.order_by("id")] == [1, 0, 0]
    for wanted, words in (("2030-03-07", "not over"), ("2029-01-01", "not in the database"), ("x", "format")):
        with pytest.raises(CommandError, match=words):
            call_command("verify_candles", wanted)
    noon.move(86_400 * 30)
    tasks.verify_candles()
    assert CandleCheck.objects.count() == 3
