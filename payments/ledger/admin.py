"""Books, accounts and transfers in the operator console: money is shown there and never edited."""

from django.contrib import admin
from django.db.models.expressions import RawSQL

from config.core.console import ReadOnlyAdmin
from payments.ledger.models import Account, BalanceSnapshot, Book, LedgerCheck, Transfer


@admin.register(Book)
class BookAdmin(ReadOnlyAdmin):
    list_display = ("code", "name", "kind", "currency", "scale", "opening_balance", "opens_at", "closes_at")
    list_filter = ("kind",)


@admin.register(Account)
class AccountAdmin(ReadOnlyAdmin):
    list_display = ("id", "book", "code", "owner", "balance", "version", "created_at")
    list_filter = ("book",)
    list_select_related = ("book", "owner")
    search_fields = ("=id", "=owner__email")
    search_help_text = "An account's number or a customer's e-mail address."


@admin.register(Transfer)
class TransferAdmin(ReadOnlyAdmin):
    list_display = (
        "created_at",
        "book",
        "code",
        "source",
        "destination",
        "amount",
        "source_balance",
        "destination_balance",
        "reference",
    )
    list_select_related = ("book", "source", "destination")
    # The newest first by the index on the writing transaction; there is none on time.
    ordering = (RawSQL("ledger_transfer.xid", ()).desc(),)
    search_fields = ("=id",)
    search_help_text = "A transfer's id."


@admin.register(BalanceSnapshot)
class BalanceSnapshotAdmin(ReadOnlyAdmin):
    list_display = ("taken_at", "account", "balance", "xid_before")
    list_select_related = ("account",)


@admin.register(LedgerCheck)
class LedgerCheckAdmin(ReadOnlyAdmin):
    list_display = ("started_at", "finished_at", "is_whole", "difference_count", "xid_before")
    list_filter = ("is_whole",)

    @admin.display(description="differences")
    def difference_count(self, check: LedgerCheck) -> int:
        """Return how many differences the check named."""
        return len(check.differences)
