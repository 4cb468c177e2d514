"""`make run`: the servers, the database brought up to date, and every role of the Procfile, until Ctrl-C."""

import asyncio
import json
import os
import re
import shutil
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psycopg
import redis

from config.embedded import environment as env
from config.embedded.machine import check_disk, port_is_free, remembered_secrets
from config.embedded.processes import PidFile, Program
from config.embedded.refusal import StartRefused
from config.embedded.servers import READY_SECONDS, Servers, locked
from config.embedded.supervisor import Console, Supervisor, describe, stop_event

DEFAULT_PORTS = {"WEB_PORT": 8000, "GATEWAY_PORT": 8001, "METRICS_PORT_BASE": 9100}
ROLE_READY_SECONDS = 60.0
# Metrics ports are claimed in rows of so many.
ROW = 20
# Stopped last, in this order.
SERVERS = ("valkey", "postgres")


def claim_row(base: int, size: int, others: set[int]) -> tuple[int, socket.socket | None]:
    """Return the first row of free ports, and a socket that tells other starts that it is taken.

    The roles listen seconds later; until then two starts at once would choose the same row.
    """
    for first in range(base, 60_000, ROW):
        row = range(first, first + size)
        guard = socket.socket()
        try:
            guard.bind(("127.0.0.1", first + ROW - 1))
        except OSError:
            guard.close()
            continue
        if others.isdisjoint(row) and all(port_is_free("127.0.0.1", port) for port in row):
            return first, guard
        guard.close()
    return base, None


def read_procfile(path: Path) -> dict[str, str]:
    """Return the command of each role, in the order of the file."""
    lines = re.findall(r"^([a-z_]+):\s*(.+?)\s*$", path.read_text(), flags=re.MULTILINE)
    return dict(lines)


@dataclass(slots=True)
class Ports:
    """Where the roles listen."""

    host: str
    web: int
    gateway: int
    metrics: dict[str, int]
    guard: socket.socket | None = None

    @classmethod
    def choose(cls, environment: Mapping[str, str], roles: list[str]) -> "Ports":
        """Read the ports and refuse those somebody else listens on.

        Nobody types the address of a metrics port, so without METRICS_PORT_BASE the next free row is taken.
        """
        host = environment.get("HOST") or "127.0.0.1"
        web, gateway, base = (env.port(environment, name, default) for name, default in DEFAULT_PORTS.items())
        if web == gateway:
            raise StartRefused(f"WEB_PORT and GATEWAY_PORT are both {web}; give one of them another port.")
        for name, port in (("WEB_PORT", web), ("GATEWAY_PORT", gateway)):
            if not port_is_free(host, port):
                raise StartRefused(f"Port {port} on {host} is in use; choose another one with {name}.")
        guard = None
        if not environment.get("METRICS_PORT_BASE"):
            base, guard = claim_row(base, len(roles), {web, gateway})
        for port in range(base, base + len(roles)):
            if not port_is_free("127.0.0.1", port):
                raise StartRefused(f"Port {port} is in use; choose another METRICS_PORT_BASE.")
        return cls(host, web, gateway, {role: base + index for index, role in enumerate(roles)}, guard)

    def health(self) -> dict[str, int]:
        """Return the port each role answers for its health on: its own where it speaks HTTP anyway."""
        own = {"web": self.web, "gateway": self.gateway}
        return {role: own.get(role, port) for role, port in self.metrics.items()}

    def variables(self) -> dict[str, str]:
        """Return the variables that tell every role."""
        return {"HOST": self.host, "WEB_PORT": str(self.web), "GATEWAY_PORT": str(self.gateway)}


