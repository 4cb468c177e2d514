"""Orders and terms in the operator console."""

from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar, cast

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.decorators import display
from unfold.widgets import UnfoldAdminDecimalFieldWidget

from config.core.console import ReadOnlyAdmin, ReasonForm, reasoned_action
from kyc.models import User
from quotes.admin.parts import ticks_link
from trading import services
from trading.models import BookTerms, Order, PayoutRate, Terms


def _in_record(instrument_id: int, at: datetime | None, price: Decimal | None) -> SafeString | str:
    return "–" if at is None or price is None else ticks_link(instrument_id, at, f"{price.normalize():f}")


class RateForm(ReasonForm):
    """Asks for a payout rate and why."""

    rate = forms.DecimalField(
        max_digits=5,
        decimal_places=4,
        widget=UnfoldAdminDecimalFieldWidget(),
        help_text="Profit per unit of stake, e.g. 0.85; within the bounds of the terms.",
    )


@admin.register(Order)
class OrderAdmin(ReadOnlyAdmin):
    list_display = (
        "id",
        "accepted_at",
        "customer",
        "instrument",
        "side",
        "stake",
        "payout_rate",
        "status",
        "payout",
        "expires_at",
    )
    list_filter = ("status", "instrument", ("parked_at", admin.EmptyFieldListFilter))
    list_select_related = ("customer", "instrument")
    search_fields = ("=id", "=client_id", "=customer__email")
    search_help_text = "An order's id, a client_id, or a customer's e-mail address."
    readonly_fields = ("entry_in_record", "exit_in_record")
    actions: ClassVar[Any] = ["unpark"]
    actions_detail: ClassVar[Any] = ["unpark"]

    @display(description="Entry in the record")
    def entry_in_record(self, order: Order) -> SafeString | str:
        """Lead to the ticks around the entry."""
        return _in_record(order.instrument_id, order.entry_at, order.entry_price)

    @display(description="Exit in the record")
    def exit_in_record(self, order: Order) -> SafeString | str:
        """Lead to the ticks around the exit."""
        return _in_record(order.instrument_id, order.exit_at, order.exit_price)

    @reasoned_action(
        description="Give back to the settlers",
        effect="A parked order is tried again at once. Its outcome is decided by the stored ticks alone.",
    )
    def unpark(self, request: HttpRequest, obj: Order, reason: str) -> str:
        services.unpark_order(order_id=obj.pk, actor=cast(User, request.user), reason=reason)
        return f"Order {obj.pk} is back with the settlers."


@admin.register(Terms)
class TermsAdmin(ReadOnlyAdmin):
    list_display = (
        "instrument",
        "version",
        "fixed_rate",
        "min_stake",
        "max_stake",
        "min_duration_seconds",
        "max_duration_seconds",
        "entry_policy",
        "tie_policy",
        "created_at",
        "created_by",
    )
    list_filter = ("instrument",)
    list_select_related = ("instrument", "created_by")
    actions: ClassVar[Any] = ["change_payout"]
    actions_detail: ClassVar[Any] = ["change_payout"]

    @reasoned_action(
        description="Change the payout",
        effect="Orders accepted from now on get this rate; open orders keep theirs. Everybody is told.",
        form=RateForm,
    )
    def change_payout(self, request: HttpRequest, obj: Terms, rate: Any, reason: str) -> str:
        services.set_payout_rate(
            instrument=obj.instrument, rate=rate, actor=cast(User, request.user), reason=reason
        )
        return f"{obj.instrument} now pays {rate.normalize():f}."


@admin.register(PayoutRate)
class PayoutRateAdmin(ReadOnlyAdmin):
    list_display = ("instrument", "rate", "set_at", "reason", "set_by")
    list_filter = ("instrument",)
    list_select_related = ("instrument", "set_by")


@admin.register(BookTerms)
class BookTermsAdmin(ReadOnlyAdmin):
    list_display = ("book", "all_instruments")
