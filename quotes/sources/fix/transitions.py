"""What a FIX session does when a message comes or time passes: a table, and pure functions over it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum, auto

from quotes.sources.fix.messages import VERSION, Message

# Of the answered heartbeat interval: when an answer is asked for at the latest, when the peer is given up.
ASK_AFTER, GIVE_UP_AFTER = 1.2, 2.0


class Phase(StrEnum):
    """Where a session stands."""

    LOGGING_ON = auto()
    ACTIVE = auto()
    # Messages are missing and have been asked for.
    RECOVERING = auto()
    LOGGING_OUT = auto()
    ENDED = auto()


class Kind(StrEnum):
    """What a message is to the session."""

    LOGON = auto()
    # With 141=Y: both sides number from 1.
    RESET_LOGON = auto()
    HEARTBEAT = auto()
    TEST_REQUEST = auto()
    RESEND_REQUEST = auto()
    GAP_FILL = auto()
    RESET = auto()
    # A SequenceReset that would lower the number, or names none.
    BAD_RESET = auto()
    REJECT = auto()
    LOGOUT = auto()
    APPLICATION = auto()
    # Held back for its turn, although it has been acted on: only its number is left to count.
    SERVED = auto()


class Standing(StrEnum):
    """How a message's number compares with the one expected."""

    RIGHT = auto()
    HIGH = auto()
    # Too low, and said to be possibly a duplicate.
    DUPLICATE = auto()
    LOW = auto()


