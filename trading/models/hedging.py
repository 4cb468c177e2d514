"""Hedges: what an operator sets for an instrument, the orders sent to a provider, and what came of them."""

from decimal import Decimal
from typing import Any, ClassVar

from django.db import models
from django.db.models import F, Q

from quotes.models import Instrument, Source
from quotes.models.instruments import PRICE

QUANTITY: dict[str, Any] = {"max_digits": 20, "decimal_places": 8}


class HedgeTerms(models.Model):
    """How an instrument is hedged; off until an operator switches it on."""

    application_rights = "SELECT, INSERT, UPDATE"

    instrument = models.OneToOneField(
        Instrument, models.PROTECT, primary_key=True, related_name="hedge_terms"
    )
    is_on = models.BooleanField(default=False, db_default=False)
    provider = models.ForeignKey(
        Source,
        models.PROTECT,
        related_name="+",
        help_text="A FIX connection that nothing is quoted by: address, names and its secret's name.",
    )
    source_symbol = models.CharField(max_length=80, help_text="What the provider calls the instrument.")
    currency = models.CharField(
        max_length=10, help_text="That of its price. Orders in books of other currencies are not hedged."
    )
    threshold = models.DecimalField(**QUANTITY, help_text="A smaller change of what is held is not ordered.")
    lot = models.DecimalField(**QUANTITY, help_text="Quantities are multiples of it.")
    max_quantity = models.DecimalField(
        **QUANTITY, help_text="The most that is held on either side, and the most of one order."
    )
    collar = models.DecimalField(
        max_digits=6,
        decimal_places=5,
        default=Decimal("0.001"),
        help_text="Part of the price: the limit of an order is so far beyond it.",
    )
    max_age_seconds = models.PositiveSmallIntegerField(
        default=5, help_text="An order that could not be sent in this time is not sent any more."
    )
    cutoff_seconds = models.PositiveSmallIntegerField(
        default=5, help_text="So near to its end an order counts as ended: its delta jumps with every tick."
    )
    held = models.DecimalField(
        **QUANTITY,
        default=Decimal(0),
        db_default=Decimal(0),
        editable=False,
        help_text="What all executions add up to; below zero it is owed.",
    )
    changed_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "hedge terms"
        ordering = ["instrument"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(lot__gt=0, lot__lte=F("threshold"), threshold__lte=F("max_quantity")),
                name="hedge_terms_quantities",
            ),
            models.CheckConstraint(
                condition=Q(collar__gte=0, collar__lt=1, max_age_seconds__gte=1, cutoff_seconds__gte=1),
                name="hedge_terms_bounds",
            ),
        ]

    def __str__(self) -> str:
        return f"hedge of {self.instrument}"


class HedgeOrder(models.Model):
    """An order of the house to a provider: intended once, sent at most once, under its id as the ClOrdID."""

    # What was intended stays as it is, and none is deleted.
    application_rights = (
        "SELECT, INSERT, UPDATE (state, sent_seq, sent_at, cum_quantity, average_price, is_reconciled, said, "
        "changed_at)"
    )

    class Side(models.TextChoices):
        BUY = "buy"
        SELL = "sell"

    class State(models.TextChoices):
        INTENDED = "intended"
        # Its number in the session is taken: its bytes are on their way, or are sent when asked for again.
        SENT = "sent"
        ACKNOWLEDGED = "acknowledged"
        FILLED = "filled"
        PARTLY_FILLED = "partly_filled", "partly filled"
        REJECTED = "rejected"
        LAPSED = "lapsed"

    id = models.UUIDField(primary_key=True)
    instrument = models.ForeignKey(Instrument, models.PROTECT, related_name="+")
    provider = models.ForeignKey(Source, models.PROTECT, related_name="+")
    source_symbol = models.CharField(max_length=80)
    side = models.CharField(max_length=4, choices=Side)
    quantity = models.DecimalField(**QUANTITY)
    limit_price = models.DecimalField(**PRICE)
    decided_at = models.DateTimeField()
    good_until = models.DateTimeField(help_text="Later it is neither sent nor sent again.")
    inputs = models.JSONField(help_text="What it was decided by.")
    state = models.CharField(max_length=14, choices=State, default=State.INTENDED)
    sent_seq = models.BigIntegerField(null=True, help_text="Its number in the FIX session.")
    sent_at = models.DateTimeField(null=True)
    cum_quantity = models.DecimalField(
        **QUANTITY, default=Decimal(0), help_text="Filled in all, as the provider told last."
    )
    average_price = models.DecimalField(**PRICE, default=Decimal(0))
    is_reconciled = models.BooleanField(
        default=True, help_text="Whether the recorded executions add up to what the provider told."
    )
    said = models.CharField(max_length=300, blank=True, default="", help_text="The provider's last words.")
    changed_at = models.DateTimeField()

    class Meta:
        ordering = ["-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["instrument"],
                name="hedge_order_unfinished_once",
                condition=Q(state__in=["intended", "sent", "acknowledged"]),
            ),
            models.CheckConstraint(
                condition=Q(quantity__gt=0, limit_price__gt=0), name="hedge_order_positive"
            ),
            models.CheckConstraint(
                condition=Q(sent_seq=None, sent_at=None, state__in=["intended", "lapsed"])
                | (Q(sent_seq__isnull=False, sent_at__isnull=False) & ~Q(state="intended")),
                name="hedge_order_sent_has_its_number",
            ),
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["instrument"], name="hedge_order_unreconciled", condition=Q(is_reconciled=False)
            )
        ]

    def __str__(self) -> str:
        return f"{self.side} {self.quantity.normalize():f} {self.source_symbol}"


class HedgeExecution(models.Model):
    """What a provider reported of an order, once by its ExecID. Append-only."""

    application_rights = "SELECT, INSERT"

    order = models.ForeignKey(HedgeOrder, models.PROTECT, related_name="executions", db_index=False)
    exec_id = models.CharField(max_length=200)
    refers_to = models.CharField(max_length=200, blank=True, help_text="The fill it takes back or corrects.")
    quantity = models.DecimalField(
        **QUANTITY, help_text="Filled by it; below zero where it takes an earlier one back."
    )
    price = models.DecimalField(**PRICE)
    fields = models.JSONField(help_text="The report as it was received: tags and values.")
    recorded_at = models.DateTimeField()

    class Meta:
        ordering = ["-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["order", "exec_id"], name="hedge_execution_once")
        ]

    def __str__(self) -> str:
        return f"{self.order_id} {self.exec_id}"
