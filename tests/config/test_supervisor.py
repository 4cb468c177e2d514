"""The supervisor, with tiny shell programs in place of roles."""

import asyncio
import io
import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from config.embedded.processes import Identity, PidFile, Program
from config.embedded.supervisor import Console, Supervisor


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Stage:
    """A supervisor, what it wrote, and its programs' own notes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = io.StringIO()
        self.pids = PidFile(folder / "pids.json")
        self.supervisor = Supervisor(self.pids, Console(self.output))

    def shell(self, name: str, script: str, **options) -> Program:
        return Program(name, ("/bin/sh", "-c", script), dict(os.environ), self.folder, **options)

    async def until(self, condition, seconds: float = 10.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.output.getvalue()
            await asyncio.sleep(0.02)

    def note(self, name: str) -> str:
        path = self.folder / name
        return path.read_text() if path.exists() else ""


@pytest.fixture
def stage(tmp_path):
    return Stage(tmp_path)


async def test_output_carries_the_name_of_its_program(stage):
    code = await stage.supervisor.run(stage.shell("greeter", "echo hello; printf 'no newline' >&2"))
    assert code == 0
    assert stage.output.getvalue() == "greeter  | hello\ngreeter  | no newline\n"


async def test_what_dies_starts_again_and_what_is_stopped_stays(stage):
    stage.supervisor.start(stage.shell("mortal", "echo $$ >> starts; exec sleep 100"))
    await stage.until(lambda: len(stage.note("starts").split()) == 1)
    os.kill(int(stage.note("starts").split()[0]), signal.SIGKILL)
    await stage.until(lambda: len(stage.note("starts").split()) == 2)
    assert "mortal was ended by SIGKILL; it starts again in 0.2 s" in stage.output.getvalue()
    await stage.supervisor.stop("mortal")
    await asyncio.sleep(0.5)
    pids = [int(pid) for pid in stage.note("starts").split()]
    assert len(pids) == 2
    assert not any(is_alive(pid) for pid in pids)


async def test_what_a_quiet_program_wrote_is_shown_when_it_dies(stage):
    stage.supervisor.start(stage.shell("silent", "echo reason; exec sleep 100", quiet=True))
    await stage.until(lambda: stage.supervisor.kept["silent"].last_words)
    assert stage.output.getvalue() == ""
    os.kill(stage.supervisor.kept["silent"].process.pid, signal.SIGKILL)
    await stage.until(lambda: "starts again" in stage.output.getvalue())
    assert stage.output.getvalue().startswith("silent   | reason\ntickhouse| silent was ended by SIGKILL")
    await stage.supervisor.stop("silent")


async def test_the_pause_grows_while_a_program_keeps_dying(stage):
    stage.supervisor.start(stage.shell("broken", "exit 3"))
    await stage.until(lambda: "0.8 s" in stage.output.getvalue())
    await stage.supervisor.stop("broken")
    pauses = [line.rsplit(" in ")[1] for line in stage.output.getvalue().splitlines()]
    assert pauses == ["0.2 s", "0.4 s", "0.8 s"]
    assert "broken exited with 3" in stage.output.getvalue()


async def test_a_stop_lets_a_program_finish_its_work(stage):
    script = "trap 'sleep 0.3; echo done > finished; exit 0' TERM; touch up; while :; do sleep 0.05; done"
    stage.supervisor.start(stage.shell("careful", script))
    await stage.until((stage.folder / "up").exists)
    await stage.supervisor.stop("careful")
    assert stage.note("finished") == "done\n"


async def test_a_program_that_will_not_stop_is_killed_with_its_children(stage):
    script = "trap '' TERM; sleep 100 & echo $! > child; echo $$ > leader; while :; do sleep 0.05; done"
    stage.supervisor.start(stage.shell("stubborn", script, grace_seconds=0.4))
    await stage.until(lambda: stage.note("leader").endswith("\n"))
    await stage.supervisor.stop("stubborn")
    assert not is_alive(int(stage.note("leader")))
    await stage.until(lambda: not is_alive(int(stage.note("child"))))
    assert "stubborn does not stop and is killed" in stage.output.getvalue()


async def test_children_do_not_outlive_the_leader_that_died(stage):
    stage.supervisor.start(stage.shell("parent", "sleep 100 & echo $! >> children; exit 1"))
    await stage.until(lambda: len(stage.note("children").split()) == 2)
    first = int(stage.note("children").split()[0])
    await stage.until(lambda: not is_alive(first))
    await stage.supervisor.stop("parent")


async def test_a_program_that_cannot_start_is_said_and_tried_again(stage):
    stage.supervisor.start(Program("ghost", ("/nowhere/ghost",), {}, stage.folder))
    said = "ghost could not be started; it starts again in 0.4 s"
    await stage.until(lambda: said in stage.output.getvalue())
    await stage.supervisor.stop("ghost")


def test_leftovers_are_ended_by_identity(stage):
    program = stage.shell("left", "sleep 100 & echo $! > child; wait")
    process = subprocess.Popen(program.argv, **program.popen_options())
    deadline = time.monotonic() + 5
    while not stage.note("child") and time.monotonic() < deadline:
        time.sleep(0.02)
    stage.pids.record(Identity.of("left", process.pid))

    assert PidFile(stage.pids.path).end_leftovers() == ["left"]
    process.wait()
    assert not is_alive(int(stage.note("child")))
    assert not stage.pids.path.exists()


def test_a_number_that_belongs_to_somebody_else_now_is_left_alone(stage):
    stranger = subprocess.Popen(["/bin/sleep", "100"], start_new_session=True)
    try:
        started = psutil.Process(stranger.pid).create_time()
        stage.pids.record(Identity("left", stranger.pid, started - 60))
        assert PidFile(stage.pids.path).end_leftovers() == []
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.parametrize("text", ["", "{}", "[1]", '[{"name": "x"}]', "garbage"])
def test_a_torn_pid_file_stops_nobody(stage, text):
    stage.pids.path.write_text(text)
    assert PidFile(stage.pids.path).end_leftovers() == []
