"""What is vendored is what the manifest says."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_vendored_files_match_their_recorded_sums() -> None:
    command = [sys.executable, str(ROOT / "deploy" / "refresh_vendor.py"), "--check"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert run.returncode == 0, run.stderr
