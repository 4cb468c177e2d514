"""Drill 2, kill -9 PostgreSQL: what was acknowledged is there, and a repeat tells what became of the rest.

A cluster of its own, started again like any supervised program. Sixteen writers place orders; chance kills
the postmaster, somebody's backend or another of its children. A writer that gets no answer repeats the
command with the same `client_id` until it has one. Sabotage: `synchronous_commit` is off and the WAL's writer
sleeps as long as it may, so that an answer comes before the order is anywhere but in the server's memory.
"""

import itertools
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import dj_database_url
import psutil
import psycopg
from django.core.management import call_command
from django.db import connections

from config.bench.stage import Market, funded_accounts
from config.core.workers import TRANSIENT, close_connections
from config.drills import stage
from config.embedded.processes import Program, stop
from config.embedded.servers import Servers
from payments.ledger.models import Account
from trading.errors import OrderBusy
from trading.facts import OrderView
from trading.models import Order
from trading.selectors import order_of
from trading.services import PlaceOrder, place_order

WRITERS = 16
BACK_WITHIN_SECONDS = 30
# Twice that long nobody waits: the drill itself fails.
PATIENCE_SECONDS = 60
VICTIMS = ["postmaster", "backend", "backend", "another child"]
BY_ITSELF = "by itself"
FORGETFUL = ("-c", "synchronous_commit=off", "-c", "wal_writer_delay=10s", "-c", "wal_writer_flush_after=1GB")
ADDRESS = ("HOST", "PORT", "NAME", "USER", "PASSWORD")


class Postgres:
    """A cluster of the drill's own, and the one who starts it again whenever its postmaster ends."""

    def __init__(self, folder: Path, options: tuple[str, ...]) -> None:
        self.servers = Servers(folder)
        self.servers.choose_ports()
        program = self.servers.postgres()
        self.program: Program = replace(program, argv=(*program.argv, *options))
        self.log = folder / "postgres.log"
        self.process: subprocess.Popen[bytes] | None = None

    def keep(self, stopped: threading.Event) -> None:
        """Start it as often as it ends, until told to stop."""
        while not stopped.is_set():
            with open(self.log, "ab") as log:
                process = subprocess.Popen(
                    self.program.argv, stdout=log, stderr=log, **self.program.popen_options()
                )
            self.process = process
            while process.poll() is None and not stopped.wait(0.02):
                pass
            stopped.wait(0.2)
        stop(process, self.program)

    def checkpoint(self) -> None:
        """Write down what is there: the set-up is in no question, even where WAL waits."""
        with psycopg.connect(self.servers.superuser_dsn(), autocommit=True) as connection:
            connection.execute("CHECKPOINT")

    def kill(self, victim: str, chance: Random) -> str:
        """Kill -9 one of its processes; return which."""
        process = psutil.Process(self.process.pid if self.process else 0)
        if victim == "postmaster":
            process.kill()
            return victim
        # A backend's title ends with its client's address and what it is at.
        children = {child: " ".join(child.cmdline()) for child in process.children()}
        wanted = [child for child, title in children.items() if ("(" in title) == (victim == "backend")]
        chosen = chance.choice(sorted(wanted, key=lambda child: child.pid))
        os.kill(chosen.pid, signal.SIGKILL)
        return victim if victim == "backend" else children[chosen].removeprefix("postgres: ").strip()


