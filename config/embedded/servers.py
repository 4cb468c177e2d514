"""A real PostgreSQL and a real Valkey out of their wheels, on 127.0.0.1, under one data folder.

Only the wheels' programs are used (`initdb`, `postgres`, `valkey-server`). Started by root they run as
another user, because PostgreSQL refuses root; their files then lie where that user can enter.
"""

import fcntl
import hashlib
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psutil
import psycopg
import redis
from psycopg import sql

from config.embedded.machine import (
    can_enter,
    check_disk,
    copy_programs,
    free_port,
    make_folder,
    port_is_free,
    postgres_bin,
    remembered_secrets,
    server_user,
    valkey_binary,
    write_private,
)
from config.embedded.processes import Identity, PidFile, Program, end_all, stop
from config.embedded.refusal import StartRefused

OWNER, APPLICATION, DATABASE = "tickhouse_owner", "tickhouse", "tickhouse"
READY_SECONDS = 60.0

POSTGRES_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "300",
    "shared_buffers": "256MB",
    "work_mem": "8MB",
    "maintenance_work_mem": "128MB",
    "max_wal_size": "1GB",
    "checkpoint_timeout": "15min",
    "wal_compression": "on",
    "random_page_cost": "1.1",
    "jit": "off",
    "autovacuum_naptime": "15s",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "warning",
    "password_encryption": "scram-sha-256",
}
# For test runs alone, whose data nobody needs after a power cut.
THROWAWAY_SETTINGS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


def _say(text: str) -> None:
    # Beside the output of the command that the servers run for.
    print(text, file=sys.stderr)


