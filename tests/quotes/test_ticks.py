"""The one door of the record: numbering, late ticks, candles, watermark, epochs, gaps."""

import threading
from datetime import datetime, timedelta
from decimal import Decimal

import psycopg
import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.core import clock
from config.core.errors import Broken
from quotes import selectors
from quotes.errors import Deposed, PartitionMissing
from quotes.models import Candle, Gap, Instrument, Tick, Watermark
from quotes.rules import STORED_FRAMES, Bar, bars_of, bucket_start, widen
from quotes.services import Stretch, append_ticks, history_lock, record_gap, take_over
from tests.quotes.market import NOON, Clock, at, instrument, write


def stored(made: Instrument) -> list[tuple[datetime, int, str, bool]]:
    rows = Tick.objects.filter(instrument=made).order_by("at", "seq")
    return [(row.at, row.seq, f"{row.price:.5f}", row.is_late) for row in rows]


def test_ticks_are_numbered_on_and_the_watermark_knows_the_last(eurusd: Instrument, epoch: int) -> None:
    write(epoch, eurusd, [(1, "1.10000"), (2, "1.10001")])
    write(epoch, eurusd, [(3, "1.10001")], until=3.5)
    assert stored(eurusd) == [
        (at(1), 1, "1.10000", False),
        (at(2), 2, "1.10001", False),
        (at(3), 3, "1.10001", False),
    ]
    mark = Watermark.objects.get(instrument=eurusd)
    assert (mark.at, mark.last_at, mark.last_seq, mark.last_price) == (at(3.5), at(3), 3, Decimal("1.10001"))
    assert (mark.source, mark.source_lag_ms, mark.late_ticks) == ("replay", 0, 0)


def test_a_heartbeat_moves_the_watermark_alone(eurusd: Instrument, epoch: int) -> None:
    write(epoch, eurusd, [(1, "1.10000")])
    write(epoch, eurusd, [], until=9)
    mark = Watermark.objects.get(instrument=eurusd)
    assert (mark.at, mark.last_at, mark.last_seq) == (at(9), at(1), 1)
    write(epoch, eurusd, [], until=5)
    assert Watermark.objects.get(instrument=eurusd).at == at(9)


def test_a_late_tick_is_stored_flagged_and_changes_nothing(eurusd: Instrument, epoch: int) -> None:
    write(epoch, eurusd, [(1, "1.10000"), (2, "1.10010")], until=4)
    before = list(Candle.objects.values()), Watermark.objects.values().get()
    written = write(epoch, eurusd, [(3, "9.00000"), (4, "8.00000"), (2, "7.00000")])
    assert (written.rows, written.late, written.candles) == ([], 3, [])
    assert [row for row in stored(eurusd) if row[3]] == [
        (at(2), -3, "7.00000", True),
        (at(3), -1, "9.00000", True),
        (at(4), -2, "8.00000", True),
    ]
    after = list(Candle.objects.values()), Watermark.objects.values().get()
    assert after == (before[0], {**before[1], "late_ticks": 3})
    assert [tick.seq for tick in selectors.ticks_page(eurusd)] == [1, 2]
    assert selectors.ticks_page(eurusd)[-1] == (at(2), 2, Decimal("1.10010"))
    # The record goes on without a hole.
    write(epoch, eurusd, [(5, "1.10020")])
    assert [tick.seq for tick in selectors.ticks_page(eurusd)] == [1, 2, 3]


def test_ticks_out_of_order_in_one_batch_are_late_too(eurusd: Instrument, epoch: int) -> None:
    written = write(epoch, eurusd, [(2, "1.10000"), (1, "1.20000"), (2, "1.30000"), (3, "1.10001")])
    assert [row[1] for row in written.rows] == [1, 2]
    assert written.late == 2


def test_a_deposed_leader_writes_nothing(eurusd: Instrument, epoch: int) -> None:
    write(epoch, eurusd, [(1, "1.10000")])
    successor = take_over([eurusd.pk])
    assert successor == epoch + 1
    with pytest.raises(Deposed):
        write(epoch, eurusd, [(2, "1.20000")])
    with pytest.raises(Deposed):
        record_gap(instrument_id=eurusd.pk, ends_at=at(60), reason="feed_down", epoch=epoch)
    assert (Tick.objects.count(), Gap.objects.count()) == (1, 0)
    write(successor, eurusd, [(3, "1.10001")])
    assert [row[1] for row in stored(eurusd)] == [1, 2]


def test_a_deposed_leader_adds_no_instrument(eurusd: Instrument, epoch: int) -> None:
    other = instrument("GBPUSD")
    take_over([eurusd.pk, other.pk])
    with pytest.raises(Deposed):
        take_over([other.pk], epoch=epoch)


