"""What was found wrong after an order had ended, and put right by a transfer."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from payments.ledger.models import MONEY
from trading.models.orders import Order


class Correction(models.Model):
    """What an operator asked that a closed order pay in all, and what another decided.

    The order itself stays as it was settled. Nobody changes a request; it is decided once.
    """

    application_rights = "SELECT, INSERT, UPDATE (state, decided_by_id, decided_at, number)"

    class State(models.TextChoices):
        REQUESTED = "requested"
        APPROVED = "approved"
        DECLINED = "declined"

    order = models.ForeignKey(Order, models.PROTECT, related_name="corrections", db_index=False)
    payout = models.DecimalField(**MONEY, help_text="What the order pays in all, corrected.")
    amount = models.DecimalField(**MONEY, help_text="What moves: to the customer, below zero back from him.")
    reason = models.TextField(help_text="The customer reads it, in the receipt.")
    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    requested_at = models.DateTimeField()
    state = models.CharField(max_length=10, choices=State, default=State.REQUESTED)
    decided_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+")
    decided_at = models.DateTimeField(null=True)
    number = models.PositiveSmallIntegerField(null=True, help_text="Among the order's, once it is approved.")

    class Meta:
        ordering = ["-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["order"], condition=Q(state="requested"), name="correction_requested_once"
            ),
            models.UniqueConstraint(fields=["order", "number"], name="correction_number_once"),
            models.CheckConstraint(condition=Q(payout__gte=0), name="correction_pays"),
            models.CheckConstraint(condition=~Q(amount=0), name="correction_moves_money"),
            models.CheckConstraint(
                condition=Q(state="requested", decided_by=None, decided_at=None, number=None)
                | (
                    Q(state="approved", decided_by__isnull=False, decided_at__isnull=False)
                    & Q(number__isnull=False, number__gt=0)
                    & ~Q(decided_by=F("requested_by"))
                )
                | (Q(state="declined", decided_by__isnull=False, decided_at__isnull=False, number=None)),
                name="correction_by_two_people",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.order_id}: {self.payout.normalize():f}"
