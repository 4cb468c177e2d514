"""Orders and their tallies in the console."""

from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar, cast

from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.decorators import display

from config.core.console import ReadOnlyAdmin, reasoned_action
from kyc.models import User
from quotes.admin.parts import ticks_link
from trading import services
from trading.admin.corrections import CorrectionForm
from trading.models import (
    Order,
    Tally,
)


def _in_record(instrument_id: int, at: datetime | None, price: Decimal | None) -> SafeString | str:
    return "–" if at is None or price is None else ticks_link(instrument_id, at, f"{price.normalize():f}")


@admin.register(Order)
class OrderAdmin(ReadOnlyAdmin):
    list_display = (
        "id",
        "accepted_at",
        "customer",
        "instrument",
        "contract",
        "side",
        "stake",
        "payout_rate",
        "status",
        "payout",
        "expires_at",
    )
    list_filter = ("status", "contract", "instrument", ("parked_at", admin.EmptyFieldListFilter))
    list_select_related = ("customer", "instrument")
    search_fields = ("=id", "=client_id", "=customer__email")
    search_help_text = "An order's id, a client_id, or a customer's e-mail address."
    readonly_fields = ("entry_in_record", "exit_in_record", "paid_in_all")
    actions: ClassVar[Any] = ["unpark"]
    actions_detail: ClassVar[Any] = ["unpark", "correct"]

    @display(description="Entry in the record")
    def entry_in_record(self, order: Order) -> SafeString | str:
        """Lead to the ticks around the entry."""
        return _in_record(order.instrument_id, order.entry_at, order.entry_price)

    @display(description="Exit in the record")
    def exit_in_record(self, order: Order) -> SafeString | str:
        """Lead to the ticks around the exit."""
        return _in_record(order.instrument_id, order.exit_at, order.exit_price)

    @display(description="Paid in all")
    def paid_in_all(self, order: Order) -> str:
        """Say what it has paid, corrections included."""
        return "–" if order.payout is None else f"{services.paid_of(order).normalize():f}"

    @reasoned_action(
        description="Give back to the settlers",
        effect="A parked order is tried again at once. Its outcome is decided by the stored ticks alone.",
    )
    def unpark(self, request: HttpRequest, obj: Order, reason: str) -> str:
        services.unpark_order(order_id=obj.pk, actor=cast(User, request.user), reason=reason)
        return f"Order {obj.pk} is back with the settlers."

    @reasoned_action(
        description="Correct what it paid",
        effect="Nothing moves until another operator approves. Then the difference is paid to the customer, "
        "or taken back from his balance. The order stays as it was settled; he is told, and its receipt "
        "says so.",
        form=CorrectionForm,
        icon="currency_exchange",
    )
    def correct(self, request: HttpRequest, obj: Order, payout: Decimal, reason: str) -> str:
        services.request_correction(order=obj, payout=payout, actor=cast(User, request.user), reason=reason)
        return f"A correction of order {obj.pk} is requested; it waits for another operator."


@admin.register(Tally)
class TallyAdmin(ReadOnlyAdmin):
    list_display = (
        "day",
        "account",
        "instrument",
        "orders",
        "won",
        "lost",
        "refunded",
        "sold",
        "turnover",
        "profit",
    )
    list_filter = ("day", "instrument")
    list_select_related = ("account", "instrument")
    search_fields = ("=account__id", "=account__owner__email")
    search_help_text = "An account's number, or a customer's e-mail address."
