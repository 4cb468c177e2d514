"""The market: instruments, their hours, and the platform's own record of prices."""

from decimal import Decimal
from typing import Any, ClassVar

from django.core.validators import RegexValidator
from django.db import models
from django.db.models import F, Q

PRICE: Any = {"max_digits": 20, "decimal_places": 8}


class Calendar(models.Model):
    """The trading hours of a market, in the market's own time zone."""

    code = models.SlugField(max_length=40, primary_key=True)
    time_zone = models.CharField(max_length=64, default="UTC")

    def __str__(self) -> str:
        return self.code


class CalendarWeek(models.Model):
    """The weekly hours of a calendar from an instant on. Append-only: the past is never edited."""

    application_rights = "SELECT, INSERT"

    calendar = models.ForeignKey(Calendar, models.PROTECT, related_name="weeks")
    effective_from = models.DateTimeField()
    # Pairs of local minutes since Monday 00:00, ascending, not overlapping: [[0, 10080]] is always open.
    hours = models.JSONField()

    class Meta:
        ordering = ["calendar", "effective_from"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["calendar", "effective_from"], name="calendar_week_once")
        ]

    def __str__(self) -> str:
        return f"{self.calendar_id} from {self.effective_from:%Y-%m-%d}"


class CalendarException(models.Model):
    """A holiday, an early close or extra hours: overrides the week between two instants. Append-only."""

    application_rights = "SELECT, INSERT"

    calendar = models.ForeignKey(Calendar, models.PROTECT, related_name="exceptions")
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    is_open = models.BooleanField()
    note = models.CharField(max_length=120, blank=True)
    recorded_at = models.DateTimeField()

    class Meta:
        ordering = ["calendar", "starts_at"]
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(starts_at__lt=F("ends_at")), name="calendar_exception_order")
        ]

    def __str__(self) -> str:
        return f"{self.calendar_id} {self.starts_at:%Y-%m-%d}"


class Instrument(models.Model):
    """What can be traded, and where its quotes come from."""

    class Class(models.TextChoices):
        FX = "fx", "Currencies"
        CRYPTO = "crypto", "Crypto"
        VOLATILITY = "volatility", "Volatility indices"

    class Source(models.TextChoices):
        SIMULATED = "simulated"
        REPLAY = "replay"
        BINANCE = "binance"

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
    source = models.CharField(max_length=20, choices=Source, default=Source.SIMULATED)
    source_symbol = models.CharField(
        max_length=80, blank=True, help_text="Its name at the source, e.g. btcusdt."
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


class Watermark(models.Model):
    """The instant up to which an instrument's ticks are complete and durable, and its last tick."""

    instrument = models.OneToOneField(Instrument, models.PROTECT, primary_key=True, related_name="watermark")
    at = models.DateTimeField()
    # Of the leader that may advance it: a deposed leader updates no row.
    epoch = models.BigIntegerField(default=0)
    last_at = models.DateTimeField(null=True)
    last_seq = models.BigIntegerField(default=0)
    last_price = models.DecimalField(**PRICE, null=True)
    # Late ticks are numbered -1, -2, …: they take no number of the record.
    late_ticks = models.BigIntegerField(default=0)
    source_lag_ms = models.IntegerField(null=True)
    # Whose quotes the last tick came from; "simulated" is shown to the customer.
    source = models.CharField(max_length=20, blank=True)

    def __str__(self) -> str:
        return f"{self.instrument_id} {self.at}"


class Tick(models.Model):
    """The platform's own price of an instrument at an instant. Partitioned by day."""

    application_rights = "SELECT, INSERT"

    pk = models.CompositePrimaryKey("instrument_id", "at", "seq")
    instrument = models.ForeignKey(Instrument, models.DO_NOTHING, db_constraint=False, db_index=False)
    at = models.DateTimeField()
    seq = models.BigIntegerField()
    price = models.DecimalField(**PRICE)
    is_late = models.BooleanField(default=False)

    def __str__(self) -> str:
        return f"{self.instrument_id} {self.seq}"


class EvidenceTick(models.Model):
    """A tick that decided or surrounds an order, kept when its day is dropped."""

    application_rights = "SELECT, INSERT"

    pk = models.CompositePrimaryKey("instrument_id", "at", "seq")
    instrument = models.ForeignKey(Instrument, models.PROTECT, db_index=False)
    at = models.DateTimeField()
    seq = models.BigIntegerField()
    price = models.DecimalField(**PRICE)

    def __str__(self) -> str:
        return f"{self.instrument_id} {self.seq}"


class Candle(models.Model):
    """Open, high, low, close and count of the ticks of one UTC bucket."""

    pk = models.CompositePrimaryKey("instrument_id", "interval_seconds", "start")
    instrument = models.ForeignKey(Instrument, models.PROTECT, db_index=False)
    interval_seconds = models.PositiveIntegerField()
    start = models.DateTimeField()
    open = models.DecimalField(**PRICE)
    high = models.DecimalField(**PRICE)
    low = models.DecimalField(**PRICE)
    close = models.DecimalField(**PRICE)
    ticks = models.PositiveIntegerField()
    first_at = models.DateTimeField()
    first_seq = models.BigIntegerField()
    last_at = models.DateTimeField()
    last_seq = models.BigIntegerField()

    def __str__(self) -> str:
        return f"{self.instrument_id} {self.interval_seconds}s {self.start}"


class Gap(models.Model):
    """A stretch without provable prices, (starts_at, ends_at]. Append-only."""

    application_rights = "SELECT, INSERT"

    class Reason(models.TextChoices):
        FEED_DOWN = "feed_down"
        SOURCE_SILENT = "source_silent"
        FEED_DEAD = "feed_dead"
        SOURCE_CHANGED = "source_changed"

    instrument = models.ForeignKey(Instrument, models.PROTECT, related_name="gaps", db_index=False)
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    reason = models.CharField(max_length=20, choices=Reason)
    recorded_at = models.DateTimeField()

    class Meta:
        ordering = ["-starts_at"]
        indexes: ClassVar = [models.Index(fields=["instrument", "ends_at"], name="gap_of_instrument")]
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(starts_at__lt=F("ends_at")), name="gap_order")
        ]

    def __str__(self) -> str:
        return f"{self.instrument_id} {self.starts_at} – {self.ends_at}"
