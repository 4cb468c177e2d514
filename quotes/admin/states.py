"""The panel of a source: connected or not, how much comes, how late, and what was dropped why."""

from datetime import timedelta
from typing import Any, NamedTuple

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from config.core import clock
from config.core.console import ConsoleAdmin
from quotes.models import FixReject, SourceState
from quotes.services.sources import instruments_of

REFRESH_SECONDS = 3
# The feed writes once a second.
CURRENT = timedelta(seconds=5)
REJECTS_SHOWN = 5
WORDS = {
    "idle": "No instrument asks for it",
    "connecting": "Connecting",
    "up": "Connected",
    "silent": "Connected, and silent",
    "down": "Down, waiting to try again",
}
REASONS = {
    "stalled": "of unknown age after a stall",
    "non_positive": "not above zero",
    "crossed": "bid above ask",
    "spread": "too wide",
    "jump": "too far from the last",
}


class Fate(NamedTuple):
    """What became of the quotes of one instrument, in parts of all."""

    symbol: str
    accepted: int
    accepted_percent: float
    dropped: int
    # Reason, count, percent.
    reasons: list[tuple[str, int, float]]


def live(admin: ConsoleAdmin) -> Any:
    """Return a view that renders the panel's moving part alone, for whoever may see the page."""

    @require_safe
    def view(request: HttpRequest, object_id: str) -> HttpResponse:
        if not admin.has_view_permission(request):
            raise PermissionDenied
        return render(request, "console/source_live.html", figures(object_id))

    return admin.admin_site.admin_view(view)


def panel(code: str | None, live_name: str) -> dict[str, Any]:
    """Return what the panel above a page shows and its live address; nothing for a new source."""
    if code is None:
        return {}
    return {
        **figures(code),
        "live_url": reverse(f"admin:{live_name}", args=[code]),
        "refresh_seconds": REFRESH_SECONDS,
    }


def figures(code: str) -> dict[str, Any]:
    """Read everything the panel shows."""
    state, now = SourceState.objects.filter(pk=code).first(), clock.now()
    is_current = state is not None and now - state.updated_at <= CURRENT
    return {
        "source_code": code,
        "source_state": state,
        "source_words": WORDS.get(state.state, state.state) if state else "",
        "source_is_current": is_current,
        "source_dot": _dot(state) if state is not None and is_current else "plain",
        "source_instruments": [each.symbol for each in instruments_of(code)],
        "source_fates": fates(state.quotes) if state else [],
        "source_rejects": FixReject.objects.filter(source=code)[:REJECTS_SHOWN],
        "now": now,
    }


def _dot(state: SourceState) -> str:
    return {"up": "good", "idle": "plain", "connecting": "plain"}.get(state.state, "bad")


def fates(quotes: Any) -> list[Fate]:
    """Return by symbol what became of a source's quotes, from `{symbol: {"accepted": n, "dropped": {…}}}`."""
    found = []
    for symbol, counted in sorted(quotes.items()):
        accepted = counted.get("accepted", 0)
        dropped = {reason: count for reason, count in counted.get("dropped", {}).items() if count}
        # Of nothing everything is none.
        share = 100 / max(1, accepted + sum(dropped.values()))
        reasons = [
            (REASONS.get(reason, reason), count, count * share)
            for reason, count in sorted(dropped.items(), key=lambda each: (-each[1], each[0]))
        ]
        found.append(Fate(symbol, accepted, accepted * share, sum(dropped.values()), reasons))
    return found
