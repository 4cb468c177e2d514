"""Days of ticks: opened ahead, dropped behind once what orders need is kept."""

from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection

from config.core import clock
from quotes import retention, selectors
from quotes.models import EvidenceTick, Instrument, Tick
from quotes.retention import Span
from quotes.services import drop_day, open_days, take_over
from quotes.tasks import maintain_ticks
from tests.quotes.market import NOON, Clock, at, instrument, write

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])
DAY = NOON.date()


@pytest.fixture
def declared(monkeypatch: pytest.MonkeyPatch) -> list[Span]:
    """Spans that somebody declares; tests fill the list."""
    spans: list[Span] = []
    monkeypatch.setattr(retention, "_declared", [lambda start, end: list(spans)])
    return spans


@pytest.fixture
def recorded(noon: Clock) -> Instrument:
    """An instrument with a tick every second from noon on."""
    open_days([DAY, DAY + timedelta(days=1)])
    noon.move(-1)
    made = instrument()
    epoch = take_over([made.pk])
    write(epoch, made, [(float(second), f"1.1{second:04d}") for second in range(60)])
    write(epoch, made, [(3.5, "9.00000")])  # late
    return made


def test_days_are_opened_once() -> None:
    days = [date(2031, 1, 1), date(2031, 1, 2)]
    assert open_days(days) == days
    assert open_days([*days, date(2031, 1, 3)]) == [date(2031, 1, 3)]
    assert set(days) <= set(selectors.tick_days())
    for day in [*days, date(2031, 1, 3)]:
        assert drop_day(day) == 0


def test_the_application_reads_and_writes_through_the_table_alone(recorded: Instrument) -> None:
    from django.db import ProgrammingError

    with connection.cursor() as cursor, pytest.raises(ProgrammingError):
        cursor.execute(f"SELECT * FROM quotes_tick_{DAY:%Y%m%d}")


def test_dropping_a_day_keeps_what_is_needed_and_readers_find_it(
    recorded: Instrument, declared: list[Span]
) -> None:
    declared += [
        Span(recorded.pk, at(1), at(4)),
        Span(recorded.pk, at(3), at(5)),
        Span(recorded.pk + 1, at(1), at(9)),
    ]
    assert drop_day(DAY) == 5
    assert DAY not in selectors.tick_days()
    assert Tick.objects.count() == 0
    assert [(tick.at, tick.seq, tick.price) for tick in EvidenceTick.objects.order_by("seq")] == [
        (at(second), second + 1, Decimal(f"1.1{second:04d}")) for second in range(1, 6)
    ]
    assert [tick.seq for tick in selectors.ticks_page(recorded)] == [2, 3, 4, 5, 6]


def test_a_day_that_an_unsettled_order_needs_stays_whole(recorded: Instrument, declared: list[Span]) -> None:
    declared += [Span(recorded.pk, at(1), at(2)), Span(recorded.pk, at(8), at(9), is_settled=False)]
    assert drop_day(DAY) is None
    assert (Tick.objects.count(), EvidenceTick.objects.count()) == (61, 0)


def test_a_drop_that_fails_keeps_the_day_and_copies_nothing(
    recorded: Instrument, declared: list[Span], monkeypatch: pytest.MonkeyPatch
) -> None:
    declared.append(Span(recorded.pk, at(1), at(4)))

    def fail(start: datetime, end: datetime):
        yield Span(recorded.pk, at(1), at(4))
        raise RuntimeError("the spans cannot be read")

    monkeypatch.setattr(retention, "_declared", [fail])
    monkeypatch.setattr("quotes.services.partitions.SPANS_AT_ONCE", 1)
    with pytest.raises(RuntimeError):
        drop_day(DAY)
    assert (Tick.objects.count(), EvidenceTick.objects.count()) == (61, 0)


def test_the_job_opens_a_week_ahead_and_drops_what_is_past_its_time(
    recorded: Instrument, declared: list[Span], settings
) -> None:
    settings.TICK_RETENTION_DAYS = 30
    declared.append(Span(recorded.pk, at(1), at(1)))
    for days, is_kept in ((30, True), (31, False)):
        later = NOON + timedelta(days=days)
        with clock.ticking(lambda later=later: later):
            maintain_ticks()
        assert (DAY in selectors.tick_days()) is is_kept
        ahead = {later.date() + timedelta(days=number) for number in range(8)}
        assert ahead <= set(selectors.tick_days())
    assert EvidenceTick.objects.count() == 1
    with clock.ticking(lambda: NOON + timedelta(days=100)):
        maintain_ticks()
    open_days([DAY + timedelta(days=ahead) for ahead in (-1, 0, 1)])


def test_opening_a_day_waits_for_no_reader_and_no_writer(recorded: Instrument) -> None:
    from django.db import transaction

    with transaction.atomic():
        assert Tick.objects.count() == 61
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO quotes_tick VALUES (%s, %s, 1000, 1, true)", [recorded.pk, at(70)])
        assert open_days([date(2031, 6, 1)]) == [date(2031, 6, 1)]
    assert drop_day(date(2031, 6, 1)) == 0