@dataclass(slots=True)
class Servers:
    """The embedded servers of one `data_dir`: where they lie, how they are reached, how they are run.

    `durable=False` trades safety against power cuts for speed; only throwaway test data may have it.
    """

    data_dir: Path
    durable: bool = True
    say: Callable[[str], None] = _say
    home: Path = field(init=False)
    user: str | None = field(init=False)
    passwords: dict[str, str] = field(init=False)
    ports: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self.data_dir = self.data_dir.resolve()
        make_folder(self.data_dir)
        check_disk(self.data_dir)
        self.user = server_user()
        self.home = self._choose_home()
        self.passwords = self._remembered_passwords()
        self.ports = self._remembered_ports()

    # --- where -------------------------------------------------------------------------------------------

    def _choose_home(self) -> Path:
        inside = self.data_dir / "servers"
        is_new = not inside.exists()
        inside.mkdir(mode=0o700 if self.user is None else 0o711, exist_ok=True)
        if self.user is None or can_enter(self.user, inside):
            return inside
        name = "tickhouse-" + hashlib.sha256(bytes(self.data_dir)).hexdigest()[:12]
        parent = next(p for p in (Path("/var/lib"), Path(tempfile.gettempdir())) if os.access(p, os.W_OK))
        home = parent / name
        home.mkdir(mode=0o711, exist_ok=True)
        if home.is_symlink() or home.stat().st_uid != os.getuid():
            raise StartRefused(f"{home} belongs to somebody else; remove it or choose another DATA_DIR.")
        if is_new:  # what lies there served a DATA_DIR that was deleted, and its passwords with it
            shutil.rmtree(home / "postgres", ignore_errors=True)
        check_disk(home)
        self.say(f"User {self.user}, who runs the servers, cannot enter {inside}: their data is in {home}.")
        return home

    def _remembered_passwords(self) -> dict[str, str]:
        is_known = (self.data_dir / "secrets.json").exists()
        if not is_known and (self.home / "postgres" / "PG_VERSION").exists():
            raise StartRefused(f"{self.data_dir}/secrets.json is gone: put it back, or remove {self.home}.")
        return remembered_secrets(self.data_dir)

    def _remembered_ports(self) -> dict[str, int]:
        path = self.data_dir / "ports.json"
        with suppress(FileNotFoundError, ValueError):
            return {name: int(port) for name, port in json.loads(path.read_text()).items()}
        return {"postgres": 0, "valkey": 0}

    def choose_ports(self) -> None:
        """Keep the remembered ports where they are still free, choose others where not."""
        for name, port in self.ports.items():
            if not port or not port_is_free("127.0.0.1", port):
                self.ports[name] = free_port(taken=set(self.ports.values()))
        (self.data_dir / "ports.json").write_text(json.dumps(self.ports))

    def environment(self, database: str = DATABASE) -> dict[str, str]:
        """Return the variables by which the platform finds these servers."""

        def url(user: str, password: str) -> str:
            return f"postgresql://{user}:{password}@127.0.0.1:{self.ports['postgres']}/{database}"

        application = url(APPLICATION, self.passwords["application"])
        return {
            "DATABASE_URL": application,
            "DATABASE_OWNER_URL": url(OWNER, self.passwords["owner"]),
            "DATABASE_DIRECT_URL": application,
            "REDIS_URL": f"redis://:{self.passwords['valkey']}@127.0.0.1:{self.ports['valkey']}/0",
        }

    def superuser_dsn(self) -> str:
        """Return the connection string of the cluster's superuser, for provisioning and drills only."""
        return (
            f"host=127.0.0.1 port={self.ports['postgres']} user=postgres dbname=postgres connect_timeout=3 "
            f"password={self.passwords['superuser']}"
        )

    # --- PostgreSQL --------------------------------------------------------------------------------------

    def postgres(self) -> Program:
        """Prepare the cluster (initdb, settings, a stale lock file) and return the program that serves it."""
        data = self._server_folder("postgres")
        bin_dir = self._reachable(postgres_bin(data))
        if not (data / "PG_VERSION").exists():
            self._initdb(bin_dir, data)
        settings = POSTGRES_SETTINGS | {"port": str(self.ports["postgres"])}
        if not self.durable:
            settings |= THROWAWAY_SETTINGS
        self._write_for_server(
            data / "postgresql.conf", "".join(f"{name} = '{value}'\n" for name, value in settings.items())
        )
        self._write_for_server(data / "pg_hba.conf", "host all all 127.0.0.1/32 scram-sha-256\n")
        end_stray_postmaster(data)
        # A fast shutdown: open connections are ended, everything committed stays.
        return Program(
            "postgres",
            (str(bin_dir / "postgres"), "-D", str(data)),
            {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
            data,
            self.user,
            stop_signal=signal.SIGINT,
            quiet=True,
        )

    def _initdb(self, bin_dir: Path, data: Path) -> None:
        for leftover in data.iterdir():
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        password_file = self.home / "initdb-password"
        self._write_for_server(password_file, self.passwords["superuser"])
        command = [
            *(str(bin_dir / "initdb"), "-D", str(data), "-U", "postgres", f"--pwfile={password_file}"),
            *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--data-checksums"),
            *(() if self.durable else ("--no-sync",)),
        ]
        program = Program("initdb", tuple(command), {"PATH": os.defpath, "LC_ALL": "C"}, self.home, self.user)
        options = program.popen_options()
        done = subprocess.run(program.argv, capture_output=True, text=True, check=False, **options)
        password_file.unlink()
        if done.returncode:
            (data / "PG_VERSION").unlink(missing_ok=True)
            last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
            raise StartRefused(f"PostgreSQL's data could not be made in {data}: {' '.join(last)}")

    def postgres_is_ready(self) -> bool:
        """Whether the cluster takes connections."""
        try:
            psycopg.connect(self.superuser_dsn()).close()
        except psycopg.OperationalError:
            return False
        return True

    def provision(self) -> None:
        """Create the two roles and the database, or bring them up to date; safe to repeat."""
        with psycopg.connect(self.superuser_dsn(), autocommit=True) as connection:
            for role, key, options in (
                (OWNER, "owner", "CREATEDB"),
                (APPLICATION, "application", "NOCREATEDB NOSUPERUSER NOCREATEROLE"),
            ):
                known = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone()
                connection.execute(
                    sql.SQL("{} ROLE {} LOGIN {} PASSWORD {}").format(
                        sql.SQL("ALTER" if known else "CREATE"),
                        sql.Identifier(role),
                        sql.SQL(options),
                        sql.Literal(self.passwords[key]),
                    )
                )
            application, owner = sql.Identifier(APPLICATION), sql.Identifier(OWNER)
            connection.execute(sql.SQL("ALTER ROLE {} SET lock_timeout = '2s'").format(application))
            connection.execute(sql.SQL("ALTER ROLE {} SET statement_timeout = '10s'").format(application))
            # The owner may end the application's connections, as operators and drills do.
            connection.execute(sql.SQL("GRANT {} TO {}").format(application, owner))
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
                connection.execute(
                    sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(DATABASE), owner)
                )

    # --- Valkey ------------------------------------------------------------------------------------------

    def valkey(self) -> Program:
        """Write the configuration and return the program that serves it."""
        folder = self._server_folder("valkey")
        binary = self._reachable(valkey_binary().parent) / "valkey-server"
        lines = {
            "bind": "127.0.0.1",
            "port": str(self.ports["valkey"]),
            "requirepass": self.passwords["valkey"],
            "dir": json.dumps(str(folder)),
            "save": '""',
            "appendonly": "yes" if self.durable else "no",
            "loglevel": "warning",
            "client-output-buffer-limit": "pubsub 64mb 16mb 30",
        }
        self._write_for_server(folder / "valkey.conf", "".join(f"{k} {v}\n" for k, v in lines.items()))
        argv = (str(binary), str(folder / "valkey.conf"))
        return Program("valkey", argv, {"PATH": os.defpath, "LC_ALL": "C"}, folder, self.user, quiet=True)

    def valkey_is_ready(self) -> bool:
        """Whether it answers."""
        try:
            with redis.Redis.from_url(self.environment()["REDIS_URL"], socket_timeout=2) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    # --- files of the servers' user ----------------------------------------------------------------------

    def _server_folder(self, name: str) -> Path:
        folder = self.home / name
        folder.mkdir(mode=0o700, exist_ok=True)
        self._give(folder)
        return folder

    def _write_for_server(self, path: Path, text: str) -> None:
        write_private(path, text)
        self._give(path)

    def _give(self, path: Path) -> None:
        if self.user is not None:
            account = pwd.getpwnam(self.user)
            os.chown(path, account.pw_uid, account.pw_gid)

    def _reachable(self, bin_dir: Path) -> Path:
        """Return the programs' folder, or a copy of it where the servers' user can run them."""
        if self.user is None or can_enter(self.user, bin_dir):
            return bin_dir
        return copy_programs(bin_dir, self.home / "programs")


