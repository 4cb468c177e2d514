"""The form of a receipt, version 1: what it says, how it is written, how it is read; purely."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, TypeVar

import msgspec

from trading.rules import Price

T = TypeVar("T")
VERSION = 1
LARGEST = 2 * 1024 * 1024
# A way with more ticks than this is told by the tick that decides, its neighbours and its extremes.
MOST_WAY_TICKS = 5_000
MOST_TICKS = MOST_WAY_TICKS + 20

_DECIMAL = re.compile(r"[+-]?[0-9]{1,20}(\.[0-9]{1,30})?")
_INSTANT = "%Y-%m-%dT%H:%M:%S.%fZ"
Natural = Annotated[int, msgspec.Meta(ge=0, le=10**15)]
Decimals = Annotated[int, msgspec.Meta(ge=0, le=8)]


class NotAReceipt(ValueError):
    """What was given is no receipt; says why."""


class Shape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a receipt: amounts, prices and instants are strings, and nothing is left out."""


class TickRow(Shape, frozen=True):
    """A tick of the record."""

    at: str
    seq: Natural
    price: str


class Level(Shape, frozen=True):
    """A barrier: as agreed, with a sign a distance from the entry; and as a price once there was one."""

    agreed: str
    price: str | None


class Terms(Shape, frozen=True):
    """Everything that was agreed when the order was accepted."""

    symbol: str
    price_decimals: Decimals
    contract: str
    side: str
    stake: str
    currency: str
    scale: Decimals
    payout_rate: str
    duration_seconds: Natural | None
    duration_ticks: Natural | None
    expires_at: str
    barrier: Level | None
    low: Level | None
    high: Level | None
    digit: Annotated[int, msgspec.Meta(ge=0, le=9)] | None
    tie_policy: str
    max_exit_age_seconds: Natural
    entry_policy: str
    entry_after: str | None
    max_entry_wait_ms: Natural
    version: Natural
    """Of the instrument's terms."""


class Way(Shape, frozen=True):
    """The ticks from the entry to the end, both included, where every one of them counts.

    Unless `is_whole` they were too many, and the receipt holds only some of them.
    """

    is_whole: bool
    ticks: Natural
    total: str
    lowest: TickRow
    highest: TickRow


class GapRow(Shape, frozen=True):
    """A stretch (starts_at, ends_at] without provable prices."""

    starts_at: str
    ends_at: str
    reason: str


class TransferRow(Shape, frozen=True):
    """A movement of money, between roles: `customer`, `escrow`, `house`."""

    id: str
    code: str
    amount: str
    source: str = msgspec.field(name="from")
    to: str


class CorrectionRow(Shape, frozen=True):
    """What two operators put right after the end: what it has paid in all since, why, by which transfer."""

    at: str
    payout: str
    reason: str
    transfer: TransferRow


class VolatilityRow(Shape, frozen=True):
    """The estimate a sale was priced with."""

    id: Natural
    per_sqrt_second: str
    tick_seconds: str


class Sale(Shape, frozen=True):
    """What the price of an early sale was made of."""

    at: str
    probability: str
    tie_probability: str
    margin: str
    terms: Natural
    volatility: VolatilityRow


class Sealed(Shape, frozen=True):
    """A sealed day of the public record that holds ticks of this receipt, and where it is found."""

    day: str
    symbol: str
    ticks: Natural
    head: str
    root: str
    page: str
    file: str


class Signature(Shape, frozen=True):
    """Ed25519 over the canonical bytes of everything else."""

    algorithm: str
    key: str
    signature: str


