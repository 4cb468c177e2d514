"""One leader at a time, and nobody leads on a dead connection."""

import threading
import time

import psycopg
import pytest
from django.conf import settings

from config.core.leader import Leadership

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def first():
    with Leadership("test") as leadership:
        yield leadership


@pytest.fixture
def second():
    with Leadership("test") as leadership:
        yield leadership


def backend_of(leadership):
    return leadership._connection.info.backend_pid


def test_the_second_waits_until_the_first_has_gone(first, second):
    assert first.acquire()
    assert not second.acquire(wait_seconds=0.3)
    assert not second.holds()
    threading.Timer(0.3, first.release).start()
    started = time.monotonic()
    assert second.acquire(wait_seconds=5)
    assert time.monotonic() - started < 2
    assert second.holds()


def test_names_do_not_meet(first):
    assert first.acquire()
    with Leadership("another") as other:
        assert other.acquire()


def test_a_leader_whose_connection_is_cut_knows_it_at_once(first, second):
    first.acquire()
    with psycopg.connect(settings.DATABASE_DIRECT_URL, autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(%s)", [backend_of(first)])
    assert second.acquire(wait_seconds=2)
    assert not first.holds()
    assert not first.acquire()


def test_acquiring_twice_is_one_reign(first):
    assert first.acquire()
    pid = backend_of(first)
    assert first.acquire()
    assert backend_of(first) == pid
