"""The price hub: the newest message of each public channel, from the feed to every socket that wants it."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import msgspec
import orjson
import redis.asyncio
from django.conf import settings
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from config.core import clock, wire
from config.core.redis import client, key
from config.core.sockets import SharedReads
from config.core.workers import Backoff

logger = logging.getLogger(__name__)
VERSION = 1
SILENCE_SECONDS = 5.0
# Prices that come within this time of the last ones sent wait, and newer ones replace them.
SEND_INTERVAL_SECONDS = 0.025
_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


def publish_latest(messages: Mapping[str, Mapping[str, Any]]) -> None:
    """Send each channel its newest message; raise redis.RedisError while Redis is away.

    A message is encoded here, once; `v`, `channel` and, unless it has its own, `at` (our time) are added.
    What follows an @ in a channel's name says which variant of it a message is.
    """
    at = clock.now()
    encoded = {
        channel: orjson.Fragment(
            wire.encode({"v": VERSION, "channel": channel.partition("@")[0], "at": at, **message})
        )
        for channel, message in messages.items()
    }
    client().publish(key("prices"), orjson.dumps(encoded))


class Listener(Protocol):
    """Who is told: a socket of this process."""

    def offer(self, channel: str, text: str) -> None:
        """Take the newest message of a channel."""

    async def flush(self) -> bool:
        """Send what waits; return whether something still does."""

    def resync(self) -> None:
        """Learn that messages may have been lost."""


class Hub:
    """One subscription for all sockets of a process; a message is decoded once and never encoded again."""

    def __init__(self) -> None:
        self._everybody: set[Listener] = set()
        self._listeners: defaultdict[str, set[Listener]] = defaultdict(set)
        self._variants: defaultdict[str, set[str]] = defaultdict(set)
        self._waiting: set[Listener] = set()
        self._awake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.reads = SharedReads()

    def join(self, listener: Listener) -> None:
        """Tell a listener from now on when messages, prices or facts, may have been lost."""
        self._everybody.add(listener)
        if not self._tasks or any(task.done() for task in self._tasks):
            for task in self._tasks:
                task.cancel()
            self._tasks = [asyncio.create_task(run()) for run in (self._receive_forever, self._flush_forever)]

    def part(self, listener: Listener) -> None:
        """Forget a listener that has left its channels."""
        self._everybody.discard(listener)
        self._waiting.discard(listener)

    def wake(self, listener: Listener) -> None:
        """Have what waits at a listener sent, together with that of all others."""
        self._waiting.add(listener)
        self._awake.set()

    async def _flush_forever(self) -> None:
        # One task for all sockets: a task each cost a fifth of the gateway's time.
        while True:
            await self._awake.wait()
            self._awake.clear()
            waiting, self._waiting = self._waiting, set()
            for listener in waiting:
                try:
                    if await listener.flush():
                        self.wake(listener)
                except Exception as error:  # one socket's trouble is its own
                    logger.error("a socket could not be served", exc_info=error)
            await asyncio.sleep(SEND_INTERVAL_SECONDS)

    def listen(self, channel: str, listener: Listener) -> None:
        """Offer a channel's messages to a listener; where its variant has none, the plain one's."""
        self._listeners[channel].add(listener)
        self._variants[channel.partition("@")[0]].add(channel)

    def leave(self, channel: str, listener: Listener) -> None:
        """Stop offering a channel to a listener."""
        self._listeners[channel].discard(listener)
        if not self._listeners[channel]:
            self._listeners.pop(channel)
            plain = channel.partition("@")[0]
            self._variants[plain].discard(channel)
            if not self._variants[plain]:
                self._variants.pop(plain)

    async def _receive_forever(self) -> None:
        backoff, is_first = Backoff(0.1, 2.0), True
        while not _is_cancelled():
            try:
                # Without its own retries, so that every interruption is seen here.
                connection = redis.asyncio.Redis.from_url(
                    settings.REDIS_URL, retry=Retry(NoBackoff(), 0), socket_connect_timeout=2
                )
                async with connection, connection.pubsub(ignore_subscribe_messages=True) as subscription:
                    await subscription.subscribe(key("prices"))
                    for listener in () if is_first else self._everybody:
                        listener.resync()
                    is_first = False
                    backoff.reset()
                    await self._receive(subscription)
            except (redis.RedisError, OSError) as error:
                wait = backoff.seconds()
                logger.warning("prices stopped, trying again in %.1f s: %s", wait, error)
                await asyncio.sleep(wait)

    async def _receive(self, subscription: Any) -> None:
        while not _is_cancelled():
            message = await subscription.get_message(timeout=SILENCE_SECONDS)
            if message is None:
                await subscription.ping()
            elif message["type"] == "message":
                try:
                    self._offer(message["data"])
                except (msgspec.MsgspecError, ValueError) as error:
                    logger.error("a message of prices nobody can read: %s", error)

    def _offer(self, data: bytes) -> None:
        messages = _decoder.decode(data)
        for channel, raw in messages.items():
            wanted = self._variants.get(channel, ()) if "@" not in channel else (channel,)
            if heard := [name for name in wanted if name == channel or name not in messages]:
                text = bytes(raw).decode()
                for listener in [each for name in heard for each in self._listeners.get(name, ())]:
                    listener.offer(channel, text)


def _is_cancelled() -> bool:
    # The client of Redis loses a cancellation that meets it while connecting.
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


_hubs: "WeakKeyDictionary[asyncio.AbstractEventLoop, Hub]" = WeakKeyDictionary()


def hub() -> Hub:
    """Return the hub of the running event loop."""
    return _hubs.setdefault(asyncio.get_running_loop(), Hub())
