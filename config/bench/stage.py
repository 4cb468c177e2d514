"""What every measure stands on: a database of its own, R, processes, a market and funded customers."""

import itertools
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit, urlunsplit

import psycopg
from django.conf import settings
from django.core.management import call_command
from django.db import connections, transaction

from config.core import clock
from config.core.ids import new_id
from config.embedded.machine import postgres_bin
from kyc.models import Jurisdiction, User
from payments.ledger.models import Account
from payments.ledger.services import NewTransfer, open_account, open_book, post
from quotes.models import Instrument
from quotes.services import Stretch, append_ticks, create_calendar, create_instrument, open_days, take_over
from trading.models import BookTerms
from trading.services import set_terms

PROGRESS = sys.stderr
# Several markets and crowds may share one database.
_numbers = itertools.count()


@dataclass
class Row:
    """One measured figure. `value` in `unit`; latencies in milliseconds where they mean something."""

    name: str
    value: float
    unit: str
    R: float = 0.0
    ratio: float = 0.0
    p50_ms: float | None = None
    p99_ms: float | None = None


def say(text: str) -> None:
    """Show progress."""
    PROGRESS.write(f"  {text}\n")
    PROGRESS.flush()


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which that share of the values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def renamed(url: str, database: str) -> str:
    """Return the same address with another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))


@contextmanager
def own_database() -> Iterator[None]:
    """Run the block against a new, migrated database beside the configured one; drop it afterwards."""
    name = f"tickhouse_bench_{os.getpid()}"
    addresses = {
        variable: os.environ.get(variable) or os.environ["DATABASE_URL"]
        for variable in ("DATABASE_URL", "DATABASE_OWNER_URL", "DATABASE_DIRECT_URL")
    }
    owner = addresses["DATABASE_OWNER_URL"]
    with psycopg.connect(owner, autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{name}"')
    ours = {variable: renamed(url, name) for variable, url in addresses.items()}
    ours["REDIS_PREFIX"] = f"bench_{os.getpid()}:"
    configured = (
        settings.REDIS_PREFIX,
        settings.DATABASE_DIRECT_URL,
        connections["default"].settings_dict["NAME"],
    )
    with patch.dict(os.environ, ours):
        _use(ours["REDIS_PREFIX"], ours["DATABASE_DIRECT_URL"], name)
        try:
            call_command("migrate", database="owner", verbosity=0)
            yield
        finally:
            _use(*configured)
            _drop_database(owner, name)


def _use(redis_prefix: str, direct_url: str, database: str) -> None:
    settings.REDIS_PREFIX, settings.DATABASE_DIRECT_URL = redis_prefix, direct_url
    connections.close_all()
    for alias in ("default", "owner"):
        connections[alias].settings_dict["NAME"] = database


def _drop_database(owner: str, name: str) -> None:
    deadline = time.monotonic() + 60
    with psycopg.connect(owner, autocommit=True) as admin:
        while True:
            try:
                admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
                return
            except psycopg.errors.InsufficientPrivilege:
                # An autovacuum worker is at it, which only a superuser may end; it ends by itself.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)


def measure_r(seconds: int = 10) -> float:
    """Return R: transactions per second of pgbench's TPC-B, scale 10, 8 clients, prepared, on this server."""
    database = f"tickhouse_pgbench_{os.getpid()}"
    owner = os.environ.get("DATABASE_OWNER_URL") or os.environ["DATABASE_URL"]
    pgbench = str(postgres_bin(Path("none")) / "pgbench")
    with psycopg.connect(owner, autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{database}"')
    try:
        url = renamed(owner, database)
        subprocess.run([pgbench, "-i", "-s", "10", "-q", url], check=True, capture_output=True)
        command = [pgbench, "-M", "prepared", "-c", "8", "-j", "2", "-T", str(seconds), url]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    finally:
        _drop_database(owner, database)
    found = re.search(r"tps = ([\d.]+)", output)
    if found is None:
        raise RuntimeError(f"pgbench said nothing of tps: {output}")
    return float(found[1])


@contextmanager
def process(*command: str, **variables: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a command of this project for the length of the block."""
    environment = {**os.environ, "LOG_LEVEL": "WARNING", **variables}
    started = subprocess.Popen([sys.executable, *command], env=environment)
    try:
        yield started
    finally:
        started.terminate()
        try:
            started.wait(10)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


def free_port() -> int:
    """Return a port nobody listens on."""
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def wait_for_port(port: int, seconds: float = 30) -> None:
    """Wait until somebody answers there."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(OSError), closing(socket.create_connection(("127.0.0.1", port), timeout=1)):
            return
        time.sleep(0.1)
    raise RuntimeError(f"nobody answers on port {port}")


@contextmanager
def web() -> Iterator[int]:
    """Run the web role for the length of the block, as the Procfile does; yield its port."""
    port = free_port()
    command = (
        "-m",
        "granian",
        "--interface",
        "wsgi",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--http",
        "1",
    )
    workers = ("--no-ws", "--workers", os.environ.get("WEB_WORKERS", "2"), "--blocking-threads", "4")
    quiet = ("--no-access-log", "--log-level", "warning")
    with process(*command, *workers, *quiet, "config.wsgi:application"):
        wait_for_port(port)
        yield port


class Market:
    """Instruments with terms that take any number of orders, quoted by hand."""

    def __init__(self, count: int) -> None:
        now = clock.now()
        open_days([(now + timedelta(days=day)).date() for day in (-1, 0, 1)])
        calendar = create_calendar(code="always")
        self.instruments = [self._instrument(f"BENCH{next(_numbers)}", calendar) for _ in range(count)]
        self.epoch = take_over([instrument.pk for instrument in self.instruments])

    def _instrument(self, symbol: str, calendar: Any) -> Instrument:
        instrument = create_instrument(
            symbol=symbol,
            name=symbol,
            instrument_class="volatility",
            price_decimals=2,
            calendar=calendar,
            source="replay",
            source_symbol=symbol,
            max_quote_age_ms=3_600_000,
        )
        set_terms(
            instrument=instrument,
            actor=None,
            reason="bench",
            contracts=["rise_fall"],
            fixed_rate=Decimal("0.85"),
            min_rate=Decimal("0.5"),
            max_rate=Decimal("0.95"),
            min_stake=Decimal("1"),
            max_stake=Decimal("1000"),
            min_duration_seconds=5,
            max_duration_seconds=7200,
            max_open_orders=1_000_000,
        )
        return instrument

    def tick(self, price: str, at: Any = None, *, until: Any = None) -> None:
        """Write one tick of every instrument."""
        at = at or clock.now()
        stretch = Stretch(until=until or at, ticks=[(at, Decimal(price))], source="replay")
        append_ticks(epoch=self.epoch, stretches={instrument.pk: stretch for instrument in self.instruments})


def real_book() -> Any:
    """Open a book of real money that trades everything, where the law allows it."""
    Jurisdiction.objects.get_or_create(
        country="AE", defaults={"allows_real": True, "licence_reference": "BENCH"}
    )
    book = open_book(code="bench", name="Bench", kind="real", currency="USD", scale=2)
    BookTerms.objects.get_or_create(book=book, defaults={"all_instruments": True})
    return book


def funded_accounts(count: int, amount: str = "1000000.00") -> list[Account]:
    """Make customers with an account each that holds that much."""
    book = real_book()
    now = clock.now()
    users = User.objects.bulk_create(
        [
            User(email=f"bench{next(_numbers)}@example.com", country="AE", registered_at=now)
            for _ in range(count)
        ]
    )
    accounts = [open_account(owner_id=user.pk, book=book) for user in users]
    capital = Account.objects.get(book=book, code=Account.Code.CAPITAL, owner=None)
    with transaction.atomic():
        post(
            [
                NewTransfer(new_id(), capital.pk, account.pk, Decimal(amount), "deposit", "bench")
                for account in accounts
            ]
        )
    return accounts


def settled_tables() -> None:
    """Let the planner see the tables as they are.

    Those of long histories are analysed alone: reading all of them here would leave nothing of what is
    measured in memory, which autovacuum does not do in life.
    """
    with connections["owner"].cursor() as cursor:
        cursor.execute(
            "SELECT oid::regclass::text, pg_table_size(oid) > 2^28 FROM pg_class "
            "WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        )
        for table, is_long in cursor.fetchall():
            cursor.execute(f"{'ANALYZE' if is_long else 'VACUUM ANALYZE'} {table}")


Measure = Callable[[], Row]