@dataclass(slots=True)
class Platform:
    """One platform from its data folder to its last role."""

    environment: dict[str, str]
    console: Console = field(default_factory=Console)

    async def run(self) -> None:
        """Start everything, wait for a signal, stop everything; raise StartRefused when it cannot start."""
        stop = stop_event()
        data_dir = Path(self.environment["DATA_DIR"])
        with held(data_dir):
            check_disk(data_dir)
            pids = PidFile(data_dir / "pids.json")
            if ended := await asyncio.to_thread(pids.end_leftovers):
                self.console.line("tickhouse", f"ended what an earlier run left behind: {', '.join(ended)}")
            roles = read_procfile(env.ROOT / "Procfile")
            ports = Ports.choose(self.environment, list(roles))
            supervisor = Supervisor(pids, self.console)
            work = asyncio.create_task(self._bring_up(supervisor, roles, ports))
            signalled = asyncio.create_task(stop.wait())
            try:
                await asyncio.wait({work, signalled}, return_when=asyncio.FIRST_COMPLETED)
                if work.done():
                    work.result()
                    await signalled
                self.console.line("tickhouse", "stopping")
            finally:
                work.cancel()
                await asyncio.wait({work})
                await supervisor.stop(*(name for name in supervisor.kept if name not in SERVERS))
                for name in SERVERS:
                    await supervisor.stop(name)
                pids.path.unlink(missing_ok=True)
            self.console.line("tickhouse", "stopped")

    async def _bring_up(self, supervisor: Supervisor, roles: Mapping[str, str], ports: Ports) -> None:
        secrets = remembered_secrets(Path(self.environment["DATA_DIR"]))
        self.environment["SECRET_KEY"] = self.environment.get("SECRET_KEY") or secrets["secret_key"]
        await self._start_servers(supervisor)
        self.environment |= ports.variables()
        argv = (sys.executable, "-m", "config.embedded.prepare")
        quietly = {"PYTHONWARNINGS": "ignore"} | self.environment
        code = await supervisor.run(Program("prepare", argv, quietly, env.ROOT))
        if code != 0:
            raise StartRefused(f"The database could not be brought up to date ({describe(code)}).")
        for name, command in roles.items():
            variables = {"ROLE": name, "METRICS_PORT": str(ports.metrics[name])}
            if name == "web" and self.environment.get("WEB_WORKERS", "1") != "1":
                variables["PROMETHEUS_MULTIPROC_DIR"] = str(self._empty_folder("web-metrics"))
            supervisor.start(role_program(name, command, self.environment | variables))
        late = await self._late_roles(ports)
        self.console.block(self._ready_block(ports, late))

    def _empty_folder(self, name: str) -> Path:
        folder = Path(self.environment["DATA_DIR"]) / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    async def _start_servers(self, supervisor: Supervisor) -> None:
        await asyncio.to_thread(check_outside_servers, self.environment)
        missing = [name for name in ("DATABASE_URL", "REDIS_URL") if not self.environment.get(name)]
        if not missing:
            return
        servers = Servers(Path(self.environment["DATA_DIR"]), say=self.console.block)
        servers.choose_ports()
        own = servers.environment()
        if "DATABASE_URL" in missing:
            supervisor.start(await asyncio.to_thread(servers.postgres))
            await self._server_ready("PostgreSQL", servers.postgres_is_ready)
            await asyncio.to_thread(servers.provision)
            self.environment |= {name: url for name, url in own.items() if name.startswith("DATABASE")}
        if "REDIS_URL" in missing:
            supervisor.start(servers.valkey())
            await self._server_ready("Valkey", servers.valkey_is_ready)
            self.environment["REDIS_URL"] = own["REDIS_URL"]

    @staticmethod
    async def _server_ready(name: str, probe: Callable[[], bool]) -> None:
        async def ask() -> bool:
            return await asyncio.to_thread(probe)

        if not await until(ask, READY_SECONDS):
            raise StartRefused(f"{name} did not start in {READY_SECONDS:.0f} s; its last words are above.")

    @staticmethod
    async def _late_roles(ports: Ports) -> list[str]:
        doors = ports.health()
        answers = await asyncio.gather(
            *(until(partial(answers_ready, port), ROLE_READY_SECONDS) for port in doors.values())
        )
        return [name for name, answer in zip(doors, answers, strict=True) if not answer]

    def _ready_block(self, ports: Ports, late: list[str]) -> str:
        web = f"http://{'127.0.0.1' if ports.host == '0.0.0.0' else ports.host}:{ports.web}"  # noqa: S104
        doors = ", ".join(f"{port} {role}" for role, port in ports.health().items())
        lines = [
            "",
            f"Tickhouse is up, but not ready yet: {', '.join(late)}" if late else "Tickhouse is ready.",
            "",
            f"  Terminal   {web}/",
            f"  Console    {web}/admin/",
            f"  API        {web}/api/docs",
            f"  Sockets    ws://127.0.0.1:{ports.gateway}/ws/v1/",
            f"  Metrics    /metrics on {doors}",
            *sign_in_lines(Path(self.environment["DATA_DIR"]) / "sign-ins.json"),
            "",
            "Ctrl-C stops everything.",
            "",
        ]
        return "\n".join(lines)


