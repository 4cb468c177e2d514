"""FIX as the other side writes and reads it: nothing here is the platform's own."""

import re

Pair = tuple[int, str]
ENDING = re.compile(rb"\x0110=\d{3}\x01")


def sealed(body: bytes, begin: bytes = b"8=FIX.4.4\x01", digits: int = 0) -> bytes:
    """Put a length (zero-padded to so many digits) before the body, and a checksum behind it."""
    whole = begin + b"9=" + str(len(body)).zfill(digits).encode() + b"\x01" + body
    return whole + f"10={sum(whole) % 256:03d}\x01".encode()


def fix(kind: str, seq: int, *pairs: Pair, ours: str = "LP", theirs: str = "TICKHOUSE", **more: str) -> bytes:
    """Write a message of the peer; `dup` marks it as sent before, `at` is its SendingTime."""
    head: list[Pair] = [(35, kind), (49, ours), (56, theirs), (34, str(seq))]
    if "dup" in more:
        head += [(43, "Y"), (122, "20300305-12:00:00")]
    head.append((52, more.get("at", "20300305-12:00:00.123")))
    return sealed(b"".join(f"{tag}={value}\x01".encode() for tag, value in (*head, *pairs)))


def snapshot(seq: int, symbol: str, bid: str, ask: str, *pairs: Pair, **more: str) -> bytes:
    """Write a W with one bid and one offer; "" leaves a side empty."""
    sides = [
        pair for side, price in (("0", bid), ("1", ask)) if price for pair in ((269, side), (270, price))
    ]
    count = (268, str(len(sides) // 2))
    return fix("W", seq, *pairs, (55, symbol), count, *sides, **more)


class Read:
    """A message as the peer reads it."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.pairs = [
            (int(tag), value.decode())
            for tag, _, value in (each.partition(b"=") for each in raw.rstrip(b"\x01").split(b"\x01"))
        ]
        length, checksum = int(self[9]), int(self[10])
        start = raw.index(b"\x0135=") + 1
        assert length == raw.rindex(b"\x0110=") + 1 - start
        assert checksum == sum(raw[: raw.rindex(b"\x0110=") + 1]) % 256

    def __getitem__(self, tag: int) -> str:
        return next(value for found, value in self.pairs if found == tag)

    def get(self, tag: int) -> str | None:
        return next((value for found, value in self.pairs if found == tag), None)

    def all(self, tag: int) -> list[str]:
        return [value for found, value in self.pairs if found == tag]

    @property
    def kind(self) -> str:
        return self[35]

    @property
    def seq(self) -> int:
        return int(self[34])

    def __repr__(self) -> str:
        return self.raw.replace(b"\x01", b"|").decode(errors="replace")


def cut(buffer: bytearray) -> list[Read]:
    """Take the whole messages off the front of a buffer."""
    found = []
    while match := ENDING.search(buffer):
        found.append(Read(bytes(buffer[: match.end()])))
        del buffer[: match.end()]
    return found
