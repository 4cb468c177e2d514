"""Sources in the console: how they are reached, how they fare, and a dry run."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from config.core import clock
from config.core.console import ConsoleAdmin, ReadOnlyAdmin, reasoned_action
from quotes.admin import dry_run, states
from quotes.admin.parts import effect_from
from quotes.errors import InvalidSource
from quotes.models import FixReject, Source, SourceState
from quotes.services.sources import (
    CHANGEABLE,
    SCHEMES,
    change_source,
    check_source,
    create_source,
    disable_source,
    enable_source,
    instruments_by_source,
)

STATE_LABELS = {
    "up": "success",
    "connecting": "info",
    "silent": "warning",
    "down": "danger",
    "idle": "default",
    "unknown": "default",
}


def loss(sources: Sequence[Source]) -> str:
    """Say which listed instruments these sources quote, and what becomes of them."""
    by_source = instruments_by_source()
    said = [
        f"{source} quotes {', '.join(each.symbol for each in by_source[source.code])}."
        for source in sources
        if source.code in by_source
    ]
    if not said:
        return "They deliver nothing from the next second or two on. They quote no listed instrument."
    return (
        f"{' '.join(said)} These listed instruments lose its prices within a second or two: those that "
        "nobody else quotes take no orders, and open orders that need a price meanwhile are refunded."
    )


class SourceForm(forms.ModelForm):
    """How a source is reached, and why that changes."""

    reason = forms.CharField(min_length=3, max_length=1000, widget=UnfoldAdminTextInputWidget)

    class Meta:
        model = Source
        fields = ("code", "kind", *CHANGEABLE)
        widgets = {"options": UnfoldAdminTextareaWidget(attrs={"rows": 8})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "kind" in self.fields:
            self.fields["kind"].choices = [(kind, kind.label) for kind in SCHEMES]  # type: ignore[attr-defined]

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]
        if self.errors:
            return
        self.instance.changed_at = self.instance.changed_at or clock.now()
        try:
            check_source(self.instance)
        except InvalidSource as refusal:
            for field, said in (refusal.details.get("errors") or {"": [refusal.detail]}).items():
                self.add_error(field if field in self.fields else None, said)


@admin.register(Source)
class SourceAdmin(ConsoleAdmin):
    """Connections that deliver quotes. The feed follows every change within a second or two."""

    form = SourceForm
    change_form_outer_before_template = "console/source_panel.html"
    list_display = ("code", "name", "kind", "state", "rate", "quoted", "is_enabled", "changed_at")
    list_filter = ("kind", "is_enabled")
    search_fields = ("code__startswith",)
    fieldsets = (
        (None, {"fields": ("code", "kind", "name", "is_enabled")}),
        ("Connection", {"fields": ("url", "secret_ref", "options")}),
        ("Why", {"fields": ("reason",)}),
    )
    actions = ("enable", "disable")
    actions_detail = ("dry_run", "enable", "disable")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Source]:
        """Bring along how they fare."""
        kept = SourceState.objects.filter(source=OuterRef("code"))
        return (
            super()
            .get_queryset(request)
            .annotate(
                kept_state=Subquery(kept.values("state")[:1]),
                kept_rate=Subquery(kept.values("quotes_per_second")[:1]),
                kept_at=Subquery(kept.values("updated_at")[:1]),
            )
        )

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Bring along what they quote, read once."""
        page = super().get_changelist_instance(request)
        by_source = instruments_by_source()
        for source in page.result_list:
            source.symbols = [each.symbol for each in by_source.get(source.code, [])]
        return page

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Keep what is for good; what is on or off changes by actions."""
        return ("code", "kind", "is_enabled") if obj else ("is_enabled",)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse: a source is disabled, and stays on record."""
        return False

    def get_urls(self) -> list[URLPattern]:
        """Add the panel that refreshes itself."""
        live = path("<path:object_id>/live/", states.live(self), name="quotes_source_live")
        return [live, *super().get_urls()]

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: Any = None,
    ) -> HttpResponse:
        """Show how it fares above its settings."""
        extra = {**(extra_context or {}), **states.panel(object_id, "quotes_source_live")}
        return super().changeform_view(request, object_id, form_url, extra)

    def save_model(self, request: HttpRequest, obj: Source, form: Any, change: bool) -> None:
        """Save through the services, which keep the reason."""
        given = {name: form.cleaned_data[name] for name in CHANGEABLE} | {
            "actor": request.user,
            "reason": form.cleaned_data["reason"],
        }
        if change:
            change_source(source=obj, **given)
        else:
            create_source(code=form.cleaned_data["code"], kind=form.cleaned_data["kind"], **given)

    @display(description="State", label=STATE_LABELS)
    def state(self, source: Any) -> str:
        """Say in a word how it fares, as the feed last wrote it."""
        is_current = source.kept_at is not None and clock.now() - source.kept_at <= states.CURRENT
        return source.kept_state if is_current else "unknown"

    @display(description="Quotes")
    def rate(self, source: Any) -> str:
        """Show how many quotes come in a second."""
        return "–" if source.kept_rate is None else f"{source.kept_rate:,.1f}/s"

    @display(description="Quotes listed instruments")
    def quoted(self, source: Any) -> str:
        """Name what it quotes."""
        return ", ".join(source.symbols) or "–"

    @action(description="Dry run", icon="experiment", permissions=["operate"])
    def dry_run(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Try the connection and show what came of it."""
        return dry_run.page(self, request, object_id)

    @reasoned_action(
        description="Enable",
        effect="These sources deliver from the next second or two on, to the instruments that name them.",
        icon="power",
    )
    def enable(self, request: HttpRequest, source: Source, reason: str) -> str:
        """Let a source deliver."""
        enable_source(source=source, actor=request.user, reason=reason)  # type: ignore[arg-type]
        return f"{source} is enabled."

    @effect_from(loss)
    @reasoned_action(
        description="Disable",
        effect="These sources deliver nothing.",
        icon="power_off",
        variant=ActionVariant.DANGER,
    )
    def disable(self, request: HttpRequest, source: Source, reason: str) -> str:
        """Take a source away."""
        disable_source(source=source, actor=request.user, reason=reason)  # type: ignore[arg-type]
        return f"{source} is disabled."


@admin.register(SourceState)
class SourceStateAdmin(ReadOnlyAdmin):
    """How every source fares, those built in among them, as the leading feed writes it once a second."""

    change_form_outer_before_template = "console/source_panel.html"
    list_display = (
        "source",
        "standing",
        "rate",
        "lag_ms",
        "offset_ms",
        "connects",
        "failures",
        "last_error",
        "updated_at",
    )
    fields = ("source", "updated_at")

    def get_urls(self) -> list[URLPattern]:
        """Add the panel that refreshes itself."""
        live = path("<path:object_id>/live/", states.live(self), name="quotes_sourcestate_live")
        return [live, *super().get_urls()]

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: Any = None,
    ) -> HttpResponse:
        """Show the panel."""
        extra = {**(extra_context or {}), **states.panel(object_id, "quotes_sourcestate_live")}
        return super().changeform_view(request, object_id, form_url, extra)

    @display(description="State", label=STATE_LABELS)
    def standing(self, state: SourceState) -> str:
        """Say in a word how it fares."""
        return state.state if clock.now() - state.updated_at <= states.CURRENT else "unknown"

    @display(description="Quotes")
    def rate(self, state: SourceState) -> str:
        """Show how many quotes come in a second."""
        return f"{state.quotes_per_second:,.1f}/s"


@admin.register(FixReject)
class FixRejectAdmin(ReadOnlyAdmin):
    """What FIX peers refused."""

    list_display = ("at", "source", "kind", "ref_seq", "text")
    list_filter = ("source", "kind")
    list_select_related = ("source",)
    fields = ("source", "at", "kind", "ref_seq", "text")
