"""The payout chart: how an instrument's rate went, between which bounds, and what moved it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from itertools import pairwise
from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.widgets import UnfoldAdminSelectWidget

from config.core import clock
from config.core.console import ConsoleAdmin
from quotes.models import Instrument
from trading.models import PayoutRate, Terms

SPANS = {"1h": timedelta(hours=1), "24h": timedelta(days=1), "7d": timedelta(days=7)}
WORDS = {"1h": "hour", "24h": "24 hours", "7d": "7 days"}
SPAN = "24h"
MINUTE = timedelta(minutes=1)
# Beat writes a row a minute at most; so many more may be of people.
BY_HAND = 200
SHOWN_CHANGES = 100
# The drawing's own units; the page stretches them.
WIDTH, HEIGHT = 1000, 240
SLICES = 200
X_LABELS = 4


class ChartForm(forms.Form):
    """The instrument to look at, and how far back."""

    instrument = forms.ModelChoiceField(
        Instrument.objects.order_by("symbol"),
        to_field_name="symbol",
        required=False,
        empty_label=None,
        widget=UnfoldAdminSelectWidget,
    )
    span = forms.ChoiceField(
        choices=list(WORDS.items()), label="The last", required=False, widget=UnfoldAdminSelectWidget
    )


@dataclass(frozen=True, slots=True)
class Rate:
    """A row of the history, in percent as it is shown; what a fixed rate does not rest on is empty."""

    at: datetime
    rate: Decimal
    reason: str
    by: str
    exact: str
    probability: str
    orders: str
    skew: str
    cut: str

    @property
    def percent(self) -> str:
        """The rate as it is shown."""
        return in_percent(self.rate)

    @property
    def words(self) -> str:
        """Everything about it in a line."""
        inputs = [
            f"probability {self.probability} from {self.orders} effective orders" if self.probability else "",
            f"{self.skew} less for the fuller side" if self.skew else "",
            f"cut by {self.cut}" if self.cut else "",
            f"set by {self.by}" if self.by else "",
        ]
        said = "; ".join(filter(None, [self.reason, *inputs]))
        return f"{self.at:%Y-%m-%d %H:%M:%S} UTC: {self.percent}, {said}"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a version of the terms allows, from an instant on."""

    at: datetime
    low: Decimal
    high: Decimal

    @property
    def words(self) -> str:
        """Both, as they are shown."""
        return f"{in_percent(self.low)} to {in_percent(self.high)}"


def chart(admin: ConsoleAdmin, request: HttpRequest, instrument: Instrument | None = None) -> HttpResponse:
    """Show an instrument's rate over a span that ends now; without an instrument the one asked for."""
    form = ChartForm(request.GET or None)
    given = form.cleaned_data if form.is_valid() else {}
    instrument = instrument or given.get("instrument") or Instrument.objects.order_by("symbol").first()
    span = given.get("span") or SPAN
    if not form.errors:
        form = ChartForm(initial={"instrument": instrument and instrument.symbol, "span": span})
    context = {
        **admin.admin_site.each_context(request),
        "title": f"{instrument}: payout rate" if instrument else "Payout rate",
        "opts": admin.opts,
        "form": form,
        "address": reverse("admin:trading_payoutrate_chart"),
        "instrument": instrument,
        "span_words": WORDS[span],
        **(history(instrument, SPANS[span]) if instrument else {}),
    }
    return TemplateResponse(request, "console/payouts.html", context)


