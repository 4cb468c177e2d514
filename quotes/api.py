"""The public record over REST: days, what each is made of, the files themselves, and voided ticks."""

from typing import Any

from django.http import StreamingHttpResponse
from django.urls import reverse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from config.core import clock
from config.core.http import ApiView, instant, page, whole_number
from config.core.throttle import Limit
from quotes import history, record, seeds, selectors
from quotes.models import RecordDay, RecordPart
from quotes.services.voiding import VOID_DEVIATION

PARQUET = "application/vnd.apache.parquet"


class SealedDayOutput(serializers.Serializer[Any]):
    day = serializers.DateField()
    root = serializers.CharField(help_text="SHA-256, hexadecimal.")  # type: ignore[assignment]
    ticks = serializers.IntegerField()
    instruments = serializers.IntegerField()
    is_backfilled = serializers.BooleanField(help_text="From a file, before the platform's own time.")
    sealed_at = serializers.DateTimeField()


class SealedPartOutput(serializers.Serializer[Any]):
    symbol = serializers.CharField()
    price_decimals = serializers.IntegerField()
    ticks = serializers.IntegerField(help_text="In the chain; the file has late ones besides.")
    first_at = serializers.DateTimeField()
    first_seq = serializers.IntegerField()
    last_at = serializers.DateTimeField()
    last_seq = serializers.IntegerField()
    head = serializers.CharField(help_text="SHA-256, hexadecimal.")
    file = serializers.CharField(help_text="Where to get it.")
    file_bytes = serializers.IntegerField()
    file_sha256 = serializers.CharField()


class SealedDayPageOutput(serializers.Serializer[Any]):
    results = SealedDayOutput(many=True)
    next = serializers.CharField(allow_null=True)


class SealedDayDetailOutput(SealedDayOutput):
    parts = SealedPartOutput(many=True)


def day_row(sealed: RecordDay) -> dict[str, Any]:
    """Write a sealed day as clients get it."""
    counted: Any = sealed
    return {
        "day": sealed.day.isoformat(),
        "root": bytes(sealed.root).hex(),
        "ticks": counted.ticks or 0,
        "instruments": counted.instruments,
        "is_backfilled": sealed.is_backfilled,
        "sealed_at": clock.iso(sealed.sealed_at),
    }


def part_row(part: RecordPart) -> dict[str, Any]:
    """Write an instrument's part of a day as clients get it."""
    symbol = part.instrument.symbol
    return {
        "symbol": symbol,
        "price_decimals": part.instrument.price_decimals,
        "ticks": part.ticks,
        "first_at": clock.iso(part.first_at),
        "first_seq": part.first_seq,
        "last_at": clock.iso(part.last_at),
        "last_seq": part.last_seq,
        "head": bytes(part.head).hex(),
        "file": reverse("api:record-file", args=[part.day_id.isoformat(), symbol]),
        "file_bytes": part.file_bytes,
        "file_sha256": bytes(part.file_sha256).hex(),
    }


class RecordView(ApiView):
    """The public record."""

    permission_classes = [AllowAny]

    @extend_schema(
        operation_id="list_record",
        parameters=[OpenApiParameter("cursor", str), OpenApiParameter("limit", int)],
        responses=SealedDayPageOutput,
    )
    def get(self, request: Request) -> Response:
        """List the sealed days, newest first, each with the root over all its ticks."""
        return Response(page(record.sealed_days(), request, day_row, by="day"))


class RecordDayView(ApiView):
    """One day of the public record."""

    permission_classes = [AllowAny]

    @extend_schema(operation_id="get_record_day", responses=SealedDayDetailOutput)
    def get(self, request: Request, day: str) -> Response:
        """Return a day's instruments: the head of each one's chain, and its file."""
        sealed = record.sealed_day(day)
        return Response({**day_row(sealed), "parts": [part_row(part) for part in sealed.parts.all()]})


