"""Files of recorded quotes: CSV, also gzipped, and Parquet; what is wrong is named by its line."""

import csv
import gzip
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from itertools import chain
from pathlib import Path
from typing import Any

from quotes.rules import BEGINNING, ENDLESS

# Microseconds of one unit of each column that can hold the time: times, divided by.
TIMES = {"ts_ms": (1000, 1), "recv_ns": (1, 1000)}
LARGEST = Decimal(10) ** 12
# As far as instants reach.
MOST_MICROSECONDS = (ENDLESS - BEGINNING) // timedelta(microseconds=1)
RecordedQuote = tuple[datetime, Decimal, Decimal]


class InvalidRecording(Exception):
    """The file is not a recording of quotes; says what is wrong, and in which line."""


def read_recording(path: Path) -> Iterator[RecordedQuote]:
    """Read `(at, bid, ask)` by ascending time from columns `ts_ms` or `recv_ns`, `bid`, `ask`.

    Raises InvalidRecording, at the line where it comes to it. Times may repeat.
    """
    rows = _parquet(path) if path.suffix == ".parquet" else _csv(path)
    with _understood(path):
        header = next(rows, None)
        if header is None:
            raise InvalidRecording(f"{path.name} is empty.")
        name = next((each for each in TIMES if each in header), None)
        missing = [each for each in ("bid", "ask") if each not in header]
        if name is None or missing:
            raise InvalidRecording(f"{path.name} needs the columns ts_ms or recv_ns, bid and ask.")
        places = [list(header).index(each) for each in (name, "bid", "ask")]
        last = BEGINNING
        for number, row in enumerate(rows, start=2):
            values = [row[place] for place in places] if len(row) == len(header) else row
            at, bid, ask = _quote(values, name, number)
            if at < last:
                raise InvalidRecording(f"Line {number} of {path.name} goes back in time.")
            last = at
            yield at, bid, ask


def _quote(values: Sequence[Any], name: str, number: int) -> RecordedQuote:
    times, divided = TIMES[name]
    try:
        first, second, third = values
        when, bid, ask = int(first), Decimal(str(second)), Decimal(str(third))
    except (ValueError, TypeError, InvalidOperation):
        raise InvalidRecording(f"Line {number} is not a quote: {', '.join(map(str, values))}") from None
    microseconds = when * times // divided
    if not 0 <= microseconds < MOST_MICROSECONDS:
        raise InvalidRecording(f"Line {number} has no time there is: {when}")
    if not (bid.is_finite() and ask.is_finite() and abs(bid) < LARGEST and abs(ask) < LARGEST):
        raise InvalidRecording(f"Line {number} has no price there is: {bid}, {ask}")
    return BEGINNING + timedelta(microseconds=microseconds), bid, ask


def _csv(path: Path) -> Iterator[Sequence[Any]]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", newline="", encoding="utf-8-sig") as file:
        yield from csv.reader(file)


def _parquet(path: Path) -> Iterator[Sequence[Any]]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        yield file.schema_arrow.names
        batches = (batch.to_pydict() for batch in file.iter_batches())
        yield from chain.from_iterable(zip(*batch.values(), strict=True) for batch in batches)


@contextmanager
def _understood(path: Path) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error, pa.ArrowException) as error:
        raise InvalidRecording(f"{path.name} cannot be read: {error}") from error
