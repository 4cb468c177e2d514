"""What can be traded, and whose quotes make its price."""

from decimal import Decimal
from typing import Any, ClassVar

from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q

from quotes.models.calendars import Calendar

PRICE: Any = {"max_digits": 20, "decimal_places": 8}


class Instrument(models.Model):
    """What can be traded, and where its quotes come from."""

    class Class(models.TextChoices):
        FX = "fx", "Currencies"
        CRYPTO = "crypto", "Crypto"
        VOLATILITY = "volatility", "Volatility indices"

    class Aggregation(models.TextChoices):
        PRIMARY = "primary", "The first source that delivers"
        BEST = "best", "The best bid and ask of all"
        MEDIAN = "median", "The median of at least three"

    symbol = models.CharField(max_length=20, unique=True, validators=[RegexValidator(r"^[A-Z0-9]{3,20}$")])
    name = models.CharField(max_length=80)
    instrument_class = models.CharField("class", max_length=20, choices=Class)
    price_decimals = models.PositiveSmallIntegerField()
    calendar = models.ForeignKey(Calendar, models.PROTECT, related_name="instruments")
    is_listed = models.BooleanField(default=True)
    is_suspended = models.BooleanField(
        default=False, help_text="Refuses new orders; open ones are not touched."
    )
    max_quote_age_ms = models.PositiveIntegerField(
        default=5_000, help_text="Oldest tick an order may open on."
    )
    max_source_lag_ms = models.PositiveIntegerField(default=2_000)
    tick_interval_ms = models.PositiveIntegerField(
        default=0, help_text="0: every accepted quote makes a tick."
    )
    max_spread = models.DecimalField(
        max_digits=6,
        decimal_places=5,
        default=Decimal("0.01"),
        help_text="Part of the mid: a wider quote is dropped.",
    )
    max_jump = models.DecimalField(
        max_digits=6,
        decimal_places=5,
        default=Decimal("0.002"),
        help_text="Part of the last mid: a farther quote waits until the next one confirms it.",
    )
    # Its first source; further ones are quotations.
    source = models.SlugField(max_length=20, default="simulated", db_index=False)
    source_symbol = models.CharField(
        max_length=80, blank=True, help_text="Its name at the source, e.g. btcusdt."
    )
    aggregation = models.CharField(max_length=10, choices=Aggregation, default=Aggregation.PRIMARY)
    max_source_age_ms = models.PositiveIntegerField(
        default=5_000, help_text="How long a source's last quote counts among those of the others."
    )
    fail_over_after_ms = models.PositiveIntegerField(
        default=3_000, help_text="Primary: silence after which the next source makes the price."
    )
    fail_back_after_ms = models.PositiveIntegerField(
        default=30_000, help_text="Primary: how long a better source must deliver before it makes it again."
    )
    simulated_price = models.DecimalField(
        **PRICE, null=True, blank=True, help_text="Where a simulation starts."
    )
    simulated_volatility = models.DecimalField(
        max_digits=6, decimal_places=4, null=True, blank=True, help_text="Per year: 1.0000 is 100 %."
    )
    simulated_interval_ms = models.PositiveIntegerField(default=500)
    changed_at = models.DateTimeField()

    class Meta:
        ordering = ["symbol"]
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(price_decimals__lte=8), name="instrument_decimals")
        ]

    def __str__(self) -> str:
        return self.symbol


class Quotation(models.Model):
    """An instrument as a further source quotes it; `rank` 1 comes after the instrument's first source."""

    instrument = models.ForeignKey(Instrument, models.PROTECT, related_name="quotations", db_index=False)
    rank = models.PositiveSmallIntegerField()
    source = models.SlugField(max_length=20, db_index=False)
    source_symbol = models.CharField(max_length=80)

    class Meta:
        ordering = ["instrument", "rank"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["instrument", "rank"], name="quotation_rank_once"),
            models.UniqueConstraint(fields=["instrument", "source"], name="quotation_source_once"),
            models.CheckConstraint(condition=Q(rank__gte=1), name="quotation_further"),
        ]

    def __str__(self) -> str:
        return f"{self.instrument_id} at {self.source}"


class MarkUp(models.Model):
    """What is added to both sides of the displayed bid and ask of a customer group; never to a tick.

    The newest version of an instrument and group is in force. Shown: floor(bid − amount), ceil(ask + amount),
    widened to `min_spread`.
    """

    application_rights = "SELECT, INSERT"

    instrument = models.ForeignKey(Instrument, models.PROTECT, related_name="mark_ups", db_index=False)
    group = models.SlugField(max_length=20, db_index=False, help_text="The customer group, e.g. standard.")
    version = models.PositiveIntegerField()
    amount = models.DecimalField(**PRICE)
    min_spread = models.DecimalField(**PRICE)
    created_at = models.DateTimeField()
    created_by_id = models.BigIntegerField(null=True)
    reason = models.TextField()

    class Meta:
        ordering = ["instrument", "group", "-version"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["instrument", "group", "version"], name="mark_up_version_once"),
            models.CheckConstraint(
                condition=Q(amount__gte=0, min_spread__gte=0), name="mark_up_not_negative"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.instrument_id} {self.group} v{self.version}"


class Watermark(models.Model):
    """The instant up to which an instrument's ticks are complete and durable, and its last tick."""

    instrument = models.OneToOneField(Instrument, models.PROTECT, primary_key=True, related_name="watermark")
    at = models.DateTimeField()
    # Of the leader that may advance it: a deposed leader updates no row.
    epoch = models.BigIntegerField(default=0)
    last_at = models.DateTimeField(null=True)
    last_seq = models.BigIntegerField(default=0)
    last_price = models.DecimalField(**PRICE, null=True)
    # The newest bid and ask, as quoted: screens show them, nothing is decided by them.
    last_bid = models.DecimalField(**PRICE, null=True)
    last_ask = models.DecimalField(**PRICE, null=True)
    # Late ticks are numbered -1, -2, …: they take no number of the record.
    late_ticks = models.BigIntegerField(default=0)
    source_lag_ms = models.IntegerField(null=True)
    # Whose quotes the last tick came from; "simulated" is shown to the customer.
    source = models.CharField(max_length=20, blank=True)

    def __str__(self) -> str:
        return f"{self.instrument_id} {self.at}"
