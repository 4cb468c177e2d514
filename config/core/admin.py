"""The console's pages of the kernel: facts on their way, and the audit trail."""

import json
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html
from unfold.decorators import display

from config.core import outbox
from config.core.console import ReadOnlyAdmin, reasoned_action
from config.core.models import AuditEntry, Fact


class Delivery(admin.SimpleListFilter):
    """Waiting, parked or delivered, each on an index of its own."""

    title = "delivery"
    parameter_name = "delivery"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Name the states."""
        return [("waiting", "Waiting"), ("parked", "Parked"), ("delivered", "Delivered")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Keep the facts of the chosen state."""
        match self.value():
            case "waiting":
                return queryset.filter(published_at=None, parked_at=None)
            case "parked":
                return queryset.filter(parked_at__isnull=False, published_at=None)
            case "delivered":
                return queryset.filter(published_at__isnull=False)
        return queryset


@admin.register(Fact)
class FactAdmin(ReadOnlyAdmin):
    """The outbox: what happened, and whether everybody was told."""

    list_display = ("id", "name", "topic", "created_at", "delivery", "attempts")
    list_filter = (Delivery,)
    search_fields = ("=topic",)
    search_help_text = "The whole topic, such as customer:12"
    fields = ("name", "topic", "created_at", "content", "published_at", "attempts", "error", "parked_at")
    readonly_fields = fields
    actions = ("retry",)
    actions_detail = ("retry",)

    @display(description="Delivery", label={"delivered": "success", "waiting": "info", "parked": "danger"})
    def delivery(self, fact: Fact) -> str:
        """Say in a word how far a fact came."""
        if fact.published_at:
            return "delivered"
        return "parked" if fact.parked_at else "waiting"

    @display(description="Payload")
    def content(self, fact: Fact) -> Any:
        """Show the payload as it is sent."""
        return _document(fact.payload)

    @reasoned_action(
        description="Retry delivery",
        effect="Parked facts are delivered again; handlers that saw them before ignore them.",
        icon="replay",
    )
    def retry(self, request: HttpRequest, fact: Fact, reason: str) -> str:
        """Take a fact out of the car park."""
        retried = outbox.retry(fact, reason=reason, actor=request.user)
        return f"{fact} is on its way." if retried else f"{fact} is not parked."


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    """Who did what, and why."""

    list_display = ("at", "action", "actor_name", "object_type", "object_id", "outcome", "reason", "ip")
    list_filter = ("outcome",)
    search_fields = ("=object_id", "=actor_id")
    search_help_text = "The number of an object or of an actor"
    fields = (
        "at",
        "action",
        ("actor_name", "actor_role", "actor_id"),
        ("object_type", "object_id"),
        "reason",
        "outcome",
        "was",
        "became",
        ("ip", "agent", "request_id"),
    )
    readonly_fields = ("was", "became")

    @display(description="Before")
    def was(self, entry: AuditEntry) -> Any:
        """Show the state before."""
        return _document(entry.before)

    @display(description="After")
    def became(self, entry: AuditEntry) -> Any:
        """Show the state after."""
        return _document(entry.after)


def _document(value: Any) -> Any:
    if value is None:
        return "–"
    return format_html('<pre class="text-xs">{}</pre>', json.dumps(value, indent=2, ensure_ascii=False))
