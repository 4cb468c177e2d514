"""Who delivers quotes: connections as operators configure them, and how they fare."""

from typing import ClassVar

from django.db import models
from django.db.models import Q

from quotes.models.instruments import PRICE, Instrument


class Source(models.Model):
    """A connection that delivers quotes. Its secret is named here and kept elsewhere."""

    class Kind(models.TextChoices):
        SIMULATED = "simulated", "Simulated"
        REPLAY = "replay", "Recording"
        BINANCE = "binance", "Binance"
        KRAKEN = "kraken", "Kraken"
        OANDA = "oanda", "OANDA"
        JSON = "json", "JSON over WebSocket"
        FIX = "fix", "FIX 4.4 market data"

    code = models.SlugField(max_length=20, primary_key=True)
    kind = models.CharField(max_length=12, choices=Kind)
    name = models.CharField(max_length=80)
    url = models.CharField(
        max_length=300,
        blank=True,
        help_text="wss://…, https://…, or host:port for FIX (tcps://host:port with TLS).",
    )
    secret_ref = models.CharField(
        max_length=60,
        blank=True,
        help_text="The name of its key among the platform's secrets; the key itself is never kept here.",
    )
    options = models.JSONField(
        default=dict, blank=True, help_text="What this kind needs besides; see the documents."
    )
    is_enabled = models.BooleanField(default=True)
    changed_at = models.DateTimeField()

    class Meta:
        ordering = ["code"]

    def __str__(self) -> str:
        return self.code


class SourceState(models.Model):
    """How a source fares, as the leading feed last wrote it; nothing is decided by it."""

    source = models.SlugField(max_length=20, primary_key=True)
    # idle, connecting, up, silent, down
    state = models.CharField(max_length=12)
    quotes_per_second = models.FloatField(default=0)
    lag_ms = models.IntegerField(null=True)
    # Its clock less ours, median of the last minute; positive: it is ahead.
    offset_ms = models.IntegerField(null=True)
    silent_ms = models.BigIntegerField(null=True)
    connects = models.BigIntegerField(default=0)
    failures = models.BigIntegerField(default=0)
    last_error = models.CharField(max_length=300, blank=True)
    last_error_at = models.DateTimeField(null=True)
    # By symbol: accepted quotes, and those dropped by reason.
    quotes = models.JSONField(default=dict)
    updated_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.source} {self.state}"


class SimulationHour(models.Model):
    """The seed of a simulated instrument's hour: its hash public before the first tick, itself after it."""

    application_rights = "SELECT, INSERT, UPDATE (seed, revealed_at)"

    instrument = models.ForeignKey(
        Instrument, models.PROTECT, related_name="simulation_hours", db_index=False
    )
    hour = models.DateTimeField()
    commitment = models.CharField(max_length=64, help_text="SHA-256 of the seed, hexadecimal.")
    sealed_seed = models.BinaryField(max_length=80)
    seed = models.CharField(
        max_length=64, blank=True, default="", help_text="Hexadecimal, once the hour is over."
    )
    committed_at = models.DateTimeField()
    revealed_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-hour"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["instrument", "hour"], name="simulation_hour_once"),
            models.CheckConstraint(
                condition=Q(seed="", revealed_at=None) | (~Q(seed="") & Q(revealed_at__isnull=False)),
                name="simulation_seed_revealed",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.instrument_id} {self.hour}"


class SimulationRun(models.Model):
    """A stretch of an hour made without interruption: with the seed, everything it takes to make it again."""

    application_rights = "SELECT, INSERT"

    hour = models.ForeignKey(SimulationHour, models.PROTECT, related_name="runs", db_index=False)
    number = models.PositiveIntegerField()
    started_at = models.DateTimeField()
    start_price = models.DecimalField(**PRICE)
    volatility = models.DecimalField(max_digits=6, decimal_places=4)
    interval_ms = models.PositiveIntegerField()
    price_decimals = models.PositiveSmallIntegerField()

    class Meta:
        ordering = ["hour", "number"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["hour", "number"], name="simulation_run_once")
        ]

    def __str__(self) -> str:
        return f"{self.hour_id} #{self.number}"


class FixSession(models.Model):
    """The sequence numbers of a FIX session, which outlive its connections."""

    source = models.OneToOneField(Source, models.CASCADE, primary_key=True, related_name="fix_session")
    next_in = models.BigIntegerField(default=1)
    next_out = models.BigIntegerField(default=1)
    changed_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.source_id}"


class FixMessage(models.Model):
    """A message sent on a FIX session, kept for a resend; trimmed when the numbers are reset."""

    application_rights = "SELECT, INSERT, DELETE"

    source = models.ForeignKey(Source, models.CASCADE, related_name="fix_messages", db_index=False)
    seq = models.BigIntegerField()
    raw = models.BinaryField()
    sent_at = models.DateTimeField()

    class Meta:
        ordering = ["source", "seq"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["source", "seq"], name="fix_message_once")]

    def __str__(self) -> str:
        return f"{self.source_id} {self.seq}"


class FixReject(models.Model):
    """What a FIX peer refused, for the operator to read."""

    application_rights = "SELECT, INSERT, DELETE"

    source = models.ForeignKey(Source, models.CASCADE, related_name="fix_rejects")
    at = models.DateTimeField()
    kind = models.CharField(max_length=30, help_text="reject, business_reject or market_data_reject")
    ref_seq = models.BigIntegerField(null=True)
    text = models.CharField(max_length=300)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.source_id} {self.kind}"
