"""Calls go down, facts go up: the import contracts hold, and a planted violation is seen."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("config", "kyc", "quotes", "payments", "trading", "tournaments", "referrals")
LINT = str(Path(sys.executable).parent / "lint-imports")


def lint(folder):
    done = subprocess.run(
        [LINT, "--no-cache", "--config", "pyproject.toml"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_every_contract_is_kept():
    code, said = lint(ROOT)
    assert code == 0, said


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planted")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


@pytest.mark.parametrize(
    ("where", "line", "contract"),
    [
        ("config/core/ids.py", "import kyc.models", "Calls go down"),
        ("quotes/health.py", "import kyc.models", "Calls go down"),
        ("kyc/rules.py", "import trading.models", "Calls go down"),
        (
            "trading/rules/outcomes.py",
            "import payments.apps",
            "The apps see payments only through its ledger",
        ),
        ("payments/ledger/services.py", "import kyc.models", "The ledger is the waist"),
        (
            "trading/rules/outcomes.py",
            "import config.settings",
            "The kernel sees nobody, the wiring is seen by nobody",
        ),
    ],
)
def test_a_planted_violation_is_caught(copy, where, line, contract):
    path = copy / where
    honest = path.read_text()
    path.write_text(f"{honest}\n{line}\n")
    try:
        code, said = lint(copy)
    finally:
        path.write_text(honest)
    assert code != 0
    broken = [text for text in said.splitlines() if " BROKEN" in text]
    assert any(text.startswith(contract) for text in broken), said
