"""Trading hours in the console."""

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from unfold.decorators import action
from unfold.widgets import UnfoldAdminTextInputWidget

from config.core.console import ReadOnlyAdmin, ReasonForm, reasoned_action
from quotes import services
from quotes.admin import calendar_import
from quotes.admin.parts import RecordInline
from quotes.models import Calendar, CalendarException, CalendarWeek


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


class WeekInline(RecordInline):
    model = CalendarWeek
    fields = readonly_fields = ("effective_from", "hours")


class ExceptionInline(RecordInline):
    model = CalendarException
    fields = readonly_fields = ("starts_at", "ends_at", "is_open", "note", "recorded_at")


@admin.register(Calendar)
class CalendarAdmin(ReadOnlyAdmin):
    """Trading hours. The past is never edited; what changes is added, with notice and a reason."""

    list_display = ("code", "time_zone")
    fields = ("code", "time_zone")
    inlines = (WeekInline, ExceptionInline)
    actions = ("add_exception", "change_week")
    actions_detail = ("add_exception", "change_week", "import_exceptions")

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

    @action(description="Import exceptions", icon="upload_file", permissions=["operate"])
    def import_exceptions(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Record the holidays and short days of a file."""
        return calendar_import.page(self, request, object_id)
