"""Orders."""

from typing import ClassVar

from django.conf import settings
from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import F, Q

from payments.ledger.models import MONEY, Account
from quotes.models import PRICE, Instrument
from trading.models.terms import PRICED_RATE, Terms, VolatilityEstimate

SHARDS = 16


class Order(models.Model):
    """A customer's accepted binary option contract: written once, closed once, then never changed."""

    # What was agreed stays as it is, and none is deleted; a trigger keeps closed ones as they are.
    application_rights = (
        "SELECT, INSERT, UPDATE (status, refund_reason, payout, closed_at, entry_at, entry_seq, entry_price, "
        "exit_at, exit_seq, exit_price, parked_at, parked_because, due_seq, reach_low, reach_high, "
        "sale_client_id, sale)"
    )

    class Status(models.TextChoices):
        OPEN = "open"
        WON = "won"
        LOST = "lost"
        REFUNDED = "refunded"
        SOLD = "sold"

    class Contract(models.TextChoices):
        RISE_FALL = "rise_fall", "rise/fall"
        HIGHER_LOWER = "higher_lower", "higher/lower"
        TOUCH = "touch", "touch/no touch"
        ENDS_BETWEEN = "ends_between", "ends between/outside"
        STAYS_BETWEEN = "stays_between", "stays between/goes outside"
        DIGIT_MATCH = "digit_match", "digit matches/differs"
        DIGIT_OVER = "digit_over", "digit over/under"
        DIGIT_EVEN = "digit_even", "digit even/odd"
        ASIAN = "asian", "asian"

    class Side(models.TextChoices):
        UP = "up"
        DOWN = "down"
        TOUCH = "touch"
        NO_TOUCH = "no_touch"
        IN = "in"
        OUT = "out"
        MATCHES = "matches"
        DIFFERS = "differs"
        OVER = "over"
        UNDER = "under"
        EVEN = "even"
        ODD = "odd"

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
    barrier = models.DecimalField(**PRICE, null=True, help_text="A price, or a distance from the entry.")
    low = models.DecimalField(**PRICE, null=True)
    high = models.DecimalField(**PRICE, null=True)
    is_relative = models.BooleanField(
        default=False, db_default=False, help_text="Barriers are distances from the entry."
    )
    digit = models.PositiveSmallIntegerField(null=True)
    stake = models.DecimalField(**MONEY)
    payout_rate = models.DecimalField(**PRICED_RATE)
    volatility = models.ForeignKey(
        VolatilityEstimate,
        models.PROTECT,
        null=True,
        related_name="+",
        db_index=False,
        db_constraint=False,
        help_text="What the payout was priced with.",
    )
    status = models.CharField(max_length=10, choices=Status, default=Status.OPEN)
    refund_reason = models.CharField(max_length=20, choices=RefundReason, null=True, blank=True)  # noqa: DJ001
    accepted_at = models.DateTimeField()
    duration_seconds = models.PositiveIntegerField(null=True, help_text="Empty: ticks, or a clock expiry.")
    duration_ticks = models.PositiveIntegerField(null=True)
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
    sale_client_id = models.CharField(max_length=64, null=True, blank=True)  # noqa: DJ001
    sale = models.JSONField(null=True, help_text="Of an early sale: what its price was made of.")
    # Where the settler looks: an order may be decided once its instrument reaches this tick or these prices.
    due_seq = models.BigIntegerField(null=True)
    reach_low = models.DecimalField(**PRICE, null=True)
    reach_high = models.DecimalField(**PRICE, null=True)
    parked_at = models.DateTimeField(null=True, help_text="Settling it failed; it waits for an operator.")
    parked_because = models.CharField(max_length=300, blank=True, default="", db_default="")

    class Meta:
        ordering = ["-id"]
        # What else must hold of an order is in `trading_check_order`, a trigger (migration 0011): PostgreSQL
        # reads every CHECK anew from its text for each statement, and long ones took 7 % of placing.
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["account", "client_id"], name="order_client_id_once"),
            models.CheckConstraint(condition=Q(stake__gt=0), name="order_stake_positive"),
            models.CheckConstraint(condition=Q(accepted_at__lt=F("expires_at")), name="order_expires_later"),
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
            models.Index(
                fields=["instrument", "due_seq"],
                name="order_counted",
                condition=Q(status="open", due_seq__isnull=False, parked_at=None),
            ),
            models.Index(
                fields=["instrument", "reach_high"],
                name="order_reach_high",
                condition=Q(status="open", reach_high__isnull=False, parked_at=None),
            ),
            models.Index(
                fields=["instrument", "reach_low"],
                name="order_reach_low",
                condition=Q(status="open", reach_low__isnull=False, parked_at=None),
            ),
            # What was sold is counted where it would have ended.
            models.Index(fields=["instrument", "expires_at"], name="order_sold", condition=Q(status="sold")),
            models.Index(fields=["account"], name="order_open_of_account", condition=Q(status="open")),
            models.Index(fields=["customer", "-id"], name="order_of_customer"),
            models.Index(fields=["accepted_at", "id"], name="order_accepted"),
            # Orders lie in the order of their acceptance, so what closed lately lies together.
            BrinIndex(fields=["closed_at"], name="order_closed", pages_per_range=32, autosummarize=True),
        ]

    def __str__(self) -> str:
        return f"{self.contract} {self.side} {self.stake}"