class Receipt(Shape, frozen=True):
    """What a receipt says; without its signature."""

    version: Annotated[int, msgspec.Meta(ge=VERSION, le=VERSION)]
    order: str
    sentence: str
    terms: Terms
    accepted_at: str
    closed_at: str
    entry: TickRow | None
    exit: TickRow | None
    ticks: Annotated[list[TickRow], msgspec.Meta(max_length=MOST_TICKS)]
    way: Way | None
    voided: Annotated[list[TickRow], msgspec.Meta(max_length=MOST_TICKS)]
    known_until: str
    gaps: Annotated[list[GapRow], msgspec.Meta(max_length=10_000)]
    open_at_end: bool
    rule: str
    status: str
    refund_reason: str | None
    payout: str
    transfers: Annotated[list[TransferRow], msgspec.Meta(max_length=10)]
    sale: Sale | None
    corrections: Annotated[list[CorrectionRow], msgspec.Meta(max_length=1_000)]
    record: Annotated[list[Sealed], msgspec.Meta(max_length=1_000)]


# --- writing ------------------------------------------------------------------------------------------


def canonical(document: Any) -> bytes:
    """Return the one way to write a document: RFC 8785 for what has no fractions. Raises ValueError."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def tick_row(tick: Price, decimals: int) -> TickRow:
    """Write a tick with its instrument's decimals."""
    return TickRow(iso(tick.at), tick.seq, f"{tick.price:.{decimals}f}")


def iso(at: datetime) -> str:
    """Write an instant as receipts do: UTC with six decimals and a Z."""
    return at.astimezone(UTC).strftime(_INSTANT)


# --- reading ------------------------------------------------------------------------------------------


def read_document(given: bytes) -> dict[str, Any]:
    """Read what may be a receipt; raise NotAReceipt for what is too large or not such JSON.

    Names that occur twice, fractions and whatever else two programs may read differently are refused.
    """
    if len(given) > LARGEST:
        raise NotAReceipt(f"It has more than {LARGEST // 1024 // 1024} MB; no receipt has.")
    try:
        document = json.loads(
            given.decode("utf-8-sig"),
            object_pairs_hook=_once,
            parse_float=_no_fraction,
            parse_constant=_no_fraction,
        )
    except NotAReceipt:
        raise
    except (ValueError, RecursionError):
        raise NotAReceipt("It is not JSON in UTF-8.") from None
    if not isinstance(document, dict) or not isinstance(document.get("signature"), dict):
        raise NotAReceipt("It is not a JSON object with a signature.")
    return document


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise NotAReceipt("It has a name twice in one object.")
    return found


def _no_fraction(text: str) -> None:
    raise NotAReceipt(f"It has the number {text[:20]}; receipts write fractions as strings.")


def read_receipt(document: dict[str, Any]) -> Receipt:
    """Read a document as a receipt of this version; raise NotAReceipt naming what does not fit."""
    said = {name: value for name, value in document.items() if name != "signature"}
    try:
        return msgspec.convert(said, Receipt)
    except msgspec.ValidationError as error:
        raise NotAReceipt(f"{error}.") from None


def instant(text: str) -> datetime:
    """Read an instant that is written as receipts do; raise NotAReceipt."""
    try:
        found = datetime.strptime(text, _INSTANT).replace(tzinfo=UTC)
    except ValueError:
        raise NotAReceipt(f"{text[:40]} is not an instant.") from None
    return _as_written(text, found, iso)


def number(text: str) -> Decimal:
    """Read a decimal string; raise NotAReceipt."""
    if not _DECIMAL.fullmatch(text):
        raise NotAReceipt(f"{text[:40]} is not a decimal number.")
    return Decimal(text)


def amount(text: str, decimals: int) -> Decimal:
    """Read a decimal string with exactly these decimals, and a sign only if negative; raise NotAReceipt."""
    return _as_written(text, number(text), lambda found: f"{found:.{decimals}f}")


def price(row: TickRow, decimals: int) -> Price:
    """Read a tick; raise NotAReceipt."""
    return Price(instant(row.at), row.seq, amount(row.price, decimals))


def _as_written(text: str, found: T, write: Callable[[T], str]) -> T:
    if write(found) != text:
        raise NotAReceipt(f"{text[:40]} is not written as receipts write it.")
    return found
