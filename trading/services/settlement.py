"""Settling: decide what is due by the pure rules, pay it through the ledger, tell everybody."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import structlog
from django.db import connection, transaction
from django.db.utils import InterfaceError, OperationalError
from psycopg.errors import QueryCanceled

from config.core import audit, clock, facts
from config.core.errors import Broken
from config.core.faults import faultpoint
from config.core.ids import derived_id
from config.core.outbox import customer_topic, write_facts
from config.core.sql import array
from kyc.models import User
from payments.ledger.services import NewTransfer, post_rows
from quotes.models import Gap as RecordedGap
from quotes.services import history_lock, record_gap
from trading import errors
from trading import facts as said
from trading.models import Order
from trading.rules import History, Outcome, Price, decide, pending_entry, reach
from trading.selectors import order_view
from trading.services.claims import (
    BATCH,
    Due,
    claim_counted,
    claim_expired,
    claim_first,
    claim_pending,
    claim_reached,
    dead_feeds,
    due_shards,
    oldest_watched,
)
from trading.services.histories import first_ticks, histories
from trading.services.tallies import add_to_tallies, reduce_exposure
from trading.services.telling import order_row, tell_closed

log = structlog.get_logger(__name__)


# About so many due orders are closed together, whatever their shards; more are a burst.
TRICKLE = 200
OPERATIONAL = (OperationalError, InterfaceError)
# Locks and returns a batch of orders, or only the one with the id given as `only`.
Claim = Callable[..., list[Due]]


# --- the doors ----------------------------------------------------------------------------------------


def settle_due(
    *, first_shard: int = 0, older_than: timedelta = timedelta(0), since: datetime | None = None
) -> int:
    """Close every order that can be decided now and return how many; safe in any number of processes.

    Shards are taken in turn from `first_shard`, so that settlers that start elsewhere do not meet.
    `older_than` leaves alone what could be closed less than that ago: the sweep's view of what the settlers
    missed. Barriers are compared with the ticks after `since`; without it with all since the oldest entry.
    """
    record_dead_feeds()
    cutoff = clock.now() - older_than
    closed = _settle_trickle(first_shard, cutoff)
    if closed:  # mostly nothing is left
        for shard, instruments in due_shards(first_shard, cutoff):
            limit = BATCH // instruments + 1
            closed += settle_all(partial(claim_expired, shard=shard, cutoff=cutoff, limit=limit))
    closed += settle_all(partial(claim_counted, cutoff=cutoff))
    since = since or oldest_watched()
    if since is not None:
        closed += settle_all(partial(claim_reached, cutoff=cutoff, since=since))
    return closed


def _settle_trickle(first_shard: int, cutoff: datetime) -> int:
    """Close the first few due orders of all shards in one transaction; return how many.

    Where orders expire one by one that is all there is, and one transaction instead of one a shard takes a
    seventh of the time. In a burst it is a small beginning, and shards keep the settlers apart after it.
    """
    due = due_shards(first_shard, cutoff)
    if not due:
        return 0
    limit = TRICKLE // sum(instruments for _, instruments in due) + 1
    return _settle_some(partial(claim_first, shards=[shard for shard, _ in due], cutoff=cutoff, limit=limit))


def settle_all(claim: Claim) -> int:
    """Close all that a claim gives, batch by batch, and return how many."""
    closed = 0
    while size := _settle_some(claim):
        closed += size
    return closed


def _settle_some(claim: Claim) -> int:
    """Close one batch and return its size; an order that cannot be closed is parked, the others go on."""
    try:
        return settle_batch(claim)
    except Exception as failure:  # one bad row, or one that takes too long, must not stop the others
        if isinstance(failure, OPERATIONAL) and not _took_too_long(failure):
            raise
        log.exception("settlement batch failed, going on one by one", error=str(failure))
    with transaction.atomic():
        ids = [due.id for due in claim()]
    return _one_by_one(ids, lambda order_id: settle_batch(partial(claim, only=order_id)))


def _took_too_long(failure: Exception) -> bool:
    return isinstance(failure.__cause__, QueryCanceled)


@transaction.atomic
def settle_batch(claim: Claim) -> int:
    """Close one batch of claimed orders, all or none, and return its size."""
    batch = claim()
    if not batch:
        return 0
    faultpoint("settle.after_claim")
    history_lock(sorted({due.instrument for due in batch}))
    outcomes = []
    for due, history in zip(batch, histories(batch), strict=True):
        outcome = decide(due.agreed, history)
        if outcome is None:
            raise Broken(f"order {due.id} was claimed and cannot be decided yet")
        outcomes.append(outcome)
    _close(batch, outcomes)
    faultpoint("settle.before_commit")
    return len(batch)


def enter_pending() -> int:
    """Give delayed orders their entry, refund those whose entry did not come in time; return how many.

    One with which this fails is parked, and the others go on.
    """
    try:
        return enter_batch()
    except OPERATIONAL:
        raise
    except Exception as failure:  # one bad row must not stop the others
        log.exception("entering a batch failed, going on one by one", error=str(failure))
    with transaction.atomic():
        ids = [due.id for due in claim_pending()]
    return _one_by_one(ids, lambda order_id: enter_batch(only=order_id))


@transaction.atomic
def enter_batch(*, only: UUID | None = None) -> int:
    """Enter or refund one batch of delayed orders, all or none, and return how many."""
    pending = claim_pending(only=only)
    if not pending:
        return 0
    history_lock(sorted({due.instrument for due in pending}))
    firsts = first_ticks(pending)
    entered: list[tuple[Due, Price]] = []
    refused: list[tuple[Due, Outcome]] = []
    for due, first in zip(pending, firsts, strict=True):
        contract = due.agreed
        entry = pending_entry(contract, first)
        if entry is not None:
            entered.append((due, entry))
        elif outcome := decide(contract, History(known_until=due.known_until, first_after=first)):
            refused.append((due, outcome))
    _enter(entered)
    if refused:
        _close([due for due, _ in refused], [outcome for _, outcome in refused])
    return len(entered) + len(refused)


def record_dead_feeds() -> int:
    """Record a gap for every feed that stayed silent past the grace of an order, so that the order can close.

    The gap is recorded first and the refund follows from it: whoever settles again finds the same.
    """
    now = clock.now()
    dead = dead_feeds(now)
    for instrument, ends_at in dead:
        log.error(
            "feed dead past the settlement grace", instrument=instrument, gap_ends_at=clock.iso(ends_at)
        )
        record_gap(instrument_id=instrument, ends_at=ends_at, reason=RecordedGap.Reason.FEED_DEAD)
    return len(dead)


def park_order(*, order_id: UUID, because: str) -> None:
    """Take an order that cannot be settled out of the settlers' way until an operator looks at it."""
    parked = Order.objects.filter(pk=order_id, status=Order.Status.OPEN, parked_at=None).update(
        parked_at=clock.now(), parked_because=because[:300]
    )
    if parked:
        log.error("order parked", order=str(order_id), because=because)


