"""The one private socket: channels joined before their snapshot, facts in order, prices latest-wins."""

import asyncio
import logging
import random
import time
from collections import Counter, deque
from contextlib import suppress
from math import ceil
from typing import Annotated, Any, Literal

import msgspec
import orjson
from autobahn.exception import Disconnected
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from redis import RedisError

from config.core import callers, clock, outbox, sockets, wire
from config.core.errors import DomainError, Invalid, TooMany, Unauthenticated
from config.core.http import as_refusal, problem
from config.core.prices import VERSION, hub

logger = logging.getLogger(__name__)
LARGEST_MESSAGE = 64 * 1024
MOST_CHANNELS = 64
# What one socket may ask: so many operations a second, so many at once; each channel named is one.
OPERATIONS_PER_SECOND, OPERATIONS_AT_ONCE = 10.0, 100.0
MOST_FACTS_WAITING = 1000
RESYNC_SPREAD_SECONDS, ECHO_SECONDS = 2.0, 0.5
SIGNED_OUT, REFUSED, TOO_SLOW, TOO_BIG, TOO_FAST = 4401, 4403, 4408, 1009, 4429

_open: Counter[str] = Counter()


class Operation(msgspec.Struct):
    """What a client asks for."""

    op: Literal["ping", "subscribe", "unsubscribe"]
    channels: Annotated[tuple[str, ...], msgspec.Meta(max_length=MOST_CHANNELS)] = ()


_decoder = msgspec.json.Decoder(Operation)


