"""What every request carries: an id, who calls, and a log line when it was refused or failed."""

import re
from collections.abc import Callable

import structlog
from django.http import HttpRequest, HttpResponse
from structlog.contextvars import bind_contextvars, clear_contextvars

from config.core.callers import client_ip
from config.core.ids import new_id

log = structlog.get_logger(__name__)
_ID = re.compile(r"[A-Za-z0-9-]{8,64}")


class RequestContext:
    """Binds request id, address and agent for log lines and audit entries; answers with `X-Request-Id`.

    Answered requests are counted by metrics and not logged one by one. A proxy may send its own id.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Serve the request under its id."""
        sent = request.headers.get("X-Request-Id", "")
        request_id = sent if _ID.fullmatch(sent) else str(new_id())
        clear_contextvars()
        bind_contextvars(
            request_id=request_id, ip=client_ip(request), agent=request.headers.get("User-Agent", "")[:300]
        )
        try:
            response = self.get_response(request)
            if response.status_code >= 400:
                tell = log.error if response.status_code >= 500 else log.info
                tell("request refused", method=request.method, path=request.path, status=response.status_code)
            response["X-Request-Id"] = request_id
            return response
        finally:
            clear_contextvars()
