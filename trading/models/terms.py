"""What operators set for instruments, and what is known of them: terms, payouts, volatility, books."""

from decimal import Decimal
from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from payments.ledger.models import MONEY, Book
from quotes.models import Instrument

RATE: dict[str, Any] = {"max_digits": 5, "decimal_places": 4}
# What the pricing model says may be many times the stake.
PRICED_RATE: dict[str, Any] = {"max_digits": 8, "decimal_places": 4}


class Terms(models.Model):
    """What an operator sets for an instrument. A change is a new version; orders keep theirs."""

    application_rights = "SELECT, INSERT"

    class Tie(models.TextChoices):
        REFUND = "refund"
        LOSE = "lose"

    class PayoutPolicy(models.TextChoices):
        FIXED = "fixed"
        WINDOW = "window", "by the orders of the last minutes"

    class EntryPolicy(models.TextChoices):
        LATEST_TICK = "latest_tick"
        DELAYED = "delayed"

    instrument = models.ForeignKey(Instrument, models.PROTECT, related_name="terms")
    version = models.PositiveIntegerField()
    contracts = models.JSONField(default=list, help_text='Contracts offered, e.g. ["rise_fall"].')
    fixed_rate = models.DecimalField(**RATE)
    min_rate = models.DecimalField(**RATE)
    max_rate = models.DecimalField(**RATE)
    min_stake = models.DecimalField(**MONEY)
    max_stake = models.DecimalField(**MONEY)
    min_duration_seconds = models.PositiveIntegerField()
    max_duration_seconds = models.PositiveIntegerField()
    cutoff_seconds = models.PositiveIntegerField(
        default=5, help_text="Before a clock expiry orders are refused."
    )
    min_duration_ticks = models.PositiveIntegerField(default=1)
    max_duration_ticks = models.PositiveIntegerField(
        default=0, help_text="0: orders counted in ticks are not offered."
    )
    max_tick_wait_seconds = models.PositiveIntegerField(
        default=300, help_text="Counted in ticks, an order waits so long for its last one."
    )
    margin = models.DecimalField(
        max_digits=4,
        decimal_places=4,
        default=Decimal("0.05"),
        help_text="Of contracts priced by probability: the part of the fair payout that the house keeps.",
    )
    min_priced_rate = models.DecimalField(**PRICED_RATE, default=Decimal("0.05"))
    max_priced_rate = models.DecimalField(**PRICED_RATE, default=Decimal("20"))
    max_open_orders = models.PositiveIntegerField(default=100, help_text="Per account.")
    payout_policy = models.CharField(
        max_length=10, choices=PayoutPolicy, default=PayoutPolicy.FIXED, help_text="Of rise/fall."
    )
    payout_margin = models.DecimalField(max_digits=4, decimal_places=4, default=Decimal("0.05"))
    payout_max_step = models.DecimalField(
        max_digits=4, decimal_places=4, default=Decimal("0.02"), help_text="A minute at most."
    )
    payout_window_minutes = models.PositiveIntegerField(default=30)
    payout_min_orders = models.PositiveIntegerField(
        default=10, help_text="With fewer in the window the fixed rate holds."
    )
    payout_skew = models.DecimalField(
        max_digits=4,
        decimal_places=4,
        default=Decimal("0.1"),
        help_text="What the rate falls by for a side that has all open stakes, times two.",
    )
    tie_policy = models.CharField(max_length=10, choices=Tie, default=Tie.REFUND)
    entry_policy = models.CharField(max_length=12, choices=EntryPolicy, default=EntryPolicy.LATEST_TICK)
    entry_delay_ms = models.PositiveIntegerField(default=500)
    max_entry_wait_ms = models.PositiveIntegerField(default=10_000)
    max_exit_age_seconds = models.PositiveIntegerField(default=30)
    settle_grace_seconds = models.PositiveIntegerField(default=120)
    offers_sale = models.BooleanField(default=False, help_text="Whether open orders are bought back early.")
    sell_margin = models.DecimalField(
        max_digits=4,
        decimal_places=4,
        default=Decimal("0.05"),
        help_text="Of an early sale: the part of the fair value that the house keeps.",
    )
    sell_cutoff_seconds = models.PositiveIntegerField(
        default=5, help_text="So near to its entry or its expiry an order is not bought back."
    )
    created_at = models.DateTimeField()
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+")
    reason = models.TextField(blank=True)

    class Meta:
        verbose_name_plural = "terms"
        ordering = ["instrument", "-version"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["instrument", "version"], name="terms_version_once"),
            models.CheckConstraint(
                condition=Q(
                    min_rate__gt=0,
                    min_rate__lte=F("fixed_rate"),
                    fixed_rate__lte=F("max_rate"),
                    max_rate__lt=1,
                ),
                name="terms_rates",
            ),
            models.CheckConstraint(
                condition=Q(min_stake__gt=0, min_stake__lte=F("max_stake")), name="terms_stakes"
            ),
            models.CheckConstraint(
                condition=Q(min_duration_seconds__gt=0, min_duration_seconds__lte=F("max_duration_seconds")),
                name="terms_durations",
            ),
            models.CheckConstraint(
                condition=Q(max_duration_ticks=0)
                | Q(min_duration_ticks__gt=0, min_duration_ticks__lte=F("max_duration_ticks")),
                name="terms_duration_ticks",
            ),
            models.CheckConstraint(
                condition=Q(
                    margin__gte=0,
                    margin__lt=1,
                    sell_margin__gte=0,
                    sell_margin__lt=1,
                    min_priced_rate__gt=0,
                    min_priced_rate__lte=F("max_priced_rate"),
                ),
                name="terms_priced_rates",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.instrument_id} v{self.version}"


