"""The console's pages about the market."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.admin import TabularInline
from unfold.decorators import display
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminTextInputWidget

from config.core import clock
from config.core.console import ConsoleAdmin, ReadOnlyAdmin, ReasonForm, reasoned_action
from quotes import selectors, services
from quotes.errors import InvalidInstrument
from quotes.models import Calendar, CalendarException, CalendarWeek, Gap, Instrument
from quotes.services.instruments import CHANGEABLE, check_instrument

# What stored prices and decided orders rest on.
FOR_GOOD = ("symbol", "instrument_class", "price_decimals", "calendar")
SHOWN_TICKS = 20


class InstrumentForm(forms.ModelForm):
    """An instrument's settings, and why they change."""

    reason = forms.CharField(min_length=3, max_length=1000, widget=UnfoldAdminTextInputWidget)

    class Meta:
        model = Instrument
        fields = (*FOR_GOOD, *sorted(CHANGEABLE))

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]
        if not self.errors:
            self.instance.changed_at = self.instance.changed_at or clock.now()
            try:
                check_instrument(self.instance)
            except InvalidInstrument as refusal:
                self.add_error(None, refusal.detail)


@admin.register(Instrument)
class InstrumentAdmin(ConsoleAdmin):
    """What is traded. Every change goes through a service, with a reason; the feed follows within seconds."""

    form = InstrumentForm
    list_display = ("symbol", "name", "state", "quoted_by", "last", "watermark_age")
    list_filter = ("instrument_class", "is_listed", "is_suspended", "source")
    search_fields = ("symbol__startswith",)
    fieldsets = (
        (None, {"fields": ("symbol", "name", "instrument_class", "price_decimals", "calendar", "is_listed")}),
        ("Freshness", {"fields": ("max_quote_age_ms", "max_source_lag_ms", "tick_interval_ms")}),
        (
            "Quotes",
            {
                "fields": (
                    "source",
                    "source_symbol",
                    "aggregation",
                    "max_spread",
                    "max_jump",
                    "max_source_age_ms",
                    "fail_over_after_ms",
                    "fail_back_after_ms",
                )
            },
        ),
        ("Simulation", {"fields": ("simulated_price", "simulated_volatility", "simulated_interval_ms")}),
        ("Record", {"fields": ("recent_ticks",)}),
        ("Why", {"fields": ("reason",)}),
    )
    actions = ("suspend", "resume")
    actions_detail = ("suspend", "resume")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Instrument]:
        """Bring the watermarks along."""
        return super().get_queryset(request).select_related("watermark")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Keep what is for good."""
        return (*FOR_GOOD, "recent_ticks") if obj else ("recent_ticks",)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse: an instrument is unlisted, and stays on record."""
        return False

    def save_model(self, request: HttpRequest, obj: Instrument, form: Any, change: bool) -> None:
        """Save through the services, which keep the reason."""
        given = {name: form.cleaned_data[name] for name in CHANGEABLE if name in form.cleaned_data}
        if change:
            services.change_instrument(
                instrument=obj,
                actor=request.user,  # type: ignore[arg-type]
                reason=form.cleaned_data["reason"],
                **given,
            )
            return
        made = services.create_instrument(
            actor=request.user,  # type: ignore[arg-type]
            **{name: form.cleaned_data[name] for name in FOR_GOOD},
            **given,
        )
        obj.pk = made.pk

    @display(description="State", label={"trading": "success", "suspended": "warning", "unlisted": "danger"})
    def state(self, instrument: Instrument) -> str:
        """Say in a word whether it takes orders, hours aside."""
        if not instrument.is_listed:
            return "unlisted"
        return "suspended" if instrument.is_suspended else "trading"

    @display(description="Quoted by")
    def quoted_by(self, instrument: Instrument) -> str:
        """Name the source in force."""
        return selectors.source_of(instrument)

    @display(description="Last price")
    def last(self, instrument: Instrument) -> str:
        """Show the last tick's price."""
        price = instrument.watermark.last_price
        return "–" if price is None else f"{price:.{instrument.price_decimals}f}"

    @display(description="Watermark age")
    def watermark_age(self, instrument: Instrument) -> str:
        """Show how far the record is behind the clock."""
        return f"{(clock.now() - instrument.watermark.at).total_seconds():.1f} s"

    @display(description="Newest ticks")
    def recent_ticks(self, instrument: Instrument) -> SafeString | str:
        """Show the newest ticks of the record."""
        if instrument._state.adding:
            return "–"
        ticks = selectors.ticks_page(instrument, limit=SHOWN_TICKS)[::-1]
        rows = format_html_join(
            "",
            "<tr><td>{}&emsp;</td><td>{}&emsp;</td><td>{}</td></tr>",
            ((tick.seq, clock.iso(tick.at), f"{tick.price:.{instrument.price_decimals}f}") for tick in ticks),
        )
        return format_html("<table>{}</table>", rows)

    @reasoned_action(
        description="Suspend",
        effect="These instruments take no new orders. Open orders are settled as agreed.",
        icon="pause",
        variant=ActionVariant.DANGER,
    )
    def suspend(self, request: HttpRequest, instrument: Instrument, reason: str) -> str:
        """Refuse new orders."""
        services.suspend_instrument(instrument=instrument, actor=request.user, reason=reason)  # type: ignore[arg-type]
        return f"{instrument} is suspended."

    @reasoned_action(
        description="Resume",
        effect="These instruments take orders again, while their market is open.",
        icon="play_arrow",
    )
    def resume(self, request: HttpRequest, instrument: Instrument, reason: str) -> str:
        """Accept orders again."""
        services.resume_instrument(instrument=instrument, actor=request.user, reason=reason)  # type: ignore[arg-type]
        return f"{instrument} takes orders again."


