"""Terms, payout rates and volatility in the console."""

from typing import Any, ClassVar, cast

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from unfold.widgets import UnfoldAdminDecimalFieldWidget

from config.core.console import ReadOnlyAdmin, ReasonForm, reasoned_action
from kyc.models import User
from trading import services
from trading.models import (
    PayoutRate,
    Terms,
    VolatilityEstimate,
)


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


@admin.register(VolatilityEstimate)
class VolatilityEstimateAdmin(ReadOnlyAdmin):
    list_display = ("instrument", "at", "per_sqrt_second", "tick_seconds", "samples")
    list_filter = ("instrument",)
    list_select_related = ("instrument",)
