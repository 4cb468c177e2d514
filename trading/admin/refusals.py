"""Refusals by their code in the console, with the numbers of the last ones."""

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import Sum
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.decorators import display

from config.core import clock
from config.core.console import ReadOnlyAdmin
from trading.models import Refusals

DAY_HOURS = 24
HOUR = timedelta(hours=1)
MOST_CODES = 12


@admin.register(Refusals)
class RefusalsAdmin(ReadOnlyAdmin):
    list_display = ("hour", "code", "symbol", "contract", "times", "last_at")
    list_filter = ("code", "symbol", "contract")
    fields = ("hour", "code", "symbol", "contract", "times", "last_at", "last_ones")
    readonly_fields = ("last_ones",)
    list_before_template = "console/refusals.html"

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Draw the last day above the list: how often each code, hour by hour."""
        return super().changelist_view(request, {**(extra_context or {}), "codes": last_day()})

    @display(description="The last ones")
    def last_ones(self, row: Refusals) -> SafeString:
        """Show what was asked and what was answered, newest first, one row each."""
        names = list(dict.fromkeys(name for each in row.recent for name in each))
        head = format_html_join("", "<th>{}</th>", ((name.replace("_", " "),) for name in names))
        lines = format_html_join(
            "",
            "<tr>{}</tr>",
            (
                (format_html_join("", "<td>{}</td>", ((each.get(name, "–"),) for name in names)),)
                for each in row.recent
            ),
        )
        return format_html(
            '<div class="small-table"><table><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>',
            head,
            lines,
        )


def last_day() -> list[dict[str, Any]]:
    """Return how often each code was answered in each of the last 24 hours, the most frequent first."""
    this_hour = clock.now().replace(minute=0, second=0, microsecond=0)
    counts: dict[str, list[int]] = {}
    rows = Refusals.objects.filter(hour__gt=this_hour - DAY_HOURS * HOUR)
    for code, hour, times in rows.values_list("code", "hour").annotate(Sum("times")):
        hours = counts.setdefault(code, [0] * DAY_HOURS)
        hours[DAY_HOURS - 1 - int((this_hour - hour) / HOUR)] += times
    most = max((max(hours) for hours in counts.values()), default=0)
    ranked = sorted(counts.items(), key=lambda found: (-sum(found[1]), found[0]))
    return [
        {
            "code": code,
            "times": sum(hours),
            "bars": [
                {"x": place * 4, "y": 20 - height, "height": height, "times": times}
                for place, times in enumerate(hours)
                if (height := max(1, round(20 * times / most)) if times else 0)
            ],
        }
        for code, hours in ranked[:MOST_CODES]
    ]
