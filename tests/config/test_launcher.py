"""`config.embedded.run` as a process: real servers, and tiny roles in a project folder of their own."""

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from config.embedded.environment import ROOT
from config.embedded.machine import free_port

ROLE = """
import http.server, os, sys

class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(os.environ["ROLE"].encode())
    def log_message(self, *args):
        pass

port = os.environ["WEB_PORT" if os.environ["ROLE"] == "web" else "METRICS_PORT"]
print("listening, database", "DATABASE_URL" in os.environ, flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Answer).serve_forever()
"""
PREPARE = "import os; open(os.path.join(os.environ['DATA_DIR'], 'prepared'), 'a').write('x')"


class Copy:
    """A project folder with the launcher and two roles, and at most one launcher running in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        shutil.copytree(ROOT / "config" / "embedded", root / "config" / "embedded")
        (root / "config" / "__init__.py").touch()
        (root / "config" / "embedded" / "prepare.py").write_text(PREPARE)
        (root / "role.py").write_text(ROLE)
        (root / "Procfile").write_text("web: python role.py\nfeed: python role.py\n")
        self.web, self.gateway = free_port(set()), free_port(set())
        self.output = root / "output"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, **variables: str) -> "Copy":
        ours = ("DATABASE", "REDIS", "DATA_DIR")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        ports = {"WEB_PORT": str(self.web), "GATEWAY_PORT": str(self.gateway)}
        with open(self.output, "ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "config.embedded.run"],
                cwd=self.root,
                env=inherited | ports | variables,
                stdout=output,
                stderr=output,
            )
        return self

    def text(self) -> str:
        return self.output.read_text()

    def until(self, said: str, seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while said not in self.text():
            assert self.process is not None
            assert self.process.poll() is None, self.text()
            assert time.monotonic() < deadline, self.text()
            time.sleep(0.05)

    def refusal(self, **variables: str) -> str:
        """Return the one sentence of a start that is refused."""
        self.output.write_text("")
        self.start(**variables)
        assert self.process is not None
        assert self.process.wait(60) == 1
        (sentence,) = self.text().splitlines()
        return sentence

    def recorded(self) -> dict[str, int]:
        entries = json.loads((self.root / ".data" / "pids.json").read_text())
        return {entry["name"]: entry["pid"] for entry in entries}

    def metrics_row(self) -> str:
        return self.text().partition("Metrics ")[2].partition("\n")[0].rpartition(",")[2]

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(60)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Yield a folder the servers' user can enter; pytest's own is closed to it."""
    made = Path(tempfile.mkdtemp(prefix="tickhouse-launcher-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def copy(folder):
    made = Copy(folder / "a path with spaces")
    yield made
    if made.process and made.process.poll() is None:
        made.stop()


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def processes_of(folder: Path) -> list[str]:
    """Return what still runs with a foot in that folder."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        if str(folder) in f"{process.info['cwd']} {process.info['cmdline']}":
            found.append(" ".join(process.info["cmdline"] or []))
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_everything_starts_and_a_signal_leaves_no_process(copy, number):
    copy.start().until("Tickhouse is ready.")
    pids = copy.recorded()
    assert set(pids) == {"postgres", "valkey", "web", "feed"}
    assert "web      | listening, database True" in copy.text()
    assert f"http://127.0.0.1:{copy.web}/" in copy.text()
    assert copy.stop(number) == 0
    assert not any(is_alive(pid) for pid in pids.values())
    assert processes_of(copy.root) == []


def test_a_killed_role_comes_back_and_so_does_a_killed_database(copy):
    copy.start().until("Tickhouse is ready.")
    before = copy.recorded()
    for name in ("feed", "postgres"):
        os.kill(before[name], signal.SIGKILL)
    copy.until("postgres was ended by SIGKILL")
    deadline = time.monotonic() + 30
    while not {"feed", "postgres"} <= set(copy.recorded()) and time.monotonic() < deadline:
        time.sleep(0.05)
    after = copy.recorded()
    assert after["web"] == before["web"]
    assert after["feed"] != before["feed"]
    data = copy.root / ".data"
    secrets, ports = (json.loads((data / name).read_text()) for name in ("secrets.json", "ports.json"))
    url = f"postgresql://tickhouse:{secrets['application']}@127.0.0.1:{ports['postgres']}/tickhouse"
    while True:
        try:
            psycopg.connect(url, connect_timeout=2).close()
            break
        except psycopg.OperationalError:
            assert time.monotonic() < deadline, copy.text()
            time.sleep(0.1)


def test_a_start_after_the_supervisor_was_killed_ends_the_leftovers(copy):
    copy.start().until("Tickhouse is ready.")
    left = copy.recorded()
    assert copy.stop(signal.SIGKILL) == -signal.SIGKILL
    assert is_alive(left["postgres"])
    copy.output.write_text("")
    copy.start().until("Tickhouse is ready.")
    assert "ended what an earlier run left behind:" in copy.text()
    now = copy.recorded()
    assert set(now.values()).isdisjoint(left.values())
    assert copy.stop() == 0
    assert not any(is_alive(pid) for pid in [*left.values(), *now.values()])


def test_two_run_side_by_side(copy, folder):
    other = Copy(folder / "another")
    try:
        copy.start()
        other.start(DATA_DIR=str(folder / "elsewhere"))
        copy.until("Tickhouse is ready.")
        other.until("Tickhouse is ready.")
        assert copy.metrics_row() != other.metrics_row()
        for one in (copy, other):
            with urllib.request.urlopen(f"http://127.0.0.1:{one.web}/readyz", timeout=5) as answer:
                assert answer.read() == b"web"
        assert (folder / "elsewhere" / "prepared").exists()
        assert not (other.root / ".data").exists()
    finally:
        assert other.stop() == 0
    assert copy.stop() == 0


def test_a_second_start_on_the_same_folder_is_refused(copy, tmp_path):
    copy.start().until("Tickhouse is ready.")
    first, copy.output = copy.process, tmp_path / "second"
    sentence = copy.refusal()
    copy.process, data = first, copy.root / ".data"
    assert sentence == (
        f"Tickhouse already runs on {data} (process {first.pid}); stop it, or give this one a DATA_DIR, "
        "WEB_PORT and GATEWAY_PORT of its own."
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the servers as another user")
def test_root_keeps_the_data_where_the_servers_user_can_enter(copy, folder):
    data = folder / "closed" / "data"
    data.parent.mkdir(mode=0o700)
    home = Path("/var/lib") / f"tickhouse-{hashlib.sha256(bytes(data)).hexdigest()[:12]}"
    try:
        copy.start(DATA_DIR=str(data)).until("Tickhouse is ready.")
        assert f"cannot enter {data}/servers: their data is in {home}." in copy.text()
        assert (home / "postgres" / "PG_VERSION").exists()
        assert copy.stop() == 0
        shutil.rmtree(data)
        copy.output.write_text("")
        copy.start(DATA_DIR=str(data)).until("Tickhouse is ready.")
    finally:
        copy.stop()
        shutil.rmtree(home)


@pytest.mark.parametrize("name", ["WEB_PORT", "GATEWAY_PORT", "METRICS_PORT_BASE"])
def test_a_used_port_is_named_with_its_variable(copy, name):
    with socket.socket() as somebody:
        somebody.bind(("127.0.0.1", 0))
        somebody.listen()
        port = somebody.getsockname()[1]
        sentence = copy.refusal(**{name: str(port)})
    assert sentence.startswith(f"Port {port} ")
    assert name in sentence


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("DEBUG=1\n\nthis is no setting\n", ".env, line 3: this is not of the form NAME=value."),
        ('SECRET_KEY="never closed\n', '.env, line 1: the quote opened by " is not closed.'),
        ("A='b' c\n", ".env, line 1: nothing may follow the closing '."),
    ],
)
def test_a_broken_env_file_is_named_with_its_line(copy, text, sentence):
    (copy.root / ".env").write_text(text)
    assert copy.refusal() == sentence


@pytest.mark.parametrize("value", ["web", "0", "70000", "-1"])
def test_a_port_that_is_none_is_refused(copy, value):
    assert copy.refusal(WEB_PORT=value) == f"WEB_PORT is {value!r}; it must be a port between 1 and 65535."


def test_one_port_for_two_roles_is_refused(copy):
    sentence = copy.refusal(GATEWAY_PORT=str(copy.web))
    assert sentence == f"WEB_PORT and GATEWAY_PORT are both {copy.web}; give one of them another port."


def test_a_server_outside_that_does_not_answer_is_named(copy):
    port = free_port(set())
    sentence = copy.refusal(REDIS_URL=f"redis://127.0.0.1:{port}/0")
    assert sentence.startswith("REDIS_URL cannot be used: ")
    sentence = copy.refusal(DATABASE_URL=f"postgresql://nobody@127.0.0.1:{port}/nothing")
    assert sentence.startswith("DATABASE_URL cannot be used: ")


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="needs root to mount a small disk")
def test_a_full_disk_is_said(copy, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", small], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        sentence = copy.refusal(DATA_DIR=str(small / "data"))
    finally:
        subprocess.run(["umount", small], check=True)
    assert sentence == (
        f"The disk under {small}/data is full: 7 MB are free, 400 MB are needed "
        "(DATA_DIR chooses another folder)."
    )


def make(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=ROOT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_an_old_python_is_refused_before_anything_else(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.version_info = (3, 9, 2, 'final', 0)\n")
    done = make("run", f"PYTHON={sys.executable}", PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    assert done.stdout == ""
    sentence, *rest = done.stderr.splitlines()
    assert sentence == (
        f"Tickhouse needs Python 3.11 or newer, and {sys.executable} is 3.9; "
        "PYTHON=/path/to/python3.11 chooses another."
    )
    assert [line for line in rest if not line.startswith("make")] == []
