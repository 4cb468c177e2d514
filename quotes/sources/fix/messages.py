"""FIX messages: cut out of a stream of bytes, read, and written; on simplefix."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import NoReturn

from simplefix import FixMessage, FixParser
from simplefix.errors import ParsingError

VERSION = "FIX.4.4"
SOH = 1
LONGEST_BODY = 1 << 20
# What a message may open with: version, length (zero-padded by some), and its type comes third.
OPENING = re.compile(rb"8=(FIX[A-Z]?\.\d\.\d)\x019=(\d{1,10})\x01")
# What further bytes may complete to an opening.
BEGUN = re.compile(rb"8=FIX(?:[A-Z]?(?:\.(?:\d(?:\.(?:\d(?:\x01(?:9(?:=\d{0,10})?)?)?)?)?)?)?)?")
BEGIN = b"8=FIX"
TRAILER = re.compile(rb"10=(\d{3})\x01")
TRAILER_BYTES = 7
FIRST_BODY_FIELD = b"35="
NUMBER = re.compile(r"[0-9]{1,18}")
# No exponents, no NaN; twenty digits on each side are more than any price has.
FLOAT = re.compile(r"-?(?:[0-9]{1,20}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})")

Field = tuple[int, str]
Group = tuple[Field, ...]


class Garbled(Exception):
    """These bytes are no message: they are skipped as if they had never come, and reading goes on."""


class Unreadable(Exception):
    """A message says something that cannot be understood; names the field, and the reason for a Reject."""

    def __init__(self, text: str, tag: int = 0, reason: int = 5) -> None:
        super().__init__(text)
        self.tag, self.reason = tag, reason


class Unsendable(Exception):
    """A value cannot be written into a message: it is empty, or not plain ASCII; never quotes it."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message; `fields` are all of them in their order, but 8, 9, 35 and 10."""

    version: str
    type: str
    fields: tuple[Field, ...]

    def get(self, tag: int) -> str | None:
        """Return the first value of a field, None when it is not there or empty."""
        return next((value for found, value in self.fields if found == tag), None) or None

    def number(self, tag: int) -> int | None:
        """Return a field as a whole number >= 0, None when it is none."""
        value = self.get(tag)
        return int(value) if value is not None and NUMBER.fullmatch(value) else None

    def says(self, tag: int) -> bool:
        """Tell whether a yes-or-no field says yes."""
        return self.get(tag) == "Y"

    def group(self, count_tag: int) -> list[Group]:
        """Return a repeating group by position: each entry begins with the field that follows the count.

        Raises Unreadable when there are not as many as counted.
        """
        tags = [tag for tag, _ in self.fields]
        if count_tag not in tags:
            raise Unreadable(f"there is no field {count_tag}", count_tag, 1)
        start = tags.index(count_tag) + 1
        counted = self.number(count_tag)
        if counted == 0:
            return []
        first = tags[start] if start < len(tags) else 0
        begins = [index for index in range(start, len(tags)) if tags[index] == first]
        if counted != len(begins):
            raise Unreadable(f"field {count_tag} counts wrongly", count_tag, 16)
        ends = [*begins[1:], len(tags)]
        return [self.fields[begin:end] for begin, end in zip(begins, ends, strict=True)]


