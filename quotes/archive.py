"""The archive: a folder or S3 bucket of Parquet files, one per instrument and day, queried with DuckDB."""

import hashlib
import os
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import date, datetime, timedelta
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from django.conf import settings

from config.core.secrets import SecretMissing, get_secret
from quotes.rules import BEGINNING, Bar
from quotes.rules.chain import ArchivedTick, microseconds

SCHEMA = pa.schema(
    [
        ("at", pa.timestamp("us", tz="UTC")),
        ("seq", pa.int64()),
        ("price", pa.decimal128(20, 8)),
        ("is_late", pa.bool_()),
    ]
)
ROWS_AT_ONCE = 65_536
CHUNK_BYTES = 1 << 18
MAKING = ".making"
# Nobody writes a file for that long.
LEFT_BEHIND_SECONDS = 86_400
Point = tuple[datetime, int, Any]


class ArchiveFailed(Exception):
    """The archive cannot be reached, or does not hold what the record says; says which file."""


class Stored(NamedTuple):
    """A file of the archive and what it is known by."""

    file: str
    file_bytes: int
    sha256: bytes


@contextmanager
def failures(what: str) -> Iterator[None]:
    """Turn whatever storage, Parquet or DuckDB raise into ArchiveFailed."""
    try:
        yield
    except (OSError, pa.ArrowException, duckdb.Error, SecretMissing) as error:
        raise ArchiveFailed(f"{what}: {str(error).splitlines()[0] if str(error) else error!r}") from error


