"""The terminal's pure modules, run by Node's own test runner."""

import shutil
import subprocess
from pathlib import Path

import pytest

MODULES = Path(__file__).parent / "modules"


@pytest.mark.skipif(
    shutil.which("node") is None, reason="Node.js was not found; the page's modules stay untested"
)
def test_the_pure_modules_pass_their_tests() -> None:
    files = sorted(str(path) for path in MODULES.glob("*.test.mjs"))
    run = subprocess.run(["node", "--test", *files], capture_output=True, text=True, timeout=120, check=False)
    assert files
    assert run.returncode == 0, run.stdout + run.stderr
