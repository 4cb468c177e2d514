"""The channels of the one private socket: apps declare them, the kernel authorises, joins and forwards."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, ParamSpec, TypeVar

from channels.db import DatabaseSyncToAsync

from config.core.errors import Forbidden, Invalid

P = ParamSpec("P")
T = TypeVar("T")
Snapshot = Callable[..., dict[str, Any]]
# Nobody's snapshot waits behind a single slow one, and a gateway holds so many database connections.
_readers = ThreadPoolExecutor(4, "socket-reader")
# Reads of one public channel begin at least so far apart in a process.
SHARED_READ_SECONDS = 0.25


def reading(function: Callable[P, T]) -> Callable[P, Awaitable[T]]:
    """Return a function of the database as one to await, run by one of the gateway's few readers."""
    awaitable: Callable[P, Awaitable[T]] = DatabaseSyncToAsync(
        function, thread_sensitive=False, executor=_readers
    )
    return awaitable


@dataclass(frozen=True, slots=True)
class Kind:
    """A declared pattern of channels."""

    expression: "re.Pattern[str]"
    snapshot: Snapshot
    topic: Callable[..., str] | None
    may: Callable[..., bool] | None
    variant: Callable[[Any], str] | None


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel as one person asked for it."""

    name: str
    kind: Kind
    user: Any
    parts: dict[str, str]

    @property
    def is_public(self) -> bool:
        """Whether strangers are let in."""
        return self.kind.may is None

    @property
    def carrier(self) -> str:
        """The name under which the price hub carries it for this person."""
        variant = self.kind.variant(self.user) if self.kind.variant is not None else ""
        return f"{self.name}@{variant}" if variant else self.name

    @property
    def group(self) -> str | None:
        """The group of its facts; None: the price hub carries it, under its own name."""
        return None if self.kind.topic is None else group(self.kind.topic(self.user, **self.parts))

    def open(self) -> dict[str, Any]:
        """Return the snapshot; raise Forbidden for those who may not see it."""
        if self.kind.may is not None and not self.kind.may(self.user, **self.parts):
            raise Forbidden(channel=self.name)
        # A public snapshot is shared by all who hear the same variant, so it is nobody's.
        varied = {"variant": self.kind.variant(self.user)} if self.kind.variant is not None else {}
        return self.kind.snapshot(None if self.is_public else self.user, **varied, **self.parts)


class SharedReads:
    """One read of a public channel serves everybody who asked for it before it began."""

    def __init__(self) -> None:
        self._next: dict[str, asyncio.Future[dict[str, Any]] | None] = {}
        self._serving: set[asyncio.Task[None]] = set()

    async def state(self, channel: Channel) -> dict[str, Any]:
        """Return a snapshot whose reading began after this call; raise what it raises."""
        name = channel.carrier
        if name not in self._next:
            task = asyncio.create_task(self._serve(channel))
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)
        waiting = self._next.get(name)
        if waiting is None:
            waiting = self._next[name] = asyncio.get_running_loop().create_future()
        return await asyncio.shield(waiting)

    async def _serve(self, channel: Channel) -> None:
        name = channel.carrier
        while waiting := self._next[name]:
            self._next[name] = None
            try:
                waiting.set_result(await reading(channel.open)())
            except Exception as error:  # noqa: BLE001
                waiting.set_exception(error)
            await asyncio.sleep(SHARED_READ_SECONDS)
        del self._next[name]


_kinds: list[Kind] = []
_wildcards: set[str] = set()


def register(
    pattern: str,
    *,
    snapshot: Snapshot,
    topic: str | Callable[..., str] | None = None,
    may: Callable[..., bool] | None = None,
    variant: Callable[[Any], str] | None = None,
) -> None:
    """Declare channels: `account`, `quotes:<symbol>`, `candles:<symbol>:<interval>`.

    `snapshot(user, **parts)` returns the whole state, from the database; it may raise a refusal (Missing).
    `topic(user, **parts)` or a fixed text names the facts that follow; `instrument:*` stands for every topic
    that begins so. Without `topic` the price hub carries the channel.
    `may(user, **parts)` says who of those signed in is let in; without it the channel is public, and its
    snapshot, asked without a user, the same for everybody. With `variant(user)` it is the same for all of one
    variant: the hub carries it as `<channel>@<variant>`, and the snapshot is asked with `variant`.
    """
    expression = re.compile(re.sub(r"<(\w+)>", r"(?P<\1>[A-Za-z0-9_.-]{1,64})", pattern))
    if isinstance(topic, str):
        if topic.endswith(":*"):
            _wildcards.add(topic)
        topic = partial(_fixed, topic)
    _kinds.append(Kind(expression, snapshot, topic, may, variant))


def _fixed(topic: str, _user: Any, **_parts: str) -> str:
    return topic


def find(name: str, user: Any) -> Channel:
    """Return the channel of that name for that person; raise Invalid when nobody declared it."""
    for kind in _kinds:
        if match := kind.expression.fullmatch(name):
            return Channel(name, kind, user, match.groupdict())
    raise Invalid("There is no such channel.", channel=name[:100])


def group(topic: str) -> str:
    """Return the channel layer's group of a topic."""
    return topic.replace(":", ".").replace("*", "all")


def groups(topic: str) -> list[str]:
    """Return every group that hears a topic's facts."""
    wildcard = f"{topic.partition(':')[0]}:*"
    return [group(topic), group(wildcard)] if wildcard in _wildcards else [group(topic)]
