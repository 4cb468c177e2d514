"""Pages of ticks and candles go on into the archive, without a gap or an overlap."""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from threading import Event, Semaphore
from typing import Any

import pytest
from django.db import connection

from config.core import clock
from config.core.errors import Invalid, Unavailable
from quotes import history, rules, selectors
from quotes.archive import Archive
from quotes.models import Instrument, RecordDay, RecordPart, Tick
from quotes.retention import Span
from quotes.services import drop_day, open_days, take_over
from quotes.services.archive import retire_day, seal_day
from tests.cast import client_for
from tests.quotes import record
from tests.quotes.market import NOON, Clock, at, instrument, write
from tests.quotes.record import are_free

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])
declared, folder = record.declared, record.folder
DAYS = [NOON.date() + timedelta(days=ahead) for ahead in range(4)]
MIDNIGHT = 12 * 3600.0


class Past:
    """Four days of an instrument: two dropped, one sealed, one going on; and all its ticks."""

    def __init__(self, noon: Clock, dropped: tuple[int, ...]) -> None:
        open_days(DAYS)
        noon.move(-1)
        self.instrument = instrument()
        self.other = instrument("USDJPY", price_decimals=3)
        epoch = take_over([self.instrument.pk, self.other.pk])
        draw = random.Random(7)
        seconds = sorted(draw.uniform(0, 3.3 * 86_400) for _ in range(400))
        # Both sides of the midnights, to the microsecond.
        seconds += [MIDNIGHT - 0.000001, MIDNIGHT, MIDNIGHT + 86_400 - 0.000001, MIDNIGHT + 86_400]
        given = [(second, f"{draw.uniform(1, 2):.5f}") for second in sorted(seconds)]
        appended = write(epoch, self.instrument, given, until=4 * 86_400)
        self.ticks = [selectors.TickPoint(*row) for row in appended.rows]
        write(epoch, self.other, [(5, "150.000")], until=4 * 86_400)
        noon.instant = at(3.4 * 86_400)
        for day in DAYS[:3]:
            seal_day(day=day)
        for number in dropped:
            retire_day(day=DAYS[number])

    def before(self, end: Any, limit: int) -> list[selectors.TickPoint]:
        return [tick for tick in self.ticks if tick.at < end][-limit:]


