"""A short dose of each drill, and its negative control; the full dose is for `make drills`."""

import json
import subprocess
import sys

import pytest

from config.drills import feed_faults
from config.management.commands.drill import DRILLS

# The owner opens days of ticks.
opens_days = pytest.mark.django_db(transaction=True, databases=["default", "owner"])


@opens_days
def test_feed_faults_change_no_outcome() -> None:
    seen = feed_faults.run(seed=3, dose=600)
    assert seen["broken"] == []
    assert seen["orders"] + sum(seen["refused"].values()) == 600
    assert {"won", "lost", "feed_gap"} <= seen["outcomes"].keys()
    assert seen["late_ticks"] > 0


@opens_days
def test_feed_faults_are_seen_where_ticks_count_in_the_order_of_their_arrival() -> None:
    assert feed_faults.run(seed=1, dose=1_000, sabotage=True)["broken"] != []


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name, _ in DRILLS.values()])
@pytest.mark.parametrize("sabotage", [False, True])
def test_the_full_dose(name: str, sabotage: bool) -> None:
    command = [sys.executable, "manage.py", "drill", name, *(["--sabotage"] if sabotage else [])]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
    assert ran.returncode == sabotage, ran.stdout + ran.stderr
    assert bool(json.loads(ran.stdout)["broken"]) == sabotage