class Do(StrEnum):
    """What is to be done, in the order of a row."""

    LOG_ON = auto()
    # The peer has begun to number anew, and so do we.
    RESTART = auto()
    # Likewise in the midst of a session; it expects our Logon in return.
    RESTART_AND_ANSWER = auto()
    COUNT = auto()
    # To the number that a SequenceReset names.
    SKIP = auto()
    ASK = auto()
    HOLD = auto()
    HOLD_SERVED = auto()
    NOTE_ANSWER = auto()
    ANSWER = auto()
    RESEND = auto()
    DELIVER = auto()
    REPORT = auto()
    REJECT = auto()
    CAUGHT_UP = auto()
    ANSWER_LOGOUT = auto()
    # Log out saying why, and disconnect.
    REFUSE = auto()
    END = auto()


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table; an empty set stands for all, no `then` for the same phase."""

    phases: frozenset[Phase]
    kinds: frozenset[Kind]
    standings: frozenset[Standing]
    actions: tuple[Do, ...]
    then: Phase | None = None

    def fits(self, phase: Phase, kind: Kind, standing: Standing) -> bool:
        """Tell whether it speaks of this case."""
        return (
            (not self.phases or phase in self.phases)
            and (not self.kinds or kind in self.kinds)
            and (not self.standings or standing in self.standings)
        )


def _row(phases: str, kinds: str, standings: str, actions: str, then: Phase | None = None) -> Row:
    return Row(
        frozenset(map(Phase, phases.split())),
        frozenset(map(Kind, kinds.split())),
        frozenset(map(Standing, standings.split())),
        tuple(map(Do, actions.split())),
        then,
    )


ON, UP, OUT = "logging_on", "active recovering", "logging_out"

# The first that fits counts.
TABLE: tuple[Row, ...] = (
    _row("ended", "", "", ""),
    _row(ON, "reset_logon", "right", "restart log_on count", Phase.ACTIVE),
    _row(ON, "logon", "right", "log_on count", Phase.ACTIVE),
    _row(ON, "logon", "high", "log_on ask hold_served", Phase.RECOVERING),
    _row(ON, "logon", "duplicate", ""),
    _row(ON, "logout reject", "right", "count report end", Phase.ENDED),
    _row(ON, "logout reject", "", "report end", Phase.ENDED),
    _row(ON, "", "", "refuse", Phase.ENDED),
    _row(OUT, "logout", "right", "count end", Phase.ENDED),
    _row(OUT, "logout", "", "end", Phase.ENDED),
    _row(OUT, "resend_request", "right", "count resend"),
    _row(OUT, "resend_request", "high", "resend"),
    _row(OUT, "gap_fill reset", "right", "skip"),
    _row(OUT, "bad_reset reset_logon", "", ""),
    _row(OUT, "", "right", "count"),
    _row(OUT, "", "", ""),
    _row(UP, "reset_logon", "right", "restart_and_answer count"),
    _row(UP, "reset_logon", "high", "refuse", Phase.ENDED),
    _row(UP, "logon served", "right", "count"),
    _row(UP, "heartbeat", "right", "count note_answer"),
    _row(UP, "test_request", "right", "count answer"),
    _row(UP, "resend_request", "right", "count resend"),
    # Also of a message that comes too early: two sides that wait for each other's resend would wait for ever.
    _row(UP, "resend_request", "high", "resend ask hold_served", Phase.RECOVERING),
    _row(UP, "gap_fill reset", "right", "skip"),
    _row(UP, "bad_reset", "right", "reject"),
    _row(UP, "reject", "right", "count report"),
    _row(UP, "application", "right", "count deliver"),
    _row(UP, "logout", "right", "count report answer_logout end", Phase.ENDED),
    _row(UP, "logout", "high", "report answer_logout end", Phase.ENDED),
    _row(UP, "", "high", "ask hold", Phase.RECOVERING),
    _row(UP, "", "duplicate", ""),
    _row(UP, "", "low", "refuse", Phase.ENDED),
)


@dataclass(frozen=True, slots=True)
class State:
    """A session as far as messages decide it. `highest` is the highest number seen of the peer."""

    phase: Phase
    next_in: int
    highest: int = 0
    # Of the last resend request: where it began, and what was the highest then.
    asked_from: int = 0
    asked_to: int = 0


@dataclass(frozen=True, slots=True)
class Seen:
    """What matters of a message. `new_seq` is the number a SequenceReset names."""

    kind: Kind
    seq: int
    is_duplicate: bool = False
    new_seq: int = 0


KINDS = {
    "A": Kind.LOGON,
    "0": Kind.HEARTBEAT,
    "1": Kind.TEST_REQUEST,
    "2": Kind.RESEND_REQUEST,
    "3": Kind.REJECT,
    "4": Kind.RESET,
    "5": Kind.LOGOUT,
}


def fault(message: Message, ours: str, theirs: str) -> str:
    """Say why no session can go on after this message; "" when one can."""
    if message.version != VERSION:
        return "Incorrect BeginString"
    if (message.get(49), message.get(56)) != (theirs, ours):
        return "CompID problem"
    if not message.number(34):
        return "MsgSeqNum missing"
    return ""


def seen_of(message: Message, next_in: int) -> Seen:
    """Return what matters of a message without `fault`."""
    kind, seq = KINDS.get(message.type, Kind.APPLICATION), message.number(34) or 0
    new_seq = message.number(36) or 0
    if kind is Kind.LOGON and message.says(141):
        kind = Kind.RESET_LOGON
    elif kind is Kind.RESET and message.says(123):
        kind = Kind.GAP_FILL if new_seq > seq else Kind.BAD_RESET
    elif kind is Kind.RESET and new_seq < next_in:
        kind = Kind.BAD_RESET
    return Seen(kind, seq, message.says(43), new_seq)


def standing(state: State, seen: Seen) -> Standing:
    """Compare a message's number with the one expected; a reset's own number does not count."""
    expected = 1 if seen.kind is Kind.RESET_LOGON else state.next_in
    if seen.kind in (Kind.RESET, Kind.BAD_RESET) or seen.seq == expected:
        return Standing.RIGHT
    if seen.seq > expected:
        return Standing.HIGH
    return Standing.DUPLICATE if seen.is_duplicate else Standing.LOW


def row_for(phase: Phase, kind: Kind, how: Standing) -> Row:
    """Return the row of the table that speaks of a case."""
    return next(row for row in TABLE if row.fits(phase, kind, how))


def step(state: State, seen: Seen) -> tuple[State, tuple[Do, ...]]:
    """Return the state after a message, and what is to be done in between."""
    row = row_for(state.phase, seen.kind, standing(state, seen))
    actions = row.actions
    after = replace(state, phase=row.then or state.phase)
    if Do.RESTART in actions or Do.RESTART_AND_ANSWER in actions:
        after = replace(after, phase=Phase.ACTIVE, next_in=1, highest=0, asked_from=0, asked_to=0)
    if Do.COUNT in actions:
        after = replace(after, next_in=after.next_in + 1)
    elif Do.SKIP in actions:
        after = replace(after, next_in=seen.new_seq)
    if Do.HOLD in actions or Do.HOLD_SERVED in actions:
        after = replace(after, highest=max(after.highest, seen.seq))
    if Do.ASK in actions:
        if _may_ask(state, seen):
            after = replace(after, asked_from=after.next_in, asked_to=after.highest)
        else:
            actions = tuple(each for each in actions if each is not Do.ASK)
    if after.phase is Phase.RECOVERING and after.next_in > after.highest:
        after = replace(after, phase=Phase.ACTIVE)
        actions = (*actions, Do.CAUGHT_UP)
    return after, actions


def _may_ask(state: State, seen: Seen) -> bool:
    """Tell whether to ask for what is missing: once, and again where the answer itself has a hole."""
    return (
        state.phase is not Phase.RECOVERING
        or (seen.is_duplicate and state.asked_from != state.next_in)
        or state.next_in > state.asked_to
    )


class Due(StrEnum):
    """What the passing of time asks for."""

    HEARTBEAT = auto()
    TEST_REQUEST = auto()
    GIVE_UP_LOGON = auto()
    GIVE_UP_SILENT = auto()
    GIVE_UP_UNANSWERED = auto()
    GIVE_UP_MISSING = auto()


@dataclass(slots=True)
class Times:
    """When what happened last, in seconds of one clock; None: there is no question, nothing is missing.

    `ask_every` is how long after an answer the next question comes, unless the heartbeat wants it sooner.
    """

    heartbeat: float
    ask_every: float
    logon_limit: float
    began_at: float
    heard_at: float
    told_at: float
    answered_at: float
    asked_at: float | None = None
    missing_since: float | None = None
    # What was received may have waited: an answer is wanted at once.
    must_ask: bool = False

    @property
    def ask_after(self) -> float:
        """Seconds from an answer to the next question."""
        return min(self.ask_every, ASK_AFTER * self.heartbeat)


def due(phase: Phase, times: Times, now: float) -> Iterator[Due]:
    """Return what is to be done now."""
    if phase is Phase.LOGGING_ON:
        if now - times.began_at >= times.logon_limit:
            yield Due.GIVE_UP_LOGON
        return
    if phase not in (Phase.ACTIVE, Phase.RECOVERING):
        return
    limit = GIVE_UP_AFTER * times.heartbeat
    if now - times.heard_at >= limit:
        yield Due.GIVE_UP_SILENT
    elif times.asked_at is not None and now - times.asked_at >= limit:
        yield Due.GIVE_UP_UNANSWERED
    elif times.missing_since is not None and now - times.missing_since >= limit:
        yield Due.GIVE_UP_MISSING
    elif times.asked_at is None and (times.must_ask or now - times.answered_at >= times.ask_after):
        yield Due.TEST_REQUEST
    elif now - times.told_at >= times.heartbeat:
        yield Due.HEARTBEAT
