"""History from files: whole days, by the feed's own filter, sealed for good before the live record begins."""

import gzip
import os
import subprocess
import sys
import time
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from django.core.management import CommandError, call_command

from config.core import clock
from config.core.errors import Conflict
from config.core.leader import Leadership
from config.embedded.environment import ROOT
from quotes import history, rules, selectors
from quotes.models import Candle, Instrument, RecordDay, RecordPart, Tick
from quotes.recordings import InvalidRecording, read_recording
from quotes.services import backfill, drop_day, open_days, take_over
from quotes.services.archive import retire_day, seal_day
from quotes.tasks import maintain_ticks
from quotes.verification import verify_day
from tests.cast import client_for
from tests.quotes import record
from tests.quotes.market import NOON, Clock, at, instrument, recording, rows_of, write
from tests.quotes.record import DAY, MIDNIGHT, as_owner

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])
declared, folder = record.declared, record.folder
# The days before the live one.
FIRST = DAY - timedelta(days=3)
START = datetime(FIRST.year, FIRST.month, FIRST.day, tzinfo=UTC)


def ms(seconds: float) -> int:
    """Seconds after the first day's midnight, in milliseconds since 1970."""
    return round((START + timedelta(seconds=seconds)).timestamp() * 1000)


def csv_of(path: Path, lines: list[tuple[float, str, str]], header: str = "ts_ms,bid,ask") -> Path:
    path.write_text(header + "\n" + "".join(f"{ms(second)},{bid},{ask}\n" for second, bid, ask in lines))
    return path


def two_days(path: Path) -> Path:
    """Thirty quotes on each of two days, an hour apart from the third second on."""
    return csv_of(
        path,
        [
            (day * 86_400 + 3 + number * 7, f"1.1{number:02d}00", f"1.1{number:02d}02")
            for day in (0, 1)
            for number in range(30)
        ],
    )


@pytest.fixture
def eurusd(transactional_db: None, folder: Path, declared: Any, noon: Clock) -> Instrument:
    made = instrument()
    noon.move(60)
    return made


def filled(*arguments: str) -> None:
    call_command("backfill", *arguments)


