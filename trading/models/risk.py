"""What is at stake: the house's exposure and its limits, customers' tallies and theirs."""

from typing import Any, ClassVar

from django.conf import settings
from django.contrib.postgres.indexes import GistIndex
from django.db import models
from django.db.models import F, Func, Q

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


class RiskAlert(models.Model):
    """A while in which a limit was nearly used up or, without a limit, a house stood below its floor."""

    application_rights = "SELECT, INSERT, UPDATE (highest, closed_at)"

    book = models.ForeignKey(Book, models.PROTECT, related_name="+")
    limit = models.ForeignKey(RiskLimit, models.PROTECT, null=True, blank=True, related_name="+")
    most = models.DecimalField(**MONEY, help_text="The limit, or the floor.")
    used = models.DecimalField(**MONEY, help_text="When it began: of the limit, or what the house held.")
    highest = models.DecimalField(**MONEY, help_text="At its worst.")
    opened_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["limit"], name="risk_alert_once_a_limit", condition=Q(closed_at=None)
            ),
            models.UniqueConstraint(
                fields=["book"], name="risk_alert_once_a_floor", condition=Q(closed_at=None, limit=None)
            ),
        ]

    def __str__(self) -> str:
        return f"alert {self.pk} in {self.book_id}"


class Curb(models.Model):
    """What holds trading back for a while: a kill switch, an event window, a measure of the risk watcher.

    What is left empty is any: a curb that names nothing holds for all books, instruments and contracts.
    """

    application_rights = "SELECT, INSERT, UPDATE (ends_at)"

    class Effect(models.TextChoices):
        STOP_ORDERS = "stop_orders", "no new orders"
        STOP_SALES = "stop_sales", "no early sales"
        STOP_ALL = "stop_all", "no new orders and no early sales"
        EVENT = "event", "rise/fall alone, and no early sales"
        LOWER_PAYOUTS = "lower_payouts", "lower payouts"

    effect = models.CharField(max_length=15, choices=Effect)
    book = models.ForeignKey(Book, models.PROTECT, null=True, blank=True, related_name="+")
    instrument_class = models.CharField(max_length=20, blank=True, default="")
    instrument = models.ForeignKey(Instrument, models.PROTECT, null=True, blank=True, related_name="+")
    contract = models.CharField(max_length=20, blank=True, default="")
    side = models.CharField(max_length=12, blank=True, default="")
    cut = models.DecimalField(
        max_digits=4, decimal_places=4, null=True, blank=True, help_text="What rates are lowered by."
    )
    alert = models.ForeignKey(RiskAlert, models.PROTECT, null=True, blank=True, related_name="curbs")
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField(null=True, blank=True)
    comment = models.TextField()
    set_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+")

    class Meta:
        ordering = ["-id"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(ends_at=None) | Q(ends_at__gte=F("starts_at")), name="curb_ends_later"
            ),
            models.CheckConstraint(
                condition=Q(instrument=None) | Q(instrument_class=""), name="curb_class_or_instrument"
            ),
            models.CheckConstraint(
                condition=Q(effect="lower_payouts", cut__gt=0, cut__lt=1)
                | (~Q(effect="lower_payouts") & Q(cut=None)),
                name="curb_cut_lowers_payouts",
            ),
            # Lifted by an operator, a measure is not taken again while its alert lasts.
            models.UniqueConstraint(fields=["alert", "effect"], name="curb_once_an_alert"),
            # A calendar of events may be imported again.
            models.UniqueConstraint(
                fields=["instrument", "instrument_class", "starts_at", "comment"],
                name="curb_once_an_event",
                condition=Q(effect="event"),
                nulls_distinct=False,
            ),
        ]
        indexes: ClassVar = [
            # Placing asks what holds at an instant, whatever the calendar says of next year.
            GistIndex(Func(F("starts_at"), F("ends_at"), function="tstzrange"), name="curb_while"),
        ]

    def __str__(self) -> str:
        return f"{self.get_effect_display()} #{self.pk}"


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


class Refusals(models.Model):
    """How often a command was refused with a code in an hour, and the numbers of the last ones."""

    application_rights = "SELECT, INSERT, UPDATE (times, last_at, recent), DELETE"

    hour = models.DateTimeField()
    code = models.CharField(max_length=40)
    symbol = models.CharField(max_length=40, blank=True)
    contract = models.CharField(max_length=20, blank=True)
    times = models.PositiveIntegerField()
    last_at = models.DateTimeField()
    recent = models.JSONField(default=list, help_text="What the last ones asked for and what was allowed.")

    class Meta:
        verbose_name_plural = "refusals"
        ordering = ["-hour", "-times"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["hour", "code", "symbol", "contract"], name="refusals_once_an_hour"
            )
        ]

    def __str__(self) -> str:
        return f"{self.code} × {self.times}"
