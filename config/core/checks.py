"""System checks of the kernel; `manage.py check --deploy --database default` runs all of them."""

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, Tags, register
from django.db import connections

SHORTEST_SECRET = 50
_ROLE = """
    SELECT current_user, rolsuper,
           (SELECT count(*) FROM pg_class WHERE relowner = r.oid AND relkind IN ('r', 'p', 'v', 'S'))
      FROM pg_roles r WHERE rolname = current_user
"""


@register(Tags.database)
def check_role(databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """The application must not be able to rewrite its own history."""
    if "default" not in (databases or ()):
        return []
    with connections["default"].cursor() as cursor:
        cursor.execute(_ROLE)
        name, is_superuser, owned = cursor.fetchone()
    found: list[CheckMessage] = []
    if is_superuser:
        found.append(Error(f"The application role {name} is a superuser.", id="tickhouse.E001"))
    if owned:
        found.append(Error(f"The application role {name} owns {owned} relations.", id="tickhouse.E002"))
    if name == settings.DATABASES["owner"]["USER"]:
        found.append(Error(f"{name} is both the owner and the application role.", id="tickhouse.E003"))
    return found


@register(Tags.security)
def check_production(**_: Any) -> list[CheckMessage]:
    """Production must not run with what is convenient elsewhere."""
    if settings.ENVIRONMENT != "production":
        return []
    wrong = {
        "E004": settings.DEBUG and "DEBUG must be off in production.",
        "E005": len(settings.SECRET_KEY) < SHORTEST_SECRET
        and f"SECRET_KEY must have at least {SHORTEST_SECRET} characters.",
        "E006": "*" in settings.ALLOWED_HOSTS and "ALLOWED_HOSTS must name the hosts.",
        "E007": not settings.SECURE_SSL_REDIRECT and "SECURE_SSL_REDIRECT must be on in production.",
        "E008": "*" in settings.SOCKET_ORIGINS and "SOCKET_ORIGINS must name the origins.",
    }
    found: list[CheckMessage] = [
        Error(str(text), id=f"tickhouse.{number}") for number, text in wrong.items() if text
    ]
    if not settings.TRUSTED_PROXIES:
        hint = "Without it every customer has the proxy's address, and limits count them as one."
        found.append(checks.Warning("TRUSTED_PROXIES is 0 in production.", hint=hint, id="tickhouse.W001"))
    return found
