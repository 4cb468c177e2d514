"""One FIX connection: what comes in drives the table of transitions, the sender takes what goes out."""

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import structlog

from quotes.services.fix import Claim, FixNumbers
from quotes.sources.connection import SourceError, Timing
from quotes.sources.fix.listener import Listener, Orders
from quotes.sources.fix.messages import Field, Garbled, Message, Scanner
from quotes.sources.fix.sender import Sender
from quotes.sources.fix.transitions import (
    Do,
    Due,
    Kind,
    Phase,
    Seen,
    State,
    Times,
    due,
    fault,
    seen_of,
    step,
)

log = structlog.get_logger(__name__)
READ_BYTES = 1 << 16
TICK_SECONDS = 0.05
KEEP_SECONDS = 1.0
MOST_HELD = 10_000
# How long a parting is waited for.
GOODBYE_SECONDS = 2.0
LONGEST_HEARTBEAT = 3_600
REJECTS = {"3": "reject", "j": "business_reject", "5": "logout", "Y": "market_data_reject"}


@dataclass(frozen=True, slots=True)
class Parties:
    """Who speaks with whom, and how a session is opened and asked."""

    source: str
    ours: str
    theirs: str
    heartbeat_seconds: int
    resets: bool
    test_request_seconds: float
    credentials: tuple[Field, ...] = ()