def end_stray_postmaster(data: Path) -> None:
    """End a server still running on this folder, and drop the lock file of one that is gone."""
    lock = data / "postmaster.pid"
    try:
        pid = int(lock.read_text().split("\n", 1)[0])
        process = psutil.Process(pid)
        if "postgres" in process.name() and Path(process.cwd()) == data:
            end_all([Identity.of("postgres", pid, signal.SIGINT)], grace_seconds=10)
    except (FileNotFoundError, ValueError, psutil.Error):
        pass
    lock.unlink(missing_ok=True)


# --- servers without a supervisor: tests, benches, drills -----------------------------------------------


@contextmanager
def locked(data_dir: Path) -> Iterator[IO[str]]:
    """Hold the folder for this process; raise BlockingIOError when another one holds it."""
    make_folder(data_dir)
    with open(data_dir / "lock", "a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield file


@contextmanager
def running(data_dir: Path, *, durable: bool) -> Iterator[Servers]:
    """Run both servers for the length of the block; the folder must be held by `locked`."""
    servers = Servers(data_dir, durable=durable)
    pids = PidFile(servers.data_dir / "pids.json")
    pids.end_leftovers()
    servers.choose_ports()
    started: list[tuple[subprocess.Popen[bytes], Program]] = []
    log_path = servers.data_dir / "servers.log"
    try:
        with open(log_path, "wb") as log:
            for program in (servers.postgres(), servers.valkey()):
                process = subprocess.Popen(program.argv, stdout=log, stderr=log, **program.popen_options())
                started.append((process, program))
                pids.record(Identity.of(program.name, process.pid, program.stop_signal))
        for name, probe in (("PostgreSQL", servers.postgres_is_ready), ("Valkey", servers.valkey_is_ready)):
            wait_until(probe, name, lambda: all(process.poll() is None for process, _ in started), log_path)
        servers.provision()
        yield servers
    finally:
        for process, program in reversed(started):
            stop(process, program)
        pids.path.unlink(missing_ok=True)


def wait_until(probe: Callable[[], bool], name: str, alive: Callable[[], bool], log_path: Path) -> None:
    """Wait for a server to answer; refuse with its last words when it does not."""
    deadline = time.monotonic() + READY_SECONDS
    while not probe():
        if not alive() or time.monotonic() > deadline:
            words = " / ".join(log_path.read_text(errors="replace").strip().splitlines()[-3:])
            raise StartRefused(f"{name} did not start: {words}")
        time.sleep(0.05)