class PrivateSocket(AsyncWebsocketConsumer):
    """One client. Strangers hear public channels; people also their own."""

    def __init__(self) -> None:
        super().__init__()
        self.user: Any = AnonymousUser()
        self.place: str | None = None
        self.is_closed = False
        self.channels: dict[str, sockets.Channel] = {}
        self.groups_joined: dict[str, set[str]] = {}
        self.facts: deque[str] = deque()
        self.prices: dict[str, str] = {}
        self.settled: set[str] = set()
        self.echoing: asyncio.Task[None] | None = None
        self.tokens, self.filled_at = OPERATIONS_AT_ONCE, time.monotonic()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one client; however that ends, everything is left."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._leave()

    async def connect(self) -> None:
        """Accept, unless the page is foreign or too many are open already."""
        self.user = self.scope.get("user") or self.user
        place = _place(self.scope, self.user)
        most = settings.SOCKETS_PER_USER if self.user.is_authenticated else settings.SOCKETS_PER_ADDRESS
        if not _is_welcome(self.scope, self.user) or _open[place] >= most:
            await self.close(REFUSED)
            return
        _open[place] += 1
        self.place = place
        hub().join(self)
        if isinstance(signed_in := self.user.pk, int):
            await self._join(sockets.group(outbox.customer_topic(signed_in)), "")
        await self.accept()
        await self._check_sign_in()

    async def _check_sign_in(self) -> None:
        """Close the socket of a sign-in that ended where its fact could not be heard."""
        check = self.scope.get("is_signed_in")
        if check is not None and not await check():
            await self._finish(SIGNED_OUT)

    async def _leave(self) -> None:
        self.is_closed = True
        if self.echoing is not None:
            self.echoing.cancel()
        if self.place is not None:
            _open.subtract([self.place])
            if not _open[self.place]:
                del _open[self.place]
            self.place = None
        for channel in self.channels.values():
            hub().leave(channel.carrier, self)
        hub().part(self)
        while self.groups_joined:
            with suppress(RedisError, OSError):
                await self.channel_layer.group_discard(self.groups_joined.popitem()[0], self.channel_name)

    async def send(self, text_data: str | None = None, *args: Any, **kwargs: Any) -> None:
        """Send to a client that is still there; what comes after its leaving is nobody's."""
        if not self.is_closed:
            try:
                await super().send(text_data, *args, **kwargs)
            except Disconnected:
                self.is_closed = True

    async def close(self, *args: Any, **kwargs: Any) -> None:
        """Close once; nothing is sent or done after it."""
        if not self.is_closed:
            self.is_closed = True
            await super().close(*args, **kwargs)

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Handle one event; unlike the base, spend no thread on database connections we do not hold."""
        await getattr(self, message["type"].replace(".", "_"))(message)

    # --- What the client says -------------------------------------------------------------------------

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Do one operation; every refusal is answered with its problem document."""
        if self.is_closed:
            return
        if text_data is None or len(text_data) > LARGEST_MESSAGE:
            await self.close(TOO_BIG)
            return
        try:
            self._count(1)
            operation = _parsed(text_data)
            if operation.op == "ping":
                await self._tell({"type": "pong"})
                return
            self._count(max(0, len(operation.channels) - 1))
            do = self._subscribe if operation.op == "subscribe" else self._unsubscribe
            for name in dict.fromkeys(operation.channels):
                if not self.is_closed:
                    await do(name)
        except TooMany as refusal:
            await self._refuse(refusal)
            if self.tokens < -OPERATIONS_AT_ONCE:
                await self.close(TOO_FAST)
        except DomainError as refusal:
            await self._refuse(refusal)

    def _count(self, cost: int) -> None:
        now = time.monotonic()
        gained = (now - self.filled_at) * OPERATIONS_PER_SECOND
        self.tokens, self.filled_at = min(OPERATIONS_AT_ONCE, self.tokens + gained), now
        if self.tokens < cost:
            wait = ceil((cost - self.tokens) / OPERATIONS_PER_SECOND)
            # A refusal costs too, so that who goes on regardless is closed.
            self.tokens -= 1
            raise TooMany(retry_after_seconds=wait)
        self.tokens -= cost

    async def _subscribe(self, name: str) -> None:
        try:
            channel = sockets.find(name, self.user)
            if not channel.is_public and not self.user.is_authenticated:
                raise Unauthenticated(channel=name)
            if name not in self.channels and len(self.channels) >= MOST_CHANNELS:
                raise TooMany(f"At most {MOST_CHANNELS} channels on one socket.", limit=MOST_CHANNELS)
            await self._open_channel(channel)
        except Unauthenticated as refusal:
            await self._refuse(refusal, name)
            await self._finish(SIGNED_OUT)
        except Exception as error:
            refused = as_refusal(error)
            if refused.status >= 500:
                logger.error("no snapshot of %s", name, exc_info=error)
            await self._refuse(refused, name)
            await self._unsubscribe(name)

    async def _open_channel(self, channel: sockets.Channel) -> None:
        # Joined first: what happens while the snapshot is read waits behind it, and nothing is missed.
        self.channels[channel.name] = channel
        self.settled.discard(channel.name)
        if channel.group is None:
            hub().listen(channel.carrier, self)
        else:
            await self._join(channel.group, channel.name)
        if channel.is_public:
            state = await hub().reads.state(channel)
        else:
            state = await sockets.reading(channel.open)()
        await self._tell({"type": "snapshot", **state, "channel": channel.name})
        self.settled.add(channel.name)
        hub().wake(self)

    async def _unsubscribe(self, name: str) -> None:
        channel = self.channels.pop(name, None)
        if channel is None:
            return
        self.prices.pop(name, None)
        if channel.group is None:
            hub().leave(channel.carrier, self)
            return
        self.groups_joined[channel.group].discard(name)
        if not self.groups_joined[channel.group]:
            del self.groups_joined[channel.group]
            await self.channel_layer.group_discard(channel.group, self.channel_name)

    async def _join(self, group: str, name: str) -> None:
        is_new = group not in self.groups_joined
        # Noted first: a joining that fails half-way is left too.
        self.groups_joined.setdefault(group, set()).add(name)
        if is_new:
            await self.channel_layer.group_add(group, self.channel_name)

    # --- What the client is told ----------------------------------------------------------------------

    async def fact_message(self, message: dict[str, Any]) -> None:
        """Pass on a fact from the relay to the channels that carry its topic."""
        if message["name"] == "customer.signed_out":
            ended = orjson.loads(message["text"])["sign_in"]
            if ended is None or ended == self.scope.get("sign_in"):
                await self._finish(SIGNED_OUT)
                return
        for name in self.groups_joined.get(message["group"], ()):
            if name:
                await self._deliver(f'{{"channel":"{name}",{message["text"][1:]}')

    def offer(self, channel: str, text: str) -> None:
        """Take a price from the hub; it replaces the one not yet sent."""
        self.prices[channel.partition("@")[0]] = text
        hub().wake(self)

    def resync(self) -> None:
        """Send every snapshot again, once the channel layer hears again too: messages may have been lost."""
        if self.echoing is None:
            self.echoing = asyncio.create_task(self._echo_until_heard())

    async def _echo_until_heard(self) -> None:
        await asyncio.sleep(random.uniform(0, RESYNC_SPREAD_SECONDS))  # noqa: S311
        while True:
            with suppress(RedisError, OSError):
                await self.channel_layer.send(self.channel_name, {"type": "layer.echo"})
            await asyncio.sleep(ECHO_SECONDS)

    async def layer_echo(self, _message: dict[str, Any]) -> None:
        """Learn that the channel layer has come back: what was missed is in the snapshots taken now."""
        if self.echoing is not None:
            self.echoing.cancel()
            self.echoing = None
            await self._check_sign_in()
            for name in list(self.channels):
                if not self.is_closed:
                    await self._subscribe(name)

    async def _tell(self, message: dict[str, Any]) -> None:
        await self._deliver(wire.encode({"v": VERSION, "at": clock.now(), **message}).decode())

    async def _refuse(self, refusal: DomainError, channel: str | None = None) -> None:
        named = {} if channel is None else {"channel": channel}
        await self._tell({**problem(refusal), "type": "error", **named})

    async def _deliver(self, text: str) -> None:
        """Send at once and in order; what a slow client cannot take waits, up to a limit."""
        if self.is_closed:
            return
        if not self.facts and not self._is_congested():
            await self.send(text_data=text)
            return
        self.facts.append(text)
        hub().wake(self)
        if len(self.facts) > MOST_FACTS_WAITING:
            await self.close(TOO_SLOW)

    async def _finish(self, code: int) -> None:
        while self.facts:
            await self.send(text_data=self.facts.popleft())
        await self.close(code)

    async def flush(self) -> bool:
        """Send what waits; return whether something still does, because the client is slow."""
        while self.facts and not self._is_congested():
            await self.send(text_data=self.facts.popleft())
        for name in [name for name in self.prices if name in self.settled]:
            if not self._is_congested():
                await self.send(text_data=self.prices.pop(name))
        return not self.is_closed and self._is_congested()

    def _is_congested(self) -> bool:
        # daphne's send never waits; its transport says when 64 KiB are queued for a slow client.
        protocol = next(iter(getattr(self.base_send, "args", ())), None)
        return bool(getattr(getattr(protocol, "transport", None), "producerPaused", False))


def _parsed(text: str) -> Operation:
    try:
        operation = _decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise Invalid(f"Send op (subscribe, unsubscribe or ping) and channels: {error}.") from error
    if operation.op != "ping" and not operation.channels:
        raise Invalid(f"Send channels: a list of at most {MOST_CHANNELS} names.")
    return operation


def _headers(scope: Any, name: bytes) -> str | None:
    # A header on several lines is one list.
    lines = [value.decode("latin1") for key, value in scope["headers"] if key == name]
    return ", ".join(lines) if lines else None


def _is_welcome(scope: Any, user: Any) -> bool:
    origin = _headers(scope, b"origin")
    if origin is not None:
        return origin in settings.SOCKET_ORIGINS
    # Browsers always say where a page is from; without it a cookie alone is not believed.
    brings_proof = _headers(scope, b"authorization") or b"ticket=" in scope.get("query_string", b"")
    return bool(brings_proof) or not user.is_authenticated


def _place(scope: Any, user: Any) -> str:
    if user.is_authenticated:
        return f"u{user.pk}"
    peer = (scope.get("client") or [""])[0]
    return callers.counted(callers.address(peer, _headers(scope, b"x-forwarded-for") or ""))
