"""Bytes: what is a message, what is none, and that reading always goes on behind what is none."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotes.sources.fix.messages import (
    Garbled,
    Message,
    Scanner,
    Unreadable,
    Unsendable,
    again,
    encode,
    header,
    read,
    read_price,
    read_timestamp,
    utc_timestamp,
)
from tests.quotes.fix.wire import Read, fix, sealed, snapshot

GOOD = fix("0", 7, (112, "T1"))
READ_GOOD = Message(
    "FIX.4.4",
    "0",
    ((49, "LP"), (56, "TICKHOUSE"), (34, "7"), (52, "20300305-12:00:00.123"), (112, "T1")),
)
BODY = b"35=0\x0149=LP\x0156=TICKHOUSE\x0134=7\x0152=20300305-12:00:00.123\x01112=T1\x01"
NOON = datetime(2030, 3, 5, 12, tzinfo=UTC)


def scan(*chunks: bytes) -> list[Message | str]:
    """Return the messages and the complaints, in their order."""
    scanner, found = Scanner(), []
    for chunk in chunks:
        scanner.feed(chunk)
        while True:
            try:
                message = scanner.next()
            except Garbled as error:
                found.append(str(error))
                continue
            if message is None:
                break
            found.append(message)
    return found


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(GOOD, [READ_GOOD], id="good"),
        pytest.param(GOOD + GOOD, [READ_GOOD, READ_GOOD], id="duplicated"),
        pytest.param(sealed(BODY, digits=6), [READ_GOOD], id="zero-padded length"),
        pytest.param(sealed(BODY, digits=11), ["no BodyLength"], id="a length of eleven digits"),
        pytest.param(GOOD[:-1], [], id="truncated by a byte"),
        pytest.param(GOOD[:-20] + GOOD, ["a wrong BodyLength", READ_GOOD], id="truncated, then a good one"),
        pytest.param(b"\r\n" + GOOD + b"\n", ["bytes between messages", READ_GOOD, "bytes between messages"],
                     id="line ends"),
        pytest.param(GOOD + b"58=text|8=FI" + GOOD, [READ_GOOD, "bytes between messages", READ_GOOD],
                     id="half a beginning between"),
        pytest.param(b"8=FIX" + GOOD, ["no BodyLength", READ_GOOD], id="a beginning alone"),
        pytest.param(GOOD.replace(b"112=T1", b"112=T2") + GOOD, ["a wrong CheckSum", READ_GOOD],
                     id="wrong checksum"),
        pytest.param(GOOD[:-4] + b"1x3\x01" + GOOD, ["a wrong BodyLength", READ_GOOD],
                     id="checksum no number"),
        pytest.param(GOOD[:-4] + b"12\x01" + GOOD, ["a wrong BodyLength", READ_GOOD],
                     id="two-digit checksum"),
        pytest.param(GOOD.replace(b"9=61", b"9=60") + GOOD, ["a wrong BodyLength", READ_GOOD], id="short"),
        pytest.param(GOOD.replace(b"9=61", b"9=62") + GOOD, ["a wrong BodyLength", READ_GOOD], id="too long"),
        pytest.param(GOOD.replace(b"9=61", b"9=99") + GOOD, ["a wrong BodyLength", READ_GOOD],
                     id="longer than what follows is"),
        pytest.param(GOOD.replace(b"9=61", b"9=9999999") + GOOD, ["a BodyLength that cannot be", READ_GOOD],
                     id="a length without end"),
        pytest.param(GOOD.replace(b"9=61", b"9=-5") + GOOD, ["no BodyLength", READ_GOOD],
                     id="negative length"),
        pytest.param(GOOD.replace(b"9=61\x01", b"") + GOOD, ["no BodyLength", READ_GOOD], id="no length"),
        pytest.param(sealed(b"") + GOOD, ["no MsgType", READ_GOOD], id="nothing in it"),
        pytest.param(sealed(b"49=LP\x0135=0\x01") + GOOD, ["no MsgType", READ_GOOD], id="type not third"),
        pytest.param(sealed(b"35=\x0134=1\x01") + GOOD, ["fields that cannot be read", READ_GOOD],
                     id="empty type"),
        pytest.param(sealed(b"35=0\x01x=1\x01") + GOOD, ["fields that cannot be read", READ_GOOD],
                     id="tag no number"),
        pytest.param(sealed(b"35=0\x01" + b"9" * 5000 + b"=1\x01") + GOOD,
                     ["fields that cannot be read", READ_GOOD], id="tag without end"),
        pytest.param(sealed(b"35=0\x0134\x01") + GOOD, ["fields that cannot be read", READ_GOOD],
                     id="field without ="),
        pytest.param(sealed(b"35=0\x0110=000\x0158=x\x01") + GOOD, ["fields that cannot be read", READ_GOOD],
                     id="checksum in the midst"),
        pytest.param(sealed(b"35=B\x0195=999\x0196=x\x01") + GOOD, ["fields that cannot be read", READ_GOOD],
                     id="data longer than the message"),
        pytest.param(sealed(b"35=B\x0195=x\x0196=x\x01") + GOOD, ["fields that cannot be read", READ_GOOD],
                     id="data of no length"),
        pytest.param(sealed(b"35=B\x0195=12\x0196=8=FIX.4.4\x019=\x01"),
                     [Message("FIX.4.4", "B", ((95, "12"), (96, "8=FIX.4.4\x019=")))],
                     id="a beginning in data"),
        pytest.param(sealed(b"35=0\x0158=\x01"), [Message("FIX.4.4", "0", ((58, ""),))], id="empty value"),
        pytest.param(sealed(b"35=0\x0158=\xff\x00\x01"), [Message("FIX.4.4", "0", ((58, "�\x00"),))],
                     id="no text"),
        pytest.param(sealed(b"35=0\x01", b"8=FIX.4.2\x01"), [Message("FIX.4.2", "0", ())],
                     id="another version"),
        pytest.param(sealed(b"35=0\x01", b"8=FIXT.1.1\x01"), [Message("FIXT.1.1", "0", ())], id="transport"),
        pytest.param(b"8=FOX.4.4\x019=5\x01" + GOOD, ["bytes between messages", READ_GOOD], id="not FIX"),
        pytest.param(b"\x00" * 100_000 + GOOD, ["bytes between messages", READ_GOOD], id="a lot of nothing"),
    ],
)  # fmt: skip
def test_messages_are_cut_out_of_bytes(data: bytes, expected: list[Message | str]) -> None:
    assert scan(data) == expected


def test_a_message_may_be_split_at_every_byte() -> None:
    w = snapshot(8, "EURUSD", "1.10001", "1.10003")
    data = GOOD + w + sealed(BODY, digits=9)
    whole = scan(data)
    assert len(whole) == 3
    for at in range(1, len(data)):
        assert scan(data[:at], data[at:]) == whole
    assert scan(*(bytes([each]) for each in data)) == whole


def test_a_wrong_message_may_be_split_at_every_byte_and_the_next_one_is_read() -> None:
    wrong = GOOD.replace(b"112=T1", b"112=T2")
    for at in range(1, len(wrong)):
        assert scan(wrong[:at], wrong[at:] + GOOD) == ["a wrong CheckSum", READ_GOOD]


# --- any bytes ----------------------------------------------------------------------------------------

PIECES = st.one_of(
    st.binary(max_size=30),
    st.sampled_from(
        [
            b"8=FIX.4.4\x01",
            b"9=5\x01",
            b"9=12\x01",
            b"8=FIX",
            b"35=0\x01",
            b"10=000\x01",
            b"95=4\x01",
            b"96=",
            GOOD,
        ]
    ),
)


@given(st.lists(PIECES, max_size=20), st.integers(1, 40))
def test_any_bytes_end_and_a_good_message_behind_them_is_read(pieces: list[bytes], size: int) -> None:
    data = b"".join(pieces)
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    for each in scan(*chunks):
        assert isinstance(each, Message | str)
    # What waits for the rest of a message may swallow the first; a length ends it, though.
    assert scan(*chunks, GOOD * 5)[-1] == READ_GOOD


TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=12)
# Tags that say how long another is are followed by data; those of the frame are not the body's.
TAGS = st.sampled_from([1, 11, 34, 44, 55, 58, 112, 262, 268, 269, 270, 278, 279, 5001, 9999])


@given(st.sampled_from(["0", "A", "V", "W", "AE"]), st.lists(st.tuples(TAGS, TEXT), max_size=30), st.data())
def test_what_is_written_is_read_again(kind: str, body: list[tuple[int, str]], data: st.DataObject) -> None:
    head = header("TICKHOUSE", "LP", data.draw(st.integers(1, 10**12)), NOON)
    raw = encode(kind, head, body)
    assert read(raw) == Message("FIX.4.4", kind, (*head, *body))
    # And as the other side reads it.
    assert Read(raw).pairs[3:-1] == [*head, *body]


@given(st.lists(st.tuples(TAGS, TEXT), max_size=10), st.integers(0, 200), st.integers(1, 255))
def test_a_changed_byte_is_never_another_message(body: list[tuple[int, str]], at: int, change: int) -> None:
    raw = bytearray(encode("0", header("A", "B", 1, NOON), body))
    at %= len(raw)
    raw[at] = (raw[at] + change) % 256
    # Its length may promise more than ever comes; it is never taken for what it is not.
    assert [each for each in scan(bytes(raw)) if isinstance(each, Message)] == []


# --- writing ------------------------------------------------------------------------------------------


def test_a_message_is_these_bytes() -> None:
    assert encode("1", header("TICKHOUSE", "LP", 3, NOON), [(112, "TEST1")]) == (
        b"8=FIX.4.4\x019=64\x0135=1\x0149=TICKHOUSE\x0156=LP\x0134=3\x0152=20300305-12:00:00.000\x01"
        b"112=TEST1\x0110=071\x01"
    )


@pytest.mark.parametrize("value", ["", "a\x01b", "ü", "€"])
def test_what_cannot_be_sent_is_refused_without_being_said(value: str) -> None:
    with pytest.raises(Unsendable, match="the value of field 554 cannot be sent") as refused:
        encode("A", [], [(554, value)])
    assert not value or value not in str(refused.value)


def test_a_message_sent_again_says_so_and_when_it_was_first_sent() -> None:
    first = read(encode("V", header("TICKHOUSE", "LP", 3, NOON), [(262, "R1"), (55, "EURUSD")]))
    second = again(first, NOON + timedelta(seconds=5))
    assert Read(second).pairs[2:-1] == [
        (35, "V"), (49, "TICKHOUSE"), (56, "LP"), (34, "3"), (43, "Y"), (52, "20300305-12:00:05.000"),
        (122, "20300305-12:00:00.000"), (262, "R1"), (55, "EURUSD"),
    ]  # fmt: skip


# --- values -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"), [("1.10001", "1.10001"), ("100", "100"), ("5.", "5"), (".5", "0.5"), ("-1", "-1")]
)
def test_prices_are_decimals(value: str, expected: str) -> None:
    assert read_price(value) == Decimal(expected)


@pytest.mark.parametrize(
    "value",
    ["", ".", "-", "x", "NaN", "Infinity", "1e5", "1,5", "1_0", " 1", "1 ", "+1", "٣", "1" * 21, "--1"],
)
def test_what_is_no_price_is_refused(value: str) -> None:
    with pytest.raises(Unreadable):
        read_price(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("20300305-12:00:00", NOON),
        ("20300305-12:00:00.123", NOON + timedelta(milliseconds=123)),
        ("20300305-12:00:00.123456789", NOON + timedelta(microseconds=123456)),
        ("20300305-12:00:60", None),
        ("20300305-12:00:00.x", None),
        ("2030-03-05T12:00:00Z", None),
        ("", None),
        (None, None),
    ],
)
def test_timestamps_are_read(value: str | None, expected: datetime | None) -> None:
    assert read_timestamp(value) == expected


def test_timestamps_are_written_in_utc() -> None:
    there = datetime(2030, 3, 5, 14, 0, 0, 999_999, timezone(timedelta(hours=2)))
    assert utc_timestamp(there) == "20300305-12:00:00.999"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("7", 7),
        ("0007", 7),
        ("", None),
        ("-7", None),
        ("7.0", None),
        ("٧", None),
        ("9" * 19, None),
        ("x", None),
    ],
)
def test_numbers_are_whole_and_not_negative(value: str, expected: int | None) -> None:
    assert Message("FIX.4.4", "0", ((34, value),)).number(34) == expected


# --- groups -------------------------------------------------------------------------------------------


def grouped(*fields: tuple[int, str]) -> list[tuple[tuple[int, str], ...]]:
    return Message("FIX.4.4", "W", fields).group(268)


def test_a_group_is_read_by_position() -> None:
    assert grouped((55, "X"), (268, "2"), (269, "0"), (270, "1"), (269, "1"), (271, "5")) == [
        ((269, "0"), (270, "1")),
        ((269, "1"), (271, "5")),
    ]
    # Whatever field an entry begins with.
    assert grouped((268, "2"), (279, "0"), (269, "0"), (279, "2"), (278, "A")) == [
        ((279, "0"), (269, "0")),
        ((279, "2"), (278, "A")),
    ]


def test_a_group_may_be_empty_and_fields_may_follow_it() -> None:
    assert grouped((268, "0")) == []
    assert grouped((268, "0"), (58, "closed")) == []


@pytest.mark.parametrize(
    ("fields", "tag"),
    [
        ((), 268),
        (((268, "x"), (269, "0")), 268),
        (((268, "3"), (269, "0"), (269, "1")), 268),
        (((268, "1"), (269, "0"), (269, "1")), 268),
        (((268, "1"),), 268),
    ],
)
def test_a_group_that_counts_wrongly_is_refused(fields: tuple[tuple[int, str], ...], tag: int) -> None:
    with pytest.raises(Unreadable) as refused:
        grouped(*fields)
    assert refused.value.tag == tag
