"""What is read of the public record: sealed days and their parts, and the ticks that were voided."""

from datetime import date
from decimal import Decimal
from typing import Any

from django.db.models import Count, Prefetch, QuerySet, Sum

from config.core import clock
from config.core.errors import Missing
from quotes.models import RecordDay, RecordPart, VoidedTick


def sealed_days() -> QuerySet[RecordDay]:
    """Return the sealed days with `ticks` and `instruments` counted."""
    return RecordDay.objects.annotate(ticks=Sum("parts__ticks"), instruments=Count("parts"))


def sealed_day(text: str) -> RecordDay:
    """Return a sealed day, written 2030-01-31, with its parts by symbol; raise Missing."""
    parts = Prefetch("parts", RecordPart.objects.select_related("instrument").order_by("instrument__symbol"))
    found = sealed_days().prefetch_related(parts).filter(pk=day_of(text)).first()
    if found is None:
        raise Missing(f"The day {text} is not sealed.")
    return found


def sealed_part(text: str, symbol: str) -> RecordPart:
    """Return an instrument's part of a sealed day; raise Missing."""
    for part in sealed_day(text).parts.all():
        if part.instrument.symbol == symbol:
            return part
    raise Missing(f"The record of {text} has no {symbol}.")


def day_of(text: str) -> date:
    """Read a day, written 2030-01-31; raise Missing."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = None
    # One address a day: the shorter forms of ISO 8601 are none of ours.
    if day is None or day.isoformat() != text:
        raise Missing(f"{text} is not a day like 2030-01-31.")
    return day


def voided_ticks() -> QuerySet[VoidedTick]:
    """Return the voided ticks, the last decided first, with their instruments."""
    approved = VoidedTick.objects.filter(state=VoidedTick.State.APPROVED)
    return approved.select_related("instrument").order_by("-decided_at")


def voided_row(voided: VoidedTick) -> dict[str, Any]:
    """Write a voided tick, or the request for it, as everybody may see it: without the names of people."""
    return {
        "symbol": voided.instrument.symbol,
        "at": clock.iso(voided.at),
        "seq": voided.seq,
        "price": f"{voided.price:.{voided.instrument.price_decimals}f}",
        "independent_prices": voided.independent_prices,
        "deviation": f"{voided.deviation:f}",
        "limit": f"{voided.limit.normalize():f}",
        "reason": voided.reason,
        "decided_at": voided.decided_at and clock.iso(voided.decided_at),
    }


def in_percent(part: Decimal) -> str:
    """Write a part of one in percent, whole."""
    return f"{(part * 100).normalize():f} %"