class PayoutRate(models.Model):
    """The payout rate of an instrument from an instant on; the newest row is in force. Append-only."""

    application_rights = "SELECT, INSERT"

    instrument = models.ForeignKey(Instrument, models.PROTECT, related_name="payout_rates", db_index=False)
    rate = models.DecimalField(**RATE)
    set_at = models.DateTimeField()
    reason = models.CharField(max_length=200)
    inputs = models.JSONField(default=dict)
    set_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+")

    class Meta:
        ordering = ["-id"]
        indexes: ClassVar = [models.Index(fields=["instrument", "-id"], name="payout_rate_newest")]

    def __str__(self) -> str:
        return f"{self.instrument_id} {self.rate}"


class VolatilityEstimate(models.Model):
    """How an instrument moved lately, from its stored ticks; the newest row prices contracts. Append-only."""

    application_rights = "SELECT, INSERT"

    instrument = models.ForeignKey(Instrument, models.PROTECT, related_name="+", db_index=False)
    at = models.DateTimeField()
    per_sqrt_second = models.FloatField(help_text="Standard deviation of log returns per square root second.")
    tick_seconds = models.FloatField(help_text="Mean time between ticks.")
    samples = models.PositiveIntegerField(help_text="Returns it was estimated from.")

    class Meta:
        ordering = ["-id"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(per_sqrt_second__gt=0, tick_seconds__gt=0), name="volatility_positive"
            )
        ]
        indexes: ClassVar = [models.Index(fields=["instrument", "-id"], name="volatility_newest")]

    def __str__(self) -> str:
        return f"{self.instrument_id} {self.per_sqrt_second:.3g}"


class BookTerms(models.Model):
    """Which instruments a book trades, what its house must hold for it, what an account may have open."""

    book = models.OneToOneField(Book, models.PROTECT, primary_key=True, related_name="trading_terms")
    all_instruments = models.BooleanField(default=False)
    instruments = models.ManyToManyField(Instrument, blank=True, related_name="+")
    floor = models.DecimalField(
        **MONEY, null=True, blank=True, help_text="With less in its house the book takes no new orders."
    )
    max_open_payout = models.DecimalField(
        **MONEY, null=True, blank=True, help_text="What all open orders of an account may pay out together."
    )

    class Meta:
        verbose_name_plural = "book terms"

    def __str__(self) -> str:
        return str(self.book_id)
