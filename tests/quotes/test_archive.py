"""A closed day goes to the archive, is sealed, verified and dropped; on a disk and on what speaks S3."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from django.core.management import CommandError, call_command
from django.db import ProgrammingError, connection, transaction

from config.core.leader import Leadership
from quotes import selectors
from quotes.archive import SCHEMA, Archive, ArchiveFailed, archive
from quotes.models import EvidenceTick, Gap, RecordDay, RecordPart, Tick
from quotes.retention import Span
from quotes.rules.chain import Chain
from quotes.services import open_days
from quotes.services.archive import DayOpen, retire_day, seal_day
from quotes.services.partitions import NotArchived
from quotes.tasks import maintain_ticks
from quotes.verification import verify_day
from tests.quotes import record
from tests.quotes.market import at, write
from tests.quotes.record import (
    DAY,
    LATE,
    MIDNIGHT,
    NEXT,
    PRICES,
    Recorded,
    as_owner,
    part_of,
)

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])
declared, folder, recorded = record.declared, record.folder, record.recorded


def head(symbol: str, decimals: int, ticks: list[tuple[float, str]]) -> bytes:
    chain = Chain(symbol, DAY, decimals)
    for number, (seconds, price) in enumerate(ticks, start=1):
        chain.add(at(seconds), number, Decimal(price))
    return chain.head


EURUSD = [(float(second), str(price)) for second, price in enumerate(PRICES)]
USDJPY = [(1.0, "150.001"), (2.0, "150.002"), (5.0, "150.003")]


# --- Sealing --------------------------------------------------------------------------------------------


def test_a_day_is_sealed_with_every_tick_of_it(recorded: Recorded, folder: Path) -> None:
    recorded.pass_midnight()
    sealed = seal_day(day=DAY)
    assert sealed is not None
    assert (sealed.day, sealed.is_backfilled, sealed.sealed_at) == (DAY, False, recorded.clock.instant)
    part, other = part_of(recorded.eurusd), part_of(recorded.usdjpy)
    assert (part.ticks, part.first_seq, part.last_seq) == (60, 1, 60)
    assert (part.first_at, part.last_at) == (at(0), at(59))
    assert bytes(part.head) == head("EURUSD", 5, EURUSD)
    assert bytes(other.head) == head("USDJPY", 3, USDJPY)
    table = pq.read_table(folder / part.file)
    assert table.schema == SCHEMA
    rows = table.to_pylist()
    assert [row["price"] for row in rows if not row["is_late"]] == PRICES
    assert [(row["at"], row["seq"], row["price"]) for row in rows if row["is_late"]] == [
        (at(LATE[0]), -1, Decimal(LATE[1]))
    ]
    assert [(row["at"], row["seq"]) for row in rows] == sorted((row["at"], row["seq"]) for row in rows)
    assert pq.ParquetFile(folder / part.file).metadata.row_group(0).column(0).compression == "ZSTD"
    assert part.file == f"2030-03-05/EURUSD-{bytes(part.file_sha256).hex()[:16]}.parquet"
    assert part.file_bytes == (folder / part.file).stat().st_size
    assert sorted(path.name for path in (folder / "2030-03-05").iterdir()) == sorted(
        Path(each.file).name for each in (part, other)
    )
    assert verify_day(DAY) == []


def test_sealing_again_changes_nothing(recorded: Recorded, folder: Path) -> None:
    recorded.pass_midnight()
    first = seal_day(day=DAY)
    write(recorded.epoch, recorded.eurusd, [(4.5, "9.00000")])  # late, after the seal
    assert seal_day(day=DAY) == first
    assert RecordPart.objects.count() == 2
    assert verify_day(DAY) == []


def test_a_day_waits_until_nothing_can_be_added(recorded: Recorded, declared: list[Span]) -> None:
    recorded.clock.instant = at(MIDNIGHT - 1)
    with pytest.raises(DayOpen, match="not over"):
        seal_day(day=DAY)
    recorded.clock.instant = at(MIDNIGHT + 300)
    with pytest.raises(DayOpen, match="EURUSD is complete up to 2030-03-05T12:00:59"):
        seal_day(day=DAY)
    write(recorded.epoch, recorded.eurusd, [], until=MIDNIGHT)
    with pytest.raises(DayOpen, match="USDJPY is complete up to 2030-03-05T12:00:05"):
        seal_day(day=DAY)
    recorded.pass_midnight()
    declared.append(Span(recorded.eurusd.pk, at(1), at(9), is_settled=False))
    with pytest.raises(DayOpen, match="an order"):
        seal_day(day=DAY)
    assert (RecordDay.objects.count(), Gap.objects.count(), EvidenceTick.objects.count()) == (0, 0, 0)
    declared[:] = [Span(recorded.eurusd.pk, at(1), at(4))]
    assert seal_day(day=DAY) is not None
    assert EvidenceTick.objects.count() == 4


def test_a_source_that_stays_away_is_given_up_after_a_day(recorded: Recorded) -> None:
    write(recorded.epoch, recorded.eurusd, [], until=MIDNIGHT)
    recorded.clock.instant = at(MIDNIGHT + 86_399)
    with pytest.raises(DayOpen):
        seal_day(day=DAY)
    recorded.clock.move(1)
    assert seal_day(day=DAY) is not None
    gap = Gap.objects.get()
    assert (gap.instrument, gap.starts_at, gap.ends_at, gap.reason) == (
        recorded.usdjpy,
        at(5),
        at(MIDNIGHT),
        "feed_down",
    )
    assert write(recorded.epoch, recorded.usdjpy, [(6.0, "1.000")]).late == 1


def test_a_day_without_ticks_is_not_sealed(recorded: Recorded) -> None:
    open_days([DAY - timedelta(days=1)])
    assert seal_day(day=DAY - timedelta(days=1)) is None
    assert RecordDay.objects.count() == 0


def test_a_day_of_late_ticks_alone_loses_none(recorded: Recorded, folder: Path) -> None:
    recorded.pass_midnight()
    before = DAY - timedelta(days=1)
    open_days([before])
    write(recorded.epoch, recorded.usdjpy, [(-MIDNIGHT - 5, "150.009")], until=MIDNIGHT)
    assert seal_day(day=before) is not None
    part = RecordPart.objects.get(day=before)
    assert (part.ticks, part.first_seq, part.last_seq) == (0, 0, 0)
    assert [row["seq"] for row in pq.read_table(folder / part.file).to_pylist()] == [-1]
    assert verify_day(before) == []
    assert retire_day(day=before) == 0
    assert verify_day(before) == []


def test_what_reads_back_differently_is_not_sealed(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded.pass_midnight()
    real = Archive.rows
    monkeypatch.setattr(Archive, "rows", lambda self, file: list(real(self, file))[:-1])
    with pytest.raises(ArchiveFailed, match="not what was written"):
        seal_day(day=DAY)
    assert RecordDay.objects.count() == RecordPart.objects.count() == 0
    monkeypatch.undo()


def test_two_who_write_at_once_do_not_meet(recorded: Recorded, folder: Path) -> None:
    rows = [(at(second), second + 1, price, False) for second, price in enumerate(PRICES)]
    begun, second = Event(), archive().write(DAY, "OTHER", iter(rows))

    def slowly() -> Iterator[Any]:
        begun.set()
        assert may_go_on.wait(30)
        yield from rows

    may_go_on = Event()
    with ThreadPoolExecutor(1) as threads:
        slow = threads.submit(archive().write, DAY, "EURUSD", slowly())
        assert begun.wait(30)
        quick = archive().write(DAY, "EURUSD", iter(rows[:30]))
        may_go_on.set()
        whole = slow.result()
    assert (whole.sha256, whole.file_bytes) == (second.sha256, second.file_bytes)
    assert list(archive().rows(quick.file)) == rows[:30]
    assert list(archive().rows(whole.file)) == rows


def test_what_fails_half_way_leaves_nothing(recorded: Recorded, folder: Path) -> None:
    def breaking() -> Iterator[Any]:
        yield at(0), 1, PRICES[0], False
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        archive().write(DAY, "EURUSD", breaking())
    with pytest.raises(ArchiveFailed):
        archive().write(DAY, "EURUSD", iter([(at(0), 1, Decimal("0.123456789"), False)]))
    assert list((folder / str(DAY)).iterdir()) == []


def test_what_the_killed_left_behind_goes_after_a_day(recorded: Recorded, folder: Path) -> None:
    (folder / str(DAY)).mkdir(parents=True)
    old, new = (folder / str(DAY) / f".EURUSD-{number}.making" for number in (1, 2))
    for path, hours in ((old, 25), (new, 23)):
        path.write_bytes(b"half")
        os.utime(path, (time.time() - hours * 3600,) * 2)
    recorded.pass_midnight()
    seal_day(day=DAY)
    assert (old.exists(), new.exists()) == (False, True)
    os.utime(new, (0, 0))
    assert retire_day(day=DAY) == 0
    assert sorted(f"{DAY}/{path.name}" for path in (folder / str(DAY)).iterdir()) == sorted(
        RecordPart.objects.values_list("file", flat=True)
    )


def test_a_root_and_its_parts_are_for_good(recorded: Recorded) -> None:
    recorded.pass_midnight()
    seal_day(day=DAY)
    for sql in (
        "UPDATE quotes_recordday SET root = '\\x00'",
        "DELETE FROM quotes_recordday",
        "UPDATE quotes_recordpart SET ticks = 1",
        "DELETE FROM quotes_recordpart",
    ):
        with pytest.raises(ProgrammingError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(sql)


# --- Dropping -------------------------------------------------------------------------------------------


def test_a_sealed_day_is_dropped_with_its_evidence_kept(recorded: Recorded, declared: list[Span]) -> None:
    recorded.pass_midnight()
    seal_day(day=DAY)
    declared.append(Span(recorded.eurusd.pk, at(1), at(4)))
    assert retire_day(day=DAY) == 4
    assert DAY not in selectors.tick_days()
    assert RecordDay.objects.get().dropped_at == recorded.clock.instant
    assert verify_day(DAY) == []


def test_a_day_stays_while_an_order_needs_it(recorded: Recorded, declared: list[Span]) -> None:
    recorded.pass_midnight()
    seal_day(day=DAY)
    declared.append(Span(recorded.eurusd.pk, at(1), at(4), is_settled=False))
    assert retire_day(day=DAY) is None
    assert (Tick.objects.filter(at__lt=at(MIDNIGHT)).count(), EvidenceTick.objects.count()) == (64, 0)
    assert RecordDay.objects.get().dropped_at is None


def test_an_unsealed_day_with_ticks_is_not_dropped(recorded: Recorded) -> None:
    with pytest.raises(NotArchived):
        retire_day(day=DAY)
    assert Tick.objects.count() == 64


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("harm", [damage, Path.unlink, lambda path: os.truncate(path, 100)])
def test_a_day_whose_file_is_not_the_sealed_one_stays(recorded: Recorded, folder: Path, harm: Any) -> None:
    recorded.pass_midnight()
    seal_day(day=DAY)
    harm(folder / part_of(recorded.usdjpy).file)
    with pytest.raises(ArchiveFailed, match="2030-03-05/USDJPY-"):
        retire_day(day=DAY)
    assert Tick.objects.count() == 65
    assert any(each.startswith("USDJPY: ") for each in verify_day(DAY))


def test_a_tick_that_no_file_has_keeps_its_day(recorded: Recorded) -> None:
    recorded.pass_midnight()
    seal_day(day=DAY)
    as_owner("INSERT INTO quotes_tick VALUES (%s, %s, 61, 1.5, false)", recorded.eurusd.pk, at(70))
    with pytest.raises(NotArchived):
        retire_day(day=DAY)
    assert verify_day(DAY) == ["EURUSD: tick 61 of 2030-03-05T12:01:10.000000Z is not in the archive"]


def test_late_ticks_after_the_seal_go_to_a_file_of_their_own(recorded: Recorded, folder: Path) -> None:
    recorded.pass_midnight()
    sealed = seal_day(day=DAY)
    write(recorded.epoch, recorded.eurusd, [(4.5, "9.10000"), (4.6, "9.20000")])
    assert retire_day(day=DAY) == 0
    (late,) = folder.glob("2030-03-05/EURUSD.late-*.parquet")
    rows = pq.read_table(late).to_pylist()
    assert [(row["seq"], row["price"], row["is_late"]) for row in rows] == [
        (-2, Decimal("9.1"), True),
        (-3, Decimal("9.2"), True),
    ]
    assert RecordDay.objects.get().root == sealed.root
    # Later still, the feed opens the day once more.
    open_days([DAY])
    write(recorded.epoch, recorded.usdjpy, [(4.5, "9.100")])
    assert retire_day(day=DAY) == 0
    assert len(list(folder.glob("2030-03-05/USDJPY.late-*.parquet"))) == 1
    assert DAY not in selectors.tick_days()
    assert verify_day(DAY) == []


# --- The hourly job -------------------------------------------------------------------------------------


def test_the_job_seals_soon_and_drops_late(recorded: Recorded, settings: Any) -> None:
    settings.TICK_RETENTION_DAYS = 30
    maintain_ticks()
    assert RecordDay.objects.count() == 0
    recorded.pass_midnight()
    maintain_ticks()
    assert RecordDay.objects.get().dropped_at is None
    assert DAY in selectors.tick_days()
    recorded.clock.move(30 * 86_400)
    maintain_ticks()
    assert DAY not in selectors.tick_days()
    assert {str(sealed.day): sealed.dropped_at is None for sealed in RecordDay.objects.all()} == {
        "2030-03-05": False,
        "2030-03-06": True,
    }


def test_one_day_that_fails_does_not_stop_the_next(
    recorded: Recorded, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recorded.pass_midnight()
    folder.mkdir(exist_ok=True)
    (folder / "2030-03-05").write_text("in the way")
    recorded.clock.move(2 * 86_400)
    maintain_ticks()
    assert [str(sealed.day) for sealed in RecordDay.objects.all()] == ["2030-03-06"]
    (folder / "2030-03-05").unlink()
    maintain_ticks()
    assert RecordDay.objects.count() == 2


def test_the_command_fails_with_the_days_that_failed(
    recorded: Recorded, folder: Path, settings: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.TICK_RETENTION_DAYS = 30
    # It is not time yet: a watermark is not past the day.
    call_command("archive_ticks")
    recorded.pass_midnight()
    folder.mkdir(exist_ok=True)
    (folder / "2030-03-05").write_text("in the way")
    with pytest.raises(CommandError, match="Not archived, or not dropped: 2030-03-05; the log says why"):
        call_command("archive_ticks")
    assert "0 days are sealed" in capsys.readouterr().out
    (folder / "2030-03-05").unlink()
    call_command("archive_ticks")
    path = folder / part_of(recorded.usdjpy).file
    whole = path.read_bytes()
    damage(path)
    recorded.clock.move(31 * 86_400)
    with pytest.raises(CommandError, match="Not archived, or not dropped: 2030-03-05; the log says why"):
        call_command("archive_ticks")
    assert DAY in selectors.tick_days()
    path.write_bytes(whole)
    call_command("archive_ticks")
    assert DAY not in selectors.tick_days()


def test_a_day_that_waits_too_long_is_one_that_failed(recorded: Recorded, declared: list[Span]) -> None:
    recorded.pass_midnight()
    declared.append(Span(recorded.eurusd.pk, at(1), at(9), is_settled=False))
    assert maintain_ticks() == []
    recorded.clock.move(2 * 86_400)
    assert maintain_ticks() == ["2030-03-05"]


def test_two_runs_at_once_are_one(recorded: Recorded) -> None:
    recorded.pass_midnight()
    with Leadership("archive") as other:
        assert other.acquire()
        assert maintain_ticks() is None
        with pytest.raises(CommandError, match="being archived right now"):
            call_command("archive_ticks")
        assert RecordDay.objects.count() == 0
    maintain_ticks()
    assert RecordDay.objects.count() == 1


# --- Tampering ------------------------------------------------------------------------------------------


def rewrite(path: Path, change: Any) -> None:
    rows = pq.read_table(path).to_pylist()
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), path, compression="zstd")


def other_price(rows: list[dict[str, Any]]) -> None:
    rows[10]["price"] += Decimal("0.00001")


def finer_price(rows: list[dict[str, Any]]) -> None:
    rows[10]["price"] += Decimal("0.00000001")


def without_one(rows: list[dict[str, Any]]) -> None:
    del rows[10]


def without_the_last(rows: list[dict[str, Any]]) -> None:
    del rows[-1]


def swapped(rows: list[dict[str, Any]]) -> None:
    rows[10], rows[11] = rows[11], rows[10]


def prices_swapped(rows: list[dict[str, Any]]) -> None:
    rows[10]["price"], rows[11]["price"] = rows[11]["price"], rows[10]["price"]


def one_more(rows: list[dict[str, Any]]) -> None:
    rows.append({"at": at(70), "seq": 61, "price": Decimal("1.5"), "is_late": False})


def called_late(rows: list[dict[str, Any]]) -> None:
    rows[10]["is_late"] = True


# The late tick lies at row 4, so row 10 is tick 10.
TAMPERED = [
    (
        other_price,
        "tick 10 of 2030-03-05T12:00:09.000000Z is 1.1001 in the archive and 1.10009 in the database",
    ),
    (finer_price, "tick 10: 1.10009001 has more than 5 decimals"),
    (without_one, "tick 10 of 2030-03-05T12:00:09.000000Z is not in the archive"),
    (without_the_last, "tick 60 of 2030-03-05T12:00:59.000000Z is not in the archive"),
    (swapped, "tick 10 does not come after tick 11"),
    (prices_swapped, "tick 10 of 2030-03-05T12:00:09.000000Z is 1.1001 in the archive and 1.10009 in the"),
    (one_more, "tick 61 of 2030-03-05T12:01:10.000000Z is in the archive alone"),
    (called_late, "tick 10 of 2030-03-05T12:00:09.000000Z is 1.10009 in the archive"),
]


def test_a_changed_file_is_named_by_its_tick(
    recorded: Recorded, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded.pass_midnight()
    seal_day(day=DAY)
    path = folder / part_of(recorded.eurusd).file
    whole = path.read_bytes()
    for change, sentence in TAMPERED:
        path.write_bytes(whole)
        call_command("verify_record", "2030-03-05")
        rewrite(path, change)
        capsys.readouterr()
        with pytest.raises(CommandError, match="The record differs on 2030-03-05"):
            call_command("verify_record", "2030-03-05")
        told = capsys.readouterr().out
        assert f"EURUSD: {sentence}" in told
        assert "is not the file that was sealed" in told
        assert "USDJPY" not in told


AFTERWARDS = [
    (other_price, "EURUSD: the head of the archived ticks is not the one stored"),
    (without_one, "EURUSD: tick 10 is missing in the archive"),
    (swapped, "EURUSD: tick 10 does not come after tick 11"),
]


def test_a_file_changed_after_its_day_was_dropped_is_named(recorded: Recorded, folder: Path) -> None:
    recorded.pass_midnight()
    seal_day(day=DAY)
    retire_day(day=DAY)
    path = folder / part_of(recorded.eurusd).file
    whole = path.read_bytes()
    for change, sentence in AFTERWARDS:
        path.write_bytes(whole)
        assert verify_day(DAY) == []
        rewrite(path, change)
        found = verify_day(DAY)
        assert sentence in found
        if change is not swapped:
            assert any("the root is not that of the archived ticks" in each for each in found)


def test_evidence_names_the_tick_when_the_day_is_gone(
    recorded: Recorded, folder: Path, declared: list[Span]
) -> None:
    recorded.pass_midnight()
    declared.append(Span(recorded.eurusd.pk, at(8), at(10)))
    seal_day(day=DAY)
    retire_day(day=DAY)
    assert verify_day(DAY) == []
    rewrite(folder / part_of(recorded.eurusd).file, other_price)
    assert (
        "EURUSD: tick 10 of 2030-03-05T12:00:09.000000Z is 1.1001 in the archive and 1.10009 in the database"
        in verify_day(DAY)
    )


@pytest.mark.parametrize(
    ("table", "sql", "sentence"),
    [
        (
            None,
            "UPDATE quotes_recordday SET root = decode(repeat('00', 32), 'hex')",
            "the root is not that of the archived ticks",
        ),
        (
            "quotes_recordpart",
            "UPDATE quotes_recordpart SET head = decode(repeat('00', 32), 'hex') WHERE ticks = 60",
            "EURUSD: the head of the archived ticks is not the one stored",
        ),
        (
            "quotes_recordpart",
            "UPDATE quotes_recordpart SET ticks = 59 WHERE ticks = 60",
            "EURUSD: the archive has 60 ticks where 59 were sealed, or others",
        ),
        (
            "quotes_recordpart",
            "DELETE FROM quotes_recordpart WHERE ticks = 60",
            "EURUSD: it has ticks and no part",
        ),
        (
            "quotes_tick",
            "UPDATE quotes_tick SET price = 1.5 WHERE seq = 7 AND price < 2",
            "EURUSD: tick 7 of 2030-03-05T12:00:06.000000Z is 1.10006 in the archive and 1.5 in the database",
        ),
    ],
)
def test_a_row_changed_above_the_application_is_named(
    recorded: Recorded, table: str | None, sql: str, sentence: str
) -> None:
    recorded.pass_midnight()
    seal_day(day=DAY)
    as_owner(sql, table=table)
    assert sentence in " ".join(verify_day(DAY))


def test_a_part_taken_away_leaves_its_file(recorded: Recorded) -> None:
    recorded.pass_midnight()
    seal_day(day=DAY)
    file = part_of(recorded.eurusd).file
    retire_day(day=DAY)
    as_owner("DELETE FROM quotes_recordpart WHERE ticks = 60", table="quotes_recordpart")
    assert verify_day(DAY) == [f"the root is not that of the archived ticks; without a part: {file}"]


def test_the_command_checks_all_days_or_one(recorded: Recorded, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["--all", "2030-03-05"], ["31-01-2030"], ["2030-03-05"]):
        with pytest.raises(CommandError):
            call_command("verify_record", *arguments)
    recorded.pass_midnight()
    sealed = seal_day(day=DAY)
    recorded.clock.move(2 * 86_400)
    seal_day(day=NEXT)
    call_command("verify_record", "--all")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"2030-03-05: whole, root {bytes(sealed.root).hex()}"
    assert lines[1].startswith("2030-03-06: whole")


# --- S3 -------------------------------------------------------------------------------------------------
SERVER = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    """A store that speaks S3, a process of its own, with the bucket `ticks`."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        url = f"http://127.0.0.1:{int(process.stdout.readline())}"
        httpx.put(f"{url}/ticks").raise_for_status()
        yield url
        process.kill()


