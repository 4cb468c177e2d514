"""What the API reads and writes: JSON, never negotiated."""

from typing import Any

import orjson
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from config.core import wire
from config.core.errors import Invalid, TooLarge

LARGEST_BODY = 256 * 1024


class JsonParser(BaseParser):
    """Reads a JSON object. Fractions become float, which `money.parse` refuses: money travels in strings."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> dict[str, Any]:
        """Return the object; raise Invalid for anything else, TooLarge above 256 KiB."""
        body = read_body(stream)
        try:
            data = orjson.loads(body) if body else {}
        except orjson.JSONDecodeError:
            raise Invalid("The body is not valid JSON.") from None
        if not isinstance(data, dict):
            raise Invalid("Send a JSON object.")
        return data


def read_body(stream: Any) -> bytes:
    """Return a request's raw body; raise TooLarge above 256 KiB."""
    try:
        body: bytes = stream.body if isinstance(stream, HttpRequest) else stream.read(LARGEST_BODY + 1)
    except RequestDataTooBig:
        raise TooLarge from None
    if len(body) > LARGEST_BODY:
        raise TooLarge(limit=LARGEST_BODY)
    return body


class JsonRenderer(BaseRenderer):
    """Writes JSON as `wire.encode` does."""

    media_type = "application/json"
    format = "json"
    charset = None

    def render(self, data: Any, accepted_media_type: Any = None, renderer_context: Any = None) -> bytes:
        """Return the body; empty for None."""
        return b"" if data is None else wire.encode(data)


class JsonOnly(BaseContentNegotiation):
    """Answers JSON whatever the client says it accepts."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        """Return the first parser whose type was sent, or None."""
        sent = request.content_type.partition(";")[0].strip().lower()
        return next((parser for parser in parsers if parser.media_type == sent), None)

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> Any:
        """Return the view's first renderer."""
        return renderers[0], renderers[0].media_type
