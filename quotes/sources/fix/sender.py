"""The outgoing half of a FIX session: one after another, each number kept before its bytes are sent."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from typing import TypeVar

import structlog
from django.db import InterfaceError, OperationalError

from config.core import clock
from config.core.faults import faultpoint
from config.core.workers import close_connections
from quotes.services import fix
from quotes.sources.connection import SourceError
from quotes.sources.fix.messages import Field, Message, again, encode, header, read, utc_timestamp

log = structlog.get_logger(__name__)
Result = TypeVar("Result")
Job = Callable[[], Awaitable[object]]

ADMIN = frozenset(["0", "1", "2", "3", "4", "5", "A"])
# An order that was lost is lost, unless its keeper allows it: sent again it may be filled at another price.
NEVER_AGAIN = frozenset(["D", "E", "F", "G", "s", "t", "u", "AB", "AC"])
MOST_WAITING = 10_000
# How long the database may be away before the session is given up, and how soon it is tried again.
LONGEST_AWAY = 10.0
RETRY_SECONDS = 0.25


async def stored(call: Callable[[], Result]) -> Result:
    """Call a service of the database in a thread, which keeps no connection open."""

    def do() -> Result:
        try:
            return call()
        finally:
            close_connections()

    return await asyncio.to_thread(do)


class Sender:
    """Takes what is to be sent and never makes its caller wait."""

    def __init__(
        self,
        source: str,
        ours: str,
        theirs: str,
        numbers: fix.FixNumbers,
        writer: asyncio.StreamWriter,
        may_resend: Callable[[Message], bool] | None = None,
    ) -> None:
        self._source, self._ours, self._theirs, self._writer = source, ours, theirs, writer
        self.next_out = numbers.next_out
        # What the session has counted of the peer's; kept along with each number of ours.
        self.next_in = self._kept_in = numbers.next_in
        self._jobs: asyncio.Queue[Job] = asyncio.Queue()
        self._is_keeping = False
        self._may_resend = may_resend
        # Numbers of the peer's messages that say what is not written yet.
        self._unwritten: list[int] = []

    def send(
        self,
        kind: str,
        body: Collection[Field] = (),
        then: Callable[[], None] | None = None,
        claim: fix.Claim | None = None,
    ) -> None:
        """Send a message after those before it; `then` is called when its bytes are on their way.

        One that `claim` does not allow when it is its turn is not sent.
        """
        self._add(partial(self._send, kind, tuple(body), then, claim))

    def resend(self, first: int, last: int) -> None:
        """Send again what had these numbers, both included; 0 for all since."""
        self._add(partial(self._resend, first, last))

    def restart(self) -> None:
        """Number from 1 from here on; what was sent before is forgotten."""
        self._add(self._restart)

    def report(self, kind: str, ref_seq: int | None, text: str) -> None:
        """Record a refusal for the operator."""
        write = partial(fix.record_fix_reject, source=self._source, kind=kind, ref_seq=ref_seq, text=text)
        self._add(partial(self._keep_trying, write))

    def record(self, seq: int, write: Callable[[], object]) -> None:
        """Write what the peer's message of this number says; until then it is not kept that it has come."""
        self._unwritten.append(seq)
        self._add(partial(self._record, seq, write))

    def keep(self) -> None:
        """Keep which number of the peer comes next, if it has changed and nothing else says it anyway."""
        if self._written_in != self._kept_in and not self._is_keeping:
            self._is_keeping = True
            self._add(self._keep)

    async def run(self) -> None:
        """Send until cancelled; raise what makes it impossible."""
        while True:
            job = await self._jobs.get()
            try:
                await job()
            finally:
                self._jobs.task_done()

    async def done(self) -> None:
        """Wait until everything is sent."""
        await self._jobs.join()

    @property
    def _written_in(self) -> int:
        """The peer's number to go on from after a crash: everything before it is written."""
        return min([self.next_in, *self._unwritten])

    def _add(self, job: Job) -> None:
        if self._jobs.qsize() >= MOST_WAITING:
            raise SourceError("too much waits to be sent")
        self._jobs.put_nowait(job)

    # --- jobs -----------------------------------------------------------------------------------------

    async def _send(
        self,
        kind: str,
        body: tuple[Field, ...],
        then: Callable[[], None] | None,
        claim: fix.Claim | None,
    ) -> None:
        seq, next_in = self.next_out, self._written_in
        raw = encode(kind, header(self._ours, self._theirs, seq, clock.now()), body)
        # A message of the session itself is not sent again, and a Logon holds a password.
        kept = None if kind in ADMIN else raw
        take = partial(
            fix.take_fix_number, source=self._source, seq=seq, next_in=next_in, raw=kept, claim=claim
        )
        try:
            await self._keep_trying(take, repeat=partial(take, is_repeat=True))
        except fix.Withheld:
            return
        self.next_out, self._kept_in = seq + 1, next_in
        faultpoint("fix.before_send")
        if claim is not None:
            faultpoint("fix.before_order")
        await self._write(raw)
        if claim is not None:
            faultpoint("fix.after_order")
        if then is not None:
            then()

    async def _resend(self, first: int, last: int) -> None:
        end = self.next_out - 1
        last = end if not 0 < last <= end else last
        answered = begin = max(1, first)
        while True:
            find = partial(fix.sent_fix_messages, source=self._source, first=begin, last=last)
            kept = await self._keep_trying(find)
            for sent in kept:
                message = read(sent.raw)
                is_order = message.type in NEVER_AGAIN
                if is_order and not await self._may_send_again(message):
                    continue
                await self._fill(answered, sent.seq)
                await self._write(again(message, clock.now()))
                answered = sent.seq + 1
                if is_order:
                    faultpoint("fix.after_order")
            if len(kept) < fix.MOST_RESENT:
                break
            begin = kept[-1].seq + 1
        await self._fill(answered, last + 1)

    async def _may_send_again(self, message: Message) -> bool:
        return self._may_resend is not None and await self._keep_trying(partial(self._may_resend, message))

    async def _fill(self, seq: int, next_seq: int) -> None:
        """Say that nothing of the numbers from `seq` to before `next_seq` is sent again."""
        if seq >= next_seq:
            return
        now = clock.now()
        stamps = [(43, "Y"), (122, utc_timestamp(now))]
        head = [*header(self._ours, self._theirs, seq, now), *stamps]
        await self._write(encode("4", head, [(123, "Y"), (36, str(next_seq))]))

    async def _restart(self) -> None:
        await self._keep_trying(partial(fix.open_fix_session, source=self._source, reset=True))
        self.next_out = self._kept_in = 1

    async def _record(self, seq: int, write: Callable[[], object]) -> None:
        faultpoint("fix.before_record")
        await self._keep_trying(write)
        faultpoint("fix.after_record")
        self._unwritten.remove(seq)

    async def _keep(self) -> None:
        self._is_keeping, next_in = False, self._written_in
        await self._keep_trying(partial(fix.keep_fix_number, source=self._source, next_in=next_in))
        self._kept_in = next_in

    async def _write(self, raw: bytes) -> None:
        self._writer.write(raw)
        await self._writer.drain()

    async def _keep_trying(
        self, call: Callable[[], Result], repeat: Callable[[], Result] | None = None
    ) -> Result:
        """Call the database, again and again while it is away; the session waits with it for a while."""
        loop = asyncio.get_running_loop()
        until = loop.time() + LONGEST_AWAY
        while True:
            try:
                return await stored(call)
            except (OperationalError, InterfaceError) as error:
                if loop.time() > until:
                    raise SourceError("the sequence numbers cannot be kept") from error
                log.warning("the database is away, nothing is sent", source=self._source, error=str(error))
            call = repeat or call
            await asyncio.sleep(RETRY_SECONDS)
