"""The table of transitions, row by row: no sockets, no clock, no database."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotes.sources.fix.messages import Message
from quotes.sources.fix.transitions import (
    TABLE,
    Do,
    Due,
    Kind,
    Phase,
    Row,
    Seen,
    Standing,
    State,
    Times,
    due,
    fault,
    row_for,
    seen_of,
    standing,
    step,
)

ON, ACTIVE, RECOVERING = Phase.LOGGING_ON, Phase.ACTIVE, Phase.RECOVERING
OUT, ENDED = Phase.LOGGING_OUT, Phase.ENDED
RIGHT, HIGH, DUPLICATE, LOW = Standing
EVERY = set(Standing)
OTHERS = set(Kind) - {Kind.LOGON, Kind.RESET_LOGON, Kind.LOGOUT, Kind.REJECT}
SAID = set(Kind) - {Kind.LOGOUT, Kind.BAD_RESET, Kind.RESET_LOGON}

# What must happen, written by hand and not in the table's own way: phases, kinds, standings, actions, then.
CASES = [
    ({ENDED}, set(Kind), EVERY, "", ENDED),
    ({ON}, {Kind.RESET_LOGON}, {RIGHT}, "restart log_on count", ACTIVE),
    ({ON}, {Kind.RESET_LOGON}, {HIGH, DUPLICATE, LOW}, "refuse", ENDED),
    ({ON}, {Kind.LOGON}, {RIGHT}, "log_on count", ACTIVE),
    ({ON}, {Kind.LOGON}, {HIGH}, "log_on ask hold_served", RECOVERING),
    ({ON}, {Kind.LOGON}, {DUPLICATE}, "", ON),
    ({ON}, {Kind.LOGON}, {LOW}, "refuse", ENDED),
    ({ON}, {Kind.LOGOUT, Kind.REJECT}, {RIGHT}, "count report end", ENDED),
    ({ON}, {Kind.LOGOUT, Kind.REJECT}, {HIGH, DUPLICATE, LOW}, "report end", ENDED),
    ({ON}, OTHERS, EVERY, "refuse", ENDED),
    ({OUT}, {Kind.LOGOUT}, {RIGHT}, "count end", ENDED),
    ({OUT}, {Kind.LOGOUT}, {HIGH, DUPLICATE, LOW}, "end", ENDED),
    ({OUT}, {Kind.RESEND_REQUEST}, {RIGHT}, "count resend", OUT),
    ({OUT}, {Kind.RESEND_REQUEST}, {HIGH}, "resend", OUT),
    ({OUT}, {Kind.GAP_FILL, Kind.RESET}, {RIGHT}, "skip", OUT),
    ({OUT}, {Kind.BAD_RESET, Kind.RESET_LOGON}, EVERY, "", OUT),
    ({OUT}, {Kind.LOGON, Kind.HEARTBEAT, Kind.TEST_REQUEST, Kind.REJECT, Kind.APPLICATION, Kind.SERVED},
     {RIGHT}, "count", OUT),
    ({OUT}, SAID - {Kind.RESEND_REQUEST}, {HIGH}, "", OUT),
    ({OUT}, SAID, {DUPLICATE, LOW}, "", OUT),
    ({ACTIVE, RECOVERING}, {Kind.RESET_LOGON}, {RIGHT}, "restart_and_answer count", None),
    ({ACTIVE, RECOVERING}, {Kind.RESET_LOGON}, {HIGH}, "refuse", ENDED),
    ({ACTIVE, RECOVERING}, {Kind.LOGON, Kind.SERVED}, {RIGHT}, "count", None),
    ({ACTIVE, RECOVERING}, {Kind.HEARTBEAT}, {RIGHT}, "count note_answer", None),
    ({ACTIVE, RECOVERING}, {Kind.TEST_REQUEST}, {RIGHT}, "count answer", None),
    ({ACTIVE, RECOVERING}, {Kind.RESEND_REQUEST}, {RIGHT}, "count resend", None),
    ({ACTIVE, RECOVERING}, {Kind.RESEND_REQUEST}, {HIGH}, "resend ask hold_served", RECOVERING),
    ({ACTIVE, RECOVERING}, {Kind.GAP_FILL, Kind.RESET}, {RIGHT}, "skip", None),
    ({ACTIVE, RECOVERING}, {Kind.BAD_RESET}, {RIGHT}, "reject", None),
    ({ACTIVE, RECOVERING}, {Kind.REJECT}, {RIGHT}, "count report", None),
    ({ACTIVE, RECOVERING}, {Kind.APPLICATION}, {RIGHT}, "count deliver", None),
    ({ACTIVE, RECOVERING}, {Kind.LOGOUT}, {RIGHT}, "count report answer_logout end", ENDED),
    ({ACTIVE, RECOVERING}, {Kind.LOGOUT}, {HIGH}, "report answer_logout end", ENDED),
    ({ACTIVE, RECOVERING}, set(Kind) - {Kind.RESET_LOGON, Kind.RESEND_REQUEST, Kind.LOGOUT}, {HIGH},
     "ask hold", RECOVERING),
    ({ACTIVE, RECOVERING}, set(Kind), {DUPLICATE}, "", None),
    ({ACTIVE, RECOVERING}, set(Kind), {LOW}, "refuse", ENDED),
]  # fmt: skip


def cells() -> list[tuple[Phase, Kind, Standing, str, Phase | None]]:
    return [
        (phase, kind, how, actions, then)
        for phases, kinds, hows, actions, then in CASES
        for phase, kind, how in product(phases, kinds, hows)
    ]


def test_every_case_has_its_row() -> None:
    for phase, kind, how, actions, then in cells():
        row = row_for(phase, kind, how)
        said = (" ".join(row.actions), row.then or phase)
        assert said == (actions, then or phase), (phase, kind, how)


def test_the_cases_are_all_there_are_and_every_row_is_used() -> None:
    written = [cell[:3] for cell in cells()]
    assert len(written) == len(set(written))
    assert set(written) == set(product(Phase, Kind, Standing))
    assert {id(row_for(*case)) for case in written} == {id(row) for row in TABLE}


def test_an_action_that_is_nowhere_in_the_table_is_made_by_step() -> None:
    assert set(Do) - {action for row in TABLE for action in row.actions} == {Do.CAUGHT_UP}


# --- what a message is --------------------------------------------------------------------------------


def message(kind: str, *fields: tuple[int, str], **changes: str) -> Message:
    head = {49: "LP", 56: "US", 34: "5"} | {int(tag[1:]): value for tag, value in changes.items()}
    return Message("FIX.4.4", kind, (*head.items(), *fields))


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (message("A"), Seen(Kind.LOGON, 5)),
        (message("A", (141, "N")), Seen(Kind.LOGON, 5)),
        (message("A", (141, "Y")), Seen(Kind.RESET_LOGON, 5)),
        (message("0"), Seen(Kind.HEARTBEAT, 5)),
        (message("1"), Seen(Kind.TEST_REQUEST, 5)),
        (message("2"), Seen(Kind.RESEND_REQUEST, 5)),
        (message("3"), Seen(Kind.REJECT, 5)),
        (message("5"), Seen(Kind.LOGOUT, 5)),
        (message("W", (43, "Y")), Seen(Kind.APPLICATION, 5, is_duplicate=True)),
        (message("j"), Seen(Kind.APPLICATION, 5)),
        (message("4", (123, "Y"), (36, "9")), Seen(Kind.GAP_FILL, 5, new_seq=9)),
        (message("4", (123, "Y"), (36, "5")), Seen(Kind.BAD_RESET, 5, new_seq=5)),
        (message("4", (123, "Y")), Seen(Kind.BAD_RESET, 5)),
        (message("4", (36, "5")), Seen(Kind.RESET, 5, new_seq=5)),
        (message("4", (123, "N"), (36, "9")), Seen(Kind.RESET, 5, new_seq=9)),
        (message("4", (36, "4")), Seen(Kind.BAD_RESET, 5, new_seq=4)),
        (message("4"), Seen(Kind.BAD_RESET, 5)),
        (message("4", (36, "x")), Seen(Kind.BAD_RESET, 5)),
    ],
)
def test_a_message_is_classified(read: Message, expected: Seen) -> None:
    assert seen_of(read, next_in=5) == expected


@pytest.mark.parametrize(
    ("read", "why"),
    [
        (message("0"), ""),
        (Message("FIX.4.2", "0", message("0").fields), "Incorrect BeginString"),
        (message("0", _49="XX"), "CompID problem"),
        (message("0", _56="XX"), "CompID problem"),
        (Message("FIX.4.4", "0", ()), "CompID problem"),
        (message("0", _34="0"), "MsgSeqNum missing"),
        (message("0", _34=""), "MsgSeqNum missing"),
        (message("0", _34="-5"), "MsgSeqNum missing"),
    ],
)
def test_some_messages_end_a_session(read: Message, why: str) -> None:
    assert fault(read, "US", "LP") == why


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (Seen(Kind.HEARTBEAT, 5), RIGHT),
        (Seen(Kind.HEARTBEAT, 5, is_duplicate=True), RIGHT),
        (Seen(Kind.HEARTBEAT, 6), HIGH),
        (Seen(Kind.HEARTBEAT, 6, is_duplicate=True), HIGH),
        (Seen(Kind.HEARTBEAT, 4), LOW),
        (Seen(Kind.HEARTBEAT, 4, is_duplicate=True), DUPLICATE),
        # Its own number does not count.
        (Seen(Kind.RESET, 1, new_seq=9), RIGHT),
        (Seen(Kind.RESET, 99, new_seq=100), RIGHT),
        (Seen(Kind.BAD_RESET, 99), RIGHT),
        (Seen(Kind.GAP_FILL, 6, new_seq=9), HIGH),
        # Whatever was expected before.
        (Seen(Kind.RESET_LOGON, 1), RIGHT),
        (Seen(Kind.RESET_LOGON, 5), HIGH),
    ],
)
def test_a_number_is_compared_with_the_one_expected(seen: Seen, expected: Standing) -> None:
    assert standing(State(ACTIVE, 5), seen) is expected


# --- steps --------------------------------------------------------------------------------------------


def walk(state: State, *seen: Seen) -> tuple[State, list[str]]:
    said = []
    for each in seen:
        state, actions = step(state, each)
        said.append(" ".join(actions))
    return state, said


def app(seq: int, *, dup: bool = False) -> Seen:
    return Seen(Kind.APPLICATION, seq, dup)


def test_messages_in_order_are_counted() -> None:
    state, said = walk(State(ON, 1), Seen(Kind.LOGON, 1), Seen(Kind.HEARTBEAT, 2), app(3))
    assert state == State(ACTIVE, 4)
    assert said == ["log_on count", "count note_answer", "count deliver"]


def test_what_is_missing_is_asked_for_once_and_made_up_for() -> None:
    state, said = walk(State(ACTIVE, 5), app(7), app(8))
    assert (state, said) == (State(RECOVERING, 5, 8, 5, 7), ["ask hold", "hold"])
    # The session gives what it holds when its turn comes.
    state, said = walk(state, app(5, dup=True), app(6, dup=True), app(7), app(8), app(9))
    assert state == State(ACTIVE, 10, 8, 5, 7)
    assert said == [*["count deliver"] * 3, "count deliver caught_up", "count deliver"]


def test_a_gap_fill_makes_up_for_all_it_names() -> None:
    state, said = walk(State(RECOVERING, 5, 8, 5, 8), Seen(Kind.GAP_FILL, 5, is_duplicate=True, new_seq=9))
    assert (state.phase, state.next_in, said) == (ACTIVE, 9, ["skip caught_up"])
    state, said = walk(State(RECOVERING, 5, 8, 5, 8), Seen(Kind.GAP_FILL, 5, is_duplicate=True, new_seq=7))
    assert (state.phase, state.next_in, said) == (RECOVERING, 7, ["skip"])


def test_a_reset_ends_a_gap() -> None:
    state, said = walk(State(RECOVERING, 5, 8, 5, 8), Seen(Kind.RESET, 2, new_seq=20))
    assert (state.phase, state.next_in, said) == (ACTIVE, 20, ["skip caught_up"])


def test_a_hole_in_the_answer_is_asked_for_again_and_only_once() -> None:
    asked = State(RECOVERING, 5, 9, 5, 9)
    state, said = walk(asked, app(5, dup=True), app(7, dup=True), app(8, dup=True), app(10))
    assert said == ["count deliver", "ask hold", "hold", "hold"]
    assert (state.next_in, state.asked_from, state.asked_to) == (6, 6, 9)


def test_a_second_gap_behind_the_first_is_asked_for() -> None:
    asked = State(RECOVERING, 5, 6, 5, 6)
    # 8 is lost while 5 and 6 are sent again: 9 comes early, and once 5 to 7 are there, so does 10.
    state, said = walk(asked, app(9), app(5, dup=True), app(6), app(7), app(10))
    assert said == ["hold", "count deliver", "count deliver", "count deliver", "ask hold"]
    assert (state.asked_from, state.asked_to, state.highest) == (8, 10, 10)


def test_the_peers_reset_numbers_everything_from_one() -> None:
    assert step(State(ON, 57), Seen(Kind.RESET_LOGON, 1))[0] == State(ACTIVE, 2)
    assert step(State(RECOVERING, 57, 99, 57, 99), Seen(Kind.RESET_LOGON, 1))[0] == State(ACTIVE, 2)


def test_a_logon_that_comes_early_counts_in_its_turn() -> None:
    state, said = walk(
        State(ON, 3), Seen(Kind.LOGON, 5), Seen(Kind.GAP_FILL, 3, True, 5), Seen(Kind.SERVED, 5)
    )
    assert said == ["log_on ask hold_served", "skip", "count caught_up"]
    assert (state.phase, state.next_in) == (ACTIVE, 6)


SEENS = st.builds(Seen, st.sampled_from(Kind), st.integers(1, 12), st.booleans(), st.integers(0, 15))


@given(st.lists(SEENS, max_size=40))
def test_whatever_comes_numbers_only_grow_but_for_a_reset(seens: list[Seen]) -> None:
    state = State(ON, 3)
    for seen in seens:
        before, how = state, standing(state, seen)
        state, actions = step(state, seen)
        restarts = Do.RESTART in actions or Do.RESTART_AND_ANSWER in actions
        # A SequenceReset that would lower it is a bad one; the session classifies it so.
        lowers = seen.kind in (Kind.RESET, Kind.GAP_FILL) and seen.new_seq < before.next_in
        assert state.next_in >= before.next_in or restarts or lowers
        assert how is Standing.RIGHT or state.next_in == before.next_in
        assert not (before.phase is ENDED and actions)
        assert state.phase is not RECOVERING or state.next_in <= state.highest


# --- time ---------------------------------------------------------------------------------------------


def times(**changes: float | bool | None) -> Times:
    """Everything happened at 100; the heartbeat is 10 s, and asks sooner than `ask_every`."""
    return Times(**({  # type: ignore[arg-type]
        "heartbeat": 10.0, "ask_every": 60.0, "logon_limit": 5.0, "began_at": 100.0, "heard_at": 100.0,
        "told_at": 100.0, "answered_at": 100.0,
    } | changes))  # fmt: skip


@pytest.mark.parametrize(
    ("phase", "now", "changes", "expected"),
    [
        (ON, 104.9, {}, []),
        (ON, 105, {}, [Due.GIVE_UP_LOGON]),
        (ACTIVE, 109.9, {}, []),
        (ACTIVE, 110, {}, [Due.HEARTBEAT]),
        (ACTIVE, 111.9, {"told_at": 105}, []),
        # An answer is asked for after 1.2 heartbeats, whether the peer is silent or not.
        (ACTIVE, 112, {}, [Due.TEST_REQUEST]),
        (ACTIVE, 112, {"heard_at": 112}, [Due.TEST_REQUEST]),
        # Or sooner, where that is wanted; one question at a time.
        (ACTIVE, 101.9, {"ask_every": 2}, []),
        (ACTIVE, 102, {"ask_every": 2}, [Due.TEST_REQUEST]),
        (ACTIVE, 102, {"ask_every": 2, "heard_at": 102}, [Due.TEST_REQUEST]),
        (ACTIVE, 109, {"ask_every": 2, "asked_at": 102}, []),
        (ACTIVE, 101, {"must_ask": True}, [Due.TEST_REQUEST]),
        (ACTIVE, 112, {"asked_at": 101, "told_at": 105}, []),
        (ACTIVE, 101, {"asked_at": 100, "must_ask": True}, []),
        (ACTIVE, 119.9, {"asked_at": 112, "told_at": 112}, []),
        # Given up after two.
        (ACTIVE, 120, {"asked_at": 112}, [Due.GIVE_UP_SILENT]),
        (ACTIVE, 130, {"asked_at": 110, "heard_at": 130}, [Due.GIVE_UP_UNANSWERED]),
        (RECOVERING, 120, {"missing_since": 100, "heard_at": 120, "answered_at": 119},
         [Due.GIVE_UP_MISSING]),
        (RECOVERING, 119, {"missing_since": 100, "heard_at": 119, "answered_at": 119, "told_at": 118}, []),
        (OUT, 999, {}, []),
        (ENDED, 999, {}, []),
    ],
)  # fmt: skip
def test_time_asks_for(phase: Phase, now: float, changes: dict[str, float], expected: list[Due]) -> None:
    assert list(due(phase, times(**changes), now)) == expected


def test_a_row_with_empty_sets_stands_for_all() -> None:
    row = Row(frozenset(), frozenset(), frozenset(), ())
    assert all(row.fits(*case) for case in product(Phase, Kind, Standing))
