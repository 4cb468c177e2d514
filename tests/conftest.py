"""Fixtures of every test: the database, Redis, and the real roles as processes."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.test import TransactionTestCase
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from tests import harness
from tests.platform import Roles

pytest_plugins = ["tests.cast"]

hypothesis_settings.register_profile(
    "suite", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))


def pytest_unconfigure(config: pytest.Config) -> None:
    harness.leave()


@pytest.fixture(scope="session")
def django_db_setup(django_db_blocker) -> Iterator[None]:
    """Give this worker a database with every migration applied."""
    with django_db_blocker.unblock():
        harness.create_database()
    yield
    with django_db_blocker.unblock():
        from django.db import connections

        connections.close_all()
        harness.drop_database()


def _flush(_self: TransactionTestCase) -> None:
    harness.flush_database()


# The application role may not truncate, and most tables are empty after most tests.
TransactionTestCase._fixture_teardown = _flush


@pytest.fixture(autouse=True)
def clean_redis() -> Iterator[None]:
    """Leave no key of one test to the next."""
    yield
    harness.flush_redis()


@pytest.fixture
def roles(transactional_db: None, tmp_path: Path) -> Iterator[Roles]:
    """Start real roles as processes, against this test's database, one by one."""
    platform = Roles(tmp_path)
    yield platform
    platform.stop_all()


@pytest.fixture
def live_platform(roles: Roles) -> Roles:
    """Run the whole platform, seeded, as `make run` does."""
    from django.core.management import call_command

    call_command("seed_platform")
    roles.start(*roles.commands)
    return roles
