"""Orders, and what operators set for them."""

from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from payments.ledger.models import MONEY, Account, Book
from quotes.models import PRICE, Instrument

RATE: dict[str, Any] = {"max_digits": 5, "decimal_places": 4}
SHARDS = 16


class Terms(models.Model):
    """What an operator sets for an instrument. A change is a new version; orders keep theirs."""

    application_rights = "SELECT, INSERT"

    class Tie(models.TextChoices):
        REFUND = "refund"
        LOSE = "lose"

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
    max_open_orders = models.PositiveIntegerField(default=100, help_text="Per account.")
    tie_policy = models.CharField(max_length=10, choices=Tie, default=Tie.REFUND)
    entry_policy = models.CharField(max_length=12, choices=EntryPolicy, default=EntryPolicy.LATEST_TICK)
    entry_delay_ms = models.PositiveIntegerField(default=500)
    max_entry_wait_ms = models.PositiveIntegerField(default=10_000)
    max_exit_age_seconds = models.PositiveIntegerField(default=30)
    settle_grace_seconds = models.PositiveIntegerField(default=120)
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


class BookTerms(models.Model):
    """Which instruments a book trades."""

    book = models.OneToOneField(Book, models.PROTECT, primary_key=True, related_name="trading_terms")
    all_instruments = models.BooleanField(default=False)
    instruments = models.ManyToManyField(Instrument, blank=True, related_name="+")

    class Meta:
        verbose_name_plural = "book terms"

    def __str__(self) -> str:
        return str(self.book_id)


class Order(models.Model):
    """A customer's accepted binary option contract: written once, closed once, then never changed."""

    # What was agreed stays as it is, and none is deleted; a trigger keeps closed ones as they are.
    application_rights = (
        "SELECT, INSERT, UPDATE (status, refund_reason, payout, closed_at, entry_at, entry_seq, entry_price, "
        "exit_at, exit_seq, exit_price, parked_at, parked_because)"
    )

    class Status(models.TextChoices):
        OPEN = "open"
        WON = "won"
        LOST = "lost"
        REFUNDED = "refunded"
        SOLD = "sold"

    class Contract(models.TextChoices):
        RISE_FALL = "rise_fall", "rise/fall"

    class Side(models.TextChoices):
        UP = "up"
        DOWN = "down"

    class RefundReason(models.TextChoices):
        TIE = "tie"
        NO_ENTRY = "no_entry"
        NO_EXIT = "no_exit"
        STALE_EXIT = "stale_exit"
        FEED_GAP = "feed_gap"
        MARKET_CLOSED = "market_closed"
        FEED_DEAD = "feed_dead"
        VOIDED = "voided"

    id = models.UUIDField(primary_key=True)
    account = models.ForeignKey(Account, models.PROTECT, related_name="orders", db_index=False)
    client_id = models.CharField(max_length=64)
    # What was asked, to tell a repeat from another command under the same client_id.
    request_sha256 = models.BinaryField(max_length=32)
    customer = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, related_name="orders", db_index=False, db_constraint=False
    )
    shard = models.PositiveSmallIntegerField()
    # Its terms refer to the instrument, so it cannot go; a key checked here would have every placement share
    # a lock on a handful of rows (6–8 % of the throughput, measured).
    instrument = models.ForeignKey(
        Instrument, models.PROTECT, related_name="orders", db_index=False, db_constraint=False
    )
    terms = models.ForeignKey(Terms, models.PROTECT, related_name="+", db_index=False, db_constraint=False)
    contract = models.CharField(max_length=20, choices=Contract)
    side = models.CharField(max_length=12, choices=Side)
    stake = models.DecimalField(**MONEY)
    payout_rate = models.DecimalField(**RATE)
    status = models.CharField(max_length=10, choices=Status, default=Status.OPEN)
    refund_reason = models.CharField(max_length=20, choices=RefundReason, null=True, blank=True)  # noqa: DJ001
    accepted_at = models.DateTimeField()
    duration_seconds = models.PositiveIntegerField(null=True, help_text="Empty: a clock expiry.")
    entry_after = models.DateTimeField(null=True, help_text="The entry is the first tick after this instant.")
    expires_at = models.DateTimeField()
    entry_at = models.DateTimeField(null=True)
    entry_seq = models.BigIntegerField(null=True)
    entry_price = models.DecimalField(**PRICE, null=True)
    exit_at = models.DateTimeField(null=True)
    exit_seq = models.BigIntegerField(null=True)
    exit_price = models.DecimalField(**PRICE, null=True)
    payout = models.DecimalField(**MONEY, null=True)
    closed_at = models.DateTimeField(null=True)
    parked_at = models.DateTimeField(null=True, help_text="Settling it failed; it waits for an operator.")
    parked_because = models.CharField(max_length=300, blank=True, default="", db_default="")

    class Meta:
        ordering = ["-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["account", "client_id"], name="order_client_id_once"),
            models.CheckConstraint(condition=Q(stake__gt=0), name="order_stake_positive"),
            models.CheckConstraint(condition=Q(payout_rate__gt=0, payout_rate__lt=1), name="order_rate"),
            models.CheckConstraint(condition=Q(accepted_at__lt=F("expires_at")), name="order_expires_later"),
            models.CheckConstraint(
                condition=Q(status="open", payout=None, closed_at=None)
                | (~Q(status="open") & Q(payout__isnull=False, closed_at__isnull=False)),
                name="order_closed_has_payout",
            ),
            models.CheckConstraint(
                condition=Q(status="refunded", refund_reason__isnull=False, payout=F("stake"))
                | (~Q(status="refunded") & Q(refund_reason=None)),
                name="order_refund_has_reason",
            ),
            models.CheckConstraint(condition=~Q(status="lost") | Q(payout=0), name="order_lost_pays_nothing"),
            models.CheckConstraint(
                condition=~Q(status="won")
                | Q(payout__gte=F("stake"), payout__lte=F("stake") * (1 + F("payout_rate"))),
                name="order_won_returns_the_stake",
            ),
            models.CheckConstraint(
                condition=~Q(status__in=["won", "lost"])
                | Q(
                    entry_at__isnull=False,
                    entry_seq__isnull=False,
                    entry_price__isnull=False,
                    exit_at__isnull=False,
                    exit_seq__isnull=False,
                    exit_price__isnull=False,
                ),
                name="order_decided_by_two_ticks",
            ),
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["instrument", "shard", "expires_at", "id"],
                name="order_due",
                condition=Q(status="open", parked_at=None),
            ),
            models.Index(
                fields=["instrument", "entry_after"],
                name="order_entry_pending",
                condition=Q(status="open", entry_seq=None, parked_at=None),
            ),
            models.Index(fields=["account"], name="order_open_of_account", condition=Q(status="open")),
            models.Index(fields=["customer", "-id"], name="order_of_customer"),
            models.Index(fields=["accepted_at", "id"], name="order_accepted"),
        ]

    def __str__(self) -> str:
        return f"{self.contract} {self.side} {self.stake}"