def test_days_are_sealed_with_their_candles(
    eurusd: Instrument, tmp_path: Path, folder: Path, noon: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    filled("EURUSD", "--file", str(two_days(tmp_path / "eurusd.csv")))
    told = capsys.readouterr().out.splitlines()
    sealed = list(RecordDay.objects.order_by("day"))
    assert [each.day for each in sealed] == [FIRST, FIRST + timedelta(days=1)]
    assert {(each.is_backfilled, each.sealed_at, each.dropped_at) for each in sealed} == {
        (True, noon.instant, noon.instant)
    }
    assert told[0] == f"2030-03-02 sealed: EURUSD 30 ticks, root {bytes(sealed[0].root).hex()}"
    assert told[-1] == "2 days sealed."
    assert verify_day(FIRST) == verify_day(FIRST + timedelta(days=1)) == []
    part = RecordPart.objects.get(day=FIRST)
    rows = pq.read_table(folder / part.file).to_pylist()
    assert [(row["at"], row["price"]) for row in rows] == [
        (START + timedelta(seconds=3 + number * 7), Decimal(f"1.1{number:02d}01")) for number in range(30)
    ]
    # All come before tick 1, in their order.
    until = datetime(2100, 1, 1, tzinfo=UTC)
    assert [row["seq"] for row in rows] == [(row["at"] - until) // timedelta(microseconds=1) for row in rows]
    page = selectors.ticks_page(eurusd, None, 100)
    assert len(page) == 60
    for frame in rules.STORED_FRAMES:
        stored = Candle.objects.filter(instrument=eurusd, interval_seconds=frame).order_by("start")
        made = list(rules.bars_of(page, frame))
        assert [
            (
                each.start,
                each.open,
                each.high,
                each.low,
                each.close,
                each.ticks,
                each.first_seq,
                each.last_seq,
            )
            for each in stored
        ] == [(*bar[:6], bar.first_seq, bar.last_seq) for bar in made]
    assert history.candle_rows(eurusd, 5, rules.ENDLESS, 1_000) == list(rules.bars_of(page, 5))
    assert Tick.objects.count() == 0
    answer = client_for().get("/api/v1/record/2030-03-02").json()
    assert (answer["is_backfilled"], answer["ticks"]) == (True, 30)


def test_again_changes_nothing(
    eurusd: Instrument, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(two_days(tmp_path / "eurusd.csv"))
    filled("EURUSD", "--file", path, "--until", str(FIRST))
    before = list(Candle.objects.order_by("start", "interval_seconds").values())
    roots = list(RecordDay.objects.values_list("root", "sealed_at"))
    filled("EURUSD", "--file", path, "--until", str(FIRST))
    assert list(Candle.objects.order_by("start", "interval_seconds").values()) == before
    assert list(RecordDay.objects.values_list("root", "sealed_at")) == roots
    told = capsys.readouterr().out
    assert "2030-03-02 is there already: EURUSD 30 ticks" in told
    assert told.endswith("0 days sealed.\n")


def test_only_the_days_asked_for_and_as_without_asking(eurusd: Instrument, tmp_path: Path) -> None:
    path = str(two_days(tmp_path / "eurusd.csv"))
    second = FIRST + timedelta(days=1)
    filled("EURUSD", "--file", path, "--from", str(second), "--until", str(second))
    assert [each.day for each in RecordDay.objects.all()] == [second]
    root = RecordDay.objects.get().root
    filled("EURUSD", "--file", path)
    assert RecordDay.objects.get(day=second).root == root
    assert RecordDay.objects.count() == 2


def test_nothing_of_the_live_record_is_touched(
    eurusd: Instrument, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The instrument was made at noon of the fourth day.
    path = csv_of(
        tmp_path / "eurusd.csv",
        [(2 * 86_400 + 5, "1.10000", "1.10002"), (3 * 86_400 + 5, "1.10000", "1.10002")],
    )
    filled("EURUSD", "--file", str(path))
    assert [each.day for each in RecordDay.objects.all()] == [DAY - timedelta(days=1)]
    assert "From 2030-03-05 on is the live record" in capsys.readouterr().out


def test_a_live_record_begins_with_its_first_tick(eurusd: Instrument, tmp_path: Path, noon: Clock) -> None:
    # A replay at its own time wrote before the instrument's watermark stood where it does.
    open_days([FIRST + timedelta(days=1)])
    epoch = take_over([eurusd.pk])
    write(epoch, eurusd, [(-2 * 86_400.0, "1.10000")], until=-2 * 86_400.0)
    path = csv_of(tmp_path / "eurusd.csv", [(86_400.0 + 5, "1.10000", "1.10002")])
    filled("EURUSD", "--file", str(path), "--from", str(FIRST + timedelta(days=1)))
    assert RecordDay.objects.count() == 0
    drop_day(FIRST + timedelta(days=1))


def test_instruments_that_share_days_are_filled_in_together(eurusd: Instrument, tmp_path: Path) -> None:
    usdjpy = instrument("USDJPY", price_decimals=3)
    first = two_days(tmp_path / "eurusd.csv")
    second = csv_of(tmp_path / "usdjpy.csv", [(5, "150.001", "150.003"), (2 * 86_400 + 5, "150.1", "150.2")])
    filled("USDJPY", "EURUSD", "--file", str(second), "--file", str(first))
    assert [
        (str(part.day_id), part.instrument.symbol, part.ticks)
        for part in RecordPart.objects.order_by("day_id", "instrument__symbol")
    ] == [
        ("2030-03-02", "EURUSD", 30),
        ("2030-03-02", "USDJPY", 1),
        ("2030-03-03", "EURUSD", 30),
        ("2030-03-04", "USDJPY", 1),
    ]
    assert verify_day(FIRST) == []
    assert (
        Candle.objects.get(instrument=usdjpy, start__lt=START + timedelta(days=1), interval_seconds=60).ticks
        == 1
    )


def test_nothing_is_added_to_a_sealed_day(eurusd: Instrument, tmp_path: Path) -> None:
    instrument("USDJPY", price_decimals=3)
    filled("EURUSD", "--file", str(two_days(tmp_path / "eurusd.csv")), "--until", str(FIRST))
    root = RecordDay.objects.get().root
    other = csv_of(tmp_path / "usdjpy.csv", [(5, "150.001", "150.003")])
    changed = csv_of(tmp_path / "changed.csv", [(5, "1.10000", "1.10002")])
    for symbol, path in (("USDJPY", other), ("EURUSD", changed)):
        with pytest.raises(CommandError, match="2030-03-02 is sealed with other ticks, of EURUSD"):
            filled(symbol, "--file", str(path))
    assert (RecordDay.objects.get().root, RecordPart.objects.count()) == (root, 1)
    assert Candle.objects.exclude(instrument=eurusd).count() == 0


def test_a_day_with_live_ticks_of_anybody_is_theirs(eurusd: Instrument, tmp_path: Path, noon: Clock) -> None:
    open_days([DAY, DAY + timedelta(days=1)])
    epoch = take_over([eurusd.pk])
    write(epoch, eurusd, [(70, "1.10000")], until=MIDNIGHT)
    noon.instant = at(MIDNIGHT + 86_400 + 5)
    instrument("USDJPY", price_decimals=3)
    path = csv_of(tmp_path / "usdjpy.csv", [(3 * 86_400 + 5, "150.001", "150.003")])
    with pytest.raises(CommandError, match="2030-03-05 has live ticks"):
        filled("USDJPY", "--file", str(path))
    seal_day(day=DAY)
    retire_day(day=DAY)
    with pytest.raises(CommandError, match="2030-03-05 is sealed with other ticks, of EURUSD"):
        filled("USDJPY", "--file", str(path))
    open_days([DAY])


def test_an_empty_partition_of_a_backfilled_day_goes_when_its_time_comes(
    eurusd: Instrument, tmp_path: Path, noon: Clock
) -> None:
    open_days([FIRST])
    filled("EURUSD", "--file", str(two_days(tmp_path / "eurusd.csv")))
    assert len(selectors.ticks_page(eurusd)) == 60
    noon.move(40 * 86_400)
    maintain_ticks()
    assert FIRST not in selectors.tick_days()
    assert len(selectors.ticks_page(eurusd)) == 60
    open_days([DAY + timedelta(days=ahead) for ahead in (-1, 0, 1)])


def test_quotes_pass_the_filter_of_the_feed(
    eurusd: Instrument, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = csv_of(
        tmp_path / "eurusd.csv",
        [
            (1, "1.10000", "1.10002"),
            (2, "1.10004", "1.10002"),  # crossed
            (3, "0", "1.10002"),
            (4, "1.00000", "1.20000"),  # too wide
            (5, "1.20000", "1.20002"),  # a jump that nothing confirms
            (9, "1.10001", "1.10004"),  # half-even: 1.100025
            (9, "1.10003", "1.10004"),  # the same millisecond: 1.100035
        ],
    )
    filled("EURUSD", "--file", str(path))
    page = selectors.ticks_page(eurusd)
    assert [(tick.at, tick.price) for tick in page] == [
        (START + timedelta(seconds=1), Decimal("1.10001")),
        (START + timedelta(seconds=9), Decimal("1.10002")),
        (START + timedelta(seconds=9, microseconds=1), Decimal("1.10004")),
    ]
    assert (
        "quotes dropped: {'non_positive': 1, 'crossed': 1, 'spread': 1, 'jump': 1}" in capsys.readouterr().out
    )


def test_a_tick_interval_keeps_the_last_of_each(
    transactional_db: None, folder: Path, declared: Any, noon: Clock, tmp_path: Path
) -> None:
    made = instrument(tick_interval_ms=1_000, max_jump=Decimal("0.5"))
    path = csv_of(
        tmp_path / "eurusd.csv",
        [(1.1, "1.10", "1.10"), (1.9, "1.11", "1.11"), (2.5, "1.12", "1.12"), (9.2, "1.13", "1.13")],
    )
    filled("EURUSD", "--file", str(path))
    assert [(tick.at, tick.price) for tick in selectors.ticks_page(made)] == [
        (START + timedelta(seconds=second), Decimal(price))
        for second, price in ((2, "1.11"), (3, "1.12"), (10, "1.13"))
    ]


# --- Files ----------------------------------------------------------------------------------------------


def test_a_recording_is_read_in_every_form(tmp_path: Path) -> None:
    lines = [(1.5, "1.10000", "1.10002"), (1.5, "1.10001", "1.10003")]
    expected = [(START + timedelta(seconds=1.5), Decimal(bid), Decimal(ask)) for _, bid, ask in lines]
    plain = csv_of(tmp_path / "a.csv", lines)
    zipped = tmp_path / "a.csv.gz"
    zipped.write_bytes(gzip.compress(b"\xef\xbb\xbf" + plain.read_bytes()))
    nanoseconds = tmp_path / "b.csv"
    nanoseconds.write_text(
        "ask,recv_ns,x,bid\n" + "".join(f"{ask},{ms(second)}000999,x,{bid}\n" for second, bid, ask in lines)
    )
    columns = {
        "ts_ms": [ms(second) for second, _, _ in lines],
        "bid": [bid for _, bid, _ in lines],
        "ask": [ask for _, _, ask in lines],
    }
    pq.write_table(pa.table(columns), tmp_path / "text.parquet")
    numbers = {**columns, "bid": [1.1, 1.10001], "ask": [1.10002, 1.10003]}
    pq.write_table(pa.table(numbers), tmp_path / "float.parquet")
    for name in ("a.csv", "a.csv.gz", "b.csv", "text.parquet", "float.parquet"):
        assert list(read_recording(tmp_path / name)) == expected, name


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.csv", b"", "is empty"),
        ("a.csv", b"time,bid,ask\n", "needs the columns"),
        ("a.csv", b"ts_ms,bid\n", "needs the columns"),
        ("a.csv", b"ts_ms,bid,ask\n1,2\n", "Line 2 is not a quote: 1, 2"),
        ("a.csv", b"ts_ms,bid,ask\n1,1,1\n2,x,1\n", "Line 3 is not a quote: 2, x, 1"),
        ("a.csv", b"ts_ms,bid,ask\n5,1,1\n\n", "Line 3 is not a quote"),
        ("a.csv", b"ts_ms,bid,ask\n5,1,1\n4,1,1\n", "Line 3 of a.csv goes back in time"),
        ("a.csv", b"ts_ms,bid,ask\n5,NaN,1\n", "no price there is"),
        ("a.csv", b"ts_ms,bid,ask\n5,1e30,1e30\n", "no price there is"),
        ("a.csv", b"ts_ms,bid,ask\n-5,1,1\n", "no time there is"),
        ("a.csv", b"ts_ms,bid,ask\n99999999999999999,1,1\n", "no time there is"),
        ("a.csv", b"\xff\xfe\x00", "cannot be read"),
        ("a.csv.gz", b"plain", "cannot be read"),
        ("a.csv.gz", gzip.compress(b"ts_ms,bid,ask\n5,1,1\n" * 999, mtime=0)[:40], "cannot be read"),
        ("a.parquet", b"ts_ms,bid,ask\n", "cannot be read"),
    ],
)
def test_a_file_that_is_no_recording_is_named_by_its_line(
    tmp_path: Path, name: str, content: bytes, sentence: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidRecording, match=sentence):
        list(read_recording(tmp_path / name))


def test_a_day_with_a_broken_line_is_not_sealed(eurusd: Instrument, tmp_path: Path) -> None:
    path = two_days(tmp_path / "eurusd.csv")
    path.write_text(path.read_text() + "nonsense\n")
    with pytest.raises(CommandError, match=r"Line 62 is not a quote: nonsense \(1 days"):
        filled("EURUSD", "--file", str(path))
    assert [each.day for each in RecordDay.objects.all()] == [FIRST]
    assert Candle.objects.filter(start__gte=START + timedelta(days=1)).count() == 0


def test_sealing_is_one_process_at_a_time(
    eurusd: Instrument, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill, "TURN_SECONDS", 0)
    path = two_days(tmp_path / "eurusd.csv")
    days = backfill.backfill(recordings={eurusd: read_recording(path)})
    with Leadership("archive") as other:
        assert other.acquire()
        with pytest.raises(Conflict, match="being archived right now"):
            next(days)
        with pytest.raises(CommandError, match=r"being archived right now.* \(0 days were sealed before.\)"):
            filled("EURUSD", "--file", str(path))
    assert RecordDay.objects.count() == 0
    days = backfill.backfill(recordings={eurusd: read_recording(path)})
    assert next(days).day == FIRST
    assert maintain_ticks() is None
    days.close()
    assert maintain_ticks() == []


def test_a_turn_that_was_lost_seals_nothing_further(eurusd: Instrument, tmp_path: Path) -> None:
    path = two_days(tmp_path / "eurusd.csv")
    days = backfill.backfill(recordings={eurusd: read_recording(path)})
    assert next(days).day == FIRST
    as_owner(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name = 'leader-archive' AND datname = current_database()"
    )
    time.sleep(1.1)  # it asks once a second
    with pytest.raises(Conflict, match="Somebody else may archive by now"):
        next(days)
    assert [each.day for each in RecordDay.objects.all()] == [FIRST]


def test_what_the_command_refuses(eurusd: Instrument, tmp_path: Path) -> None:
    path = str(two_days(tmp_path / "eurusd.csv"))
    for arguments, sentence in (
        (["EURUSD", "--source", "oanda"], "oanda: no source offers history yet"),
        (["EURUSD"], "a --file for each"),
        (["EURUSD", "EURUSD", "--file", path, "--file", path], "each symbol once"),
        (["EURUSD", "--file", path + ".not"], "There is no file"),
        (["GBPUSD", "--file", path], "no instrument GBPUSD"),
        (["EURUSD", "--file", path, "--from", "yesterday"], "--from"),
    ):
        with pytest.raises(CommandError, match=sentence):
            filled(*arguments)
    assert RecordDay.objects.count() == 0


# --- kill -9 --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fault", "days"), [("archive.after_verify", 0), ("archive.after_seal", 1)])
def test_a_backfill_goes_on_where_it_was_killed(
    eurusd: Instrument, tmp_path: Path, folder: Path, fault: str, days: int
) -> None:
    path = str(two_days(tmp_path / "eurusd.csv"))
    done = subprocess.run(
        [sys.executable, "manage.py", "backfill", "EURUSD", "--file", path],
        cwd=ROOT,
        env=os.environ
        | {
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "ARCHIVE_URL": str(folder),
            "FAULTPOINT": f"{fault}:exit",
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 137, done.stderr
    assert RecordDay.objects.count() == days
    assert Candle.objects.filter(interval_seconds=60).count() == 4 * days
    filled("EURUSD", "--file", path)
    assert RecordDay.objects.count() == 2
    assert sum(Candle.objects.filter(interval_seconds=5).values_list("ticks", flat=True)) == 60
    assert verify_day(FIRST) == verify_day(FIRST + timedelta(days=1)) == []
    assert sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()) == sorted(
        RecordPart.objects.values_list("file", flat=True)
    )


# --- A real recording -----------------------------------------------------------------------------------


def test_two_recorded_days_become_the_ticks_of_a_second_reader(
    transactional_db: None, folder: Path, declared: Any
) -> None:
    """OANDA's quotes up to the end of the first of May, read a second time by other code."""
    path = recording("oanda_eurusd_20140501-02.csv.gz")
    with clock.ticking(lambda: NOON):
        made = instrument()
        filled("EURUSD", "--file", str(path), "--until", "2014-05-01")
    sealed = RecordDay.objects.order_by("day")
    assert sealed.last().day == date(2014, 5, 1)
    count = sum(RecordPart.objects.values_list("ticks", flat=True))
    end = datetime(2014, 5, 2, tzinfo=UTC)
    last: Decimal | None = None
    expected = []
    for stamp, bid, ask in rows_of(path):
        moment = datetime.fromtimestamp(stamp // 1000, UTC) + timedelta(milliseconds=stamp % 1000)
        if moment >= end:
            break
        middle = (bid + ask) / 2
        if bid <= ask and ask - bid <= middle * made.max_spread:
            expected.append(middle.quantize(Decimal("0.00001")))
            last = middle
    assert last is not None
    assert count == len(expected)
    assert [tick.price for tick in selectors.ticks_page(made, end, 1_000)] == expected[-1_000:]