class Scanner:
    """Cuts messages out of bytes, however they are split; what is none is skipped up to the next 8=FIX."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._parser = FixParser(allow_empty_values=True)

    def feed(self, data: bytes) -> None:
        """Add what was received."""
        self._buffer += data

    def next(self) -> Message | None:
        """Return the next whole message, None until more bytes come.

        Raises Garbled for bytes that are none; they are gone then, and the call after it goes on.
        """
        buffer = self._buffer
        if not buffer.startswith(BEGIN):
            if BEGIN.startswith(buffer):
                return None
            self._skip_to_next("bytes between messages")
        opening = OPENING.match(buffer)
        if opening is None:
            if BEGUN.fullmatch(buffer):
                return None
            self._skip("no BodyLength")
        start, length = opening.end(), int(opening[2])
        end = start + length
        if length > LONGEST_BODY:
            self._skip("a BodyLength that cannot be")
        if len(buffer) < end + TRAILER_BYTES:
            return None
        trailer = TRAILER.fullmatch(buffer, end, end + TRAILER_BYTES)
        if trailer is None or buffer[end - 1] != SOH:
            self._skip("a wrong BodyLength")
        frame = bytes(buffer[: end + TRAILER_BYTES])
        if int(trailer[1]) != sum(frame[:end]) % 256:
            self._skip("a wrong CheckSum")
        if not frame.startswith(FIRST_BODY_FIELD, start):
            self._skip("no MsgType")
        message = self._parsed(opening[1].decode(), frame)
        if message is None:
            self._skip("fields that cannot be read")
        del buffer[: len(frame)]
        return message

    def _parsed(self, version: str, frame: bytes) -> Message | None:
        self._parser.reset()
        self._parser.append_buffer(frame)
        try:
            found = self._parser.get_message()
        except ParsingError:
            return None
        # A checksum in the midst of the message, or a data field that swallowed the one at its end.
        if found is None or self._parser.get_buffer() or not found.message_type:
            return None
        fields = tuple((int(tag), value.decode("utf-8", "replace")) for tag, value in found.pairs[3:-1])
        return Message(version, found.pairs[2][1].decode("utf-8", "replace"), fields)

    def _skip(self, why: str) -> NoReturn:
        """Give up the message the buffer begins with."""
        del self._buffer[:1]
        self._skip_to_next(why)

    def _skip_to_next(self, why: str) -> NoReturn:
        at = self._buffer.find(BEGIN)
        if at < 0:
            # The end may be the beginning of the next.
            at = len(self._buffer)
            for length in range(min(len(BEGIN) - 1, at), 0, -1):
                if self._buffer.endswith(BEGIN[:length]):
                    at -= length
                    break
        del self._buffer[:at]
        raise Garbled(why)


def encode(kind: str, header: Iterable[Field], body: Iterable[Field] = ()) -> bytes:
    """Write a message; BodyLength and CheckSum are computed. Raises Unsendable."""
    message = FixMessage()
    message.append_pair(8, VERSION)
    message.append_pair(35, kind)
    for tag, value in (*header, *body):
        if not value or "\x01" in value or not value.isascii():
            raise Unsendable(f"the value of field {tag} cannot be sent: it is empty or not plain text")
        message.append_pair(tag, value)
    raw: bytes = message.encode()
    return raw


def header(sender: str, target: str, seq: int, sent_at: datetime) -> list[Field]:
    """Return the header of a message sent for the first time."""
    return [(49, sender), (56, target), (34, str(seq)), (52, utc_timestamp(sent_at))]


def read(raw: bytes) -> Message:
    """Read exactly one message. Raises Garbled."""
    scanner = Scanner()
    scanner.feed(raw)
    message = scanner.next()
    if message is None:
        raise Garbled("not one message")
    return message


def again(message: Message, sent_at: datetime) -> bytes:
    """Write a message of ours that was sent before as its possible duplicate."""
    fields = [field for field in message.fields if field[0] not in (43, 52, 122)]
    first = message.get(52) or utc_timestamp(sent_at)
    stamps = [(43, "Y"), (52, utc_timestamp(sent_at)), (122, first)]
    # They belong to the header: behind 49, 56 and 34.
    return encode(message.type, [*fields[:3], *stamps], fields[3:])


def utc_timestamp(instant: datetime) -> str:
    """Write an instant as FIX does, in milliseconds."""
    return f"{instant.astimezone(UTC):%Y%m%d-%H:%M:%S}.{instant.microsecond // 1000:03d}"


def read_timestamp(value: str | None) -> datetime | None:
    """Read a UTCTimestamp, None when it is none; what is finer than a microsecond is cut."""
    if value is None:
        return None
    whole, _, fraction = value.partition(".")
    try:
        instant = datetime.strptime(whole, "%Y%m%d-%H:%M:%S").replace(tzinfo=UTC)
        return instant.replace(microsecond=int(fraction[:6].ljust(6, "0")))
    except ValueError:
        return None


def read_price(value: str, tag: int = 270) -> Decimal:
    """Read a price or a quantity, without an exponent. Raises Unreadable."""
    if not FLOAT.fullmatch(value):
        raise Unreadable(f"field {tag} is no price", tag, 6)
    return Decimal(value)