def test_one_deposed_instrument_stops_the_whole_batch(eurusd: Instrument, epoch: int) -> None:
    other = instrument("GBPUSD")
    stretch = Stretch(at(1), [(at(1), Decimal("1.1"))])
    with pytest.raises(Deposed):
        append_ticks(epoch=epoch, stretches={eurusd.pk: stretch, other.pk: stretch})
    assert Tick.objects.count() == 0


def test_a_day_without_a_partition_writes_nothing_and_says_so(eurusd: Instrument, epoch: int) -> None:
    week = 7 * 86_400
    with pytest.raises(PartitionMissing):
        write(epoch, eurusd, [(1, "1.10000"), (week, "1.10000")])
    assert (Tick.objects.count(), Candle.objects.count()) == (0, 0)
    assert Watermark.objects.get().last_seq == 0


def test_midnight_is_crossed_in_one_batch(eurusd: Instrument, epoch: int) -> None:
    midnight = 12 * 3600
    write(epoch, eurusd, [(midnight - 0.000001, "1.10000"), (midnight, "1.10005")])
    assert [row[0] for row in stored(eurusd)] == [at(midnight) - timedelta(microseconds=1), at(midnight)]
    with connection.cursor() as cursor:
        cursor.execute("SELECT tableoid::regclass::text FROM quotes_tick ORDER BY at")
        assert [row[0] for row in cursor.fetchall()] == ["quotes_tick_20300305", "quotes_tick_20300306"]
    starts = [bar.start for bar in selectors.candles_page(eurusd, 86_400)]
    assert starts == [NOON.replace(hour=0), NOON.replace(hour=0) + timedelta(days=1)]


def test_a_price_of_zero_is_refused_by_the_database(eurusd: Instrument, epoch: int) -> None:
    from django.db import IntegrityError

    with pytest.raises(IntegrityError), transaction.atomic():
        write(epoch, eurusd, [(1, "0")])


# --- gaps ---------------------------------------------------------------------------------------------


def test_a_gap_begins_at_the_watermark_and_makes_what_comes_late(
    eurusd: Instrument, epoch: int, noon: Clock
) -> None:
    write(epoch, eurusd, [(1, "1.10000")], until=2)
    noon.move(31)
    gap = record_gap(instrument_id=eurusd.pk, ends_at=at(30), reason=Gap.Reason.FEED_DEAD)
    assert gap is not None
    assert (gap.starts_at, gap.ends_at, gap.reason, gap.recorded_at) == (at(2), at(30), "feed_dead", at(31))
    assert Watermark.objects.get().at == at(30)
    written = write(epoch, eurusd, [(29, "1.2"), (30, "1.3"), (30.000001, "1.10003")])
    assert (written.late, [row[0] for row in written.rows]) == (2, [at(30.000001)])


def test_a_gap_never_contradicts_what_is_settled(eurusd: Instrument, epoch: int) -> None:
    write(epoch, eurusd, [(10, "1.10000")])
    assert record_gap(instrument_id=eurusd.pk, ends_at=at(10), reason="feed_down") is None
    assert record_gap(instrument_id=eurusd.pk, ends_at=at(5), reason="feed_down") is None
    assert Gap.objects.count() == 0
    assert Watermark.objects.get().at == at(10)


def test_a_gap_does_not_end_in_the_future(db: None) -> None:
    made = instrument()
    with pytest.raises(Broken):
        record_gap(instrument_id=made.pk, ends_at=clock.now() + timedelta(seconds=5), reason="feed_down")
    assert Gap.objects.count() == 0
    assert record_gap(instrument_id=made.pk, ends_at=clock.now(), reason="feed_down") is not None


def test_the_history_lock_lasts_as_long_as_a_transaction(db: None) -> None:
    with transaction.atomic():
        history_lock([2, 1])
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT objid, mode FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() "
                "AND objsubid = 2 ORDER BY objid"
            )
            assert cursor.fetchall() == [(1, "ShareLock"), (2, "ShareLock")]


@pytest.mark.django_db(transaction=True)
def test_the_history_lock_needs_a_transaction() -> None:
    with pytest.raises(Broken):
        history_lock([1])


@pytest.mark.django_db(transaction=True)
def test_a_gap_waits_for_who_decides_and_an_append_does_not(open_noon: None, noon: Clock) -> None:
    made = instrument()
    epoch = take_over([made.pk])
    done = threading.Event()

    def gap() -> None:
        record_gap(instrument_id=made.pk, ends_at=at(50), reason="feed_dead")
        done.set()
        connection.close()

    with transaction.atomic():
        history_lock([made.pk])
        write_elsewhere = threading.Thread(
            target=lambda: (write(epoch, made, [(1, "1.1")]), connection.close())
        )
        write_elsewhere.start()
        write_elsewhere.join(timeout=5)
        assert not write_elsewhere.is_alive()
        waiting = threading.Thread(target=gap)
        waiting.start()
        assert not done.wait(0.3)
    waiting.join(timeout=5)
    assert done.is_set()
    assert Gap.objects.get().starts_at == at(1)


