"""Corrections: what an order should have paid, asked for by one operator, decided by another."""

from decimal import Decimal

from django.db import IntegrityError, transaction
from django.db.models import Sum

from config.core import audit, clock, money
from config.core.errors import Conflict, Invalid
from config.core.ids import derived_id
from config.core.outbox import customer_topic, publish
from kyc.models import User
from payments.ledger.facts import account_changed
from payments.ledger.models import Account, Book
from payments.ledger.services import NewTransfer, post_rows
from trading.facts import OrderCorrected
from trading.models import Correction, Order
from trading.selectors import order_of
from trading.services.tallies import correct_tally

LEAST_REASON, MOST_REASON = 3, 1_000
# An order that needs more is not put right by another one; and a receipt holds no end of them.
MOST_CORRECTIONS = 20


def paid_of(order: Order) -> Decimal:
    """Return what a closed order has paid in all: its payout and the corrections of it."""
    approved = Correction.objects.filter(order=order, state=Correction.State.APPROVED)
    return (order.payout or money.ZERO) + (approved.aggregate(sum=Sum("amount"))["sum"] or money.ZERO)


@transaction.atomic
def request_correction(*, order: Order, payout: Decimal, actor: User, reason: str) -> Correction:
    """Ask that a closed order pay `payout` in all; no money moves until another operator approves.

    The customer reads the reason. Raises Invalid for an open order, an amount no such order can pay or that
    it has paid already, and a reason that says nothing; Conflict while another request waits, after
    MOST_CORRECTIONS, and for an order of one's own.
    """
    order = Order.objects.select_for_update(no_key=True, of=("self",)).get(pk=order.pk)
    book = Book.objects.get(accounts=order.account_id)
    if order.status == Order.Status.OPEN:
        raise Invalid("The order is open: what it pays is decided when it ends.")
    if not LEAST_REASON <= len(reason.strip()) <= MOST_REASON or "\x00" in reason:
        raise Invalid(f"Say why, in {LEAST_REASON} to {MOST_REASON} characters.")
    _not_his_own(order, actor)
    if Correction.objects.filter(order=order, state=Correction.State.APPROVED).count() >= MOST_CORRECTIONS:
        raise Conflict(f"It was corrected {MOST_CORRECTIONS} times already.")
    due, paid = money.parse(payout, book.scale), paid_of(order)
    most = order.stake + money.profit(order.stake, order.payout_rate, book.scale)
    if not 0 <= due <= most:
        raise Invalid(
            f"It is asked to pay {money.text(due, book.scale)}; such an order pays 0 to "
            f"{money.text(most, book.scale)} {book.currency}."
        )
    if due == paid:
        raise Invalid(f"It has paid {money.text(paid, book.scale)} {book.currency}; nothing is to be moved.")
    correction = Correction(
        order=order,
        payout=due,
        amount=due - paid,
        reason=reason.strip(),
        requested_by=actor,
        requested_at=clock.now(),
    )
    try:
        with transaction.atomic():
            correction.save(force_insert=True)
    except IntegrityError:
        raise Conflict("Another correction of this order waits to be decided.") from None
    audit.record(
        actor=actor,
        action="correction.requested",
        target=correction,
        before={"paid": money.text(paid, book.scale)},
        after={"order": str(order.pk), "paid": money.text(due, book.scale)},
        reason=reason,
    )
    return correction


@transaction.atomic
def approve_correction(*, correction: Correction, actor: User, reason: str) -> Correction:
    """Move the money, tell the customer and put it into the receipt.

    Raises Conflict when it is decided already, asked for by the same person or about his own order, and
    InsufficientFunds when what is to be taken back is not on the account.
    """
    found = _decided(correction, Correction.State.APPROVED, actor)
    order = found.order
    account = Account.objects.select_related("book").get(pk=order.account_id)
    house, scale = account.counter_id or 0, account.book.scale
    source, destination = (house, account.pk) if found.amount > 0 else (account.pk, house)
    transfer_id = derived_id(order.pk, f"correction-{found.number}")
    moved = NewTransfer(transfer_id, source, destination, abs(found.amount), "correction", str(order.pk))
    (posted,) = post_rows([moved])
    # On the day the order closed: what a customer may lose today is no matter of another day's error.
    correct_tally(
        account=account.pk,
        instrument=order.instrument_id,
        amount=found.amount,
        at=order.closed_at or found.requested_at,
    )
    account.refresh_from_db(fields=["balance", "version"])
    version = posted.destination_version or posted.source_version or 0
    topic = customer_topic(order.customer_id)
    told = OrderCorrected(
        order=order_of(order.customer_id, order.pk),
        account=account.pk,
        version=version,
        amount=money.text(found.amount, scale),
        paid=money.text(found.payout, scale),
        reason=found.reason,
    )
    publish(topic, told)
    publish(topic, account_changed(account, from_version=version - 1))
    after = {"order": str(order.pk), "paid": told.paid, "amount": told.amount}
    audit.record(actor=actor, action="order.corrected", target=found, after=after, reason=reason)
    return found


@transaction.atomic
def decline_correction(*, correction: Correction, actor: User, reason: str) -> Correction:
    """Leave what an order has paid as it is, also by who asked; raise Conflict when it is decided already."""
    found = _decided(correction, Correction.State.DECLINED, actor)
    audit.record(actor=actor, action="correction.declined", target=found, reason=reason)
    return found


def _decided(correction: Correction, state: str, actor: User) -> Correction:
    # The order first, as whoever asks for a correction does: what it has paid stands still meanwhile.
    order = Order.objects.select_for_update(no_key=True).get(pk=correction.order_id)
    held = Correction.objects.select_for_update(no_key=True).get(pk=correction.pk)
    if held.state != Correction.State.REQUESTED:
        raise Conflict(f"This correction is {held.state} already.")
    if state == Correction.State.APPROVED:
        if held.requested_by_id == actor.pk:
            raise Conflict("Who asked for a correction does not approve it. Another operator does.")
        _not_his_own(order, actor)
    held.state, held.decided_by, held.decided_at = state, actor, clock.now()
    if state == Correction.State.APPROVED:
        held.number = 1 + Correction.objects.filter(order=order, state=state).count()
    held.save(update_fields=["state", "decided_by", "decided_at", "number"])
    return held


def _not_his_own(order: Order, actor: User) -> None:
    if order.customer_id == actor.pk:
        raise Conflict("Nobody corrects an order of his own. Another operator does.")
