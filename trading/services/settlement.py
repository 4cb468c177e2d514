"""Settling: decide what is due by the pure rules, pay it through the ledger, tell everybody."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from django.db import connection, transaction
from django.db.utils import InterfaceError, OperationalError

from config.core import audit, clock, facts
from config.core.errors import Broken
from config.core.facts import FactData
from config.core.faults import faultpoint
from config.core.ids import derived_id
from config.core.outbox import customer_topic, write_facts
from config.core.sql import array
from kyc.models import User
from payments.ledger.facts import AccountChanged
from payments.ledger.services import NewTransfer, Posted, post_rows
from quotes.models import Gap as RecordedGap
from quotes.services import history_lock, record_gap
from trading import errors
from trading import facts as said
from trading.models import Order
from trading.rules import History, Outcome, Price, decide, entry_deadline
from trading.selectors import OrderRow, order_view
from trading.services.claims import (
    BATCH,
    Due,
    claim_due,
    claim_pending,
    dead_feeds,
    due_shards,
    first_ticks,
    histories,
)

log = structlog.get_logger(__name__)


OPERATIONAL = (OperationalError, InterfaceError)


# --- the doors ----------------------------------------------------------------------------------------


def settle_due(*, first_shard: int = 0, older_than: timedelta = timedelta(0)) -> int:
    """Close every order that can be decided now and return how many; safe in any number of processes.

    Shards are taken in turn from `first_shard`, so that settlers that start elsewhere do not meet.
    `older_than` leaves alone what expired less than that ago: the sweep's view of what the settlers missed.
    """
    record_dead_feeds()
    closed = 0
    for shard, instruments in due_shards(first_shard, clock.now() - older_than):
        while size := settle_shard(shard=shard, limit=BATCH // instruments + 1, older_than=older_than):
            closed += size
    return closed


def settle_shard(*, shard: int, limit: int = BATCH, older_than: timedelta = timedelta(0)) -> int:
    """Close one batch of a shard's due orders and return its size; one that cannot be closed is parked."""
    try:
        return settle_batch(shard=shard, limit=limit, older_than=older_than)
    except OPERATIONAL:
        raise
    except Exception as failure:  # one bad row must not stop the others
        log.exception("settlement batch failed, going on one by one", shard=shard, error=str(failure))
    return _settle_one_by_one(shard, limit, older_than)


@transaction.atomic
def settle_batch(
    *, shard: int, limit: int = BATCH, only: UUID | None = None, older_than: timedelta = timedelta(0)
) -> int:
    """Close one batch of due orders of a shard, all or none, and return its size."""
    batch = claim_due(shard, clock.now() - older_than, limit=limit, only=only)
    if not batch:
        return 0
    faultpoint("settle.after_claim")
    history_lock(sorted({due.instrument for due in batch}))
    known = histories(batch)
    _close(batch, [decide(due.agreed(), history) for due, history in zip(batch, known, strict=True)])
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
        ids = [due.id for due, _ in claim_pending()]
    return _one_by_one(ids, lambda order_id: enter_batch(only=order_id))


@transaction.atomic
def enter_batch(*, only: UUID | None = None) -> int:
    """Enter or refund one batch of delayed orders, all or none, and return how many."""
    pending = claim_pending(only=only)
    if not pending:
        return 0
    history_lock(sorted({due.instrument for due, _ in pending}))
    firsts = first_ticks([due for due, _ in pending])
    entered: list[tuple[Due, Price]] = []
    refused: list[tuple[Due, Outcome]] = []
    for (due, watermark_at), first in zip(pending, firsts, strict=True):
        contract = due.agreed()
        deadline = entry_deadline(due.entry_after or due.accepted_at, contract.max_entry_wait, due.expires_at)
        if first is not None and first.at <= deadline:
            entered.append((due, first))
        elif watermark_at >= deadline:
            nothing = History(first_after=None, last_before=None, gaps=(), open_at_expiry=True)
            refused.append((due, decide(contract, nothing)))
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
UPDATE trading_order o SET entry_at = v.at, entry_seq = v.seq, entry_price = v.price
FROM unnest(%s::uuid[], %s::timestamptz[], %s::bigint[], %s::numeric[]) AS v (id, at, seq, price)
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
    arrivals = [(due, row) for (due, _), row in zip(owed, posted, strict=True) if row.destination_version]
    _tell(batch, outcomes, arrivals, now)


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


