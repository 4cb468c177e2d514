"""Keep programs running: prefix their output, restart what dies, stop everything at the end."""

import asyncio
import os
import signal
import sys
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TextIO

from config.embedded.processes import Identity, PidFile, Program, send

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 10.0
# A program that lived this long starts again after the shortest pause.
STEADY_SECONDS = 20.0
COLOURS = (36, 32, 33, 35, 34, 96, 92, 93, 95)
LONGEST_LINE_BYTES = 64 * 1024


@dataclass(slots=True)
class Console:
    """Lines of many programs on one output, each behind its program's name."""

    output: TextIO = field(default_factory=lambda: sys.stdout)
    names: list[str] = field(default_factory=list)

    def line(self, name: str, text: str) -> None:
        """Write one line of that program."""
        self.block(f"{self._prefix(name)} {text}")

    def block(self, text: str) -> None:
        """Write lines without a prefix; an output nobody reads any more does not stop the platform."""
        with suppress(OSError, ValueError):
            self.output.write(f"{text}\n")
            self.output.flush()

    def _prefix(self, name: str) -> str:
        label = f"{name:<9}|"
        if not self.output.isatty():
            return label
        if name not in self.names:
            self.names.append(name)
        return f"\033[{COLOURS[self.names.index(name) % len(COLOURS)]}m{label}\033[0m"


@dataclass(slots=True)
class Kept:
    """A program under supervision."""

    program: Program
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    process: asyncio.subprocess.Process | None = None
    identity: Identity | None = None
    task: asyncio.Task[Any] | None = None
    last_words: deque[str] = field(default_factory=lambda: deque(maxlen=12))

    def is_running(self) -> bool:
        """Whether its process has not ended."""
        return self.process is not None and self.process.returncode is None


class Supervisor:
    """Starts programs, restarts them after a growing pause when they die, and leaves no process behind."""

    def __init__(self, pids: PidFile, console: Console) -> None:
        self.pids = pids
        self.console = console
        self.kept: dict[str, Kept] = {}

    def start(self, program: Program) -> None:
        """Start the program and keep it running until `stop`."""
        kept = self.kept[program.name] = Kept(program)
        kept.task = asyncio.create_task(self._keep(kept), name=program.name)

    def is_running(self, name: str) -> bool:
        """Whether that program has a process now."""
        return self.kept[name].is_running()

    async def _keep(self, kept: Kept) -> None:
        pause = FIRST_PAUSE_SECONDS
        while not kept.stopping.is_set():
            began = time.monotonic()
            ending = describe(await self._run_once(kept))
            if kept.stopping.is_set():
                return
            for line in kept.last_words:
                self.console.line(kept.program.name, line)
            kept.last_words.clear()
            if time.monotonic() - began > STEADY_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            self.console.line("tickhouse", f"{kept.program.name} {ending}; it starts again in {pause:.1f} s")
            with suppress(TimeoutError):
                await asyncio.wait_for(kept.stopping.wait(), pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def run(self, program: Program) -> int | None:
        """Run the program once; return its exit code, negative for a signal, None when it cannot start."""
        kept = self.kept[program.name] = Kept(program)
        kept.task = asyncio.create_task(self._run_once(kept), name=program.name)
        return await asyncio.shield(kept.task)

    async def _run_once(self, kept: Kept) -> int | None:
        program = kept.program
        # A pipe of ours: asyncio's own would hide the end of a program while a child of it holds the output.
        read_end, write_end = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *program.argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=write_end,
                stderr=write_end,
                **program.popen_options(),
            )
        except OSError as error:
            os.close(read_end)
            self.console.line(program.name, str(error))
            return None
        finally:
            os.close(write_end)
        kept.process = process
        kept.identity = Identity.of(program.name, process.pid, program.stop_signal)
        self.pids.record(kept.identity)
        if kept.stopping.is_set():  # asked to stop while it was being started
            self._ask_to_stop(kept)
        output = asyncio.create_task(self._forward(kept, read_end))
        code = await process.wait()
        # Children that outlive their leader would work beside its successor.
        send(kept.identity.survivors(), signal.SIGKILL)
        with suppress(TimeoutError):
            await asyncio.wait_for(output, timeout=2)
        self.pids.forget(program.name)
        return code

    async def _forward(self, kept: Kept, read_end: int) -> None:
        stream, rest = asyncio.StreamReader(), b""
        protocol = asyncio.StreamReaderProtocol(stream)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: protocol, os.fdopen(read_end, "rb", buffering=0)
        )
        try:
            while chunk := await stream.read(LONGEST_LINE_BYTES):
                *lines, rest = (rest + chunk).split(b"\n")
                if len(rest) >= LONGEST_LINE_BYTES:
                    lines, rest = [*lines, rest], b""
                for line in lines:
                    self._show(kept, line)
        finally:
            transport.close()
        if rest:
            self._show(kept, rest)

    def _show(self, kept: Kept, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip("\r")
        if kept.program.quiet:
            kept.last_words.append(text)
        else:
            self.console.line(kept.program.name, text)

    async def stop(self, *names: str) -> None:
        """Stop these programs together; returns when neither they nor children of theirs are left."""
        await asyncio.gather(*(self._stop(self.kept[name]) for name in names if name in self.kept))

    async def _stop(self, kept: Kept) -> None:
        kept.stopping.set()
        if kept.task is None:
            return
        self._ask_to_stop(kept)
        done, _pending = await asyncio.wait([kept.task], timeout=kept.program.grace_seconds)
        if not done and kept.identity is not None:
            self.console.line("tickhouse", f"{kept.program.name} does not stop and is killed")
            send(kept.identity.survivors(), signal.SIGKILL)
        await kept.task

    @staticmethod
    def _ask_to_stop(kept: Kept) -> None:
        if kept.process is not None and kept.is_running():
            with suppress(ProcessLookupError):
                kept.process.send_signal(kept.program.stop_signal)


def describe(code: int | None) -> str:
    """Say how a program ended."""
    if code is None:
        return "could not be started"
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"


def stop_event() -> asyncio.Event:
    """Return an event that Ctrl-C, SIGTERM or a closed terminal sets; further ones change nothing."""
    event = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, event.set)
    return event
