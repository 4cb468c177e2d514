"""Which content policy an answer carries."""

from typing import Any

from csp.constants import NONE, SELF, UNSAFE_EVAL, UNSAFE_INLINE
from csp.middleware import CSPMiddleware, PolicyParts
from django.http import HttpRequest

_OTHERS: dict[str, Any] = {
    "default-src": [SELF],
    "style-src": [SELF, UNSAFE_INLINE],
    "img-src": [SELF, "data:"],
    "connect-src": [SELF],
    "object-src": [NONE],
    "base-uri": [NONE],
    "form-action": [SELF],
    "frame-ancestors": [NONE],
}
# The console's look sets styles inline and evaluates attributes; the description page has one inline script.
CONSOLE = {**_OTHERS, "script-src": [SELF, UNSAFE_EVAL]}
DESCRIPTION = {**_OTHERS, "script-src": [SELF, UNSAFE_INLINE]}


class ContentPolicy(CSPMiddleware):
    """The strict policy of the settings for our pages, a wider one for what others wrote, none for JSON."""

    def __call__(self, request: HttpRequest) -> Any:
        """Leave the API alone: nobody renders what it says."""
        if request.path_info.startswith("/api/v1/"):
            return self.get_response(request)
        return super().__call__(request)

    def get_policy_parts(self, request: HttpRequest, response: Any, report_only: bool = False) -> PolicyParts:
        """Choose by the address."""
        parts = super().get_policy_parts(request, response, report_only)
        if not report_only:
            if request.path_info.startswith("/admin/"):
                parts.config = CONSOLE
            elif request.path_info == "/api/docs":
                parts.config = DESCRIPTION
        return parts