@transaction.atomic
def unpark_order(*, order_id: UUID, actor: User, reason: str) -> None:
    """Give a parked order back to the settlers; raise NoSuchOrder when it is not parked."""
    freed = Order.objects.filter(pk=order_id, status=Order.Status.OPEN, parked_at__isnull=False).update(
        parked_at=None, parked_because=""
    )
    if not freed:
        raise errors.NoSuchOrder(f"Order {order_id} is not parked.")
    audit.record(actor=actor, action="order.unparked", target=("order", str(order_id)), reason=reason)


# Guarded by status: an order that somebody else closed meanwhile is not closed again, and the batch fails.
CLOSE = """
UPDATE trading_order o SET
    status = v.status, refund_reason = v.refund_reason, payout = v.payout, closed_at = %s,
    entry_at = v.entry_at, entry_seq = v.entry_seq, entry_price = v.entry_price,
    exit_at = v.exit_at, exit_seq = v.exit_seq, exit_price = v.exit_price
FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::numeric[], %s::timestamptz[], %s::bigint[], %s::numeric[],
            %s::timestamptz[], %s::bigint[], %s::numeric[])
    AS v (id, status, refund_reason, payout, entry_at, entry_seq, entry_price, exit_at, exit_seq, exit_price)
WHERE o.id = v.id AND o.status = 'open'
"""