@pytest.fixture
def past(
    request: Any, transactional_db: None, folder: Path, declared: list[Span], noon: Clock
) -> Iterator[Past]:
    yield Past(noon, getattr(request, "param", (0, 1)))
    with clock.ticking(noon):
        open_days(DAYS)
        for day in DAYS:
            drop_day(day)
        open_days([NOON.date() + timedelta(days=ahead) for ahead in (-1, 0, 1)])


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The days whose files were read."""
    days: list[str] = []
    for name in ("newest", "bars"):
        real = getattr(Archive, name)

        def spy(self: Archive, file: str, *rest: Any, real: Any = real) -> Any:
            days.append(file.split("/", maxsplit=1)[0])
            return real(self, file, *rest)

        monkeypatch.setattr(Archive, name, spy)
    return days


def test_pages_walk_back_through_everything(past: Past) -> None:
    for limit in (7, 100, 1_000):
        walked: list[selectors.TickPoint] = []
        end = None
        while page := selectors.ticks_page(past.instrument, end, limit):
            walked = [*page, *walked]
            end = page[0].at
            if len(page) < limit:
                break
        assert walked == past.ticks
    assert Tick.objects.filter(instrument=past.instrument).count() < len(past.ticks)


def test_any_page_is_what_it_would_have_been(past: Past) -> None:
    edges = [at(MIDNIGHT), at(MIDNIGHT + 0.000001), at(MIDNIGHT + 86_400), past.ticks[0].at, at(-9)]
    draw = random.Random(11)
    for end in [*edges, *(at(draw.uniform(0, 3.3 * 86_400)) for _ in range(20))]:
        limit = draw.choice([1, 3, 50, 500])
        assert selectors.ticks_page(past.instrument, end, limit) == past.before(end, limit)


def test_only_the_days_of_a_page_are_read(past: Past, read: list[str]) -> None:
    hot = [tick for tick in past.ticks if tick.at >= at(MIDNIGHT + 86_400)]
    assert selectors.ticks_page(past.instrument, None, len(hot)) == hot
    assert read == []
    selectors.ticks_page(past.instrument, None, len(hot) + 1)
    assert read == ["2030-03-06"]
    read.clear()
    selectors.ticks_page(past.instrument, at(MIDNIGHT), 10)
    assert read == ["2030-03-05"]
    read.clear()
    selectors.ticks_page(past.instrument, at(-1), 10)
    assert read == []


def test_the_api_goes_on_into_the_archive(past: Past) -> None:
    client, seen, end = client_for(), [], None
    while True:
        query = {"limit": 150} | ({"end": end} if end else {})
        page = client.get("/api/v1/instruments/EURUSD/ticks", query).json()
        seen = [*page["results"], *seen]
        end = page["next"]
        if end is None:
            break
    assert [(row["seq"], row["price"]) for row in seen] == [
        (tick.seq, f"{tick.price:.5f}") for tick in past.ticks
    ]


def test_evidence_and_archive_are_one_tick(past: Past, declared: list[Span]) -> None:
    middle = next(tick for tick in past.ticks if tick.at > at(MIDNIGHT + 86_400 + 3600))
    declared.append(Span(past.instrument.pk, middle.at - timedelta(hours=1), middle.at + timedelta(hours=1)))
    assert retire_day(day=DAYS[2])
    assert selectors.ticks_page(past.instrument, None, 1_000) == past.ticks
    assert selectors.ticks_page(past.instrument, middle.at, 2) == past.before(middle.at, 2)


@pytest.mark.parametrize("past", [(1,), (0, 2), (0, 1, 2)], indirect=True)
def test_days_that_had_to_stay_take_their_places(past: Past) -> None:
    for wanted in (1, 60, 150, 300, len(past.ticks)):
        assert selectors.ticks_page(past.instrument, None, wanted) == past.ticks[-wanted:]
    for end in (at(MIDNIGHT), at(MIDNIGHT + 86_400), at(MIDNIGHT + 2 * 86_400)):
        assert selectors.ticks_page(past.instrument, end, 30) == past.before(end, 30)


def test_a_day_dropped_while_a_page_is_read_is_found(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    real = history.newest_ticks

    def dropped_in_between(*arguments: Any) -> Any:
        monkeypatch.undo()
        assert retire_day(day=DAYS[2]) is not None
        return real(*arguments)

    monkeypatch.setattr(history, "newest_ticks", dropped_in_between)
    # `declared` is undone with it, and nobody needs anything.
    assert selectors.ticks_page(past.instrument, None, 1_000) == past.ticks


def test_a_page_that_cannot_be_completed_is_refused(past: Past, folder: Path) -> None:
    for file in folder.glob("2030-03-05/*"):
        file.unlink()
    # What needs no missing file is answered.
    after = [tick for tick in past.ticks if tick.at >= at(MIDNIGHT)]
    assert selectors.ticks_page(past.instrument, None, len(after)) == after
    with pytest.raises(Unavailable) as refused:
        selectors.ticks_page(past.instrument, None, len(after) + 1)
    assert refused.value.retry_after_seconds == 30
    answer = client_for().get("/api/v1/instruments/EURUSD/ticks", {"end": "2030-03-05T20:00:00Z"})
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    with pytest.raises(Unavailable):
        history.candle_rows(past.instrument, 60, at(MIDNIGHT), 10)


def test_a_store_that_does_not_answer_is_an_archive_that_is_away(
    past: Past, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_ARCHIVE_KEY_ID", "id")
    monkeypatch.setenv("SECRET_ARCHIVE_KEY", "key")
    settings.ARCHIVE_URL, settings.S3_ENDPOINT_URL = "s3://ticks/away", "http://127.0.0.1:9"
    with pytest.raises(Unavailable):
        selectors.ticks_page(past.instrument, at(MIDNIGHT), 5)


def test_a_page_over_too_many_files_is_refused(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MOST_FILES", 1)
    with pytest.raises(Invalid) as refused:
        selectors.ticks_page(past.instrument, at(MIDNIGHT + 86_400), 1_000)
    assert refused.value.details == {
        "errors": {
            "limit": [
                "This reaches over more than 1 archived days: ask for a smaller page, "
                "or take whole days from /api/v1/record."
            ]
        }
    }
    assert selectors.ticks_page(past.instrument, at(MIDNIGHT + 86_400), 1) == past.before(
        at(MIDNIGHT + 86_400), 1
    )


def test_a_page_is_made_of_ten_files_at_most(past: Past, read: list[str]) -> None:
    days = [DAYS[0] - timedelta(days=back) for back in range(1, 10)]
    part = RecordPart.objects.get(instrument=past.instrument, day=DAYS[0])
    for day in days:
        RecordDay.objects.create(day=day, root=b"\x01" * 32, sealed_at=NOON, dropped_at=NOON)
        back = DAYS[0] - day
        RecordPart.objects.create(
            day_id=day, instrument=past.instrument, ticks=1, first_at=part.first_at - back, first_seq=1,
            last_at=part.last_at - back, last_seq=1, head=b"\x01" * 32, file=part.file,
            file_bytes=part.file_bytes, file_sha256=part.file_sha256,
        )  # fmt: skip
    with pytest.raises(Invalid) as refused:
        selectors.ticks_page(past.instrument, None, 1_000)
    assert "more than 10 archived days" in str(refused.value.details)
    assert len(read) == 10
    with pytest.raises(Invalid):
        history.candle_rows(past.instrument, 1, rules.ENDLESS, 1_000)
    assert len(read) == 20
    assert are_free()


# --- Many at once ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ticks", "candles"])
def test_a_third_page_from_the_archive_is_put_off(
    past: Past, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    reading, may_end = Semaphore(0), Event()
    method = "newest" if name == "ticks" else "bars"
    real = getattr(Archive, method)

    def slow(*arguments: Any) -> Any:
        reading.release()
        assert may_end.wait(30)
        return real(*arguments)

    def page(_: int = 0) -> Any:
        try:
            if name == "ticks":
                return selectors.ticks_page(past.instrument, at(MIDNIGHT), 5)
            return history.candle_rows(past.instrument, 1, at(MIDNIGHT), 5)
        finally:
            connection.close()

    monkeypatch.setattr(Archive, method, slow)
    address = f"/api/v1/instruments/EURUSD/{name}"
    query = {"interval": 1, "limit": 5} if name == "candles" else {"limit": 5}
    with ThreadPoolExecutor(2) as threads:
        first = [threads.submit(page) for _ in range(2)]
        try:
            assert all(reading.acquire(timeout=30) for _ in range(2))
            answer = client_for().get(address, {**query, "end": "2030-03-06T00:00:00Z"})
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
            assert answer["Retry-After"] == "1"
            # What the database has is answered.
            assert client_for().get(address, query).status_code == 200
        finally:
            may_end.set()
        assert len(first[0].result()) == len(first[1].result()) == 5
    assert page() == first[0].result()
    assert are_free()


def test_an_archive_that_fails_gives_its_places_back(past: Past, folder: Path) -> None:
    for file in folder.glob("*/*"):
        file.unlink()
    for _ in range(4):
        with pytest.raises(Unavailable) as refused:
            selectors.ticks_page(past.instrument, at(MIDNIGHT), 5)
        assert refused.value.retry_after_seconds == 30
    assert are_free()


def test_an_instrument_without_a_past_has_none(past: Past) -> None:
    fresh: Instrument = instrument("GBPUSD")
    assert selectors.ticks_page(fresh, None, 10) == []
    assert history.candle_rows(fresh, 1, at(MIDNIGHT), 10) == []


# --- Candles of archived ticks --------------------------------------------------------------------------


def test_candles_are_those_of_the_ticks(past: Past) -> None:
    dropped = [tick for tick in past.ticks if tick.at < at(MIDNIGHT + 86_400)]
    for interval in (1, 5, 60, 7, 3_600, 50_000, 86_400):
        everything = list(rules.bars_of(dropped, interval))
        assert history.candle_rows(past.instrument, interval, rules.ENDLESS, 1_000) == everything
        assert history.candle_rows(past.instrument, interval, rules.ENDLESS, 3) == everything[-3:]
    bar = history.candle_rows(past.instrument, 86_400, at(MIDNIGHT), 1)[0]
    assert all(isinstance(price, Decimal) for price in (bar.open, bar.high, bar.low, bar.close))


def test_candles_of_the_database_take_their_places_among_them(past: Past) -> None:
    second = (at(MIDNIGHT), at(MIDNIGHT + 86_400))
    kept = [tick for tick in past.ticks if not second[0] <= tick.at < second[1]]
    everything = list(rules.bars_of(past.ticks, 60))
    for limit in (1, 50, 150, 250, 1_000):
        known = list(rules.bars_of(kept, 60))[-limit:]
        found = history.candle_rows(past.instrument, 60, rules.ENDLESS, limit, known=known)
        assert found == everything[-limit:]


def test_candles_walk_back(past: Past) -> None:
    everything = list(rules.bars_of([tick for tick in past.ticks if tick.at < at(MIDNIGHT + 86_400)], 60))
    walked: list[rules.Bar] = []
    end = rules.ENDLESS
    while page := history.candle_rows(past.instrument, 60, end, 40):
        walked = [*page, *walked]
        end = page[0].start
    assert walked == everything
    inside = everything[10].start + timedelta(seconds=20)
    assert history.candle_rows(past.instrument, 60, inside, 2) == everything[9:11]


def test_candles_read_the_days_they_need(past: Past, read: list[str]) -> None:
    history.candle_rows(past.instrument, 1, rules.ENDLESS, 5)
    assert read == ["2030-03-06"]
    read.clear()
    history.candle_rows(past.instrument, 1, at(MIDNIGHT), 5)
    assert read == ["2030-03-05"]
