"""Whoever locks before publishing is heard in the order of his commits, whatever others do meanwhile."""

import threading
from collections import defaultdict

import pytest
from django.db import connection, transaction

from config.core import outbox
from config.core.facts import FactData, fact
from config.core.models import Fact
from config.core.relay import Relay

TOPICS, WRITERS, EACH = 4, 8, 25


@fact("test.counted")
class Counted(FactData):
    """The next number of a topic."""

    n: int


@pytest.mark.django_db(transaction=True)
def test_every_topic_is_heard_without_gap_in_commit_order():
    heard: dict[str, list[int]] = defaultdict(list)
    numbers: dict[int, int] = defaultdict(int)
    done = threading.Event()

    @outbox.handler("test.counted")
    def hear(row):
        heard[row.topic].append(row.payload["n"])

    def write(seed):
        for step in range(EACH):
            topic = (seed + step) % TOPICS
            with transaction.atomic():
                with connection.cursor() as cursor:
                    cursor.execute("SELECT pg_advisory_xact_lock(%s)", [900_000 + topic])
                numbers[topic] += 1  # guarded by the lock, like the version of an account
                outbox.publish(f"t:{topic}", Counted(n=numbers[topic]))
        connection.close()

    def deliver():
        relay = Relay()
        while not done.is_set() or Fact.objects.filter(published_at=None).exists():
            relay.step()
        connection.close()

    relay = threading.Thread(target=deliver)
    writers = [threading.Thread(target=write, args=[n]) for n in range(WRITERS)]
    for thread in (relay, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    relay.join(30)
    outbox._after["test.counted"].remove(hear)
    assert heard == {f"t:{topic}": list(range(1, numbers[topic] + 1)) for topic in range(TOPICS)}
    assert sum(numbers.values()) == WRITERS * EACH
