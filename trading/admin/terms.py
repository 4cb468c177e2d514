"""Terms, payout rates and volatility in the console."""

from typing import Any, ClassVar, cast

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from unfold.decorators import action
from unfold.widgets import UnfoldAdminDecimalFieldWidget

from config.core.console import ReadOnlyAdmin, ReasonForm, reasoned_action
from kyc.models import User
from quotes.models import Instrument
from trading import services
from trading.admin import payouts
from trading.models import (
    PayoutRate,
    Terms,
    VolatilityEstimate,
)


def instrument_of(rows: QuerySet[Any], object_id: str) -> Instrument:
    """Return the instrument of a row; raise Http404 where there is none."""
    if not object_id.isdecimal():
        raise Http404
    return cast(Instrument, get_object_or_404(rows.select_related("instrument"), pk=object_id).instrument)


class RateForm(ReasonForm):
    """Asks for a payout rate and why."""

    rate = forms.DecimalField(
        max_digits=5,
        decimal_places=4,
        widget=UnfoldAdminDecimalFieldWidget(),
        help_text="Profit per unit of stake, e.g. 0.85; within the bounds of the terms.",
    )


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
    actions_detail: ClassVar[Any] = ["payout_chart", "change_payout"]

    def has_view_payouts_permission(self, request: HttpRequest, *_: Any) -> bool:
        """Tell whether this person may see how rates went; Unfold would look a permission's name up."""
        return request.user.has_perm("trading.view_payoutrate")

    @action(description="Payout chart", icon="show_chart", permissions=["view_payouts"])
    def payout_chart(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show how the rate of these terms' instrument went."""
        return payouts.chart(self, request, instrument_of(Terms.objects.all(), object_id))

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
    actions_list: ClassVar[Any] = ["chart"]
    actions_detail: ClassVar[Any] = ["chart_of"]

    @action(description="Chart", icon="show_chart", permissions=["view"])
    def chart(self, request: HttpRequest) -> HttpResponse:
        """Show how the rate of an instrument went."""
        return payouts.chart(self, request)

    @action(description="Chart", icon="show_chart", permissions=["view"])
    def chart_of(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show how the rate of this row's instrument went."""
        return payouts.chart(self, request, instrument_of(PayoutRate.objects.all(), object_id))


@admin.register(VolatilityEstimate)
class VolatilityEstimateAdmin(ReadOnlyAdmin):
    list_display = ("instrument", "at", "per_sqrt_second", "tick_seconds", "samples")
    list_filter = ("instrument",)
    list_select_related = ("instrument",)
