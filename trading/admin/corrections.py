"""Corrections in the console: one operator asks from the order's page, another decides."""

from decimal import Decimal
from typing import Any, ClassVar, cast

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.decorators import display
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminDecimalFieldWidget

from config.core.console import ReadOnlyAdmin, ReasonForm, link_to, reasoned_action
from kyc.models import User
from payments.ledger.models import MONEY
from trading import services
from trading.models import Correction


class CorrectionForm(ReasonForm):
    """What an order should have paid."""

    payout = forms.DecimalField(
        label="Pays in all",
        min_value=Decimal(0),
        max_digits=MONEY["max_digits"],
        decimal_places=MONEY["decimal_places"],
        widget=UnfoldAdminDecimalFieldWidget(),
        help_text="With what it has paid already: 0 for lost, the stake for refunded.",
    )
    field_order = ("payout", "reason")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["reason"].help_text = "The customer reads it in the receipt: name no other people."


@admin.register(Correction)
class CorrectionAdmin(ReadOnlyAdmin):
    """Requests to correct what an order paid, and what was decided. Who asked does not approve."""

    list_display = (
        "of",
        "customer",
        "payout",
        "amount",
        "standing",
        "requested_by",
        "requested_at",
        "decided_by",
        "decided_at",
    )
    list_filter = ("state", "order__instrument")
    list_select_related = ("order__customer", "requested_by", "decided_by")
    search_fields = ("=order__id", "=order__customer__email")
    search_help_text = "An order's id, or a customer's e-mail address."
    fields = (
        "of",
        "customer",
        "settled",
        "payout",
        "amount",
        "standing",
        "reason",
        "requested_by",
        "requested_at",
        "decided_by",
        "decided_at",
    )
    readonly_fields = ("of", "customer", "settled", "standing")
    actions: ClassVar[Any] = ("approve", "decline")
    actions_detail: ClassVar[Any] = ("approve", "decline")

    def has_operate_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Tell whether this person may decide requests; of one, whether it is still open."""
        if not super().has_operate_permission(request):
            return False
        if obj is None:
            return True
        waiting = Correction.objects.filter(state=Correction.State.REQUESTED)
        return bool(obj.isdecimal()) and waiting.filter(pk=obj).exists()

    @display(description="Order")
    def of(self, correction: Correction) -> SafeString | str:
        """Lead to the order."""
        return link_to(correction.order, str(correction.order_id))

    @display(description="Customer")
    def customer(self, correction: Correction) -> SafeString | str:
        """Lead to whose it is."""
        return link_to(correction.order.customer)

    @display(description="Settled as")
    def settled(self, correction: Correction) -> str:
        """Say how the order ended, and what it paid then."""
        order = correction.order
        paid = order.payout.normalize() if order.payout is not None else 0
        return f"{order.status}, stake {order.stake.normalize():f}, paid {paid:f}"

    @display(description="State", label={"requested": "warning", "approved": "danger", "declined": "default"})
    def standing(self, correction: Correction) -> str:
        """Say in a word what was decided."""
        return correction.state

    @reasoned_action(
        description="Approve",
        effect="The money moves at once, the customer is told, and the order's receipt says so for good.",
        icon="check",
        variant=ActionVariant.DANGER,
    )
    def approve(self, request: HttpRequest, obj: Correction, reason: str) -> str:
        """Move the money."""
        services.approve_correction(correction=obj, actor=cast(User, request.user), reason=reason)
        return f"Order {obj.order_id} is corrected: it has paid {obj.payout.normalize():f} in all."

    @reasoned_action(
        description="Decline",
        effect="What the orders paid stays as it is. The customers are not told of the request.",
        icon="close",
    )
    def decline(self, request: HttpRequest, obj: Correction, reason: str) -> str:
        """Leave it as it is."""
        services.decline_correction(correction=obj, actor=cast(User, request.user), reason=reason)
        return f"Order {obj.order_id} stays as it is."
