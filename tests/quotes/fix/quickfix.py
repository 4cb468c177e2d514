"""QuickFIX, an engine that others wrote: its own example acceptor, and one of ours that serves market data.

Debian's libquickfix-dev and libquickfix-doc bring it, g++ builds it once per content, in the system's
temporary folder. Where one of them is missing the tests say so and are skipped.
"""

import gzip
import hashlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from config.embedded.machine import free_port

HERE = Path(__file__).parent
EXAMPLE = Path("/usr/share/doc/libquickfix-doc/examples/executor/C++")
HEADER = Path("/usr/include/quickfix/Session.h")
FLAGS = ("-std=c++14", "-O0", "-w", "-lquickfix", "-lpthread")


def example() -> dict[str, bytes]:
    """Return the source of QuickFIX's `executor`; skip the test where it is not here."""
    names = ("executor.cpp", "Application.cpp", "Application.h")
    packed = {name: EXAMPLE / f"{name}.gz" for name in names}
    if not all(path.is_file() or (EXAMPLE / name).is_file() for name, path in packed.items()):
        pytest.skip("QuickFIX's example is not here: apt-get install libquickfix-doc")
    return {"config.h": b""} | {
        name: gzip.decompress(path.read_bytes()) if path.is_file() else (EXAMPLE / name).read_bytes()
        for name, path in packed.items()
    }


def market_data() -> dict[str, bytes]:
    """Return the source of our acceptor."""
    return {"acceptor.cpp": (HERE / "acceptor.cpp").read_bytes()}


def built(sources: dict[str, bytes]) -> Path:
    """Return the program of these sources, built if it was not yet; skip the test where it cannot be."""
    compiler = shutil.which("g++")
    if compiler is None or not HEADER.is_file():
        pytest.skip("QuickFIX cannot be built here: apt-get install g++ libquickfix-dev")
    digest = hashlib.sha256(HEADER.read_bytes() + repr((sorted(sources.items()), FLAGS)).encode()).hexdigest()
    folder = Path(tempfile.gettempdir()) / f"tickhouse-quickfix-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    program = folder / digest[:24]
    if not program.is_file():
        with tempfile.TemporaryDirectory() as place:
            for name, text in sources.items():
                (Path(place) / name).write_bytes(text)
            units = [name for name in sources if name.endswith(".cpp")]
            subprocess.run(
                [compiler, "-I.", "-o", "program", *units, *FLAGS], cwd=place, check=True, timeout=240
            )
            fresh = program.with_suffix(f".{os.getpid()}")
            shutil.copy2(Path(place) / "program", fresh)
            # Other workers may build it at the same time.
            fresh.replace(program)
    return program


class Engine:
    """A QuickFIX acceptor as a process; its numbers outlive it in `folder`."""

    def __init__(self, program: Path, folder: Path, *, checks: bool) -> None:
        self.program, self.folder, self.port = program, folder, free_port(set())
        dictionary = f"DataDictionary={HERE / 'market_data.xml'}\n" if checks else ""
        (folder / "settings.cfg").write_text(
            "[DEFAULT]\nConnectionType=acceptor\nStartTime=00:00:00\nEndTime=00:00:00\nSocketReuseAddress=Y\n"
            f"FileStorePath={folder / 'store'}\nSocketAcceptPort={self.port}\n"
            f"UseDataDictionary={'Y' if checks else 'N'}\n{dictionary}"
            "[SESSION]\nBeginString=FIX.4.4\nSenderCompID=LP\nTargetCompID=TICKHOUSE\n"
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Engine":
        """Start it and wait until it accepts connections."""
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                [self.program, self.folder / "settings.cfg"], stdout=log, stderr=log, cwd=self.folder
            )
        until = time.monotonic() + 20
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            if self.process.poll() is not None or time.monotonic() > until:
                raise AssertionError(f"QuickFIX did not start:\n{self.log()[-3000:]}")
            time.sleep(0.02)

    def kill(self) -> None:
        """End it as by kill -9."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def log(self) -> str:
        """Return everything it has said, fields parted by |."""
        return (self.folder / "log").read_text(errors="replace").replace("\x01", "|")
