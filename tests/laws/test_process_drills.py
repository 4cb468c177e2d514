"""Drills that kill processes and connections, in a short dose, each with its negative control."""

from typing import Any

import pytest

from config.drills import connection_storm, kill_database, kill_settlers, kill_web

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])


def test_killed_settlers_pay_once() -> None:
    seen = kill_settlers.run(seed=1, dose=2)
    assert seen["broken"] == []
    assert sum(seen["kills"].values()) == 2
    assert {"won", "lost"} <= seen["outcomes"].keys()
    assert "open" not in seen["outcomes"]


@pytest.mark.long
def test_settlers_without_guards_pay_twice() -> None:
    broken = kill_settlers.run(seed=1, dose=3, sabotage=True)["broken"]
    assert any("transfer" in found and "times, not 1" in found for found in broken), broken


def test_a_killed_database_keeps_what_it_acknowledged() -> None:
    seen = kill_database.run(seed=13, dose=1)
    assert seen["broken"] == []
    assert seen["kills"] == {"postmaster": 1}
    assert seen["unknown"] > 0
    assert seen["orders"] == seen["acknowledged"] > 0


@pytest.mark.long
def test_a_database_that_answers_too_soon_loses_orders() -> None:
    broken = kill_database.run(seed=1, dose=1, sabotage=True)["broken"]
    assert any("was acknowledged and is lost" in found for found in broken), broken


def test_a_killed_web_role_answers_a_repeat_as_it_would_have_at_first() -> None:
    seen = kill_web.run(seed=1, dose=1)
    assert seen["broken"] == []
    assert seen["answered_by_repeat"] > 0
    assert seen["orders"] == seen["commands"]


def test_a_forgotten_key_has_two_effects() -> None:
    broken = kill_web.run(seed=1, dose=1, sabotage=True)["broken"]
    assert any("had 2 effects" in found for found in broken), broken


def test_a_connection_storm_is_hardly_noticed() -> None:
    seen = connection_storm.run(seed=1, dose=2)
    assert seen["broken"] == []
    assert sum(seen["ended"].values()) > 5
    assert seen["sent_again"] > 0
    assert "open" not in seen["outcomes"]


@pytest.mark.long
def test_a_connection_storm_is_noticed_where_nobody_tries_again() -> None:
    seen: dict[str, Any] = connection_storm.run(seed=1, dose=4, sabotage=True)
    assert any("commands failed" in found for found in seen["broken"]), seen["broken"]
