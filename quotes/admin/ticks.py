"""The tick inspector: what the record says around an instant, and what it cannot say."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from django import forms
from django.db.models import Sum
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from config.core import clock
from config.core.errors import DomainError
from quotes import rules, selectors
from quotes.admin import voids
from quotes.admin.parts import ticks_url
from quotes.models import Candle, Gap, Instrument, RecordDay, RecordPart, Tick

SPANS = {10: "10 s", 30: "30 s", 60: "1 min", 120: "2 min", 300: "5 min", 600: "10 min"}
SPAN_SECONDS = 60
CANDLE_SECONDS = 5
MOST_TICKS = 10_000
MOST_ROWS = 400
MOST_GAPS = 200
INSTANT = timedelta(microseconds=1)
EARLIEST, LATEST = datetime(1990, 1, 1, tzinfo=UTC), datetime(2190, 1, 1, tzinfo=UTC)


class Row(NamedTuple):
    """A tick of the record; a late one changes no outcome."""

    at: datetime
    seq: int
    price: str
    is_late: bool
    # In force at the instant looked at.
    is_chosen: bool
    # What came of asking that it be voided, and where to ask.
    voided: str = ""
    void_url: str = ""


class Stretch(NamedTuple):
    """A part of the window in which there is no price, and why."""

    starts_at: datetime
    ends_at: datetime
    words: str


class WindowForm(forms.Form):
    """The instant to look at, and how much around it."""

    at = forms.DateTimeField(
        label="Instant (UTC)",
        required=False,
        widget=UnfoldAdminTextInputWidget(
            attrs={"autocomplete": "off", "placeholder": "2030-03-05 12:00:00.250"}
        ),
    )
    span = forms.IntegerField(
        label="Span",
        required=False,
        min_value=min(SPANS),
        max_value=max(SPANS),
        widget=UnfoldAdminSelectWidget(choices=list(SPANS.items())),
    )

    def clean_at(self) -> datetime | None:
        """Keep to instants a record can have."""
        at: datetime | None = self.cleaned_data["at"]
        if at is not None and not EARLIEST <= at <= LATEST:
            raise forms.ValidationError("There is no record of that time.")
        return at


def inspect(admin: Any, request: HttpRequest, object_id: str) -> HttpResponse:
    """Show the ticks, candles, gaps and closed hours around an instant."""
    if not object_id.isdecimal():
        raise Http404
    instrument = get_object_or_404(Instrument.objects.select_related("watermark"), pk=object_id)
    form = WindowForm(request.GET or None)
    given = form.cleaned_data if form.is_valid() else {}
    at = given.get("at") or instrument.watermark.last_at or clock.now()
    span = given.get("span") or SPAN_SECONDS
    if not form.errors:
        form = WindowForm(initial={"at": clock.iso(at), "span": span})
        form.fields["span"].widget.choices = sorted({**SPANS, span: SPANS.get(span, f"{span} s")}.items())
    context = {
        **admin.admin_site.each_context(request),
        "title": f"{instrument}: ticks",
        "opts": admin.opts,
        "instrument": instrument,
        "form": form,
        "span_words": SPANS.get(span, f"{span} s"),
        "earlier": ticks_url(instrument.pk, at - timedelta(seconds=span), span),
        "later": ticks_url(instrument.pk, at + timedelta(seconds=span), span),
        "newest": ticks_url(instrument.pk, instrument.watermark.last_at or clock.now(), span),
        **window(instrument, at, timedelta(seconds=span)),
    }
    context["rows"] = voids.marked(instrument, context["rows"], may_request=voids.may_request(request))
    return TemplateResponse(request, "console/ticks.html", context)


def window(instrument: Instrument, at: datetime, span: timedelta) -> dict[str, Any]:
    """Read the record of an instrument around an instant: `span` in all, half on either side."""
    start, end = at - span / 2, at + span / 2
    points, standing, is_cut, refusal = _read(instrument, at, start, end)
    lates = _late(instrument, start, end)
    gaps = _gaps(instrument, start, end)
    closed = _closed(instrument, start, end)
    candles = _candles(instrument, start, end)
    in_gap = next((each for each in gaps if each.starts_at < at <= each.ends_at), None)
    return {
        "at": at,
        "start": start,
        "end": end,
        "standing": standing and _row(instrument, standing, is_late=False, is_chosen=True),
        "standing_age": standing and at - standing.at,
        "in_gap": in_gap,
        "count": len(points),
        "late_count": len(lates),
        "is_cut": is_cut,
        "rows": _rows(instrument, points, lates, at, None if in_gap else standing),
        "gaps": gaps,
        "closed": closed,
        "candles": [selectors.candle_row(each, instrument.price_decimals) for each in candles],
        "notes": _notes(instrument, start, end),
        "refusal": refusal,
        "chart": _chart(instrument, at, start, end, points, lates, gaps, closed, candles),
    }


def _read(
    instrument: Instrument, at: datetime, start: datetime, end: datetime
) -> tuple[list[selectors.TickPoint], selectors.TickPoint | None, bool, str]:
    """Return the window's ticks, the one in force at the instant, whether more exist, and why none do."""
    most = min(_most(instrument, start, end), MOST_TICKS)
    try:
        found = selectors.ticks_page(instrument, end + INSTANT, most) if most else []
        standing = next(iter(selectors.ticks_page(instrument, at + INSTANT, 1)), None)
    except DomainError as refusal:
        return [], None, False, refusal.detail
    return [each for each in found if each.at >= start], standing, _is_cut(found, start), ""


