"""What the market's pages share: effects that name what is concerned, lines nobody edits, links."""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import wraps
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.admin import TabularInline

from config.core import clock

LINK = "text-primary-600 dark:text-primary-500"


def effect_from(say: Callable[[Sequence[Any]], str]) -> Callable[[Any], Any]:
    """Have a reasoned action state the effect that `say` finds for what was chosen."""

    def declare(run: Any) -> Any:
        @wraps(run)
        def asking(*args: Any, **kwargs: Any) -> Any:
            answer = run(*args, **kwargs)
            if isinstance(answer, TemplateResponse) and answer.context_data is not None:
                answer.context_data["effect"] = say(answer.context_data["objects"])
            return answer

        return asking

    return declare


class RecordInline(TabularInline):
    """Lines that belong to a page and are written by nobody there."""

    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse: the actions with a reason are the one door."""
        return False

    has_change_permission = has_delete_permission = has_add_permission


def ticks_url(instrument_id: int, at: datetime, span_seconds: int = 60) -> str:
    """Return the address of the tick inspector around an instant."""
    page = reverse("admin:quotes_instrument_ticks", args=[instrument_id])
    return f"{page}?{urlencode({'at': clock.iso(at), 'span': span_seconds})}"


def ticks_link(
    instrument_id: int, at: datetime | None, text: Any, span_seconds: int = 60
) -> SafeString | str:
    """Return a link to the tick inspector around an instant, or a dash for None."""
    if at is None:
        return "–"
    return format_html(
        '<a href="{}" class="{}">{}</a>', ticks_url(instrument_id, at, span_seconds), LINK, text
    )


def hash_words(digest: bytes | memoryview) -> SafeString:
    """Return a hash in hexadecimal, as it is published, to be broken where the page ends."""
    return format_html('<span class="hash">{}</span>', bytes(digest).hex())


def table(headers: Sequence[str], rows: Sequence[Sequence[Any]], empty: str) -> SafeString:
    """Return a small table for a read-only field, or the words for when there is nothing in it."""
    if not rows:
        return format_html("<span>{}</span>", empty)
    head = format_html_join("", "<th>{}</th>", ((each,) for each in headers))
    lines = ((format_html_join("", "<td>{}</td>", ((cell,) for cell in row)),) for row in rows)
    body = format_html_join("", "<tr>{}</tr>", lines)
    return format_html(
        '<div class="small-table"><table><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>',
        head,
        body,
    )
