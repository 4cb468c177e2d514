"""The gateway role: WebSockets, and its own health; every other HTTP request belongs to the web role."""

import os
from typing import Any

from asgiref.sync import sync_to_async
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
get_asgi_application()

from config.core import health  # noqa: E402
from config.core.consumers import PrivateSocket  # noqa: E402
from kyc.middleware import SocketAuth  # noqa: E402

_socket = SocketAuth(PrivateSocket.as_asgi())


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer the private socket and the three paths of health."""
    if scope["type"] == "websocket":
        if scope["path"] == "/ws/v1/":
            await _socket(scope, receive, send)
        else:
            await send({"type": "websocket.close"})
    elif scope["type"] == "http":
        found = await sync_to_async(health.answer, thread_sensitive=False)(scope["path"])
        status, kind, body = found or (404, "text/plain", b"")
        headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