class Archive:
    """Files by name in one storage; `folder` is where they lie when that is this machine's disk."""

    def __init__(self, filesystem: pafs.FileSystem, folder: Path | None = None) -> None:
        self._files, self._folder = filesystem, folder

    def write(self, day: date, name: str, rows: Iterable[ArchivedTick]) -> Stored:
        """Write rows, ascending by `(at, seq)`, as `<day>/<name>-<hash of the content>.parquet`.

        Nothing has that name before it is whole, and the same rows have the same name again, so whoever
        is stopped in between starts over, and two who write at once do not meet. What `rows` raises is passed
        on and leaves no file.
        """
        making = f"{day}/.{name}-{secrets.token_hex(8)}{MAKING}"
        try:
            with failures(making):
                self._make_folder(day)
                with self._files.open_output_stream(making) as sink:
                    _write_parquet(sink, rows)
            stored = self.known_by(making)
            file = f"{day}/{name}-{stored.sha256.hex()[:16]}.parquet"
            with failures(file):
                self._sync(making)
                self._files.move(making, file)
        except BaseException:
            self._remove(making)
            raise
        with failures(file):
            self._sync(str(day))
        self.sweep(day)
        return stored._replace(file=file)

    def sweep(self, day: date) -> None:
        """Remove what writers of this day left half made who ended without a word, a day ago or longer."""
        # Storage stamps its files with the real time, whatever ours is.
        oldest = time.time() - LEFT_BEHIND_SECONDS
        with suppress(OSError, pa.ArrowException):
            for each in self._files.get_file_info(pafs.FileSelector(str(day), allow_not_found=True)):
                if each.path.endswith(MAKING) and (each.mtime_ns or 0) / 1e9 < oldest:
                    self._remove(each.path)

    def _remove(self, file: str) -> None:
        with suppress(OSError, pa.ArrowException):
            self._files.delete_file(file)

    def known_by(self, file: str) -> Stored:
        """Return a file's size and SHA-256, read to its end."""
        digest, size = hashlib.sha256(), 0
        for chunk in self.chunks(file):
            digest.update(chunk)
            size += len(chunk)
        return Stored(file, size, digest.digest())

    def chunks(self, file: str, expected_bytes: int | None = None) -> Iterator[bytes]:
        """Read a file in pieces; raise ArchiveFailed at once when it is not there, or not of that size."""
        with failures(file):
            source = self._files.open_input_file(file)
            if expected_bytes is not None and source.size() != expected_bytes:
                raise ArchiveFailed(f"{file}: it has {source.size()} bytes, not {expected_bytes}")
        return _chunks(file, source)

    def rows(self, file: str) -> Iterator[ArchivedTick]:
        """Read a file's rows as they lie in it."""
        with failures(file), self._files.open_input_file(file) as source:
            parquet = pq.ParquetFile(source)
            if parquet.schema_arrow != SCHEMA:
                raise ArchiveFailed(f"{file}: its columns are not those of the record")
            for batch in parquet.iter_batches(batch_size=ROWS_AT_ONCE):
                yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)

    def names(self, day: date) -> list[str]:
        """List the whole files of a day."""
        with failures(str(day)):
            found = self._files.get_file_info(pafs.FileSelector(str(day), allow_not_found=True))
        return sorted(each.path for each in found if each.is_file and each.path.endswith(".parquet"))

    def newest(self, file: str, before: datetime, limit: int) -> list[Point]:
        """Return the newest ticks `(at, seq, price)` of a file before an instant, newest first."""
        return [
            (_instant(at), seq, price)
            for at, seq, price in self._query(file, NEWEST, [microseconds(before), limit])
        ]

    def bars(self, file: str, interval_seconds: int, before: datetime, limit: int) -> list[Bar]:
        """Return the newest candles of a file made of its ticks before an instant, newest first."""
        return [
            Bar(
                _instant(start), first, high, low, last, ticks, _instant(began), low_seq, _instant(ended), top
            )
            for start, first, high, low, last, ticks, began, low_seq, ended, top in self._query(
                file, BARS, [interval_seconds * 1_000_000, microseconds(before), limit]
            )
        ]

    def _query(self, file: str, sql: str, values: list[Any]) -> list[Any]:
        with failures(file), _database().cursor() as cursor:
            part = ds.dataset([file], schema=SCHEMA, filesystem=self._files, format="parquet")
            cursor.register("part", part)
            return cursor.execute(sql, values).fetchall()

    def _make_folder(self, day: date) -> None:
        if self._folder is not None:
            (self._folder / str(day)).mkdir(parents=True, exist_ok=True)
            self._sync("")

    def _sync(self, name: str) -> None:
        """See that a file or folder outlives a power cut, where the disk is ours."""
        if self._folder is not None:
            descriptor = os.open(self._folder / name, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


# DuckDB keeps `at` for itself; instants travel as microseconds, so that no time zone takes part.
NEWEST = """
SELECT epoch_us("at"), seq, price FROM part
WHERE NOT is_late AND "at" < make_timestamptz($1::BIGINT) ORDER BY "at" DESC, seq DESC LIMIT $2
"""
BARS = """
SELECT epoch_us("at") - epoch_us("at") % $1 AS start, arg_min(price, seq), max(price), min(price),
       arg_max(price, seq), count(*), min(epoch_us("at")), min(seq), max(epoch_us("at")), max(seq)
FROM part WHERE NOT is_late AND "at" < make_timestamptz($2::BIGINT)
GROUP BY start ORDER BY start DESC LIMIT $3
"""


@lru_cache(maxsize=1)
def _database() -> duckdb.DuckDBPyConnection:
    # It reads what it is handed and nothing else: no file, no address, no extension.
    limits: dict[str, Any] = {
        "threads": 2,
        "memory_limit": "512MB",
        "enable_external_access": False,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "lock_configuration": True,
    }
    return duckdb.connect(":memory:", config=limits)


def _instant(at: int) -> datetime:
    return BEGINNING + timedelta(microseconds=at)


def _chunks(file: str, stream: Any) -> Iterator[bytes]:
    with failures(file), stream:
        while chunk := stream.read(CHUNK_BYTES):
            yield chunk


def _write_parquet(sink: Any, rows: Iterable[ArchivedTick]) -> None:
    """Write rows as one row group per batch; instants and numbers as differences: ~3 bytes a tick."""
    with pq.ParquetWriter(
        sink,
        SCHEMA,
        compression="zstd",
        use_dictionary=["price", "is_late"],
        column_encoding={"at": "DELTA_BINARY_PACKED", "seq": "DELTA_BINARY_PACKED"},
    ) as writer:
        source = iter(rows)
        while batch := list(islice(source, ROWS_AT_ONCE)):
            columns = [
                pa.array(column, field.type)
                for column, field in zip(zip(*batch, strict=True), SCHEMA, strict=True)
            ]
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=SCHEMA))


def archive() -> Archive:
    """Return the archive that the settings name; raise ArchiveFailed when it cannot be had."""
    return _archive(settings.ARCHIVE_URL, settings.S3_ENDPOINT_URL)


@lru_cache(maxsize=4)
def _archive(url: str, endpoint: str) -> Archive:
    parts = urlsplit(url)
    with failures(url):
        if parts.scheme == "s3":
            return Archive(
                pafs.SubTreeFileSystem(f"{parts.netloc}{parts.path}".rstrip("/"), _s3(parts.netloc, endpoint))
            )
        folder = Path(url).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        return Archive(pafs.SubTreeFileSystem(str(folder), pafs.LocalFileSystem()), folder)


def _s3(bucket: str, endpoint: str) -> pafs.S3FileSystem:
    # Somebody may wait for a page that needs a file: what does not answer soon is away.
    reach: dict[str, Any] = {
        "access_key": get_secret("archive-key-id"),
        "secret_key": get_secret("archive-key"),
        "connect_timeout": 3,
        "request_timeout": 20,
        "retry_strategy": pafs.AwsStandardS3RetryStrategy(max_attempts=2),
    }
    if endpoint:
        where = urlsplit(endpoint)
        return pafs.S3FileSystem(
            **reach, endpoint_override=where.netloc, scheme=where.scheme or "https", region="us-east-1"
        )
    return pafs.S3FileSystem(**reach, region=pafs.resolve_s3_region(bucket))
