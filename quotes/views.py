"""Pages of the public record."""

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from config.core.errors import Missing
from quotes import record as public

DAYS_A_PAGE = 60


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