def sign_in_lines(path: Path) -> list[str]:
    """Return what the seeds tell about who can sign in."""
    try:
        people = json.loads(path.read_text())
        trader, operator = people["trader"], people["operator"]
        return [
            "",
            f"  Trader     {trader['email']}   {trader['password']}",
            f"  Operator   {operator['email']}   {operator['password']}",
            f"             second factor, before the first sign-in: {operator['enrol_url']}",
        ]
    except (OSError, ValueError, KeyError):
        return []


@contextmanager
def held(data_dir: Path) -> Iterator[None]:
    """Hold the data folder; refuse when another start holds it."""
    try:
        with locked(data_dir) as file:
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield
    except BlockingIOError:
        pid = (data_dir / "lock").read_text() or "unknown"
        raise StartRefused(
            f"Tickhouse already runs on {data_dir} (process {pid}); stop it, or give this one a DATA_DIR, "
            "WEB_PORT and GATEWAY_PORT of its own."
        ) from None


def role_program(name: str, command: str, environment: Mapping[str, str]) -> Program:
    """Return the program of a Procfile line; the shell gives its place to the command."""
    # Threads share malloc arenas, so that a role keeps less memory; warnings are for those who develop.
    variables = {"MALLOC_ARENA_MAX": "2", "PYTHONWARNINGS": "ignore"} | dict(environment)
    return Program(name, ("/bin/sh", "-c", f"exec {command}"), variables, env.ROOT, grace_seconds=12.0)


def check_outside_servers(environment: Mapping[str, str]) -> None:
    """Refuse a start whose DATABASE_URL or REDIS_URL leads nowhere."""
    for name in ("DATABASE_URL", "DATABASE_OWNER_URL"):
        if url := environment.get(name):
            try:
                psycopg.connect(url, connect_timeout=5).close()
            except psycopg.Error as error:
                raise StartRefused(f"{name} cannot be used: {' '.join(str(error).split())}.") from None
    if url := environment.get("REDIS_URL"):
        try:
            with redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5) as client:
                client.ping()
        except (redis.RedisError, ValueError) as error:
            raise StartRefused(f"REDIS_URL cannot be used: {error}.") from None


async def answers_ready(port: int) -> bool:
    """Whether /readyz on that port says 200."""
    try:
        async with asyncio.timeout(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            status = await reader.readline()
            writer.close()
    except (OSError, TimeoutError):
        return False
    return b" 200" in status


async def until(probe: Callable[[], Awaitable[bool]], seconds: float) -> bool:
    """Ask until the answer is yes; return whether it came in time."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not await probe():  # noqa: ASYNC110 - it watches another process
                await asyncio.sleep(0.1)
            return True
    return False


def main() -> int:
    """Run the platform; return 1 after one sentence when it cannot start."""
    try:
        asyncio.run(Platform(env.load()).run())
    except StartRefused as refusal:
        print(refusal, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