class Session:
    """Speaks FIX with a peer until one of them ends it."""

    def __init__(
        self,
        parties: Parties,
        listener: Listener,
        numbers: FixNumbers,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        timing: Timing,
        orders: Orders | None = None,
    ) -> None:
        self._parties, self._listener, self._timing, self._orders = parties, listener, timing, orders
        self._reader, writer = streams
        may_resend = None if orders is None else orders.may_resend
        self.sender = Sender(parties.source, parties.ours, parties.theirs, numbers, writer, may_resend)
        self.state = State(Phase.LOGGING_ON, numbers.next_in)
        self._scanner = Scanner()
        self._held: dict[int, tuple[Seen, Message]] = {}
        now = asyncio.get_running_loop().time()
        every = parties.test_request_seconds
        self._times = Times(parties.heartbeat_seconds, every, timing.connect, now, now, now, now)
        self._ticked_at = self._kept_at = now
        self._question = 0
        # The number of the peer's Logon: what came before it belongs to other connections.
        self._logon_seq = 0
        self._why = ""

    # --- life -----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Log on and go on until the session ends; raise SourceError with the reason. Cancelled, log out."""
        tasks = [asyncio.ensure_future(each()) for each in (self.sender.run, self._read, self._watch)]
        try:
            self.tell("A", self._logon())
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._part()
            raise
        finally:
            # What made the session end may itself have something to say: a Logout, a number to keep.
            with suppress(TimeoutError, SourceError):
                async with asyncio.timeout(GOODBYE_SECONDS):
                    await self._say_goodbye(*tasks[:2])
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
                raise result

    def _part(self) -> None:
        if self.state.phase in (Phase.ACTIVE, Phase.RECOVERING):
            self.state = State(Phase.LOGGING_OUT, self.state.next_in)
            with suppress(SourceError):
                self.tell("5")

    async def _say_goodbye(self, sending: asyncio.Future[None], reading: asyncio.Future[None]) -> None:
        await self._flush(sending)
        if self.state.phase is Phase.LOGGING_OUT:
            await asyncio.wait([reading])
        # Their Logout has a number, too.
        await self._flush(sending)

    async def _flush(self, sending: asyncio.Future[None]) -> None:
        self.sender.keep()
        sent = asyncio.ensure_future(self.sender.done())
        try:
            await asyncio.wait([sending, sent], return_when=asyncio.FIRST_COMPLETED)
        finally:
            sent.cancel()

    def _logon(self) -> list[Field]:
        reset = [(141, "Y")] if self._parties.resets else []
        return [
            (98, "0"),
            (108, str(self._parties.heartbeat_seconds)),
            *reset,
            *self._parties.credentials,
        ]

    def tell(
        self,
        kind: str,
        body: Collection[Field] = (),
        then: Callable[[], None] | None = None,
        claim: Claim | None = None,
    ) -> None:
        """Send a message after those before it; `then` is called when its bytes are on their way.

        One that `claim` does not allow when it is its turn is not sent.
        """
        self._times.told_at = asyncio.get_running_loop().time()
        self.sender.send(kind, body, then, claim)

    @property
    def is_complete(self) -> bool:
        """Whether both sides are logged on and nothing is missing."""
        return self.state.phase is Phase.ACTIVE

    def ask_soon(self) -> None:
        """Ask for an answer as soon as none is waited for."""
        self._times.must_ask = True

    # --- time -----------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self._ticked_at = now = loop.time()
            for each in due(self.state.phase, self._times, now):
                self._fall_due(each, now)
            if now - self._kept_at >= KEEP_SECONDS:
                self._kept_at = now
                self.sender.keep()

    def _fall_due(self, what: Due, now: float) -> None:
        times = self._times
        if what is Due.TEST_REQUEST:
            self._question_now(now)
        elif what is Due.HEARTBEAT:
            self.tell("0")
        elif what is Due.GIVE_UP_LOGON:
            raise SourceError(f"the Logon was not answered within {times.logon_limit:g} s")
        elif what is Due.GIVE_UP_SILENT:
            raise SourceError(f"silent for {now - times.heard_at:.1f} s")
        elif what is Due.GIVE_UP_UNANSWERED:
            raise SourceError("a TestRequest was not answered")
        else:
            raise SourceError("missing messages were not sent again")

    def _question_now(self, now: float) -> None:
        self._question += 1
        self._times.asked_at, self._times.must_ask = now, False
        self.tell("1", [(112, self._question_id())], self._listener.asked)

    def _question_id(self) -> str:
        return f"TEST{self._question}"

    # --- what comes in --------------------------------------------------------------------------------

    async def _read(self) -> None:
        while True:
            data = await self._reader.read(READ_BYTES)
            if not data:
                raise SourceError("the peer closed the connection")
            now = asyncio.get_running_loop().time()
            if now - self._ticked_at > self._timing.silence + TICK_SECONDS:
                self.ask_soon()
                self._listener.stalled()
            self._scanner.feed(data)
            while (message := self._next()) is not None:
                self._times.heard_at = now
                self._receive(message)

    def _next(self) -> Message | None:
        while True:
            try:
                return self._scanner.next()
            except Garbled as error:
                # Its number is missing then, and is asked for when the next one comes.
                self._listener.complained(f"garbled: {error}")

    def _receive(self, message: Message) -> None:
        if why := fault(message, self._parties.ours, self._parties.theirs):
            self._refuse(why)
        self._take(seen_of(message, self.state.next_in), message)
        while (held := self._held.pop(self.state.next_in, None)) is not None:
            self._take(*held)

    def _take(self, seen: Seen, message: Message) -> None:
        was = self.state
        self.state, actions = step(was, seen)
        self.sender.next_in = self.state.next_in
        if self.state.phase is Phase.RECOVERING and was.phase is not Phase.RECOVERING:
            self._times.missing_since = self._times.heard_at
        for action in actions:
            ACTIONS[action](self, seen, message)
        if Do.SKIP in actions:
            self._pass_over(was.next_in, seen.new_seq)
        if Do.CAUGHT_UP in actions:
            self._times.missing_since = None
            self._listener.caught_up()
        if self.state.phase is Phase.ACTIVE and seen.kind is not Kind.APPLICATION:
            self._listener.alive(message)

    def _pass_over(self, first: int, next_seq: int) -> None:
        """Take what came early of numbers that are not sent again; the others are missing for good."""
        held = sorted(seq for seq in self._held if seq < next_seq)
        for seq in held:
            seen, message = self._held.pop(seq)
            if seen.kind is Kind.APPLICATION:
                self._hear(seen, message, is_current=False)
        passed = range(max(first, self._logon_seq + 1), next_seq)
        if len(passed) > sum(seq in passed for seq in held):
            self._listener.skipped()

    def _log_on(self, seen: Seen, message: Message) -> None:
        self._logon_seq = seen.seq
        answered = message.number(108)
        if answered and answered <= LONGEST_HEARTBEAT:
            self._times.heartbeat = answered
        # The first answer measures the lag before there is a quote.
        self._question_now(self._times.heard_at)
        self._listener.logged_on(self._times.ask_after)

    def _restart(self, seen: Seen, message: Message) -> None:
        self._held.clear()
        if not self._parties.resets:
            self.sender.restart()

    def _restart_and_answer(self, seen: Seen, message: Message) -> None:
        self._held.clear()
        self._logon_seq = seen.seq
        self.sender.restart()
        seconds = str(round(self._times.heartbeat))
        self.tell("A", [(98, "0"), (108, seconds), (141, "Y"), *self._parties.credentials])

    def _hold(self, seen: Seen, message: Message) -> None:
        if len(self._held) >= MOST_HELD:
            self._refuse("too many messages wait for one that is missing")
        # What came first is what was sent first: the one sent again is as good, but not as current.
        self._held.setdefault(seen.seq, (seen, message))

    def _hold_served(self, seen: Seen, message: Message) -> None:
        self._hold(Seen(Kind.SERVED, seen.seq), message)

    def _ask(self, seen: Seen, message: Message) -> None:
        self._listener.lost()
        self.tell("2", [(7, str(self.state.asked_from)), (16, "0")])

    def _answer(self, seen: Seen, message: Message) -> None:
        question = message.get(112) or ""
        self.tell("0", [(112, question)] if question.isascii() and question else [])

    def _note_answer(self, seen: Seen, message: Message) -> None:
        if self._times.asked_at is None or message.get(112) != self._question_id():
            return
        self._times.asked_at, self._times.answered_at = None, self._times.heard_at
        self._listener.answered()

    def _resend(self, seen: Seen, message: Message) -> None:
        first, last = message.number(7), message.number(16)
        if first is None or last is None:
            self._reject_it(seen, message, 7 if first is None else 16)
            return
        self.sender.resend(first, last)

    def _reject(self, seen: Seen, message: Message) -> None:
        self._reject_it(seen, message, 36)

    def _reject_it(self, seen: Seen, message: Message, tag: int) -> None:
        wrong = [(371, str(tag)), (373, "5"), (58, "Value is incorrect (out of range) for this tag")]
        self.tell("3", [(45, str(seen.seq)), (372, message.type), *wrong])
        self._listener.complained(f"message {seen.seq} of type {message.type} has a wrong field {tag}")

    def _deliver(self, seen: Seen, message: Message) -> None:
        is_current = self.state.phase is Phase.ACTIVE and not seen.is_duplicate
        self._hear(seen, message, is_current=is_current)

    def _hear(self, seen: Seen, message: Message, *, is_current: bool) -> None:
        if message.type in REJECTS:
            self._report(seen, message)
        else:
            self._listener.deliver(message, is_current)

    def _report(self, seen: Seen, message: Message) -> None:
        kind, ref_seq = REJECTS[message.type], message.number(45)
        text = self._words(message)
        if message.type == "5":
            self._why = f"the peer logged out: {text}" if text else "the peer logged out"
        self._listener.complained(f"{kind}: {text}")
        if message.type == "Y":
            self._listener.refused(message.get(262) or "")
        self.sender.report(kind, ref_seq, text)
        if self._orders is not None and ref_seq is not None:
            self.sender.record(seen.seq, partial(self._orders.refused, ref_seq, text))

    def _words(self, message: Message) -> str:
        said = [message.get(58) or ""]
        for tag in (262, 281, 371, 372, 373, 379, 380):
            if (value := message.get(tag)) is not None:
                said.append(f"{tag}={value}")
        text = " ".join(each for each in said if each)
        for tag, secret in self._parties.credentials:
            text = text.replace(secret, "[secret]") if tag == 554 else text
        return text

    def _answer_logout(self, seen: Seen, message: Message) -> None:
        self.tell("5")

    def _refuse_it(self, seen: Seen, message: Message) -> None:
        if seen.kind is Kind.RESET_LOGON or seen.seq < self.state.next_in:
            expected = 1 if seen.kind is Kind.RESET_LOGON else self.state.next_in
            how = "low" if seen.seq < expected else "high"
            self._refuse(f"MsgSeqNum too {how}, expecting {expected} but received {seen.seq}")
        self._refuse("The first message is not a Logon")

    def _refuse(self, why: str) -> None:
        self.state = State(Phase.ENDED, self.state.next_in)
        self.tell("5", [(58, why)])
        raise SourceError(why)

    def _end(self, seen: Seen, message: Message) -> None:
        raise SourceError(self._why or f"the peer refused: {self._words(message)}")


Action = Callable[[Session, Seen, Message], None]


def _nothing(session: Session, seen: Seen, message: Message) -> None:
    """What the table itself has done, or what comes after everything else."""


ACTIONS: dict[Do, Action] = {
    Do.LOG_ON: Session._log_on,
    Do.RESTART: Session._restart,
    Do.RESTART_AND_ANSWER: Session._restart_and_answer,
    Do.COUNT: _nothing,
    Do.SKIP: _nothing,
    Do.ASK: Session._ask,
    Do.HOLD: Session._hold,
    Do.HOLD_SERVED: Session._hold_served,
    Do.NOTE_ANSWER: Session._note_answer,
    Do.ANSWER: Session._answer,
    Do.RESEND: Session._resend,
    Do.DELIVER: Session._deliver,
    Do.REPORT: Session._report,
    Do.REJECT: Session._reject,
    Do.CAUGHT_UP: _nothing,
    Do.ANSWER_LOGOUT: Session._answer_logout,
    Do.REFUSE: Session._refuse_it,
    Do.END: Session._end,
}
