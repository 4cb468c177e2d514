"""Orders and terms in the operator console."""

from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar, cast

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.decorators import display
from unfold.widgets import UnfoldAdminDecimalFieldWidget, UnfoldAdminSplitDateTimeWidget

from config.core.console import ReadOnlyAdmin, ReasonForm, reasoned_action
from kyc.models import User
from quotes.admin.parts import ticks_link
from quotes.models import Instrument
from trading import services
from trading.models import (
    BookTerms,
    CustomerLimits,
    Exposure,
    Order,
    PayoutRate,
    RiskLimit,
    Tally,
    Terms,
    VolatilityEstimate,
)


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


class RiskLimitForm(ReasonForm):
    """Asks what a book's limit covers, how much it is and how long it holds."""

    most = forms.DecimalField(
        min_value=0,
        widget=UnfoldAdminDecimalFieldWidget(),
        help_text="What the house may have to pay beyond stakes at once, in the book's currency.",
    )
    instrument = forms.ModelChoiceField(Instrument.objects.all(), required=False, help_text="Empty: any.")
    instrument_class = forms.ChoiceField(
        choices=[("", "any"), *Instrument.Class.choices],
        required=False,
        help_text="Instead of an instrument.",
    )
    side = forms.ChoiceField(choices=[("", "any"), *Order.Side.choices], required=False)
    ends_at = forms.SplitDateTimeField(
        required=False, widget=UnfoldAdminSplitDateTimeWidget(), help_text="UTC. Empty: until it is lifted."
    )


@admin.register(BookTerms)
class BookTermsAdmin(ReadOnlyAdmin):
    list_display = ("book", "all_instruments")
    actions: ClassVar[Any] = ["limit_risk"]
    actions_detail: ClassVar[Any] = ["limit_risk"]

    @reasoned_action(
        description="Limit the risk",
        effect="Orders that would take the book beyond the limit are refused from now on; open orders stay.",
        form=RiskLimitForm,
    )
    def limit_risk(self, request: HttpRequest, obj: BookTerms, most: Any, reason: str, **covers: Any) -> str:
        limit = services.set_risk_limit(
            book=obj.book, most=most, actor=cast(User, request.user), comment=reason, **covers
        )
        return f"{obj.book} risks at most {limit.most.normalize():f} there."


@admin.register(RiskLimit)
class RiskLimitAdmin(ReadOnlyAdmin):
    list_display = (
        "book",
        "instrument",
        "instrument_class",
        "side",
        "most",
        "starts_at",
        "ends_at",
        "set_by",
        "comment",
    )
    list_filter = ("book",)
    list_select_related = ("book", "instrument", "set_by")
    actions: ClassVar[Any] = ["lift"]
    actions_detail: ClassVar[Any] = ["lift"]

    @reasoned_action(description="Lift the limit", effect="It ends now, for orders accepted from now on.")
    def lift(self, request: HttpRequest, obj: RiskLimit, reason: str) -> str:
        lifted = services.lift_risk_limit(limit=obj, actor=cast(User, request.user), reason=reason)
        return f"{obj} is lifted." if lifted else f"{obj} had ended already."


@admin.register(Exposure)
class ExposureAdmin(ReadOnlyAdmin):
    list_display = ("book", "instrument", "side", "open_orders", "stakes", "profit")
    list_filter = ("book", "instrument")
    list_select_related = ("book", "instrument")


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


@admin.register(VolatilityEstimate)
class VolatilityEstimateAdmin(ReadOnlyAdmin):
    list_display = ("instrument", "at", "per_sqrt_second", "tick_seconds", "samples")
    list_filter = ("instrument",)
    list_select_related = ("instrument",)


@admin.register(CustomerLimits)
class CustomerLimitsAdmin(ReadOnlyAdmin):
    list_display = ("customer", "max_stake", "max_daily_loss", "max_open_orders", "set_at")
    list_select_related = ("customer",)
    search_fields = ("=customer__email",)
    search_help_text = "A customer's e-mail address."
