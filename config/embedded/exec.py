"""Run one command with the servers it needs: `python -m config.embedded.exec [--throwaway] -- command …`.

Without DATABASE_URL and REDIS_URL it starts the embedded servers of DATA_DIR for as long as the command runs,
or joins those of a running platform. With `--throwaway` it starts fast ones for tests, in a folder apart,
which would lose data in a power cut.
"""

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from config.embedded import environment as env
from config.embedded.machine import postgres_bin, postgres_version
from config.embedded.refusal import StartRefused
from config.embedded.servers import Servers, locked, running


@contextmanager
def throwaway_servers(folder: Path) -> Iterator[Servers]:
    """Run fast servers for tests in the first numbered folder below this one that nobody holds.

    Kept between runs, so that a run finds the cluster made and the tables migrated.
    """
    with ExitStack() as stack:
        for number in itertools.count():
            try:
                stack.enter_context(locked(folder / str(number)))
                break
            except BlockingIOError:
                continue
        yield stack.enter_context(running(folder / str(number), durable=False))


@contextmanager
def kept_servers(data_dir: Path) -> Iterator[Servers]:
    """Run the servers of this folder, or join them where a platform runs them already."""
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(data_dir))
        except BlockingIOError:
            servers = Servers(data_dir)
        else:
            servers = stack.enter_context(running(data_dir, durable=True))
        yield servers


@contextmanager
def environment_with_servers(environment: Mapping[str, str], *, throwaway: bool) -> Iterator[dict[str, str]]:
    """Yield the environment completed by the addresses of servers that run for the length of the block."""
    if environment.get("DATABASE_URL") and environment.get("REDIS_URL"):
        yield dict(environment)
        return
    data_dir = env.data_dir(environment)
    version = postgres_version(postgres_bin(data_dir / "none"))
    folder = data_dir / "tests" / f"postgres-{version}"
    started = throwaway_servers(folder) if throwaway else kept_servers(data_dir)
    with started as servers:
        own = servers.environment()
        if environment.get("DATABASE_URL"):
            own = {"REDIS_URL": own["REDIS_URL"]}
        elif environment.get("REDIS_URL"):
            del own["REDIS_URL"]
        secret_key = environment.get("SECRET_KEY") or servers.passwords["secret_key"]
        yield {**environment, **own, "SECRET_KEY": secret_key, "DATA_DIR": str(servers.data_dir)}


def main(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    options, dashes, command = arguments[:1], "--" in arguments, arguments[arguments.index("--") + 1 :]
    if not dashes or not command:
        print(__doc__, file=sys.stderr)
        return 2
    # The command shares the terminal and hears Ctrl-C itself; the servers end after it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        environment = env.load()
        with environment_with_servers(environment, throwaway="--throwaway" in options) as complete:
            process = subprocess.Popen(command, env=complete, preexec_fn=_hear_interrupts)
            signal.signal(signal.SIGTERM, lambda *_: process.terminate())
            code = process.wait()
            return code if code >= 0 else 128 - code
    except (StartRefused, FileNotFoundError) as refusal:
        print(refusal, file=sys.stderr)
        return 1


def _hear_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


if __name__ == "__main__":
    os.chdir(env.ROOT)
    sys.exit(main(sys.argv[1:]))
