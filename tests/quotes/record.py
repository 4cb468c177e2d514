"""A recorded day that is over, and an archive of the test's own."""

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.conf import settings as django_settings

from config.core import clock
from quotes import history, retention
from quotes.models import Instrument, RecordPart
from quotes.retention import Span
from quotes.services import open_days, take_over
from quotes.services.partitions import drop_day
from tests.quotes.market import NOON, Clock, instrument, write

DAY = NOON.date()
NEXT = DAY + timedelta(days=1)
MIDNIGHT = 12 * 3600.0
LATE = (3.5, "9.00000")


@pytest.fixture
def folder(tmp_path: Path, settings: Any) -> Path:
    """Where the archive of this test lies."""
    settings.ARCHIVE_URL = str(tmp_path / "archive")
    return tmp_path / "archive"


@pytest.fixture
def declared(monkeypatch: pytest.MonkeyPatch) -> list[Span]:
    """Spans that somebody declares; tests fill the list."""
    spans: list[Span] = []
    monkeypatch.setattr(retention, "_declared", [lambda start, end: list(spans)])
    return spans


class Recorded:
    """EURUSD with sixty ticks and a late one from noon on, USDJPY with three; it is past midnight."""

    def __init__(self, noon: Clock) -> None:
        self.clock = noon
        open_days([DAY, NEXT])
        noon.move(-1)
        self.eurusd, self.usdjpy = instrument(), instrument("USDJPY", price_decimals=3)
        self.epoch = take_over([self.eurusd.pk, self.usdjpy.pk])
        write(self.epoch, self.eurusd, [(float(second), f"1.1{second:04d}") for second in range(60)])
        write(self.epoch, self.eurusd, [LATE])
        write(self.epoch, self.usdjpy, [(1, "150.001"), (2, "150.002"), (5, "150.003")])
        noon.instant = NOON + timedelta(hours=12, minutes=5)

    def pass_midnight(self) -> None:
        """Let every watermark pass the end of the day, with a tick of the next."""
        write(self.epoch, self.eurusd, [(MIDNIGHT + 1, "1.20000")])
        write(self.epoch, self.usdjpy, [], until=MIDNIGHT)


@pytest.fixture
def recorded(transactional_db: None, folder: Path, declared: list[Span], noon: Clock) -> Iterator[Recorded]:
    yield Recorded(noon)
    with clock.ticking(noon):
        open_days([DAY, NEXT])
        for day in (DAY, NEXT):
            drop_day(day)
        open_days([DAY + timedelta(days=ahead) for ahead in (-1, 0, 1)])


def part_of(made: Instrument) -> RecordPart:
    return RecordPart.objects.get(instrument=made)


def as_owner(sql: str, *values: Any, table: str | None = None) -> None:
    """Do what neither the application nor a trigger lets anybody do."""
    owner = django_settings.DATABASES["owner"]
    with psycopg.connect(
        host=owner["HOST"],
        port=owner["PORT"] or None,
        user=owner["USER"],
        password=owner["PASSWORD"],
        dbname=owner["NAME"],
    ) as connection:
        if table:
            connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        connection.execute(sql, values)
        if table:
            connection.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")


def are_free() -> bool:
    """Tell whether nobody reads the archive: every place can be had."""
    with ExitStack() as taken:
        places = [history.PAGES] * 2 + [history.BOTH] * 3 + [history.DOWNLOADS] * 2
        for each in places:
            if not each.acquire(blocking=False):
                return False
            taken.callback(each.release)
    return True


PRICES = [Decimal(f"1.1{second:04d}") for second in range(60)]
