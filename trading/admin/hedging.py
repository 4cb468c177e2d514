"""Hedges in the console: how instruments are hedged, what was sent to providers, what they reported."""

from typing import Any, ClassVar, cast

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.decorators import display
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminTextInputWidget

from config.core.console import ConsoleAdmin, ReadOnlyAdmin, link_to, reasoned_action
from config.core.errors import Invalid
from kyc.models import User
from quotes.models import Source
from trading import services
from trading.models import HedgeExecution, HedgeOrder, HedgeTerms
from trading.services.hedge_terms import CHANGEABLE, check_terms


class HedgeTermsForm(forms.ModelForm):
    """How an instrument is hedged, and why that changes."""

    reason = forms.CharField(min_length=3, max_length=1000, widget=UnfoldAdminTextInputWidget)

    class Meta:
        model = HedgeTerms
        fields = ("instrument", *CHANGEABLE)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "provider" in self.fields:
            of_fix = Source.objects.filter(kind=Source.Kind.FIX)
            self.fields["provider"].queryset = of_fix  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        """Say of each field what the service would refuse."""
        cleaned = super().clean() or {}
        if not self.errors:
            given = {name: cleaned[name] for name in CHANGEABLE if name in cleaned}
            instrument = cleaned.get("instrument") or self.instance.instrument
            try:
                check_terms(HedgeTerms(instrument=instrument, **given))
            except Invalid as refusal:
                for field, said in refusal.details["errors"].items():
                    self.add_error(field if field in self.fields else None, said)
        return cleaned


@admin.register(HedgeTerms)
class HedgeTermsAdmin(ConsoleAdmin):
    """How instruments are hedged. Nothing is sent before it is switched on and `hedge_orders` runs."""

    form = HedgeTermsForm
    list_display = (
        "instrument",
        "is_on",
        "provider",
        "source_symbol",
        "currency",
        "threshold",
        "lot",
        "max_quantity",
        "changed_at",
    )
    list_filter = ("is_on",)
    list_select_related = ("instrument", "provider")
    fieldsets = (
        (None, {"fields": ("instrument", "is_on", "currency")}),
        ("Provider", {"fields": ("provider", "source_symbol")}),
        ("Quantities", {"fields": ("threshold", "lot", "max_quantity")}),
        ("Orders", {"fields": ("collar", "max_age_seconds", "cutoff_seconds")}),
        ("Why", {"fields": ("reason",)}),
    )
    actions: ClassVar[Any] = ["switch_on", "switch_off"]
    actions_detail: ClassVar[Any] = ["switch_on", "switch_off"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Keep what is for good; hedging goes on or off by actions."""
        return ("instrument", "is_on") if obj else ("is_on",)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse: hedging is switched off, and stays on record."""
        return False

    def save_model(self, request: HttpRequest, obj: HedgeTerms, form: Any, change: bool) -> None:
        """Save through the service, which keeps the reason."""
        given = {name: form.cleaned_data[name] for name in CHANGEABLE}
        services.set_hedge_terms(
            instrument=obj.instrument,
            actor=cast(User, request.user),
            reason=form.cleaned_data["reason"],
            **given,
        )

    @reasoned_action(
        description="Switch on",
        effect="From now on orders are sent to the provider, with real money, whenever what is held is off "
        "by the threshold.",
        icon="power",
        variant=ActionVariant.DANGER,
    )
    def switch_on(self, request: HttpRequest, obj: HedgeTerms, reason: str) -> str:
        """Begin to hedge."""
        actor = cast(User, request.user)
        changed = services.switch_hedging(terms=obj, is_on=True, actor=actor, reason=reason)
        return f"{obj.instrument} is hedged." if changed else f"{obj.instrument} was hedged already."

    @reasoned_action(
        description="Switch off",
        effect="Nothing more is sent. What is held stays held: bring it to zero with the provider.",
        icon="power_off",
    )
    def switch_off(self, request: HttpRequest, obj: HedgeTerms, reason: str) -> str:
        """Stop hedging."""
        actor = cast(User, request.user)
        changed = services.switch_hedging(terms=obj, is_on=False, actor=actor, reason=reason)
        return f"{obj.instrument} is not hedged any more." if changed else f"{obj.instrument} was not hedged."


@admin.register(HedgeOrder)
class HedgeOrderAdmin(ReadOnlyAdmin):
    """What was sent to providers."""

    list_display = (
        "decided_at",
        "instrument",
        "side",
        "quantity",
        "limit_price",
        "state",
        "cum_quantity",
        "average_price",
        "is_reconciled",
        "provider",
    )
    list_filter = ("state", "is_reconciled", "instrument", "provider")
    list_select_related = ("instrument", "provider")
    search_fields = ("=id",)
    search_help_text = "An order's id, which is its ClOrdID."
    actions: ClassVar[Any] = ["close"]
    actions_detail: ClassVar[Any] = ["close"]

    @reasoned_action(
        description="Close by hand",
        effect="The order counts as over, filled by what is recorded of it, and the instrument is hedged "
        "again. Ask the provider first: if more was filled, more is held than we know.",
        variant=ActionVariant.DANGER,
    )
    def close(self, request: HttpRequest, obj: HedgeOrder, reason: str) -> str:
        """Close an order of which nothing more is heard."""
        closed = services.close_hedge_order(order=obj, actor=cast(User, request.user), reason=reason)
        return f"{obj} is {closed.get_state_display()}."


@admin.register(HedgeExecution)
class HedgeExecutionAdmin(ReadOnlyAdmin):
    """What providers reported."""

    list_display = ("recorded_at", "sent_order", "exec_id", "quantity", "price")
    list_select_related = ("order",)
    search_fields = ("=order__id",)
    search_help_text = "An order's id, which is its ClOrdID."

    @display(description="Order")
    def sent_order(self, execution: HedgeExecution) -> SafeString | str:
        """Lead to the order."""
        return link_to(execution.order)
