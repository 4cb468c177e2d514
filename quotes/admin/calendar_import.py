"""Exceptions of trading hours from a file: what it would record first, and then, with a reason, recorded."""

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.widgets import UnfoldAdminFileFieldWidget, UnfoldAdminTextareaWidget

from config.core.console import ReasonForm
from config.core.errors import DomainError
from quotes.models import Calendar
from quotes.services.calendars import (
    ExceptionRow,
    import_calendar_exceptions,
    planned_exceptions,
    read_calendar_csv,
)

MOST_BYTES = 256 * 1024


class FileForm(forms.Form):
    """The file, or its lines."""

    file = forms.FileField(
        required=False, label="CSV file", widget=UnfoldAdminFileFieldWidget(attrs={"accept": ".csv,text/csv"})
    )
    text = forms.CharField(
        required=False,
        label="Or its lines",
        max_length=MOST_BYTES,
        strip=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 8, "spellcheck": "false"}),
        help_text="date,open,close,note in the market's own time. Without times the day is closed.",
    )

    def clean(self) -> dict[str, Any]:
        """Have one text, whichever way it came."""
        given = self.cleaned_data
        if file := given.get("file"):
            if file.size > MOST_BYTES:
                raise forms.ValidationError(f"The file is larger than {MOST_BYTES // 1024} KB.")
            try:
                given["text"] = file.read().decode("utf-8-sig")
            except UnicodeDecodeError:
                raise forms.ValidationError("The file is not UTF-8 text.") from None
        if not given.get("text", "").strip():
            raise forms.ValidationError("Choose a file, or paste its lines.")
        return given


class ConfirmForm(ReasonForm):
    """What was looked at, and why it is to hold."""

    text = forms.CharField(max_length=MOST_BYTES, strip=False, widget=forms.HiddenInput)
    field_order = ("text", "reason")


def page(admin: Any, request: HttpRequest, object_id: str) -> HttpResponse:
    """Ask for a file, show what it would record, and record it when that is confirmed."""
    calendar = get_object_or_404(Calendar, pk=object_id)
    form = _form_of(request)
    said, rows = "", []
    if form.is_valid():
        try:
            rows = read_calendar_csv(form.cleaned_data["text"], calendar.time_zone)
            if isinstance(form, ConfirmForm):
                return _import(request, calendar, rows, form.cleaned_data["reason"])
        except DomainError as refusal:
            said = refusal.detail
    elif isinstance(form, ConfirmForm):
        # Without a reason what was looked at is shown again.
        rows = _rows_again(request, calendar)
    context = _context(admin, request, calendar, form, rows, said)
    return TemplateResponse(request, "console/calendar_import.html", context)


def _form_of(request: HttpRequest) -> forms.Form:
    if request.method != "POST":
        return FileForm()
    if "_confirmed" in request.POST:
        return ConfirmForm(request.POST)
    return FileForm(request.POST, request.FILES)


def _rows_again(request: HttpRequest, calendar: Calendar) -> list[ExceptionRow]:
    try:
        return read_calendar_csv(request.POST.get("text", ""), calendar.time_zone)
    except DomainError:
        return []


def _import(
    request: HttpRequest, calendar: Calendar, rows: list[ExceptionRow], reason: str
) -> HttpResponseRedirect:
    made = import_calendar_exceptions(calendar=calendar, rows=rows, actor=request.user, reason=reason)  # type: ignore[arg-type]
    messages.success(request, f"{calendar}: {len(made)} exceptions recorded, of {len(rows)} rows.")
    return HttpResponseRedirect(reverse("admin:quotes_calendar_change", args=[calendar.pk]))


def _context(
    admin: Any,
    request: HttpRequest,
    calendar: Calendar,
    form: forms.Form,
    rows: list[ExceptionRow],
    said: str,
) -> dict[str, Any]:
    planned = planned_exceptions(calendar=calendar, rows=rows) if rows else []
    asks = isinstance(form, ConfirmForm)
    confirm = form if asks else ConfirmForm(initial={"text": form.cleaned_data["text"]}) if planned else None
    return {
        **admin.admin_site.each_context(request),
        "title": f"{calendar}: import exceptions",
        "opts": admin.opts,
        "calendar": calendar,
        "form": FileForm(initial={"text": request.POST.get("text", "")}) if asks else form,
        "confirm": confirm if planned else None,
        "planned": planned,
        "count": sum(len(each.overrides) for each in planned),
        "refusal": said,
    }
