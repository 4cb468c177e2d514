"""Alive, ready, counted: for the web role, for workers, and never slowly."""

import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta

import pytest

from config.core import clock, health
from config.embedded.machine import free_port


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(health, "_known", (-60.0, {}))
    monkeypatch.setattr(health, "_running", {})
    monkeypatch.setattr(health, "_checks", dict(health._checks))
    monkeypatch.setattr(health, "_last_beat", None)


def ask(path="/readyz"):
    status, _kind, body = health.answer(path)
    return status, json.loads(body)


@pytest.mark.django_db
def test_ready_with_database_and_redis_and_a_true_clock():
    assert ask() == (200, {"ready": True, "checks": {"database": "ok", "redis": "ok"}})


@pytest.mark.django_db
@pytest.mark.parametrize("seconds", [-0.5, 0.5])
def test_a_clock_that_is_off_is_not_ready(seconds):
    with clock.ticking(lambda: datetime.now(UTC) + timedelta(seconds=seconds)):
        status, said = ask()
    assert status == 503
    assert "off the database's" in said["checks"]["database"]


@pytest.mark.django_db
def test_without_redis_it_is_alive_but_not_ready(settings):
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    assert ask() == (503, {"ready": False, "checks": {"database": "ok", "redis": "ConnectionError"}})
    assert ask("/healthz") == (200, {"healthy": True})


@pytest.mark.django_db
def test_a_check_that_hangs_blocks_nobody_and_is_not_piled_up(monkeypatch):
    release, calls = threading.Event(), []

    def hang():
        calls.append(1)
        release.wait(20)
        return ""

    health.ready_when("stuck", hang)
    started = time.monotonic()
    status, said = ask()
    assert time.monotonic() - started < 3
    assert (status, said["checks"]["stuck"]) == (503, "no answer in time")
    monkeypatch.setattr(health, "_known", (-60.0, {}))
    ask()
    assert len(calls) == 1
    release.set()


@pytest.mark.django_db
def test_asked_often_it_looks_once_a_second():
    calls = []
    health.ready_when("counted", lambda: calls.append(1) or "")
    for _ in range(20):
        ask()
    assert len(calls) == 1


def test_a_loop_that_stalls_is_not_healthy(monkeypatch):
    health.alive()
    assert ask("/healthz")[0] == 200
    monkeypatch.setattr(health, "_last_beat", time.monotonic() - 61)
    assert ask("/healthz") == (503, {"healthy": False})


@pytest.mark.django_db
def test_the_web_role_answers_all_three(client):
    assert client.get("/healthz").json() == {"healthy": True}
    assert client.get("/readyz").status_code == 200
    metrics = client.get("/metrics")
    assert metrics["Content-Type"].startswith("text/plain")
    assert b"clock_offset_seconds" in metrics.content


def get(port, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError:
        return 0, b""


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "command",
    [
        ["manage.py", "relay_events"],
        ["-m", "celery", "--app", "config", "worker", "--pool", "threads", "--concurrency", "1"],
        ["-m", "celery", "--app", "config", "beat", "--pidfile="],
    ],
    ids=["relay", "worker", "beat"],
)
def test_roles_without_http_answer_beside_their_work(command):
    port = free_port(set())
    env = dict(os.environ, METRICS_PORT=str(port), ROLE="test", DJANGO_SETTINGS_MODULE="config.settings")
    process = subprocess.Popen([sys.executable, *command], env=env, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 40
        while get(port, "/readyz")[0] != 200:
            assert time.monotonic() < until
            assert process.poll() is None
            time.sleep(0.1)
        assert get(port, "/healthz")[0] == 200
        assert b"process_resident_memory_bytes" in get(port, "/metrics")[1]
        assert get(port, "/else")[0] == 404
    finally:
        process.terminate()
        assert process.wait(15) == 0


def test_no_port_means_no_server():
    assert health.serve(0) is None
