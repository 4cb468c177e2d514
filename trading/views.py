"""Server-rendered pages: the landing page for strangers, the terminal for customers."""

import json
from pathlib import Path
from typing import Any

import msgspec
from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import get_token
from django.shortcuts import redirect, render
from django.templatetags.static import static
from django.utils.safestring import SafeString, mark_safe
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_http_methods, require_safe

from config.core.callers import counted_ip
from config.core.errors import DomainError, TooLarge
from config.core.throttle import Limit, take_all
from trading.receipts.form import LARGEST, NotAReceipt, Receipt
from trading.receipts.judging import Judged, judge

VERIFYING = Limit("receipt-page", per_second=0.5, burst=20, per="ip")
# What a form wraps around the largest receipt.
WRAPPING = 64 * 1024
MOST_SHOWN = 400
RECEIPT = "trading/receipt.html"
MODULES = Path(settings.BASE_DIR) / "static" / "trading" / "terminal"
# As json_script does: no byte of the map can end the script element.
_HARMLESS = {ord(">"): "\\u003E", ord("<"): "\\u003C", ord("&"): "\\u0026"}


@require_safe
def landing(request: HttpRequest) -> HttpResponse:
    """Show a stranger what the platform is; a customer goes to the terminal."""
    if request.user.is_authenticated:
        return redirect("trading:terminal")
    return render(request, "trading/landing.html")


@never_cache
@require_safe
@login_required
def terminal(request: HttpRequest) -> HttpResponse:
    """Show the trading terminal; everything live comes from the API and the socket."""
    context: dict[str, Any] = {
        "import_map": _import_map(),
        "modules": modules().values(),
        "bootstrap": {"csrf": get_token(request), "socket_url": settings.SOCKET_URL},
    }
    return render(request, "trading/terminal.html", context)


def modules() -> dict[str, str]:
    """Map the chart library, and each module's plain address, to the address its storage serves it under."""
    imports = {"lightweight-charts": static("vendor/lightweight-charts/lightweight-charts.mjs")}
    for module in sorted(MODULES.glob("*.mjs")):
        name = f"trading/terminal/{module.name}"
        imports[f"{settings.STATIC_URL}{name}"] = static(name)
    return imports


def _import_map() -> SafeString:
    return mark_safe(json.dumps({"imports": modules()}).translate(_HARMLESS))  # noqa: S308


# Exempt until it is known that the body may be read; the form itself is protected.
@csrf_exempt
@require_http_methods(["GET", "HEAD", "POST"])
def receipt(request: HttpRequest) -> HttpResponse:
    """Check a receipt for anybody: pasted or as a file, with or without scripts."""
    if request.method != "POST":
        return render(request, RECEIPT)
    try:
        take_all([(VERIFYING, counted_ip(request))])
        if int(request.META.get("CONTENT_LENGTH") or 0) > LARGEST + WRAPPING:
            raise TooLarge("No receipt is larger than 2 MB.")
        return _verified(request)
    except DomainError as refusal:
        answer = render(request, RECEIPT, {"refusal": refusal.detail}, status=refusal.status)
        if refusal.retry_after_seconds is not None:
            answer["Retry-After"] = str(refusal.retry_after_seconds)
        return answer


@csrf_protect
def _verified(request: HttpRequest) -> HttpResponse:
    file = request.FILES.get("file")
    given = file.read() if file is not None else request.POST.get("receipt", "").encode(errors="replace")
    try:
        judged = judge(given)
    except NotAReceipt as error:
        return render(request, RECEIPT, {"refusal": f"This is not a receipt. {error}"}, status=422)
    return render(request, RECEIPT, {"judged": judged, **_shown(judged.receipt), **_drawn(judged)})


def _shown(told: Receipt | None) -> dict[str, Any]:
    """Arrange a receipt for the page: of very many ticks the first and the last."""
    if told is None:
        return {}
    ends = {row.seq: "voided" for row in told.voided}
    ends |= {row.seq: name for name, row in (("exit", told.exit), ("entry", told.entry)) if row is not None}
    rows = [{"row": row, "role": ends.get(row.seq, "")} for row in told.ticks]
    half = MOST_SHOWN // 2
    levels = ((name, getattr(told.terms, name)) for name in ("barrier", "low", "high"))
    return {
        "receipt": told,
        "transfers": [*told.transfers, *(each.transfer for each in told.corrections)],
        "levels": [(name, level) for name, level in levels if level is not None],
        "ticks": rows if len(rows) <= MOST_SHOWN else rows[:half] + rows[-half:],
        "left_out": max(0, len(rows) - MOST_SHOWN),
    }


def _drawn(judged: Judged) -> dict[str, Any]:
    """Give the page's script what it draws: only of a receipt that nothing speaks against."""
    if judged.receipt is None or not judged.is_good:
        return {}
    return {"picture": msgspec.to_builtins(judged.receipt), "import_map": _import_map()}
