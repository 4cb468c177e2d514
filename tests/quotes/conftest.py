"""A standing clock at noon, with a day of ticks open."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from config.core import clock
from quotes.models import Instrument
from quotes.services import open_days, take_over
from tests.quotes.market import NOON, Clock, instrument


@pytest.fixture
def noon() -> Iterator[Clock]:
    stands = Clock()
    with clock.ticking(stands):
        yield stands


@pytest.fixture(scope="session")
def open_noon(django_db_setup: None, django_db_blocker: Any) -> None:
    """Days of ticks outlive tests: they are tables."""
    with django_db_blocker.unblock():
        open_days([NOON.date() + timedelta(days=ahead) for ahead in (-1, 0, 1)])


@pytest.fixture
def eurusd(db: None, open_noon: None, noon: Clock) -> Instrument:
    noon.move(-1)
    made = instrument()
    noon.move(1)
    return made


@pytest.fixture
def epoch(eurusd: Instrument) -> int:
    return take_over([eurusd.pk])
