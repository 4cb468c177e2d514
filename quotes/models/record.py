"""The platform's own record of prices: ticks, candles, gaps, voided ticks, and the days it was sealed in."""

from typing import ClassVar

from django.db import models
from django.db.models import F, Q

from quotes.models.instruments import PRICE, Instrument


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


class VoidedTick(models.Model):
    """A tick that an operator asked to void, and what another decided. An approved one decides no order.

    The tick itself stays in the record. Nobody changes a request; it is decided once.
    """

    application_rights = "SELECT, INSERT, UPDATE (state, decided_by_id, decided_at)"

    class State(models.TextChoices):
        REQUESTED = "requested"
        APPROVED = "approved"
        DECLINED = "declined"

    instrument = models.ForeignKey(Instrument, models.PROTECT, related_name="voided_ticks", db_index=False)
    at = models.DateTimeField()
    seq = models.BigIntegerField()
    price = models.DecimalField(**PRICE)
    independent_prices = models.JSONField(help_text="Of each other source: its name and its price.")
    deviation = models.DecimalField(
        max_digits=30, decimal_places=8, help_text="|price - median| / median, to eight decimals."
    )
    limit = models.DecimalField(
        max_digits=9, decimal_places=8, help_text="What the deviation had to exceed when it was requested."
    )
    reason = models.TextField(help_text="Public, once the tick is voided.")
    requested_by_id = models.BigIntegerField()
    requested_at = models.DateTimeField()
    state = models.CharField(max_length=10, choices=State, default=State.REQUESTED)
    decided_by_id = models.BigIntegerField(null=True)
    decided_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["instrument", "seq"],
                condition=Q(state__in=["requested", "approved"]),
                name="voided_tick_once",
            ),
            # The order of the public list, and its cursor.
            models.UniqueConstraint(
                fields=["decided_at"], condition=Q(state="approved"), name="voided_tick_approved_at"
            ),
            models.CheckConstraint(
                condition=Q(state="requested", decided_by_id=None, decided_at=None)
                | (
                    Q(state__in=["approved", "declined"], decided_at__isnull=False)
                    & Q(decided_by_id__isnull=False)
                    & ~Q(decided_by_id=F("requested_by_id"))
                ),
                name="voided_tick_by_two_people",
            ),
            models.CheckConstraint(condition=Q(deviation__gt=F("limit")), name="voided_tick_beyond_limit"),
        ]

    def __str__(self) -> str:
        return f"{self.instrument} {self.seq}"


class RecordDay(models.Model):
    """A UTC day of the record, archived; its root stands for every tick of it and is public.

    `root` is SHA-256 over the heads of its parts by symbol; see `quotes.rules.chain`.
    """

    application_rights = "SELECT, INSERT, UPDATE (dropped_at)"

    day = models.DateField(primary_key=True)
    root = models.BinaryField(max_length=32)
    is_backfilled = models.BooleanField(
        default=False, help_text="From a file, before the platform's own time."
    )
    sealed_at = models.DateTimeField()
    dropped_at = models.DateTimeField(null=True, help_text="When its ticks left the database.")

    class Meta:
        ordering = ["-day"]

    def __str__(self) -> str:
        return f"{self.day}"


class RecordPart(models.Model):
    """One instrument of an archived day: its file, and the head of the hash chain over its ticks."""

    application_rights = "SELECT, INSERT"

    day = models.ForeignKey(RecordDay, models.PROTECT, related_name="parts", db_index=False)
    instrument = models.ForeignKey(Instrument, models.PROTECT, related_name="record_parts")
    ticks = models.BigIntegerField()
    first_seq = models.BigIntegerField()
    last_seq = models.BigIntegerField()
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()
    head = models.BinaryField(max_length=32)
    file = models.CharField(max_length=200, help_text="Its name in the archive's storage.")
    file_bytes = models.BigIntegerField()
    file_sha256 = models.BinaryField(max_length=32)

    class Meta:
        ordering = ["day", "instrument"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["day", "instrument"], name="record_part_once")
        ]

    def __str__(self) -> str:
        return f"{self.day_id} {self.instrument_id}"


class CandleCheck(models.Model):
    """One comparison of an instrument-day's stored candles with its ticks, and what it repaired."""

    application_rights = "SELECT, INSERT"

    day = models.DateField()
    instrument = models.ForeignKey(Instrument, models.PROTECT, related_name="candle_checks")
    candles = models.PositiveIntegerField()
    repaired = models.JSONField(default=list, help_text="Interval, start, and what was stored.")
    checked_at = models.DateTimeField()

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.instrument_id} {self.day}"
