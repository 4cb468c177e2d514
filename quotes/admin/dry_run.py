"""A dry run: a source is tried for a few seconds, and nothing of it enters the record."""

import threading
from typing import TYPE_CHECKING, Any

from django import forms
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from unfold.widgets import UnfoldAdminTextInputWidget

from config.core.errors import DomainError
from quotes.models import Source
from quotes.services.sources import connection_of, instruments_of, note_dry_run

if TYPE_CHECKING:
    from quotes.sources.probe import ProbeReport

SECONDS = 5
MOST_SYMBOLS = 20
LONGEST_SYMBOL = 80
# A peer that sees many sign-ins at once locks us out; and each holds a thread of the role.
_one_at_a_time = threading.BoundedSemaphore(1)


class DryRunForm(forms.Form):
    """What to ask the source for."""

    symbols = forms.CharField(
        max_length=1000,
        help_text="As the source calls them, separated by commas.",
        widget=UnfoldAdminTextInputWidget(attrs={"autofocus": "", "autocomplete": "off"}),
    )

    def clean_symbols(self) -> list[str]:
        """Read the list."""
        symbols = list(dict.fromkeys(filter(None, map(str.strip, self.cleaned_data["symbols"].split(",")))))
        if not 0 < len(symbols) <= MOST_SYMBOLS or any(len(each) > LONGEST_SYMBOL for each in symbols):
            raise forms.ValidationError(f"Name one to {MOST_SYMBOLS} symbols.")
        return symbols


def page(admin: Any, request: HttpRequest, object_id: str) -> HttpResponse:
    """Ask for symbols; when they are given, try the source and show what it said."""
    source = get_object_or_404(Source, pk=object_id)
    asked = request.POST if request.method == "POST" else None
    form = DryRunForm(asked, initial={"symbols": ", ".join(_symbols_of(source))})
    report, refusal = None, ""
    if form.is_valid():
        report, refusal = _tried(source, form.cleaned_data["symbols"], request.user)
    context = {
        **admin.admin_site.each_context(request),
        "title": f"{source}: dry run",
        "opts": admin.opts,
        "source": source,
        "form": form,
        "seconds": SECONDS,
        "report": report,
        "refusal": refusal,
    }
    return TemplateResponse(request, "console/dry_run.html", context)


def _symbols_of(source: Source) -> list[str]:
    """Return what the instruments it quotes are called there."""
    found = []
    for instrument in instruments_of(source.code):
        names = {each.source: each.source_symbol for each in instrument.quotations.all()}
        found.append(names.get(source.code, instrument.source_symbol))
    return found[:MOST_SYMBOLS]


def _tried(source: Source, symbols: list[str], actor: Any) -> "tuple[ProbeReport | None, str]":
    """Return the report, or the words of a refusal; either way it is kept who tried."""
    # Who serves pages needs no adapter until somebody tries one.
    from quotes.sources.probe import probe

    if not _one_at_a_time.acquire(blocking=False):
        return None, "Another dry run is under way here; wait a few seconds."
    try:
        report = probe(connection_of(source), symbols, SECONDS)
    except DomainError as refusal:
        note_dry_run(source=source, actor=actor, outcome={"symbols": symbols, "refused": refusal.detail})
        return None, refusal.detail
    finally:
        _one_at_a_time.release()
    outcome = {"symbols": symbols, "quotes": report.quotes, "error": report.error}
    note_dry_run(source=source, actor=actor, outcome=outcome)
    return report, ""