def _is_cut(found: Sequence[selectors.TickPoint], start: datetime) -> bool:
    return len(found) == MOST_TICKS and found[0].at > start


def _most(instrument: Instrument, start: datetime, end: datetime) -> int:
    """Return how many ticks the window holds at most, so that no more of the record is read than that."""
    candles = Candle.objects.filter(
        instrument=instrument,
        interval_seconds=CANDLE_SECONDS,
        start__gte=rules.bucket_start(start, CANDLE_SECONDS),
        start__lte=end,
    )
    if counted := candles.aggregate(ticks=Sum("ticks"))["ticks"]:
        return int(counted)
    # A day that was never the feed's has files alone.
    archived = RecordPart.objects.filter(instrument=instrument, first_at__lte=end, last_at__gte=start)
    return MOST_TICKS if archived.exists() else 0


def _row(instrument: Instrument, point: selectors.TickPoint, *, is_late: bool, is_chosen: bool) -> Row:
    return Row(point.at, point.seq, f"{point.price:.{instrument.price_decimals}f}", is_late, is_chosen)


def _rows(
    instrument: Instrument,
    points: Sequence[selectors.TickPoint],
    lates: Sequence[selectors.TickPoint],
    at: datetime,
    standing: selectors.TickPoint | None,
) -> list[Row]:
    """Return the ticks nearest to the instant, newest first, late ones where their instant is."""
    merged = [(each, False) for each in points] + [(each, True) for each in lates]
    nearest = sorted(merged, key=lambda each: abs(each[0].at - at))[:MOST_ROWS]
    ordered = sorted(nearest, key=lambda each: (each[0].at, each[0].seq), reverse=True)
    return [
        _row(instrument, point, is_late=is_late, is_chosen=not is_late and point == standing)
        for point, is_late in ordered
    ]


def _late(instrument: Instrument, start: datetime, end: datetime) -> list[selectors.TickPoint]:
    rows = Tick.objects.filter(instrument=instrument, at__gte=start, at__lte=end, is_late=True)
    ordered = rows.order_by("at", "-seq").values_list("at", "seq", "price")
    return [selectors.TickPoint(*row) for row in ordered[:MOST_ROWS]]


def _gaps(instrument: Instrument, start: datetime, end: datetime) -> list[Stretch]:
    rows = Gap.objects.filter(instrument=instrument, ends_at__gt=start, starts_at__lt=end)
    return [
        Stretch(each.starts_at, each.ends_at, each.reason.replace("_", " "))
        for each in rows.order_by("ends_at")[:MOST_GAPS]
    ]


def _closed(instrument: Instrument, start: datetime, end: datetime) -> list[Stretch]:
    """Return the parts of the window outside the trading hours."""
    schedule = selectors.calendars_of([instrument.pk])[instrument.pk]
    found, at = [], start
    while at < end:
        if rules.is_open(schedule, at):
            at = rules.open_until(schedule, at) or end
            continue
        opens = min(rules.next_open(schedule, at) or end, end)
        found.append(Stretch(at, opens, "closed"))
        at = opens
    return found


def _candles(instrument: Instrument, start: datetime, end: datetime) -> list[selectors.CandleView]:
    first = rules.bucket_start(start, CANDLE_SECONDS)
    most = int((end - first).total_seconds()) // CANDLE_SECONDS + 1
    page = selectors.candles_page(instrument, CANDLE_SECONDS, end, most)
    return [each for each in page if each.start >= first]


def _notes(instrument: Instrument, start: datetime, end: datetime) -> list[str]:
    """Say what of the window is not in the database, and why there may be nothing."""
    said = []
    days = {start.date(), end.date()}
    for day in RecordDay.objects.filter(day__in=days, dropped_at__isnull=False).order_by("day"):
        said.append(
            f"{day.day} was archived at {day.sealed_at:%Y-%m-%d %H:%M} UTC and its ticks have left the "
            "database: they are read from the archive."
        )
    if start > instrument.watermark.at:
        ahead = start > clock.now()
        said.append(
            "This time has not come yet."
            if ahead
            else "The record has not come to this time: the feed is behind."
        )
    elif end > instrument.watermark.at:
        said.append(
            f"The record is complete up to {clock.iso(instrument.watermark.at)}; later ticks may follow."
        )
    if instrument.watermark.last_at is None:
        said.append("This instrument has no tick yet.")
    return said


def _chart(
    instrument: Instrument,
    at: datetime,
    start: datetime,
    end: datetime,
    points: Sequence[selectors.TickPoint],
    lates: Sequence[selectors.TickPoint],
    gaps: Sequence[Stretch],
    closed: Sequence[Stretch],
    candles: Sequence[selectors.CandleView],
) -> dict[str, Any]:
    """Return what the chart draws; instants in milliseconds of the epoch. It shows, and decides nothing."""

    def ms(instant: datetime) -> float:
        return round(instant.timestamp() * 1000, 3)

    def inside(stretches: Sequence[Stretch]) -> list[tuple[float, float]]:
        return [(ms(max(each.starts_at, start)), ms(min(each.ends_at, end))) for each in stretches]

    return {
        "decimals": instrument.price_decimals,
        "at": ms(at),
        "start": ms(start),
        "end": ms(end),
        "ticks": [(ms(each.at), float(each.price)) for each in points],
        "late": [(ms(each.at), float(each.price)) for each in lates],
        "gaps": inside(gaps),
        "closed": inside(closed),
        "candles": [
            (ms(each.start), *map(float, (each.open, each.high, each.low, each.close))) for each in candles
        ],
    }