ENTER = """
UPDATE trading_order o SET entry_at = v.at, entry_seq = v.seq, entry_price = v.price,
    due_seq = v.seq + o.duration_ticks, reach_low = v.low, reach_high = v.high
FROM unnest(%s::uuid[], %s::timestamptz[], %s::bigint[], %s::numeric[], %s::numeric[], %s::numeric[])
    AS v (id, at, seq, price, low, high)
WHERE o.id = v.id AND o.status = 'open' AND o.entry_seq IS NULL
"""


# --- closing ------------------------------------------------------------------------------------------


def _close(batch: Sequence[Due], outcomes: Sequence[Outcome]) -> None:
    now = clock.now()
    _write_outcomes(batch, outcomes, now)
    owed = [
        (due, transfer)
        for due, outcome in zip(batch, outcomes, strict=True)
        for transfer in _transfers(due, outcome)
    ]
    posted = post_rows([transfer for _, transfer in owed])
    add_to_tallies(
        [(due, outcome.status, outcome.payout) for due, outcome in zip(batch, outcomes, strict=True)], now
    )
    arrivals = [(due, row) for (due, _), row in zip(owed, posted, strict=True) if row.destination_version]
    tell_closed(batch, outcomes, arrivals, now)
    reduce_exposure(batch)


def _write_outcomes(batch: Sequence[Due], outcomes: Sequence[Outcome], now: datetime) -> None:
    columns: tuple[list[Any], ...] = (
        [due.id for due in batch],
        [outcome.status for outcome in outcomes],
        [outcome.refund_reason for outcome in outcomes],
        [outcome.payout for outcome in outcomes],
        *_columns([outcome.entry for outcome in outcomes]),
        *_columns([outcome.exit for outcome in outcomes]),
    )
    with connection.cursor() as cursor:
        cursor.execute(CLOSE, (now, *[array(column) for column in columns]))
        if cursor.rowcount != len(batch):
            raise Broken(f"{len(batch)} orders were claimed and {cursor.rowcount} closed")


def _columns(prices: Sequence[Price | None]) -> tuple[list[Any], list[Any], list[Any]]:
    return (
        [price.at if price else None for price in prices],
        [price.seq if price else None for price in prices],
        [price.price if price else None for price in prices],
    )


def _transfers(due: Due, outcome: Outcome) -> list[NewTransfer]:
    """Say where the money goes. The stake leaves escrow once: its id is the same whatever the outcome."""
    reference = str(due.id)
    to = due.counter if outcome.status == Order.Status.LOST else due.account
    code = {"won": "stake_returned", "lost": "stake_lost", "refunded": "stake_refunded"}[outcome.status]
    transfers = [NewTransfer(derived_id(due.id, "release"), due.escrow, to, due.stake, code, reference)]
    profit = outcome.payout - due.stake
    if outcome.status == Order.Status.WON and profit > 0:
        transfers.append(
            NewTransfer(derived_id(due.id, "profit"), due.counter, due.account, profit, "profit", reference)
        )
    return transfers


def _enter(entered: Sequence[tuple[Due, Price]]) -> None:
    if not entered:
        return
    reached_at = [reach(due.agreed, price) for due, price in entered]
    columns = (
        [due.id for due, _ in entered],
        *_columns([price for _, price in entered]),
        [each.low for each in reached_at],
        [each.high for each in reached_at],
    )
    with connection.cursor() as cursor:
        cursor.execute(ENTER, tuple(map(array, columns)))
    rows = []
    for due, price in entered:
        view = order_view(order_row(due, entry=price))
        data = said.OrderEntered(order=view, account=due.account)
        rows.append((customer_topic(due.customer), data.fact_name, facts.encode(data)))
    write_facts(rows, at=clock.now())


def _one_by_one(ids: Sequence[UUID], work: Callable[[UUID], int]) -> int:
    done = 0
    for order_id in ids:
        try:
            done += work(order_id)
        except OPERATIONAL:
            raise
        except Exception as failure:  # whatever it is, it concerns this order alone
            log.exception("order cannot be settled", order=str(order_id))
            park_order(order_id=order_id, because=f"{type(failure).__name__}: {failure}")
    return done