def _tell(
    batch: Sequence[Due], outcomes: Sequence[Outcome], arrivals: Sequence[tuple[Due, Posted]], now: datetime
) -> None:
    """Record a fact per order and one per account whose balance moved, that one with all its steps."""
    versions: dict[UUID, int | None] = {}
    moved: dict[int, tuple[Due, int, Posted]] = {}
    for due, row in arrivals:
        version = row.destination_version or 0
        versions[due.id] = version
        before = moved[due.account][1] if due.account in moved else version - 1
        moved[due.account] = (due, before, row)
    rows = []
    for due, outcome in zip(batch, outcomes, strict=True):
        data = _closed_fact(due, outcome, now, versions.get(due.id))
        rows.append((customer_topic(due.customer), data.fact_name, facts.encode(data)))
    for due, before, row in moved.values():
        changed = AccountChanged(
            account=due.account,
            book=due.book_code,
            kind=due.book_kind,
            currency=due.currency,
            balance=f"{row.destination_balance:.{due.scale}f}",
            version=row.destination_version or 0,
            from_version=before,
        )
        rows.append((customer_topic(due.customer), changed.fact_name, facts.encode(changed)))
    write_facts(rows, at=now)


def _closed_fact(due: Due, outcome: Outcome, now: datetime, version: int | None) -> FactData:
    view = order_view(_order_row(due, outcome.entry, outcome, now))
    if outcome.status == Order.Status.LOST:
        return said.OrderLost(order=view, account=due.account)
    if version is None:
        raise Broken(f"order {due.id} is {outcome.status} and moved no money")
    if outcome.status == Order.Status.WON:
        return said.OrderWon(order=view, account=due.account, version=version)
    return said.OrderRefunded(order=view, account=due.account, version=version)


def _enter(entered: Sequence[tuple[Due, Price]]) -> None:
    if not entered:
        return
    with connection.cursor() as cursor:
        columns = ([due.id for due, _ in entered], *_columns([price for _, price in entered]))
        cursor.execute(ENTER, tuple(map(array, columns)))
    rows = []
    for due, price in entered:
        view = order_view(_order_row(due, price, None, None))
        data = said.OrderEntered(order=view, account=due.account)
        rows.append((customer_topic(due.customer), data.fact_name, facts.encode(data)))
    write_facts(rows, at=clock.now())


def _order_row(
    due: Due, entry: Price | None, outcome: Outcome | None, closed_at: datetime | None
) -> OrderRow:
    return OrderRow(
        id=due.id,
        client_id=due.client_id,
        account=due.account,
        symbol=due.symbol,
        price_decimals=due.price_decimals,
        contract=due.contract,
        side=due.side,
        stake=due.stake,
        currency=due.currency,
        scale=due.scale,
        payout_rate=due.payout_rate,
        status=outcome.status if outcome else Order.Status.OPEN,
        refund_reason=outcome.refund_reason if outcome else None,
        accepted_at=due.accepted_at,
        entry_after=due.entry_after,
        duration_seconds=due.duration_seconds,
        expires_at=due.expires_at,
        entry=entry,
        exit=outcome.exit if outcome else None,
        payout=outcome.payout if outcome else None,
        closed_at=closed_at,
        terms=due.terms_version,
    )


def _settle_one_by_one(shard: int, limit: int, older_than: timedelta) -> int:
    with transaction.atomic():
        ids = [due.id for due in claim_due(shard, clock.now() - older_than, limit=limit)]
    return _one_by_one(ids, lambda order_id: settle_batch(shard=shard, only=order_id))


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