@contextmanager
def own_postgres(*options: str) -> Iterator[Postgres]:
    """Run the block on a cluster of its own, migrated, that this process's connections lead to."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tickhouse-drill-")))
        folder.chmod(0o711)  # for root's servers run as somebody else
        postgres = Postgres(folder, options)
        stack.enter_context(stage.working(postgres.keep))
        stage.wait_until(postgres.servers.postgres_is_ready, "PostgreSQL", seconds=PATIENCE_SECONDS)
        postgres.servers.provision()
        stack.enter_context(_connected_to(postgres.servers))
        call_command("migrate", database="owner", verbosity=0)
        yield postgres


@contextmanager
def _connected_to(servers: Servers) -> Iterator[None]:
    urls = servers.environment()
    addresses = {"default": urls["DATABASE_URL"], "owner": urls["DATABASE_OWNER_URL"]}
    before = {alias: {key: connections[alias].settings_dict[key] for key in ADDRESS} for alias in addresses}
    try:
        for alias, url in addresses.items():
            found: dict[str, Any] = {**dj_database_url.parse(url)}
            _lead(alias, {key: found[key] for key in ADDRESS})
        yield
    finally:
        for alias, address in before.items():
            _lead(alias, address)


def _lead(alias: str, address: dict[str, Any]) -> None:
    connections[alias].close()
    connections[alias].settings_dict.update(address)


class Writer:
    """Somebody who places orders with keys of his own and repeats each until it is answered."""

    def __init__(self, account: Account, symbols: list[str], chance: Random) -> None:
        self.account, self.symbols, self.chance = account, symbols, chance
        self.acknowledged: dict[str, OrderView] = {}
        self.answered_from = 0.0
        self.unknown, self.found_done = 0, 0

    def write(self, stopped: threading.Event) -> None:
        """Place one order after the other."""
        for number in itertools.count():
            if stopped.is_set():
                return
            command = PlaceOrder(
                client_id=f"order-{number}",
                account=self.account.pk,
                symbol=self.chance.choice(self.symbols),
                contract="rise_fall",
                side=self.chance.choice(["up", "down"]),
                stake=f"{self.chance.randint(100, 9999) / 100:.2f}",
                duration_seconds=3600,
            )
            self._place(command, time.monotonic() + PATIENCE_SECONDS)

    def _place(self, command: PlaceOrder, until: float) -> None:
        is_unknown = False
        while True:
            began = time.monotonic()
            try:
                placed = place_order(customer_id=self.account.owner_id or 0, command=command)
                break
            except OrderBusy:
                continue
            except TRANSIENT:
                if began > until:
                    raise
                is_unknown = True
                close_connections()
                time.sleep(0.05)
        self.acknowledged[command.client_id] = placed.order
        self.answered_from = began
        self.unknown += is_unknown
        self.found_done += placed.is_replayed


def run(seed: int, dose: int = 30, sabotage: bool = False) -> dict[str, Any]:
    """Kill the server `dose` times; return what was seen, with what did not hold under `broken`."""
    with own_postgres(*(FORGETFUL if sabotage else ())) as postgres:
        market, accounts = Market(4), funded_accounts(WRITERS)
        market.tick("100.00")
        postgres.checkpoint()
        symbols = [instrument.symbol for instrument in market.instruments]
        writers = [
            Writer(account, symbols, stage.chance(seed, number)) for number, account in enumerate(accounts)
        ]
        kills: Counter[str] = Counter()
        waits: list[float] = []
        with stage.working(*(writer.write for writer in writers)):
            for _ in range(dose):
                _kill(postgres, writers, stage.chance(seed, "kill", len(waits)), kills, waits)
        close_connections()  # the main thread's has died with the server
        broken = [f"back after {wait:.1f} s" for wait in waits if wait > BACK_WITHIN_SECONDS]
        broken += [f"the server ended by itself, {kills[BY_ITSELF]} times"] if kills[BY_ITSELF] else []
        broken += [found for writer in writers for found in _amiss(writer)] + stage.money_amiss()
        return stage.report(
            "kill-database",
            seed,
            sabotage,
            broken,
            kills=dict(sorted(kills.items())),
            longest_back_seconds=round(max(waits), 1),
            acknowledged=sum(len(writer.acknowledged) for writer in writers),
            unknown=sum(writer.unknown for writer in writers),
            unknown_that_had_been_done=sum(writer.found_done for writer in writers),
            orders=Order.objects.count(),
        )


def _kill(
    postgres: Postgres, writers: list[Writer], chance: Random, kills: Counter[str], waits: list[float]
) -> None:
    """Let everybody write a little, kill, and wait until everybody has been answered again."""
    time.sleep(chance.uniform(0.1, 1))
    try:
        kills[postgres.kill(chance.choice(VICTIMS), chance)] += 1
    except psutil.NoSuchProcess:  # a server that lost what it had written may end by itself
        kills[BY_ITSELF] += 1
    killed_at = time.monotonic()
    stage.wait_until(
        lambda: all(writer.answered_from > killed_at for writer in writers),
        "everybody answered",
        seconds=PATIENCE_SECONDS,
    )
    waits.append(time.monotonic() - killed_at)


def _amiss(writer: Writer) -> Iterator[str]:
    """Name every acknowledged order that is not there as it was acknowledged, and every one beside them."""
    stored = dict(Order.objects.filter(account=writer.account).values_list("client_id", "pk"))
    for key, order in writer.acknowledged.items():
        pk = stored.pop(key, None)
        if pk is None:
            yield f"order {order.id} was acknowledged and is lost"
        elif (there := order_of(writer.account.owner_id or 0, pk)) != order:
            yield f"order {order.id} was acknowledged as {order} and is {there}"
    for key, pk in stored.items():
        yield f"order {pk} is there, and {key} was never acknowledged"
