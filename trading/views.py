"""Server-rendered pages: the landing page for strangers, the terminal for customers."""

import json
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import get_token
from django.shortcuts import redirect, render
from django.templatetags.static import static
from django.utils.safestring import mark_safe
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

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
    imports = modules()
    context: dict[str, Any] = {
        "import_map": mark_safe(json.dumps({"imports": imports}).translate(_HARMLESS)),  # noqa: S308
        "modules": imports.values(),
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