# --- what the database refuses ------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["UPDATE quotes_tick SET price = 2", "DELETE FROM quotes_tick"])
def test_nobody_edits_a_tick(eurusd: Instrument, epoch: int, change: str) -> None:
    from django.db import DatabaseError

    write(epoch, eurusd, [(1, "1.10000")])
    with pytest.raises(DatabaseError) as refused, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(change)
    assert isinstance(refused.value.__cause__, psycopg.errors.InsufficientPrivilege)


# --- candles ------------------------------------------------------------------------------------------

ticks = st.lists(
    st.tuples(st.integers(0, 400_000), st.integers(109_000, 111_000)),
    min_size=1,
    max_size=60,
    unique_by=lambda t: t[0],
)


def model(rows: list[tuple[datetime, int, Decimal]], frame: int) -> dict[datetime, Bar]:
    """Candles the plain way: sort, group, look."""
    found: dict[datetime, list[tuple[datetime, int, Decimal]]] = {}
    for row in sorted(rows):
        seconds = int(row[0].timestamp()) // frame * frame
        found.setdefault(datetime.fromtimestamp(seconds, tz=NOON.tzinfo), []).append(row)
    return {
        start: Bar(
            start,
            group[0][2],
            max(row[2] for row in group),
            min(row[2] for row in group),
            group[-1][2],
            len(group),
            *group[0][:2],
            *group[-1][:2],
        )
        for start, group in found.items()
    }


def as_rows(drawn: list[tuple[int, int]]) -> list[tuple[datetime, int, Decimal]]:
    ordered = sorted(drawn)
    return [
        (at(ms / 1000), seq, Decimal(units) / 100_000) for seq, (ms, units) in enumerate(ordered, start=1)
    ]


@given(ticks, st.sampled_from([1, 5, 60, 300]))
def test_bars_equal_the_plain_model(drawn: list[tuple[int, int]], frame: int) -> None:
    rows = as_rows(drawn)
    assert {bar.start: bar for bar in bars_of(rows, frame)} == model(rows, frame)
    if frame > 1 and frame % 5 == 0:
        assert list(widen(bars_of(rows, 5), frame)) == list(model(rows, frame).values())


@given(ticks, st.integers(1, 86_400))
def test_a_bucket_holds_its_instant(drawn: list[tuple[int, int]], frame: int) -> None:
    for instant, _, _ in as_rows(drawn):
        start = bucket_start(instant, frame)
        assert start <= instant < start + timedelta(seconds=frame)
        assert int(start.timestamp()) % frame == 0


def candles_of(made: Instrument, frame: int) -> dict[datetime, Bar]:
    rows = Candle.objects.filter(instrument=made, interval_seconds=frame).order_by("start")
    return {row.start: Bar(*(getattr(row, name) for name in Bar._fields)) for row in rows}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=ticks, cuts=st.lists(st.integers(1, 20), max_size=12), order=st.randoms(use_true_random=False))
def test_any_order_and_any_cut_of_the_ticks_stores_the_same_candles(
    eurusd: Instrument, drawn: list[tuple[int, int]], cuts: list[int], order
) -> None:
    """The upsert is keyed by first and last (at, seq): batches may even come in a wrong order."""
    from quotes.services.ticks import Appended, _upsert_candles

    rows = as_rows(drawn)
    batches, start = [], 0
    for size in [*cuts, len(rows)]:
        if rows[start : start + size]:
            batches.append(rows[start : start + size])
        start += size
    order.shuffle(batches)
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                for batch in batches:
                    _upsert_candles(cursor, {eurusd.pk: Appended(NOON, batch)})
            for frame in STORED_FRAMES:
                assert candles_of(eurusd, frame) == model(rows, frame)
            raise _Undo
    except _Undo:
        pass


class _Undo(Exception):
    pass


def test_the_candles_written_with_ticks_are_those_of_the_ticks(eurusd: Instrument, epoch: int) -> None:
    write(epoch, eurusd, [(0, "1.10000"), (4.999999, "1.10030")])
    write(epoch, eurusd, [(5, "1.09990"), (61, "1.10010")])
    page = selectors.candles_page(eurusd, 5)
    assert [(bar.start, bar.ticks, bar.is_forming, bar.last_seq) for bar in page] == [
        (at(0), 2, False, 2),
        (at(5), 1, False, 3),
        (at(60), 1, True, 4),
    ]
    minute = selectors.candles_page(eurusd, 60)[0]
    assert minute == (
        at(0),
        Decimal("1.10000"),
        Decimal("1.10030"),
        Decimal("1.09990"),
        Decimal("1.09990"),
        3,
        3,
        False,
    )
