"""What is at stake: the house's exposure and its limits, customers' tallies and theirs."""

from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from payments.ledger.models import MONEY, Account, Book
from quotes.models import Instrument

# Referred to by rows that are written thousands at a time, from orders whose own keys are checked.
UNCHECKED: dict[str, Any] = {"db_constraint": False, "db_index": False, "related_name": "+"}


class Exposure(models.Model):
    """What the open orders on one side of an instrument in a book add up to: exact, under its row's lock."""

    application_rights = "SELECT, INSERT, UPDATE"

    book = models.ForeignKey(Book, models.PROTECT, **UNCHECKED)
    instrument = models.ForeignKey(Instrument, models.PROTECT, **UNCHECKED)
    side = models.CharField(max_length=12)
    open_orders = models.IntegerField()
    stakes = models.DecimalField(**MONEY)
    profit = models.DecimalField(**MONEY, help_text="What the house pays beyond stakes if all win.")

    class Meta:
        ordering = ["book", "instrument", "side"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["book", "instrument", "side"], name="exposure_once"),
            models.CheckConstraint(
                condition=Q(open_orders__gte=0, stakes__gte=0, profit__gte=0), name="exposure_not_negative"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.instrument_id} {self.side} in {self.book_id}"


class RiskLimit(models.Model):
    """The most the house may have to pay beyond stakes at once, for a while, over what it names.

    What is left empty is any: a limit of a book alone covers all its instruments and sides together.
    """

    application_rights = "SELECT, INSERT, UPDATE (ends_at)"

    book = models.ForeignKey(Book, models.PROTECT, related_name="+")
    instrument_class = models.CharField(max_length=20, blank=True, default="")
    instrument = models.ForeignKey(Instrument, models.PROTECT, null=True, blank=True, related_name="+")
    side = models.CharField(max_length=12, blank=True, default="")
    most = models.DecimalField(**MONEY)
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField(null=True, blank=True)
    comment = models.TextField()
    set_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+")

    class Meta:
        ordering = ["-id"]
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(most__gte=0), name="risk_limit_not_negative"),
            models.CheckConstraint(
                condition=Q(ends_at=None) | Q(ends_at__gte=F("starts_at")), name="risk_limit_ends_later"
            ),
            models.CheckConstraint(
                condition=Q(instrument=None) | Q(instrument_class=""), name="risk_limit_class_or_instrument"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.most} in {self.book_id}"


class Tally(models.Model):
    """What an account's orders on an instrument that closed on a UTC day add up to."""

    application_rights = "SELECT, INSERT, UPDATE"

    account = models.ForeignKey(Account, models.PROTECT, **UNCHECKED)
    instrument = models.ForeignKey(Instrument, models.PROTECT, **UNCHECKED)
    day = models.DateField()
    orders = models.IntegerField()
    won = models.IntegerField()
    lost = models.IntegerField()
    refunded = models.IntegerField()
    sold = models.IntegerField()
    turnover = models.DecimalField(**MONEY, help_text="Stakes of those that were not refunded.")
    profit = models.DecimalField(**MONEY, help_text="The customer's: payouts less stakes.")

    class Meta:
        verbose_name_plural = "tallies"
        ordering = ["-day", "account"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["account", "day", "instrument"], name="tally_once")
        ]
        indexes: ClassVar = [models.Index(fields=["day", "instrument"], name="tally_of_day")]

    def __str__(self) -> str:
        return f"{self.account_id} {self.day}"


class CustomerLimits(models.Model):
    """What a customer allows himself, over all his accounts of real money; the newest row is in force."""

    application_rights = "SELECT, INSERT"

    customer = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    max_stake = models.DecimalField(**MONEY, null=True, blank=True)
    max_daily_loss = models.DecimalField(**MONEY, null=True, blank=True)
    max_open_orders = models.PositiveIntegerField(null=True, blank=True)
    set_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "customer limits"
        ordering = ["-id"]
        indexes: ClassVar = [models.Index(fields=["customer", "-id"], name="customer_limits_newest")]

    def __str__(self) -> str:
        return f"limits of {self.customer_id}"
