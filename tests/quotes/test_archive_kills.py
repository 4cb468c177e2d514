"""kill -9 between any two steps of archiving: the next run comes to the same end, and no tick is lost."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from config.core import clock
from config.embedded.environment import ROOT
from quotes import selectors
from quotes.models import EvidenceTick, Instrument, RecordDay, RecordPart, Tick
from quotes.rules.chain import Chain, Head, day_root
from quotes.services import Stretch, append_ticks, open_days, take_over
from quotes.tasks import maintain_ticks
from quotes.verification import verify_day
from tests.quotes import record
from tests.quotes.market import instrument

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])
declared, folder = record.declared, record.folder

# The child lives at the real time, and the day is past its retention.
DAY = datetime.now(UTC).date() - timedelta(days=40)
NOON = datetime(DAY.year, DAY.month, DAY.day, 12, tzinfo=UTC)
ENDED_BY_ITSELF = 137
# What is there when the process ends: whole files, is it sealed, are the ticks in the database.
STEPS = [
    ("archive.after_write", 1, False, True),
    ("archive.after_verify", 1, False, True),
    ("archive.after_seal", 2, True, True),
    ("archive.before_drop", 2, True, True),
    ("archive.after_drop", 2, True, False),
]


@pytest.fixture
def old(transactional_db: None, folder: Path, declared: Any) -> list[Instrument]:
    # Empty days that other tests have left would be dropped before it, and end the child there.
    for day in selectors.tick_days():
        if day < datetime.now(UTC).date() - timedelta(days=30):
            record.as_owner(f"DROP TABLE quotes_tick_{day:%Y%m%d}")
    open_days([DAY])
    with clock.ticking(lambda: NOON - timedelta(hours=1)):
        made = [instrument("EURUSD"), instrument("USDJPY", price_decimals=3)]
        epoch = take_over([each.pk for each in made])
    ticks = [(NOON + timedelta(seconds=second), Decimal("1.5") + second) for second in range(50)]
    late = [(NOON, Decimal(7))]
    for given in (ticks, late):
        append_ticks(
            epoch=epoch,
            stretches={each.pk: Stretch(NOON + timedelta(days=1), given, "replay", 0) for each in made},
        )
    return made


def archive_in_a_child(folder: Path, fault: str) -> int:
    """Run the job in a process that ends at the fault point; return its exit code."""
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "ARCHIVE_URL": str(folder),
        "TICK_RETENTION_DAYS": "30",
        "FAULTPOINT": f"{fault}:exit",
    }
    done = subprocess.run(
        [sys.executable, "manage.py", "archive_ticks"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode


def test_the_exit_code_tells_that_a_day_failed(old: list[Instrument], folder: Path) -> None:
    folder.mkdir()
    (folder / str(DAY)).write_text("in the way")
    assert archive_in_a_child(folder, "none") == 1
    assert (RecordDay.objects.count(), Tick.objects.count()) == (0, 102)
    (folder / str(DAY)).unlink()
    assert archive_in_a_child(folder, "none") == 0
    assert RecordDay.objects.get().dropped_at is not None


def head(symbol: str, decimals: int) -> Head:
    chain = Chain(symbol, DAY, decimals)
    for second in range(50):
        chain.add(NOON + timedelta(seconds=second), second + 1, Decimal("1.5") + second)
    return Head(symbol, 50, chain.head)


@pytest.mark.parametrize(("fault", "files", "is_sealed", "has_ticks"), STEPS)
def test_archiving_goes_on_where_it_was_killed(
    old: list[Instrument], folder: Path, fault: str, files: int, is_sealed: bool, has_ticks: bool
) -> None:
    assert archive_in_a_child(folder, fault) == ENDED_BY_ITSELF
    assert len(list(folder.glob("*/*.parquet"))) == files
    assert RecordDay.objects.exists() is RecordPart.objects.exists() is is_sealed
    assert (Tick.objects.count() == 102) is (DAY in selectors.tick_days()) is has_ticks
    maintain_ticks()
    maintain_ticks()
    sealed = RecordDay.objects.get()
    assert bytes(sealed.root) == day_root(DAY, [head("EURUSD", 5), head("USDJPY", 3)])
    assert sealed.dropped_at is not None
    assert DAY not in selectors.tick_days()
    assert verify_day(DAY) == []
    parts = RecordPart.objects.all()
    # Nothing lies there that no part points to, and every tick does, the late ones too.
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) == sorted(
        part.file for part in parts
    )
    assert [pq.read_table(folder / part.file).num_rows for part in parts] == [51, 51]
    for each in old:
        page = selectors.ticks_page(each)
        assert [tick.seq for tick in page] == list(range(1, 51))
    assert EvidenceTick.objects.count() == 0
