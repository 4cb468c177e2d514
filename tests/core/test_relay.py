"""Every fact gets out, in its topic's order, at least once, whatever dies."""

import os
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import orjson
import psycopg
import pytest
import redis as redis_client
from channels.layers import get_channel_layer
from django.core.management import call_command
from django.db import transaction

from config.core import clock, outbox, redis, sockets
from config.core.errors import Broken
from config.core.facts import FactData, fact
from config.core.leader import Leadership
from config.core.models import AuditEntry, Fact
from config.core.relay import BATCH, LAG, PARKED, Relay
from config.core.tasks import trim_facts
from config.core.workers import Stop, run
from config.embedded.machine import free_port

pytestmark = pytest.mark.django_db(transaction=True)


@fact("test.happened")
class Happened(FactData):
    """Something for these tests."""

    n: int


@fact("test.handled")
class Handled(FactData):
    """Something with a handler."""

    n: int


@pytest.fixture
def handled():
    """What the handler saw; it fails while `failing` is not empty for the fact's number."""
    seen: list[tuple[str, int]] = []
    failing: set[int] = set()

    @outbox.handler("test.handled")
    def handle(row):
        if row.payload["n"] in failing:
            raise ValueError("no")
        seen.append((row.topic, row.payload["n"]))

    yield seen, failing
    outbox._after["test.handled"].remove(handle)


def tell(*numbers, topic="t", kind=Happened):
    with transaction.atomic():
        return outbox.publish_many([(topic, kind(n=n)) for n in numbers])


@contextmanager
def listening(*topics):
    """Hear what the gateway's channel layer would."""
    names = {f"{redis.key('asgi')}__group__{sockets.group(topic)}" for topic in topics}
    subscription = redis.client().pubsub(ignore_subscribe_messages=True)
    subscription.subscribe(*names)
    while subscription.subscribed and subscription.get_message(timeout=0.05) is not None:
        pass

    def heard():
        found = []
        while (message := subscription.get_message(timeout=0.3)) is not None:
            if message["type"] == "message":
                found.append(get_channel_layer().deserialize(message["data"]))
        return [orjson.loads(message["text"]) for message in found]

    time.sleep(0.05)
    yield heard
    subscription.close()


def unpublished():
    return list(Fact.objects.filter(published_at=None).order_by("id").values_list("id", flat=True))


def test_a_fact_is_sent_with_its_id_and_marked():
    with listening("t") as heard:
        (row,) = tell(7)
        assert Relay().step() is False
        (message,) = heard()
    assert message["type"] == "test.happened"
    assert (message["n"], message["id"], message["seq"], message["v"]) == (7, row.pk, row.pk, 1)
    assert unpublished() == []


def test_nothing_is_published_outside_a_transaction_or_by_one_that_fails():
    with pytest.raises(Broken):
        outbox.publish("t", Happened(n=1))
    with transaction.atomic():
        outbox.publish("t", Happened(n=1))
        transaction.set_rollback(True)
    assert Fact.objects.count() == 0


def test_who_commits_late_with_a_lower_id_is_delivered_all_the_same(handled):
    took_its_id, may_commit = threading.Event(), threading.Event()

    def late():
        with transaction.atomic():
            outbox.publish("late", Handled(n=1))
            took_its_id.set()
            may_commit.wait(10)
        transaction.get_connection().close()

    thread = threading.Thread(target=late)
    thread.start()
    took_its_id.wait(10)
    tell(2, topic="early", kind=Handled)
    relay = Relay()
    relay.step()
    assert handled[0] == [("early", 2)]
    may_commit.set()
    thread.join()
    relay.step()
    assert handled[0] == [("early", 2), ("late", 1)]
    assert Fact.objects.get(topic="late").pk < Fact.objects.get(topic="early").pk
    assert unpublished() == []


def test_a_fact_that_fails_holds_its_topic_and_only_its_topic(handled):
    seen, failing = handled
    failing.add(2)
    tell(1, 2, 3, topic="a", kind=Handled)
    tell(4, topic="a")
    tell(5, 6, topic="b", kind=Handled)
    relay = Relay()
    with listening("a") as heard:
        relay.step()
        relay.step()  # does not hammer: the topic is held for a while
        sent = [message["n"] for message in heard()]
    assert seen == [("a", 1), ("b", 5), ("b", 6)]
    assert sent == [1, 2]  # the sockets heard the failed one, nothing after it
    failed = Fact.objects.get(topic="a", payload__n=2)
    assert (failed.attempts, failed.error, failed.parked_at) == (1, "ValueError: no", None)
    failing.clear()
    relay.step()
    assert seen[3:] == [("a", 2), ("a", 3)]
    assert unpublished() == []
    assert Fact.objects.get(pk=failed.pk).error == ""