def history(instrument: Instrument, span: timedelta) -> dict[str, Any]:
    """Read what an instrument paid over a span that ends now; nothing when it never had a rate."""
    end = clock.now()
    start = end - span
    rates = _rates(instrument, start, span // MINUTE + BY_HAND)
    if not rates:
        return {}
    terms = Terms.objects.filter(instrument=instrument).order_by("version")
    bounds = [Bounds(*row) for row in terms.values_list("created_at", "min_rate", "max_rate")]
    changes = [each for before, each in pairwise(rates) if each.rate != before.rate]
    return {
        "start": start,
        "end": end,
        "now_rate": rates[-1],
        "bounds": bounds[-1] if bounds else None,
        "changes": changes[: -SHOWN_CHANGES - 1 : -1],
        "change_count": len(changes),
        "chart": _drawn(rates, bounds, start, end),
    }


def _rates(instrument: Instrument, start: datetime, most: int) -> list[Rate]:
    """Return the rows of the span, oldest first, led by the one in force where it starts."""
    rows = PayoutRate.objects.filter(instrument=instrument).order_by("-id")
    found = []
    for row in rows.values_list("set_at", "rate", "reason", "set_by__email", "inputs")[:most]:
        found.append(_rate(*row))
        if row[0] <= start:
            break
    return found[::-1]


def _rate(at: datetime, rate: Decimal, reason: str, by: str | None, inputs: dict[str, Any]) -> Rate:
    exact, probability, skew, cut = (
        in_percent(Decimal(inputs[name]), places) if name in inputs else ""
        for name, places in (("exact", 2), ("probability", 2), ("skew", 2), ("cut", 0))
    )
    orders = f"{Decimal(inputs['effective_orders']):.1f}" if "effective_orders" in inputs else ""
    return Rate(at, rate, reason, by or "", exact, probability, orders, skew, cut)


def in_percent(part: Decimal, places: int = 0) -> str:
    """Write a part of one in percent, with so many decimals, or with those it has."""
    whole = (part * 100).normalize()
    return f"{whole:.{places}f} %" if places else f"{whole:f} %"


# --- the drawing --------------------------------------------------------------------------------------


def _drawn(rates: Sequence[Rate], bounds: Sequence[Bounds], start: datetime, end: datetime) -> dict[str, Any]:
    """Return the paths and labels of the chart; places of labels in percent of its width and height."""
    values = [each.rate for each in rates]
    standing = [each.at for each in bounds if each.at <= start][-1:]
    shown = [each for each in bounds if not standing or each.at >= standing[0]]
    values += [value for each in shown for value in (each.low, each.high)]
    step = Decimal("0.1") if max(values) - min(values) > Decimal("0.2") else Decimal("0.05")
    low = min(values) // step * step
    steps = max(1, int(((max(values) - low) / step).to_integral_value(ROUND_CEILING)))
    high = low + step * steps

    def x(at: datetime) -> float:
        return round(max(0.0, (at - start) / (end - start)) * WIDTH, 2)

    def y(value: Decimal) -> float:
        return round(float((high - value) / (high - low)) * HEIGHT, 2)

    lines = [low + step * number for number in range(steps + 1)]
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "rate": _steps([(x(each.at), y(each.rate)) for each in rates]),
        "low": _steps([(x(each.at), y(each.low)) for each in shown]),
        "high": _steps([(x(each.at), y(each.high)) for each in shown]),
        "lines": [(y(line), round(y(line) / HEIGHT * 100, 2), in_percent(line)) for line in lines],
        "times": [
            (round(place * 100 / X_LABELS), start + (end - start) * place / X_LABELS)
            for place in range(X_LABELS + 1)
        ],
        "zones": _zones([(x(each.at), each.words) for each in rates]),
    }


def _steps(points: Sequence[tuple[float, float]]) -> str:
    """Return the path of values that stand until the next, the last one to the right edge."""
    path, last = "", None
    for across, place in points:
        if last is None:
            path = f"M{across:g} {place:g}"
        elif place != last:
            path += f"H{across:g}V{place:g}"
        last = place
    return f"{path}H{WIDTH}" if path else ""


def _zones(rows: Sequence[tuple[float, str]]) -> list[tuple[float, float, str]]:
    """Return where the pointer finds which words, as left, width and words: of a slice its last row's."""
    last = {int(across * SLICES / WIDTH): (across, words) for across, words in rows}
    edges = [0.0, *[across for across, _ in last.values()][1:], float(WIDTH)]
    return [
        (left, round(right - left, 2), words)
        for (left, right), (_, words) in zip(pairwise(edges), last.values(), strict=True)
    ]
