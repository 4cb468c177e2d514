"""What adapters share that speak over a WebSocket."""

import asyncio
import logging
from abc import abstractmethod
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import timedelta

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from quotes.intake import Link
from quotes.sources.connection import Timing
from quotes.sources.streams import Denied, Reader, StreamSource, within

LARGEST_FRAME = 1 << 20
REFUSING = frozenset({401, 403, 404})
# Where somebody logs everything, it would write whole frames and addresses, and the keys in them.
_quiet = logging.getLogger("quotes.sources.wire")
_quiet.setLevel(logging.INFO)


@asynccontextmanager
async def opened(url: str, timing: Timing) -> AsyncIterator[ClientConnection]:
    """Open a socket; raise Denied, with the server's words, where it lets nobody in."""
    try:
        async with connect(
            url,
            ping_interval=None,
            open_timeout=timing.connect,
            close_timeout=1,
            max_size=LARGEST_FRAME,
            logger=_quiet,
        ) as socket:
            yield socket
    except InvalidStatus as error:
        if error.response.status_code not in REFUSING:
            raise
        words = (error.response.body or b"").decode(errors="replace").strip()
        raise Denied(f"{error} {words}".strip()) from None


class SocketReader(Reader):
    """One socket being read, and pinged so that a quiet market and a dead line can be told apart."""

    def __init__(self, source: StreamSource, socket: ClientConnection) -> None:
        self.socket = socket
        super().__init__(source, self.make_link(source))

    def make_link(self, source: StreamSource) -> Link:
        """Return what the intake knows this connection by."""
        return Link(timedelta(seconds=source.timing.silence), source=source.name, is_pinged=True)

    @property
    def patience(self) -> float | None:
        """Seconds without a frame after which the connection is given up; None: pings alone tell."""
        return None

    @property
    def is_known_by_pongs(self) -> bool:
        """Whether a pong says that the service lives, and not only what stands before it."""
        return True

    @abstractmethod
    def take(self, frame: str | bytes) -> None:
        """Put a frame in; raise SourceError."""

    async def read(self) -> None:
        """Take frame after frame."""
        loop = asyncio.get_running_loop()
        async with within(self.patience, "silent") as limit:
            while True:
                frame = await self.socket.recv()
                if self.patience is not None:
                    limit.reschedule(loop.time() + self.patience)
                self.take(frame)

    async def begin(self) -> None:
        """Return once a ping was answered; ask again from then on."""
        await self.round_trip()
        self.beside(self.keep_pinging(self.timing.ping_every, self.timing.dead))

    async def round_trip(self) -> None:
        """Ask for a sign of life and wait for it; it measures the lag, too."""
        self.source.intake.ask(self.link)
        await (await self.socket.ping())
        self.source.intake.answer(self.link, is_sign=self.is_known_by_pongs)

    async def keep_pinging(self, every: float, dead: float) -> None:
        """Ask again and again; end a connection that gives no answer within `dead` seconds."""
        while True:
            await asyncio.sleep(every)
            try:
                async with asyncio.timeout(dead):
                    await self.round_trip()
            except TimeoutError:
                # Reading ends with it, and says why.
                await self.socket.close(code=1011, reason=f"silent for {dead} s")
                return

    async def send(self, message: str) -> None:
        """Send a message; raise TimeoutError where the server takes nothing in."""
        async with within(self.timing.connect, "takes nothing in"):
            await self.socket.send(message)


class AskingReader(SocketReader):
    """A socket over which the server is told what to deliver."""

    @abstractmethod
    async def ask_for(self, symbols: Collection[str]) -> None:
        """Have the server deliver exactly these."""


class SocketSource(StreamSource):
    """Keeps one socket open, and tells the server whenever something else is asked for."""

    async def stream(self) -> None:
        """Deliver over one socket for as long as anything is asked for."""
        while True:
            self.changed.clear()
            if not self.symbols:
                await self.idle()
                continue
            self.health.connecting()
            async with self.connected() as reader:
                while self.symbols:
                    self.changed.clear()
                    await reader.unless_ended(reader.ask_for(list(self.symbols)))
                    await reader.until(self.changed)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[AskingReader]:
        """Open a socket that is known to answer, and close it at the end."""
        address = self.address()
        async with opened(address, self.timing) as socket:
            reader = self.make_reader(socket)
            async with self.reading(reader):
                yield reader

    def address(self) -> str:
        """Return where to connect to; raise Denied for what is configured wrongly."""
        self.options()
        return self.url

    @abstractmethod
    def make_reader(self, socket: ClientConnection) -> AskingReader:
        """Begin to read a socket."""
