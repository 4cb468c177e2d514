"""The narrow waist where money meets: books, accounts, transfers."""

from decimal import Decimal
from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q

MONEY: dict[str, Any] = {"max_digits": 28, "decimal_places": 8}
# Above every amount the column holds, and below NaN, which PostgreSQL sorts last: the bound refuses NaN.
BOUND = Decimal(10) ** 20


class Book(models.Model):
    """A wall: accounts transact only inside their book."""

    class Kind(models.TextChoices):
        REAL = "real"
        DEMO = "demo"
        TOURNAMENT = "tournament"

    code = models.SlugField(max_length=40, unique=True)
    name = models.CharField(max_length=80)
    kind = models.CharField(max_length=12, choices=Kind)
    currency = models.CharField(max_length=10)
    scale = models.PositiveSmallIntegerField(help_text="Decimals of the currency's smallest unit.")
    opening_balance = models.DecimalField(
        **MONEY, null=True, blank=True, help_text="What a new account starts with and a refill tops up to."
    )
    opens_at = models.DateTimeField(null=True, blank=True)
    closes_at = models.DateTimeField(null=True, blank=True)
    rates_from = models.ForeignKey("self", models.PROTECT, null=True, blank=True, related_name="+")

    class Meta:
        ordering = ["id"]
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(scale__lte=8), name="book_scale"),
            models.CheckConstraint(
                condition=Q(opening_balance=None) | ~Q(kind="real"), name="book_real_money_is_never_given"
            ),
        ]

    def __str__(self) -> str:
        return self.code


class Account(models.Model):
    """A holder of money in a book: a customer's, with balance and version, or a system account without."""

    # Balances and versions move only inside the function ledger_post. Locking a row takes the right to
    # update one of its columns: the one that decides nothing.
    application_rights = "SELECT, INSERT, UPDATE (created_at)"

    class Code(models.TextChoices):
        CUSTOMER = "customer"
        ESCROW = "escrow"
        HOUSE = "house"
        CAPITAL = "capital"

    book = models.ForeignKey(Book, models.PROTECT, related_name="accounts")
    code = models.CharField(max_length=40)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, blank=True, related_name="accounts"
    )
    counter = models.ForeignKey(
        "self",
        models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        help_text="The system account this account wins from and loses to.",
    )
    balance = models.DecimalField(**MONEY, null=True, blank=True)
    version = models.BigIntegerField(null=True, blank=True)
    created_at = models.DateTimeField()

    class Meta:
        ordering = ["id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["id", "book"], name="account_in_book"),
            models.UniqueConstraint(
                fields=["book", "code"], condition=Q(owner=None), name="account_one_system_account"
            ),
            models.UniqueConstraint(
                fields=["owner", "book", "code"],
                condition=Q(owner__isnull=False),
                name="account_one_of_owner",
            ),
            models.CheckConstraint(
                condition=Q(balance=None) | Q(balance__gte=0, balance__lt=BOUND),
                name="account_never_below_zero",
            ),
            models.CheckConstraint(
                condition=Q(owner=None, balance=None, version=None, counter=None)
                | Q(owner__isnull=False, balance__isnull=False, version__isnull=False, counter__isnull=False),
                name="account_customer_or_system",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.code} #{self.pk} in {self.book_id}"


class Transfer(models.Model):
    """An immutable movement of an amount from one account to another, inside one book."""

    # Even inserting goes through ledger_post: nobody writes a row that its accounts do not know.
    application_rights = "SELECT"

    id = models.UUIDField(primary_key=True)
    # The composite foreign keys (source, book) and (destination, book) are made by the migration; they
    # imply the one to the book.
    book = models.ForeignKey(Book, models.PROTECT, db_constraint=False, db_index=False, related_name="+")
    source = models.ForeignKey(
        Account, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="outgoing"
    )
    destination = models.ForeignKey(
        Account, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="incoming"
    )
    amount = models.DecimalField(**MONEY)
    code = models.CharField(max_length=40)
    reference = models.CharField(max_length=80)
    source_version = models.BigIntegerField(null=True)
    source_balance = models.DecimalField(**MONEY, null=True)
    destination_version = models.BigIntegerField(null=True)
    destination_balance = models.DecimalField(**MONEY, null=True)
    # xid (the writing transaction, xid8) is added by the migration: snapshots tell before from after by it.
    created_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(amount__gt=0, amount__lt=BOUND), name="transfer_amount_positive"
            ),
            models.CheckConstraint(condition=~Q(source=F("destination")), name="transfer_between_two"),
            models.UniqueConstraint(
                fields=["source", "source_version"],
                condition=Q(source_version__isnull=False),
                name="transfer_source_version",
            ),
            models.UniqueConstraint(
                fields=["destination", "destination_version"],
                condition=Q(destination_version__isnull=False),
                name="transfer_destination_version",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.code} {self.amount}"


class BalanceSnapshot(models.Model):
    """The sum of a system account's transfers written by transactions before `xid_before`."""

    application_rights = "SELECT, INSERT"

    account = models.ForeignKey(Account, models.PROTECT, related_name="snapshots", db_index=False)
    xid_before = models.BigIntegerField()
    balance = models.DecimalField(**MONEY)
    taken_at = models.DateTimeField()

    class Meta:
        ordering = ["-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["account", "xid_before"], name="snapshot_once_per_horizon")
        ]
        indexes: ClassVar = [models.Index(fields=["account", "-id"], name="snapshot_newest")]

    def __str__(self) -> str:
        return f"{self.account_id} before {self.xid_before}"


class LedgerCheck(models.Model):
    """One run of the ledger's check and the differences it named."""

    application_rights = "SELECT, INSERT"

    started_at = models.DateTimeField()
    finished_at = models.DateTimeField()
    is_whole = models.BooleanField(help_text="Everything, or what changed since the last clean check.")
    # Every transfer of a transaction before this one was seen.
    xid_before = models.BigIntegerField()
    differences = models.JSONField(default=list)

    class Meta:
        ordering = ["-id"]
        indexes: ClassVar = [
            models.Index(fields=["-id"], name="ledger_check_clean", condition=Q(differences=[]))
        ]

    def __str__(self) -> str:
        return f"{len(self.differences)} differences at {self.finished_at:%Y-%m-%d %H:%M:%S}"
