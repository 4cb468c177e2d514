"""Pages of the public record."""

from datetime import datetime
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from config.core import clock
from config.core.errors import Missing
from quotes import record as public
from quotes.models import VoidedTick
from quotes.services.voiding import VOID_DEVIATION

DAYS_A_PAGE = 60
VOIDED_A_PAGE = 50


@require_safe
def record(request: HttpRequest) -> HttpResponse:
    """List the sealed days, newest first; `?before=2030-01-31` goes on below a day."""
    days = public.sealed_days().order_by("-day")
    before = request.GET.get("before")
    if before is not None:
        try:
            days = days.filter(day__lt=public.day_of(before))
        except Missing:
            raise Http404 from None
    found = list(days[: DAYS_A_PAGE + 1])
    older = found[DAYS_A_PAGE - 1].day.isoformat() if len(found) > DAYS_A_PAGE else None
    context = {"days": found[:DAYS_A_PAGE], "older": older, "is_first": before is None}
    return render(request, "quotes/record.html", context)


@require_safe
def record_day(request: HttpRequest, day: str) -> HttpResponse:
    """Show what a sealed day is made of, and how anybody checks it."""
    try:
        sealed = public.sealed_day(day)
    except Missing:
        raise Http404 from None
    return render(request, "quotes/record_day.html", {"sealed": sealed, "parts": sealed.parts.all()})


@require_safe
def record_voided(request: HttpRequest) -> HttpResponse:
    """List the voided ticks, the last decided first; `?before=` an instant goes on below it."""
    rows, before = public.voided_ticks(), request.GET.get("before")
    if before is not None:
        rows = rows.filter(decided_at__lt=_instant(before))
    found = list(rows[: VOIDED_A_PAGE + 1])
    context = {
        "voided": [_voided(row) for row in found[:VOIDED_A_PAGE]],
        "older": clock.iso(found[VOIDED_A_PAGE - 1].decided_at) if len(found) > VOIDED_A_PAGE else None,
        "is_first": before is None,
        "limit": public.in_percent(VOID_DEVIATION),
    }
    return render(request, "quotes/record_voided.html", context)


def _voided(row: VoidedTick) -> dict[str, Any]:
    return public.voided_row(row) | {
        "row": row,
        "deviation": public.in_percent(row.deviation),
        "limit": public.in_percent(row.limit),
    }


def _instant(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None or not 1970 < found.year < 9999:
        raise Http404
    return found
