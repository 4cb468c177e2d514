"""A short dose of each drill, and its negative control; the full dose is for `make drills`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from config.drills import feed_faults
from config.management.commands.drill import DRILLS

# The owner opens days of ticks.
opens_days = pytest.mark.django_db(transaction=True, databases=["default", "owner"])


@opens_days
def test_feed_faults_change_no_outcome() -> None:
    seen = feed_faults.run(seed=4, dose=500)
    assert seen["broken"] == []
    assert seen["orders"] + sum(seen["refused"].values()) == 500
    assert {"won", "lost", "feed_gap"} <= seen["outcomes"].keys()
    assert seen["late_ticks"] > 0


@opens_days
def test_feed_faults_are_seen_where_ticks_count_in_the_order_of_their_arrival() -> None:
    assert feed_faults.run(seed=4, dose=500, sabotage=True)["broken"] != []


@pytest.mark.long
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("name", [name for name, _ in DRILLS.values()])
@pytest.mark.parametrize("sabotage", [False, True])
def test_the_full_dose(name: str, sabotage: bool, tmp_path: Path) -> None:
    """On servers of its own, as `make drill` runs it."""
    mine = {
        key: value for key, value in os.environ.items() if not key.startswith(("DATABASE", "REDIS", "DJANGO"))
    }
    drill = ["python", "manage.py", "drill", name, *(["--sabotage"] if sabotage else [])]
    ran = subprocess.run(
        [sys.executable, "-m", "config.embedded.exec", "--", *drill],
        env={**mine, "DATA_DIR": str(tmp_path), "LOG_LEVEL": "ERROR"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stdout, ran.stderr
    seen = json.loads(ran.stdout)
    assert (ran.returncode == 1) == sabotage, ran.stderr
    assert bool(seen["broken"]) == sabotage
