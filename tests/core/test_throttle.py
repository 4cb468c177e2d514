"""Token buckets: exact under parallel takers, all or none, and what happens without Redis."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from config.core.errors import TooMany, Unavailable
from config.core.throttle import Limit, ask, take, take_all

NOWHERE = "redis://127.0.0.1:1/0"


def test_so_many_at_once_and_then_the_seconds_to_wait():
    limit = Limit("orders", per_second=0.5, burst=3)
    assert [ask([(limit, "alice")]).remaining for _ in range(3)] == [2, 1, 0]
    refused = ask([(limit, "alice")])
    assert (refused.wait_seconds, refused.remaining) == (2, 0)
    assert ask([(limit, "bob")]).remaining == 2


def test_a_token_comes_back_in_its_time():
    for _ in range(2):
        take("quick", "alice", rate=10, burst=2)
    with pytest.raises(TooMany) as refusal:
        take("quick", "alice", rate=10, burst=2)
    assert refusal.value.retry_after_seconds == 1
    time.sleep(0.12)
    take("quick", "alice", rate=10, burst=2)


def test_exactly_the_burst_passes_among_parallel_takers():
    limit = Limit("race", per_second=0.01, burst=20)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ask([(limit, "alice")]).wait_seconds == 0, range(200)))
    assert sum(answers) == 20


def test_of_several_buckets_all_are_taken_or_none():
    wide, narrow = Limit("wide", 0.01, 10), Limit("narrow", 0.01, 2)
    for _ in range(2):
        take_all([(wide, "a"), (narrow, "a")])
    for _ in range(5):
        with pytest.raises(TooMany):
            take_all([(wide, "a"), (narrow, "a")])
    assert ask([(wide, "a")]).remaining == 7  # ten, less two taken together and this one


def test_without_redis_money_waits_and_the_rest_goes_on(settings):
    settings.REDIS_URL = NOWHERE
    assert ask([(Limit("reading", 1, 1), "a")]) is None
    with pytest.raises(Unavailable) as refusal:
        ask([(Limit("reading", 1, 1), "a"), (Limit("money", 1, 1, fail_closed=True), "a")])
    assert refusal.value.retry_after_seconds
