"""What customers are told of orders that closed."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from config.core import facts
from config.core.errors import Broken
from config.core.facts import FactData
from config.core.outbox import customer_topic, write_facts
from payments.ledger.facts import AccountChanged
from payments.ledger.services import Posted
from trading import facts as said
from trading.models import Order
from trading.rules import Outcome, Price
from trading.selectors import OrderRow, order_view
from trading.services.claims import Due


def tell_closed(
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
        changed = account_changed(due, row, from_version=before)
        rows.append((customer_topic(due.customer), changed.fact_name, facts.encode(changed)))
    write_facts(rows, at=now)


def account_changed(due: Due, row: Posted, *, from_version: int) -> AccountChanged:
    """Return the fact of an account's new balance after the last transfer of a batch to it."""
    return AccountChanged(
        account=due.account,
        book=due.book_code,
        kind=due.book_kind,
        currency=due.currency,
        balance=f"{row.destination_balance:.{due.scale}f}",
        version=row.destination_version or 0,
        from_version=from_version,
    )


def _closed_fact(due: Due, outcome: Outcome, now: datetime, version: int | None) -> FactData:
    view = order_view(
        order_row(
            due,
            entry=outcome.entry,
            exit_=outcome.exit,
            status=outcome.status,
            refund_reason=outcome.refund_reason,
            payout=outcome.payout,
            closed_at=now,
        )
    )
    if outcome.status == Order.Status.LOST:
        return said.OrderLost(order=view, account=due.account)
    if version is None:
        raise Broken(f"order {due.id} is {outcome.status} and moved no money")
    if outcome.status == Order.Status.WON:
        return said.OrderWon(order=view, account=due.account, version=version)
    return said.OrderRefunded(order=view, account=due.account, version=version)


def order_row(
    due: Due,
    *,
    entry: Price | None,
    exit_: Price | None = None,
    status: str = Order.Status.OPEN,
    refund_reason: str | None = None,
    payout: Decimal | None = None,
    closed_at: datetime | None = None,
) -> OrderRow:
    """Return a claimed order as its view needs it, with what has become of it."""
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
        status=status,
        refund_reason=refund_reason,
        accepted_at=due.accepted_at,
        entry_after=due.entry_after,
        duration_seconds=due.duration_seconds,
        duration_ticks=due.duration_ticks,
        barrier=due.barrier,
        low=due.low,
        high=due.high,
        is_relative=due.is_relative,
        digit=due.digit,
        expires_at=due.expires_at,
        entry=entry,
        exit=exit_,
        payout=payout,
        closed_at=closed_at,
        terms=due.terms_version,
    )
