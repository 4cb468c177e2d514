"""Short doses of the drills that race for the last of something and that compare with a model."""

import sys

import pytest
from django.core.management.base import CommandError

from config.drills import model, overspend
from tests import harness

# The owner opens days of ticks, and takes the guards off.
pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])

RACES = {"funds", "open_orders", "exposure", "daily_loss", "sale"}


def broken_races(seen: dict) -> set[str]:
    return {race for race in RACES if seen["answers"][f"broken {race}"]}


def test_exactly_as_many_orders_as_there_is_room_for() -> None:
    seen = overspend.run(seed=3, dose=10)
    assert seen["broken"] == []
    answers = seen["answers"]
    codes = ("insufficient_funds", "too_many_open_orders", "exposure_limit", "own_limit_reached")
    for code in codes:
        assert answers[f"{code}: placed"] + answers[f"{code}: {code}"] == 2 * overspend.THREADS
        assert answers[f"{code}: placed"] > 0
    assert (answers["sale: sold"], answers["sale: order_closed"], answers["sale: replayed"]) == (2, 63, 63)


def test_more_are_placed_where_nothing_is_asked_again_under_the_locks() -> None:
    seen = overspend.run(seed=3, dose=5, sabotage=True)
    assert broken_races(seen) == RACES
    assert any("left -" in what for what in seen["broken"])
    # And the guards are back.
    harness.flush_database()
    assert overspend.run(seed=4, dose=5)["broken"] == []


def test_the_platform_and_its_model_never_differ() -> None:
    seen = model.run(seed=2, dose=125, steps=30)
    assert seen["broken"] == []
    assert seen["seen"]["steps"] >= 600
    ends = {end.partition(" ended: ")[2] for end in seen["seen"] if " ended: " in end}
    assert ends >= {"won", "lost", "sold", "no_entry", "feed_gap"}
    assert sum(seen["core"].values()) == 2_500


def test_a_mutated_rule_is_found_and_found_again_by_its_seed() -> None:
    first = model.run(seed=3, dose=100, steps=30, sabotage=True)
    diverged, *cores = first["broken"]
    assert diverged.startswith("Diverged: order ")
    assert first["steps_to_it"][-1] == "state.teardown()"
    assert cores[0].startswith("path ")
    harness.flush_database()
    assert model.run(seed=3, dose=100, steps=30, sabotage=True) == first


def test_without_hypothesis_the_drill_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    monkeypatch.delitem(sys.modules, "config.drills.machine", raising=False)
    monkeypatch.delattr("config.drills.machine", raising=False)
    with pytest.raises(CommandError, match="needs hypothesis"):
        model.run(seed=1, dose=5)
