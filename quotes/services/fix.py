"""FIX sessions: numbers and messages kept before they are sent, and what peers refused."""

from collections.abc import Callable
from typing import NamedTuple

from django.db import transaction
from django.db.models import F

from config.core import clock
from quotes.models import FixMessage, FixReject, FixSession

MOST_REJECTS = 1_000
LONGEST_TEXT = 300
# What is read at once of what is sent again.
MOST_RESENT = 1_000

# Says whether a message may be sent under a number; the second argument tells a repeat.
Claim = Callable[[int, bool], bool]


class FixNumbers(NamedTuple):
    """The next sequence numbers: of the peer's messages, and of ours."""

    next_in: int
    next_out: int


class SentMessage(NamedTuple):
    """A message kept for a resend."""

    seq: int
    raw: bytes


class NumberTaken(Exception):
    """Another process sends on this session; nothing was written, and this one must end it."""


class Withheld(Exception):
    """A message must not be sent any more; no number was used for it."""


@transaction.atomic
def open_fix_session(*, source: str, reset: bool) -> FixNumbers:
    """Return where the numbers of a source stand; with `reset` both begin at 1, and what was sent is gone."""
    row, _ = FixSession.objects.get_or_create(source_id=source, defaults={"changed_at": clock.now()})
    if reset:
        FixMessage.objects.filter(source_id=source).delete()
        FixSession.objects.filter(pk=source).update(next_in=1, next_out=1, changed_at=clock.now())
        return FixNumbers(1, 1)
    return FixNumbers(row.next_in, row.next_out)


@transaction.atomic
def take_fix_number(
    *,
    source: str,
    seq: int,
    next_in: int,
    raw: bytes | None = None,
    claim: Claim | None = None,
    is_repeat: bool = False,
) -> None:
    """Keep that the number `seq` is used, and with `raw` the message itself, before its bytes are sent.

    What `claim` writes is kept with it or not at all. A repeat, after a commit whose answer was lost, finds
    what it wrote. Raises Withheld when the claim says no, NumberTaken when the number has been used by
    somebody else; nothing is kept then.
    """
    if claim is not None and not claim(seq, is_repeat):
        raise Withheld
    changed = FixSession.objects.filter(pk=source, next_out=seq).update(
        next_out=F("next_out") + 1, next_in=next_in, changed_at=clock.now()
    )
    if not changed:
        if is_repeat and FixSession.objects.filter(pk=source, next_out=seq + 1).exists():
            return
        raise NumberTaken(f"number {seq} of {source} has been used by another process")
    if raw is not None:
        FixMessage.objects.create(source_id=source, seq=seq, raw=raw, sent_at=clock.now())


def keep_fix_number(*, source: str, next_in: int) -> None:
    """Keep which number of the peer comes next; a lower one than it was only makes it send again."""
    FixSession.objects.filter(pk=source).update(next_in=next_in, changed_at=clock.now())


def sent_fix_messages(*, source: str, first: int, last: int) -> list[SentMessage]:
    """Return the messages kept in a range of numbers, both included, ascending; the first thousand."""
    rows = FixMessage.objects.filter(source_id=source, seq__range=(first, last)).order_by("seq")
    return [SentMessage(seq, bytes(raw)) for seq, raw in rows.values_list("seq", "raw")[:MOST_RESENT]]


@transaction.atomic
def record_fix_reject(*, source: str, kind: str, ref_seq: int | None, text: str) -> None:
    """Record what a peer refused, for the operator; the newest thousand of a source are kept."""
    FixReject.objects.create(
        source_id=source,
        at=clock.now(),
        kind=kind,
        ref_seq=ref_seq,
        # PostgreSQL has no text with a zero byte.
        text=text.replace("\0", "?")[:LONGEST_TEXT],
    )
    oldest_kept = FixReject.objects.filter(source_id=source).values_list("id", flat=True)[
        MOST_REJECTS - 1 : MOST_REJECTS
    ]
    for id_ in oldest_kept:
        FixReject.objects.filter(source_id=source, id__lt=id_).delete()