class RecordFileView(ApiView):
    """A file of the public record."""

    permission_classes = [AllowAny]
    throttle = Limit("record-files", per_second=0.5, burst=20)

    @extend_schema(operation_id="get_record_file", responses={(200, PARQUET): OpenApiTypes.BINARY})
    def get(self, request: Request, day: str, symbol: str) -> StreamingHttpResponse:
        """Download an instrument's ticks of a day: `at`, `seq`, `price`, `is_late`, as they were sealed."""
        part = record.sealed_part(day, symbol)
        digest = bytes(part.file_sha256).hex()
        return StreamingHttpResponse(
            history.file_of(part),
            content_type=PARQUET,
            headers={
                "Content-Length": str(part.file_bytes),
                "Content-Disposition": f'attachment; filename="{symbol}-{day}.parquet"',
                "ETag": f'"{digest}"',
                "Cache-Control": "public, max-age=31536000, immutable",
            },
        )


class IndependentPriceOutput(serializers.Serializer[Any]):
    source = serializers.CharField()  # type: ignore[assignment]
    price = serializers.CharField()


class VoidedTickOutput(serializers.Serializer[Any]):
    symbol = serializers.CharField()
    at = serializers.DateTimeField()
    seq = serializers.IntegerField()
    price = serializers.CharField()
    independent_prices = IndependentPriceOutput(many=True)
    deviation = serializers.CharField(help_text="|price - median| / median of the independent prices.")
    limit = serializers.CharField(help_text="What it had to exceed when it was requested.")
    reason = serializers.CharField()
    decided_at = serializers.DateTimeField()


class VoidedTickPageOutput(serializers.Serializer[Any]):
    limit = serializers.CharField(help_text="What a deviation must exceed now.")
    results = VoidedTickOutput(many=True)
    next = serializers.CharField(allow_null=True)


class VoidedTicksView(ApiView):
    """Ticks that two operators voided: no order that closed later rests on them."""

    permission_classes = [AllowAny]

    @extend_schema(
        operation_id="list_voided_ticks",
        parameters=[
            OpenApiParameter("cursor", OpenApiTypes.DATETIME, description="`next` of the page before."),
            OpenApiParameter("limit", int, description="1 to 200; 50 without."),
        ],
        responses=VoidedTickPageOutput,
    )
    def get(self, request: Request) -> Response:
        """List the voided ticks, the last decided first, with the prices each was measured by."""
        limit, rows = whole_number(request, "limit", default=50, least=1, most=200), record.voided_ticks()
        if before := instant(request, "cursor"):
            rows = rows.filter(decided_at__lt=before)
        found = [record.voided_row(row) for row in rows[: limit + 1]]
        more = found[limit - 1]["decided_at"] if len(found) > limit else None
        return Response({"limit": f"{VOID_DEVIATION:f}", "results": found[:limit], "next": more})


class SimulationRunOutput(serializers.Serializer[Any]):
    number = serializers.IntegerField()
    started_at = serializers.DateTimeField()
    start_price = serializers.CharField()
    volatility = serializers.CharField()
    interval_ms = serializers.IntegerField()
    price_decimals = serializers.IntegerField()


class SimulationHourOutput(serializers.Serializer[Any]):
    hour = serializers.DateTimeField()
    commitment = serializers.CharField(help_text="SHA-256 of the seed; public before the first price.")
    committed_at = serializers.DateTimeField()
    seed = serializers.CharField(allow_null=True, help_text="Hexadecimal, once the hour is over.")
    revealed_at = serializers.DateTimeField(allow_null=True)
    runs = SimulationRunOutput(many=True)


class SimulationHourPageOutput(serializers.Serializer[Any]):
    results = SimulationHourOutput(many=True)
    next = serializers.CharField(allow_null=True)


class SeedsView(ApiView):
    """What the prices of a simulated instrument are made by."""

    permission_classes = [AllowAny]

    @extend_schema(
        operation_id="list_seeds",
        parameters=[
            OpenApiParameter("cursor", OpenApiTypes.DATETIME, description="`next` of the page before."),
            OpenApiParameter("limit", int, description="1 to 200; 100 without."),
        ],
        responses=SimulationHourPageOutput,
    )
    def get(self, request: Request, symbol: str) -> Response:
        """List the hours of a simulation, newest first: commitment, seed once revealed, and runs."""
        limit = whole_number(request, "limit", default=100, least=1, most=200)
        found = seeds.seed_rows(selectors.listed_instrument(symbol), instant(request, "cursor"), limit)
        return Response({"results": found, "next": found[-1]["hour"] if len(found) == limit else None})
