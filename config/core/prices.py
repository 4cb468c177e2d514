"""The price hub: the newest message of each public channel, from the feed to every socket that wants it."""

from collections.abc import Mapping
from typing import Any

import orjson

from config.core import clock, redis, wire

VERSION = 1


def publish_latest(messages: Mapping[str, Mapping[str, Any]]) -> None:
    """Send each channel its newest message; raise redis.RedisError while Redis is away.

    A message is encoded here, once; `v`, `channel` and, unless it has its own, `at` (our time) are added.
    """
    at = clock.now()
    encoded = {
        channel: orjson.Fragment(wire.encode({"v": VERSION, "channel": channel, "at": at, **message}))
        for channel, message in messages.items()
    }
    redis.client().publish(redis.key("prices"), orjson.dumps(encoded))
