"""Make `.venv` hold exactly what the requirements say; nothing is done when it already does.

Runs before anything is installed, on the standard library alone: `python install.py requirements.txt …`.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
NEEDED_BYTES = 1200 * 1024 * 1024


def fingerprint(names: list[str]) -> str:
    """Return what the environment depends on: this Python, the folder, the requirements."""
    digest = hashlib.sha256(f"{sys.version}\n{VENV}\n".encode())
    for name in names:
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def is_current(names: list[str], stamp: Path) -> bool:
    """Whether the environment was made from these very requirements."""
    return PYTHON.exists() and stamp.exists() and stamp.read_text() == fingerprint(names)


def is_of_this_python() -> bool:
    """Whether there is an environment and it runs this very Python."""
    if not PYTHON.exists():
        return False
    asked = subprocess.run(
        [str(PYTHON), "-c", "import sys; print(sys.version)"], capture_output=True, text=True, check=False
    )
    return asked.stdout.strip() == sys.version.strip()


def install(names: list[str], stamp: Path) -> str | None:
    """Create the environment and install; return one sentence when that is impossible."""
    free = shutil.disk_usage(ROOT).free
    if free < NEEDED_BYTES:
        return f"The disk under {ROOT} is full: {free >> 20} MB are free, {NEEDED_BYTES >> 20} MB are needed."
    if not is_of_this_python():
        made = subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=False)
        if made.returncode:
            return f"{sys.executable} cannot make a venv; on Debian and Ubuntu install python3-venv."
    print(f"Installing {' and '.join(names)} into .venv", flush=True)
    listed = [part for name in names for part in ("-r", name)]
    command = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *listed]
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        return "The packages could not be installed; pip's reason is above."
    stamp.write_text(fingerprint(names))
    return None


def main(names: list[str]) -> int:
    """Install what is missing; two starts at once take turns."""
    stamp = VENV / f".installed-{'-'.join(Path(name).stem for name in names)}"
    descriptor = os.open(ROOT, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    refusal = None if is_current(names, stamp) else install(names, stamp)
    os.close(descriptor)
    if refusal:
        print(refusal, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
