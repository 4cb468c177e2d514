from datetime import date, timedelta
from types import SimpleNamespace

import pytest

from kyc import rules


@pytest.mark.parametrize(
    ("born_on", "today", "years"),
    [
        (date(2000, 1, 31), date(2018, 1, 30), 17),
        (date(2000, 1, 31), date(2018, 1, 31), 18),
        (date(2004, 2, 29), date(2022, 2, 28), 17),
        (date(2004, 2, 29), date(2022, 3, 1), 18),
    ],
)
def test_age_counts_completed_years(born_on, today, years):
    assert rules.age_years(born_on, today) == years
    assert rules.is_adult(born_on, today) is (years >= 18)


@pytest.mark.parametrize(
    ("lock_outs", "minutes"), [(0, 5), (1, 5), (2, 10), (3, 20), (9, 1280), (10, 1440), (500, 1440)]
)
def test_each_lock_out_lasts_twice_as_long_up_to_a_day(lock_outs, minutes):
    assert rules.cool_off(SimpleNamespace(lock_outs=lock_outs)) == timedelta(minutes=minutes)


def test_an_address_has_one_spelling():
    assert rules.normalised_email("  ALICE@Example.COM ") == "alice@example.com"
    assert rules.locked_name(None, {"username": "ALICE@example.com"}) == "alice@example.com"
    assert rules.locked_name(None, {"email": "Alice@example.com\0"}) == "alice@example.com"
    assert rules.locked_name(None, None) is None


def test_countries_are_those_of_iso_3166():
    assert len(rules.countries()) == 249
    assert rules.countries()["AE"] == "United Arab Emirates"
