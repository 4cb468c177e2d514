"""The loop of workers: batches end, what passes by itself is waited out, what does not ends the process."""

import os
import signal
import subprocess
import sys
import threading
import time
from itertools import pairwise

import pytest
from django.db import OperationalError

from config.core import clock, health, workers
from config.core.workers import Backoff, Stop, run


@pytest.fixture(autouse=True)
def right_clock(monkeypatch):
    """Most tests here have no database to compare with."""
    monkeypatch.setattr(health, "clock_offset", lambda: 0.0)


@pytest.mark.django_db(transaction=True)
def test_with_a_wrong_clock_nothing_is_done_and_nobody_is_led(monkeypatch, caplog):
    from config.core.leader import Leadership

    offsets = [0.0, 0.051, 0.3, 0.05]
    monkeypatch.setattr(health, "clock_offset", lambda: offsets.pop(0))
    monkeypatch.setattr(workers, "CLOCK_SECONDS", 0)
    leadership, stop, seen = Leadership("clock"), Stop(), []

    def step():
        seen.append(len(offsets))
        if len(seen) == 2:
            stop.request()
        return True

    def elected():
        seen.append("elected")

    run(step, idle_seconds=0, stop=stop, leadership=leadership)
    assert seen == [3, 0]
    assert [record.levelname for record in caplog.records] == ["CRITICAL", "CRITICAL"]
    seen.clear()
    offsets.extend([0.0, 1.0, 0.0])
    stop = Stop()
    monkeypatch.setattr(
        leadership, "release", lambda: seen.append("released") or Leadership.release(leadership)
    )

    def once_more():
        seen.append("step")
        if len(seen) > 4:
            stop.request()
        return True

    run(once_more, idle_seconds=0, stop=stop, leadership=leadership, elected=elected)
    assert seen == ["elected", "step", "released", "elected", "step", "released"]


def test_a_replaced_clock_is_not_compared(monkeypatch):
    monkeypatch.setattr(health, "clock_offset", lambda: 1 / 0)
    instant = clock.now()
    with clock.ticking(lambda: instant):
        assert not workers.ClockWatch().is_wrong()


def test_it_goes_on_at_once_while_there_is_more_and_rests_when_there_is_not():
    stop, answers, at = Stop(), [True, True, False, False], []

    def step():
        at.append(time.monotonic())
        if not answers:
            stop.request()
            return False
        return answers.pop(0)

    run(step, idle_seconds=0.1, stop=stop)
    gaps = [later - earlier for earlier, later in pairwise(at)]
    assert max(gaps[:2]) < 0.05
    assert min(gaps[2:]) >= 0.1


def test_a_lost_database_is_waited_for(monkeypatch):
    monkeypatch.setattr(Backoff, "seconds", lambda self: 0.01)
    stop, calls = Stop(), []

    def step():
        calls.append(1)
        if len(calls) < 4:
            raise OperationalError("the connection is lost")
        stop.request()
        return False

    run(step, idle_seconds=0, stop=stop)
    assert len(calls) == 4


def test_a_mistake_of_ours_ends_the_process():
    with pytest.raises(ValueError, match="mistake"):
        run(lambda: (_ for _ in ()).throw(ValueError("mistake")), idle_seconds=0, stop=Stop())


@pytest.mark.django_db(transaction=True)
def test_elected_is_called_once_a_reign():
    from config.core.leader import Leadership

    leadership, stop, seen = Leadership("loop"), Stop(), []

    def step():
        seen.append("step")
        if seen.count("step") == 2:
            leadership.release()
        if seen.count("step") == 3:
            stop.request()
        return True

    run(step, idle_seconds=0, stop=stop, leadership=leadership, elected=lambda: seen.append("elected"))
    assert seen == ["elected", "step", "step", "elected", "step"]
    assert not leadership.holds()


def test_backoff_doubles_up_to_its_longest_and_begins_again():
    backoff = Backoff(first=1, longest=4)
    waits = [backoff.seconds() for _ in range(5)]
    for wait, most in zip(waits, (1, 2, 4, 4, 4), strict=True):
        assert most / 2 <= wait <= most
    backoff.reset()
    assert backoff.seconds() <= 1


def test_waiting_ends_soon_after_the_request():
    stop = Stop()
    threading.Timer(0.2, stop.request).start()
    started = time.monotonic()
    stop.wait(10)
    assert time.monotonic() - started < 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_step_finish(number):
    script = (
        "import time, django; django.setup()\n"
        "from config.core.workers import Stop, run\n"
        "stop = Stop().on_signals()\n"
        "def step():\n"
        "    print('begun', flush=True); time.sleep(0.5); print('done', flush=True)\n"
        "    return True\n"
        "run(step, idle_seconds=1, stop=stop)\n"
    )
    env = dict(os.environ, DJANGO_SETTINGS_MODULE="config.settings")
    process = subprocess.Popen([sys.executable, "-c", script], env=env, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "begun\n"
    process.send_signal(number)
    rest = process.stdout.read().split()
    assert process.wait(5) == 0
    assert rest == ["done"]


# --- Fault points -------------------------------------------------------------------------------------


def armed(fault, environment="embedded"):
    script = (
        "import django; django.setup()\n"
        "from config.core.faults import faultpoint\n"
        "faultpoint('here'); print('past')\n"
    )
    env = dict(
        os.environ,
        DJANGO_SETTINGS_MODULE="config.settings",
        FAULTPOINT=fault,
        ENVIRONMENT=environment,
        SECRET_KEY="a key long enough for production, in a test of what production refuses",
        ALLOWED_HOSTS="example.org",
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=env, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout.strip(), done.stderr


def test_an_unarmed_point_does_nothing():
    assert armed("")[:2] == (0, "past")
    assert armed("elsewhere:exit")[:2] == (0, "past")


def test_an_armed_point_raises_sleeps_or_dies():
    assert armed("here:exit")[:2] == (137, "")
    assert "Fault: here" in armed("here:raise")[2]
    started = time.monotonic()
    assert armed("here:sleep=0.5")[:2] == (0, "past")
    assert time.monotonic() - started > 0.5


def test_production_refuses_to_start_with_an_armed_point():
    code, said, error = armed("elsewhere:raise", "production")
    assert (code, said) == (1, "")
    assert "FAULTPOINT" in error


def test_transient_is_what_passes_by_itself():
    assert issubclass(OperationalError, workers.TRANSIENT)
    assert not issubclass(ValueError, workers.TRANSIENT)
