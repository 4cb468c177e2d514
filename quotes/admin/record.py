"""The record in the console: gaps, archived days, comparisons of candles, seeds of simulations."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.decorators import display

from config.core.console import ReadOnlyAdmin
from quotes.admin.parts import RecordInline, hash_words, ticks_link
from quotes.models import CandleCheck, Gap, RecordDay, RecordPart, SimulationHour, SimulationRun

LONGEST_LOOK_SECONDS = 600
SHORTEST_LOOK_SECONDS = 10


@admin.register(Gap)
class GapAdmin(ReadOnlyAdmin):
    """Stretches without provable prices."""

    list_display = ("instrument", "starts_at", "ends_at", "length", "reason", "recorded_at", "look")
    list_filter = ("reason", "instrument")
    list_select_related = ("instrument",)
    ordering = ("-id",)
    fields = ("instrument", "starts_at", "ends_at", "length", "reason", "recorded_at", "look")
    readonly_fields = ("length", "look")

    @display(description="Length")
    def length(self, gap: Gap) -> str:
        """Show how long it is."""
        return f"{(gap.ends_at - gap.starts_at).total_seconds():,.3f} s"

    @display(description="Ticks around it")
    def look(self, gap: Gap) -> Any:
        """Link to the ticks around it, wide enough to show both ends where that is possible."""
        length = gap.ends_at - gap.starts_at
        is_short = length.total_seconds() < LONGEST_LOOK_SECONDS
        span = min(LONGEST_LOOK_SECONDS, max(SHORTEST_LOOK_SECONDS, round(3 * length.total_seconds())))
        middle = gap.starts_at + length / 2 if is_short else gap.starts_at
        return ticks_link(gap.instrument_id, middle, "Look", span)


@admin.register(CandleCheck)
class CandleCheckAdmin(ReadOnlyAdmin):
    """Nightly comparisons of stored candles with their ticks, and what they repaired."""

    list_display = ("day", "instrument", "candles", "found", "checked_at")
    list_filter = ("instrument",)
    list_select_related = ("instrument",)
    fields = ("day", "instrument", "candles", "repaired", "checked_at")
    readonly_fields = fields

    @display(description="Repaired", label={"none": "success", "some": "danger"})
    def found(self, check: CandleCheck) -> tuple[str, str]:
        """Show how many candles were other than their ticks."""
        count = len(check.repaired)
        return ("some", f"{count}") if count else ("none", "none")


class RecordPartInline(RecordInline):
    model = RecordPart
    fields = readonly_fields = (
        "instrument",
        "ticks",
        "first_at",
        "last_at",
        "chain_head",
        "file",
        "file_bytes",
    )

    @display(description="Head of the chain")
    def chain_head(self, part: RecordPart) -> SafeString:
        """Show the last hash of the chain."""
        return hash_words(part.head)

    def get_queryset(self, request: HttpRequest) -> QuerySet[RecordPart]:
        """Bring the instruments along."""
        return super().get_queryset(request).select_related("instrument")


@admin.register(RecordDay)
class RecordDayAdmin(ReadOnlyAdmin):
    """Days of the record that were archived, and the hash that stands for each."""

    list_display = ("day", "root_hash", "is_backfilled", "sealed_at", "dropped_at")
    list_filter = ("is_backfilled",)
    fields = ("day", "root_hash", "is_backfilled", "sealed_at", "dropped_at")
    readonly_fields = fields
    inlines = (RecordPartInline,)

    @display(description="Root")
    def root_hash(self, day: RecordDay) -> SafeString:
        """Show the hash in hexadecimal, as it is published."""
        return hash_words(day.root)


@admin.register(RecordPart)
class RecordPartAdmin(ReadOnlyAdmin):
    """Files of the archive: an instrument's day each."""

    list_display = ("day", "instrument", "ticks", "first_at", "last_at", "file", "size")
    list_filter = ("instrument",)
    list_select_related = ("day", "instrument")
    ordering = ("-day", "instrument_id")
    fields = (
        "day",
        "instrument",
        "ticks",
        ("first_seq", "last_seq"),
        ("first_at", "last_at"),
        "chain_head",
        "file",
        "size",
        "file_hash",
    )
    readonly_fields = ("chain_head", "size", "file_hash")

    @display(description="Head of the chain")
    def chain_head(self, part: RecordPart) -> SafeString:
        """Show the last hash of the chain."""
        return hash_words(part.head)

    @display(description="SHA-256 of the file")
    def file_hash(self, part: RecordPart) -> SafeString:
        """Show what the file must hash to."""
        return hash_words(part.file_sha256)

    @display(description="Size")
    def size(self, part: RecordPart) -> str:
        """Show the length of the file, and what a tick takes in it."""
        each = part.file_bytes / part.ticks if part.ticks else 0
        return f"{part.file_bytes:,} bytes, {each:.1f} a tick"


class SimulationRunInline(RecordInline):
    model = SimulationRun
    fields = readonly_fields = (
        "number",
        "started_at",
        "start_price",
        "volatility",
        "interval_ms",
        "price_decimals",
    )


@admin.register(SimulationHour)
class SimulationHourAdmin(ReadOnlyAdmin):
    """Hours of simulated instruments: the hash before, the seed after; nobody reads one ahead of time."""

    list_display = ("instrument", "hour", "standing", "commitment", "committed_at", "revealed_at")
    list_filter = ("instrument",)
    list_select_related = ("instrument",)
    ordering = ("-id",)
    fields = ("instrument", "hour", "commitment", "seed", "committed_at", "revealed_at")
    readonly_fields = fields
    inlines = (SimulationRunInline,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[SimulationHour]:
        """Leave the sealed seed where it is."""
        return super().get_queryset(request).defer("sealed_seed")

    @display(description="Seed", label={"sealed": "info", "revealed": "success"})
    def standing(self, hour: SimulationHour) -> str:
        """Say in a word whether the seed is public."""
        return "revealed" if hour.revealed_at else "sealed"
