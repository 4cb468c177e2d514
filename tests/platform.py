"""The platform's roles as real processes, for tests that kill them, browse them or tell a story."""

import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

from config.embedded import environment as env
from config.embedded.machine import free_port
from config.embedded.processes import Identity, Program, send, stop
from config.embedded.run import read_procfile, role_program


class Roles:
    """Roles of the Procfile against this worker's database and Redis prefix, on ports of their own.

    `env` may be changed before `start`; `ports` holds `web`, `gateway` and each role's metrics port.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.commands = read_procfile(env.ROOT / "Procfile")
        taken: set[int] = set()
        for _ in range(len(self.commands) + 2):
            taken.add(free_port(taken))
        web, gateway, *metrics = taken
        self.metrics_ports = dict(zip(self.commands, metrics, strict=True))
        self.ports = {"web": web, "gateway": gateway}
        self.url = f"http://127.0.0.1:{web}"
        self.socket_url = f"ws://127.0.0.1:{gateway}/ws/v1/"
        self.env = env.load() | {
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "WEB_PORT": str(web),
            "GATEWAY_PORT": str(gateway),
            "PUBLIC_URL": self.url,
        }
        self.running: dict[str, tuple[subprocess.Popen[bytes], Program]] = {}

    def start(self, *names: str, wait: bool = True, **variables: str) -> None:
        """Start these roles with extra variables; with `wait`, return when all of them say they are ready."""
        for name in names:
            own = {"ROLE": name, "METRICS_PORT": str(self.metrics_ports[name])}
            program = role_program(name, self.commands[name], self.env | own | variables)
            with open(self.folder / f"{name}.log", "ab") as log:
                process = subprocess.Popen(program.argv, stdout=log, stderr=log, **program.popen_options())
            self.running[name] = (process, program)
        if wait:
            self.wait_ready(*names)

    def start_another(self, name: str, known_as: str, *, wait: bool = True) -> None:
        """Start a role that runs already once more, under a name of its own."""
        self.commands[known_as] = self.commands[name]
        self.metrics_ports[known_as] = free_port({*self.ports.values(), *self.metrics_ports.values()})
        self.start(known_as, wait=wait, ROLE=name)

    def wait_ready(self, *names: str, seconds: float = 60.0) -> None:
        """Wait until each role answers 200 on /readyz; fail with its log otherwise."""
        deadline = time.monotonic() + seconds
        for name in names:
            while not self.is_ready(name):
                process, _program = self.running[name]
                if process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(
                        f"{name} is not ready (exit code {process.poll()}):\n{self.log(name)}"
                    )
                time.sleep(0.1)

    def is_ready(self, name: str) -> bool:
        """Whether the role says it can work now."""
        port = self.ports.get(name) or self.metrics_ports[name]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=3) as answer:
                return answer.status == 200
        except OSError:
            return False

    def log(self, name: str) -> str:
        """Return the last lines the role wrote."""
        return "\n".join((self.folder / f"{name}.log").read_text(errors="replace").splitlines()[-60:])

    def kill9(self, name: str) -> None:
        """Kill the role and all its processes on the spot."""
        process, program = self.running.pop(name)
        send(Identity.of(program.name, process.pid).survivors(), signal.SIGKILL)
        process.wait()

    def stop(self, name: str) -> int:
        """Stop the role as an operator does; return its exit code."""
        process, program = self.running.pop(name)
        stop(process, program)
        return process.returncode

    def stop_all(self) -> None:
        """Stop every role, all at once."""
        for process, program in self.running.values():
            if process.poll() is None:
                process.send_signal(program.stop_signal)
        for name in list(self.running):
            self.stop(name)
