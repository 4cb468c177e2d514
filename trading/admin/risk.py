"""What is at stake and what bounds it, in the console."""

from typing import Any, ClassVar, cast

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from unfold.widgets import UnfoldAdminDecimalFieldWidget, UnfoldAdminSplitDateTimeWidget

from config.core.console import ReadOnlyAdmin, ReasonForm, reasoned_action
from kyc.models import User
from quotes.models import Instrument
from trading import services
from trading.models import (
    BookTerms,
    CustomerLimits,
    Exposure,
    Order,
    RiskLimit,
)


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


class FloorForm(ReasonForm):
    """Asks what a house must hold."""

    floor = forms.DecimalField(
        required=False,
        widget=UnfoldAdminDecimalFieldWidget(),
        help_text="In the book's currency. Empty: no floor.",
    )
    field_order = ("floor", "reason")


class OpenPayoutForm(ReasonForm):
    """Asks what the open orders of an account may pay out together."""

    most = forms.DecimalField(
        required=False,
        widget=UnfoldAdminDecimalFieldWidget(),
        help_text="Stakes and profits, in the book's currency. Empty: no limit.",
    )
    field_order = ("most", "reason")


@admin.register(BookTerms)
class BookTermsAdmin(ReadOnlyAdmin):
    list_display = ("book", "all_instruments", "floor", "max_open_payout")
    actions: ClassVar[Any] = ["limit_risk", "limit_open_payout", "set_floor"]
    actions_detail: ClassVar[Any] = ["limit_risk", "limit_open_payout", "set_floor"]

    @reasoned_action(
        description="Set the floor",
        effect="With less than this in its house the book takes no new orders: the risk watcher stops them, "
        "and lets them in again once the house holds a tenth more. Open orders go on to their end.",
        form=FloorForm,
    )
    def set_floor(self, request: HttpRequest, obj: BookTerms, floor: Any, reason: str) -> str:
        services.set_floor(terms=obj, floor=floor, actor=cast(User, request.user), reason=reason)
        return f"{obj.book} has no floor." if floor is None else f"The floor of {obj.book} is {floor:f}."

    @reasoned_action(
        description="Limit what an account has open",
        effect="From now on an order is refused if with it all open ones of its account could pay out more "
        "than this; open orders stay.",
        form=OpenPayoutForm,
    )
    def limit_open_payout(self, request: HttpRequest, obj: BookTerms, most: Any, reason: str) -> str:
        services.set_open_payout_limit(terms=obj, most=most, actor=cast(User, request.user), reason=reason)
        if most is None:
            return f"Accounts of {obj.book} may have any payout open."
        return f"An account of {obj.book} may have {most:f} of payouts open."

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


@admin.register(CustomerLimits)
class CustomerLimitsAdmin(ReadOnlyAdmin):
    list_display = ("customer", "max_stake", "max_daily_loss", "max_open_orders", "set_at")
    list_select_related = ("customer",)
    search_fields = ("=customer__email",)
    search_help_text = "A customer's e-mail address."