@pytest.fixture
def bucket(store: str, settings: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("SECRET_ARCHIVE_KEY_ID", "id")
    monkeypatch.setenv("SECRET_ARCHIVE_KEY", "key")
    settings.S3_ENDPOINT_URL = store
    return store


def test_a_day_goes_through_s3(recorded: Recorded, bucket: str, settings: Any) -> None:
    settings.ARCHIVE_URL = "s3://ticks/record/one"
    recorded.pass_midnight()
    assert seal_day(day=DAY) is not None
    assert verify_day(DAY) == []
    assert archive().names(DAY) == sorted(RecordPart.objects.values_list("file", flat=True))
    assert retire_day(day=DAY) == 0
    assert verify_day(DAY) == []
    page = selectors.ticks_page(recorded.eurusd, None, 100)
    assert [tick.price for tick in page] == [*PRICES, Decimal("1.2")]


def test_a_bucket_that_is_not_there_seals_nothing(recorded: Recorded, bucket: str, settings: Any) -> None:
    settings.ARCHIVE_URL = "s3://nowhere/record"
    recorded.pass_midnight()
    with pytest.raises(ArchiveFailed):
        seal_day(day=DAY)
    assert RecordDay.objects.count() == 0


def test_keys_that_are_missing_are_named(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SECRET_ARCHIVE_KEY_ID", raising=False)
    settings.ARCHIVE_URL, settings.S3_ENDPOINT_URL = "s3://ticks/without", "http://127.0.0.1:1"
    with pytest.raises(ArchiveFailed, match="archive-key-id"):
        archive()


# --- The files ------------------------------------------------------------------------------------------


def test_rows_that_fail_leave_no_whole_file(folder: Path) -> None:
    def rows() -> Iterator[Any]:
        yield (at(0), 1, Decimal(1), False)
        raise RuntimeError("the table cannot be read")

    with pytest.raises(RuntimeError):
        archive().write(DAY, "EURUSD", rows())
    assert archive().names(DAY) == []
    stored = archive().write(DAY, "EURUSD", iter([(at(0), 1, Decimal(1), False)]))
    assert archive().names(DAY) == [stored.file]
    assert [path.name for path in (folder / str(DAY)).iterdir()] == [Path(stored.file).name]


def test_a_file_of_something_else_is_refused(folder: Path) -> None:
    (folder / "2030-03-05").mkdir(parents=True)
    pq.write_table(pa.table({"a": [1]}), folder / "2030-03-05" / "x.parquet")
    with pytest.raises(ArchiveFailed, match="columns"):
        list(archive().rows("2030-03-05/x.parquet"))
    (folder / "2030-03-05" / "y.parquet").write_bytes(b"nothing")
    with pytest.raises(ArchiveFailed, match=r"y\.parquet"):
        list(archive().rows("2030-03-05/y.parquet"))


def test_a_tick_takes_a_few_bytes(folder: Path) -> None:
    rows = [(at(n / 10), n, Decimal(110_000 + n * 7 % 40).scaleb(-5), False) for n in range(70_000)]
    stored = archive().write(DAY, "EURUSD", iter(rows))
    assert stored.file_bytes < 4 * len(rows)
    assert list(archive().rows(stored.file)) == rows