class ExceptionForm(ReasonForm):
    """A holiday, an early close or extra hours."""

    starts_at = forms.DateTimeField(label="From (UTC)", widget=UnfoldAdminTextInputWidget)
    ends_at = forms.DateTimeField(label="Until (UTC)", widget=UnfoldAdminTextInputWidget)
    is_open = forms.BooleanField(label="Open in this time", required=False)
    note = forms.CharField(max_length=120, required=False, widget=UnfoldAdminTextInputWidget)
    field_order = ("starts_at", "ends_at", "is_open", "note", "reason")


class WeekForm(ReasonForm):
    """New weekly hours."""

    effective_from = forms.DateTimeField(label="From (UTC)", widget=UnfoldAdminTextInputWidget)
    hours = forms.JSONField(
        help_text="Pairs of local minutes since Monday 00:00, for example [[0, 6780], [9660, 10080]].",
        widget=UnfoldAdminTextInputWidget,
    )
    field_order = ("effective_from", "hours", "reason")


class _RecordInline(TabularInline):
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse: the actions with a reason are the one door."""
        return False

    has_change_permission = has_delete_permission = has_add_permission


class WeekInline(_RecordInline):
    model = CalendarWeek
    fields = readonly_fields = ("effective_from", "hours")


class ExceptionInline(_RecordInline):
    model = CalendarException
    fields = readonly_fields = ("starts_at", "ends_at", "is_open", "note", "recorded_at")


@admin.register(Calendar)
class CalendarAdmin(ReadOnlyAdmin):
    """Trading hours. The past is never edited; what changes is added, with notice and a reason."""

    list_display = ("code", "time_zone")
    fields = ("code", "time_zone")
    inlines = (WeekInline, ExceptionInline)
    actions = ("add_exception", "change_week")
    actions_detail = ("add_exception", "change_week")

    @reasoned_action(
        description="Add an exception",
        effect="The market is closed or open in that time, whatever the week says.",
        form=ExceptionForm,
        icon="event_busy",
    )
    def add_exception(self, request: HttpRequest, calendar: Calendar, **given: Any) -> str:
        """Add a holiday, an early close or extra hours."""
        services.add_calendar_exception(calendar=calendar, actor=request.user, **given)  # type: ignore[arg-type]
        return f"{calendar}: the exception is recorded."

    @reasoned_action(
        description="Change the weekly hours",
        effect="From that instant on the market keeps these hours.",
        form=WeekForm,
        icon="calendar_month",
    )
    def change_week(self, request: HttpRequest, calendar: Calendar, **given: Any) -> str:
        """Add a week."""
        services.add_calendar_week(calendar=calendar, actor=request.user, **given)  # type: ignore[arg-type]
        return f"{calendar}: the hours change."


@admin.register(Gap)
class GapAdmin(ReadOnlyAdmin):
    """Stretches without provable prices."""

    list_display = ("instrument", "starts_at", "ends_at", "reason", "recorded_at")
    list_filter = ("reason", "instrument")
    list_select_related = ("instrument",)
    ordering = ("-id",)
