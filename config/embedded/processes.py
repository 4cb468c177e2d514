"""Processes by identity: what we started is ended by us, whatever became of the process that started it."""

import json
import os
import pwd
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

# Two readings of one process's start differ by the clock tick and by small corrections of the wall clock.
START_TOLERANCE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Program:
    """What to run: `argv` in `cwd` with exactly `env`, as `user` (a name) or as ourselves.

    What a `quiet` one writes is shown only when it dies.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path
    user: str | None = None
    stop_signal: int = signal.SIGTERM
    grace_seconds: float = 10.0
    quiet: bool = False

    def popen_options(self) -> dict[str, Any]:
        """Return the keyword arguments that start it in a session of its own, with which its children end."""
        options: dict[str, Any] = {"env": dict(self.env), "cwd": self.cwd, "start_new_session": True}
        if self.user is not None:
            account = pwd.getpwnam(self.user)
            options |= {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        return options


@dataclass(frozen=True, slots=True)
class Identity:
    """A process that cannot be mistaken for a later one with the same number. `started`: Unix seconds."""

    name: str
    pid: int
    started: float
    stop_signal: int = signal.SIGTERM

    @classmethod
    def of(cls, name: str, pid: int, stop_signal: int = signal.SIGTERM) -> "Identity":
        """Read the identity of a process just started by us."""
        return cls(name, pid, _started(pid), stop_signal)

    def is_alive(self) -> bool:
        """Whether this very process still runs."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) <= START_TOLERANCE_SECONDS
            return same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def survivors(self) -> list[int]:
        """Return the processes of its session; none when its number already belongs to somebody else."""
        try:
            leader: psutil.Process | None = psutil.Process(self.pid)
        except psutil.NoSuchProcess:
            leader = None
        if leader and abs(leader.create_time() - self.started) > START_TOLERANCE_SECONDS:
            return []
        return [pid for pid in _session(self.pid) if _started(pid) >= self.started - START_TOLERANCE_SECONDS]


def _session(leader: int) -> list[int]:
    members = []
    for pid in psutil.pids():
        try:
            if os.getsid(pid) == leader and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                members.append(pid)
        except (OSError, psutil.Error):
            continue
    return members


def _started(pid: int) -> float:
    try:
        return psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return 0.0


def send(pids: Iterable[int], number: int) -> None:
    """Signal the processes; one that is gone already is no error."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


@dataclass(slots=True)
class PidFile:
    """The list of what we started, on disk before anything else may go wrong."""

    path: Path
    entries: dict[str, Identity] = field(default_factory=dict)

    def record(self, identity: Identity) -> None:
        """Add or replace the entry of that name."""
        self.entries[identity.name] = identity
        self._write()

    def forget(self, name: str) -> None:
        """Remove the entry of that name, if there is one."""
        if self.entries.pop(name, None):
            self._write()

    def _write(self) -> None:
        scratch = self.path.with_suffix(".new")
        scratch.write_text(json.dumps([asdict(entry) for entry in self.entries.values()], indent=1))
        scratch.replace(self.path)

    def end_leftovers(self, grace_seconds: float = 8.0) -> list[str]:
        """End what an earlier run recorded and left behind; return the names ended."""
        left = [entry for entry in self._recorded() if entry.pid != os.getpid() and entry.survivors()]
        end_all(left, grace_seconds)
        self.path.unlink(missing_ok=True)
        return [entry.name for entry in left]

    def _recorded(self) -> list[Identity]:
        try:
            return [Identity(**entry) for entry in json.loads(self.path.read_text())]
        except (FileNotFoundError, ValueError, TypeError):
            return []


def end_all(identities: Sequence[Identity], grace_seconds: float) -> None:
    """Ask the processes to stop, all at once, and end their whole sessions after the grace."""
    for identity in identities:
        if identity.is_alive():
            send([identity.pid], identity.stop_signal)
    deadline = time.monotonic() + grace_seconds
    while any(identity.survivors() for identity in identities) and time.monotonic() < deadline + 5:
        for identity in identities:
            # Whoever outlives its leader was not asked, and has nobody to tell it.
            if not identity.is_alive() or time.monotonic() > deadline:
                send(identity.survivors(), signal.SIGKILL)
        time.sleep(0.05)


def stop(process: "subprocess.Popen[bytes]", program: Program) -> None:
    """Stop a program started here and everything of its session; returns when none is left."""
    identity = Identity.of(program.name, process.pid, program.stop_signal)
    if process.poll() is None:
        process.send_signal(program.stop_signal)
        try:
            process.wait(program.grace_seconds)
        except subprocess.TimeoutExpired:
            send(identity.survivors(), signal.SIGKILL)
    send(identity.survivors(), signal.SIGKILL)
    process.wait()
