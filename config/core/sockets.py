"""The channels of the one private socket: apps declare them, the kernel authorises, joins and forwards."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from config.core.errors import Forbidden, Invalid

Snapshot = Callable[..., dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Kind:
    """A declared pattern of channels."""

    expression: "re.Pattern[str]"
    snapshot: Snapshot
    topic: Callable[..., str] | None
    may: Callable[..., bool] | None


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
    def group(self) -> str | None:
        """The group of its facts; None: the price hub carries it, under its own name."""
        return None if self.kind.topic is None else group(self.kind.topic(self.user, **self.parts))

    def open(self) -> dict[str, Any]:
        """Return the snapshot; raise Forbidden for those who may not see it."""
        if self.kind.may is not None and not self.kind.may(self.user, **self.parts):
            raise Forbidden(channel=self.name)
        return self.kind.snapshot(self.user, **self.parts)


_kinds: list[Kind] = []
_wildcards: set[str] = set()


def register(
    pattern: str,
    *,
    snapshot: Snapshot,
    topic: str | Callable[..., str] | None = None,
    may: Callable[..., bool] | None = None,
) -> None:
    """Declare channels: `account`, `quotes:<symbol>`, `candles:<symbol>:<interval>`.

    `snapshot(user, **parts)` returns the whole state, from the database; it may raise a refusal (Missing).
    `topic(user, **parts)` or a fixed text names the facts that follow; `instrument:*` stands for every topic
    that begins so. Without `topic` the price hub carries the channel.
    `may(user, **parts)` says who of those signed in is let in; without it the channel is public.
    """
    expression = re.compile(re.sub(r"<(\w+)>", r"(?P<\1>[A-Za-z0-9_.-]{1,64})", pattern))
    if isinstance(topic, str):
        if topic.endswith(":*"):
            _wildcards.add(topic)
        topic = partial(_fixed, topic)
    _kinds.append(Kind(expression, snapshot, topic, may))


def _fixed(topic: str, _user: Any, **_parts: str) -> str:
    return topic


def find(name: Any, user: Any) -> Channel:
    """Return the channel of that name for that person; raise Invalid when nobody declared it."""
    for kind in _kinds:
        if isinstance(name, str) and (match := kind.expression.fullmatch(name)):
            return Channel(name, kind, user, match.groupdict())
    raise Invalid("There is no such channel.", channel=str(name)[:100])


def group(topic: str) -> str:
    """Return the channel layer's group of a topic."""
    return topic.replace(":", ".").replace("*", "all")


def groups(topic: str) -> list[str]:
    """Return every group that hears a topic's facts."""
    wildcard = f"{topic.partition(':')[0]}:*"
    return [group(topic), group(wildcard)] if wildcard in _wildcards else [group(topic)]