def test_ten_failures_park_the_fact_until_an_operator_lets_it_go_on(handled, caplog, django_user_model):
    seen, failing = handled
    failing.add(1)
    first, _ = tell(1, 2, topic="a", kind=Handled)
    relay = Relay()
    for _ in range(10):
        relay._held.clear()
        relay.step()
    first.refresh_from_db()
    assert (first.attempts, first.parked_at is not None) == (10, True)
    assert [record.levelname for record in caplog.records if "parked" in record.getMessage()] == ["ERROR"]
    assert PARKED._value.get() == 1
    relay._held.clear()
    tell(3, topic="b", kind=Handled)
    Relay().step()
    assert seen == [("b", 3)]
    first.refresh_from_db()
    assert first.attempts == 10  # a parked one is not tried

    failing.clear()
    assert outbox.retry(first, actor=None, reason="repaired")
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.object_id, entry.reason) == ("fact.retried", str(first.pk), "repaired")
    assert not outbox.retry(first, actor=None, reason="again")
    Relay().step()
    assert seen == [("b", 3), ("a", 1), ("a", 2)]
    assert unpublished() == []


def test_the_command_lets_all_parked_go_on(handled, capsys):
    handled[1].add(1)
    (row,) = tell(1, topic="a", kind=Handled)
    Fact.objects.filter(pk=row.pk).update(parked_at=clock.now(), attempts=10)
    call_command("relay_events", retry_parked="handler repaired")
    assert Fact.objects.get(pk=row.pk).parked_at is None


def test_the_lag_is_the_age_of_the_oldest_waiting(handled):
    with clock.ticking(lambda: datetime.now(UTC) - timedelta(seconds=30)):
        tell(1)
    relay = Relay()
    relay.step()
    assert 29 < LAG._value.get() < 35
    relay.step()
    assert LAG._value.get() == 0


def test_without_redis_nothing_is_marked_and_nothing_crashes(settings, handled):
    tell(1, kind=Handled)
    right, settings.REDIS_URL = settings.REDIS_URL, "redis://127.0.0.1:1/0"
    with pytest.raises(redis_client.RedisError):
        Relay().step()
    assert handled[0] == []
    relay, stop, steps = Relay(), Stop(), []

    def step():
        steps.append(1)
        if len(steps) == 3:
            settings.REDIS_URL = right
        busy = relay.step()
        stop.request()
        return busy

    run(step, idle_seconds=0.01, stop=stop)
    assert len(steps) == 3
    assert handled[0] == [("t", 1)]
    assert unpublished() == []


def test_old_facts_are_trimmed_and_undelivered_ones_kept():
    long_ago = clock.now() - timedelta(days=8)
    with clock.ticking(lambda: long_ago):
        old, new, never = tell(1, 2, 3)
    Fact.objects.filter(pk=old.pk).update(published_at=long_ago)
    Fact.objects.filter(pk=new.pk).update(published_at=clock.now())
    assert trim_facts() == 1
    assert set(Fact.objects.values_list("pk", flat=True)) == {new.pk, never.pk}


# --- As processes -------------------------------------------------------------------------------------


@pytest.fixture
def relays():
    running = []

    def start(**variables):
        argv = [sys.executable, "manage.py", "relay_events"]
        process = subprocess.Popen(argv, env=dict(os.environ, ROLE="relay", **variables))
        running.append(process)
        return process

    yield start
    for process in running:
        if process.poll() is None:
            process.kill()
        process.wait()


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:
            return answer.status == 200
    except OSError:
        return False


def wait_for(condition, seconds=20.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "in vain"
        time.sleep(0.02)


def leaders():
    """Return how many connections hold the relay's lock."""
    query = (
        "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) "
        "WHERE locktype = 'advisory' AND application_name = 'leader-relay' AND granted "
        "AND pg_stat_activity.datname = current_database()"
    )
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        return connection.execute(query).fetchone()[0]


def test_a_standby_takes_over_within_two_seconds_of_a_kill(relays):
    leader = relays()
    wait_for(leaders)
    port = free_port(set())
    standby = relays(METRICS_PORT=str(port))
    wait_for(lambda: answers(f"http://127.0.0.1:{port}/healthz"))
    tell(*range(50))
    wait_for(lambda: not unpublished())
    leader.kill()
    tell(*range(50))
    killed_at = time.monotonic()
    wait_for(lambda: not unpublished())
    assert time.monotonic() - killed_at < 2
    standby.terminate()
    assert standby.wait(5) == 0
    assert Leadership("relay").acquire(wait_seconds=1)


@pytest.mark.parametrize("point", ["relay.after_send", "relay.before_mark"])
def test_a_kill_between_sending_and_marking_repeats_and_loses_nothing(relays, point):
    with listening("t") as heard:
        tell(*range(20))
        dying = relays(FAULTPOINT=f"{point}:exit")
        assert dying.wait(20) == 137
        assert len(unpublished()) == 20
        relays()
        wait_for(lambda: not unpublished())
        numbers = [message["n"] for message in heard()]
    assert numbers == [*range(20), *range(20)]


def test_sigterm_finishes_and_exits_cleanly(relays):
    process = relays()
    wait_for(leaders)
    tell(*range(4000))
    process.terminate()
    assert process.wait(10) == 0
    left = len(unpublished())
    assert left % BATCH == 0
