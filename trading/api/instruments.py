"""Instruments over REST: what can be bought, and the record of their prices."""

from datetime import datetime
from typing import Any

import orjson
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from config.core.errors import Invalid
from config.core.http import ApiView, instant, whole_number
from quotes import selectors as market
from quotes.errors import UnknownInstrument
from trading import selectors
from trading.api.parts import LIMIT, TickOutput, listed
from trading.rules import Price


class CandleOutput(serializers.Serializer[Any]):
    start = serializers.DateTimeField()
    open = serializers.CharField()
    high = serializers.CharField()
    low = serializers.CharField()
    close = serializers.CharField()
    ticks = serializers.IntegerField()
    is_forming = serializers.BooleanField()
    last_seq = serializers.IntegerField()


class OfferOutput(serializers.Serializer[Any]):
    contract = serializers.CharField()
    sides = serializers.ListField(child=serializers.CharField())
    takes = serializers.ListField(child=serializers.CharField(), help_text="barrier; low and high; digit.")
    lengths = serializers.ListField(child=serializers.CharField(), help_text="seconds, clock, ticks.")
    payout_rate = serializers.CharField(allow_null=True, help_text="Null: priced by probability; preview it.")
    min_payout_rate = serializers.CharField()
    max_payout_rate = serializers.CharField()


class CurbOutput(serializers.Serializer[Any]):
    effect = serializers.CharField(help_text="stop_orders, stop_sales, stop_all, or event: rise/fall alone.")
    book = serializers.CharField(allow_null=True, help_text="Null: accounts of every book.")
    contract = serializers.CharField(allow_null=True, help_text="Null: every contract.")
    starts_at = serializers.DateTimeField()
    ends_at = serializers.DateTimeField(allow_null=True, help_text="Null: until it is lifted.")


class InstrumentOutput(serializers.Serializer[Any]):
    symbol = serializers.CharField()
    name = serializers.CharField()
    price_decimals = serializers.IntegerField()
    is_open = serializers.BooleanField()
    is_suspended = serializers.BooleanField()
    opens_at = serializers.DateTimeField(allow_null=True)
    closes_at = serializers.DateTimeField(allow_null=True)
    is_simulated = serializers.BooleanField()
    payout_rate = serializers.CharField()
    tie_policy = serializers.CharField()
    entry_policy = serializers.CharField()
    entry_delay_ms = serializers.IntegerField()
    min_stake = serializers.CharField()
    max_stake = serializers.CharField()
    min_duration_seconds = serializers.IntegerField()
    max_duration_seconds = serializers.IntegerField()
    cutoff_seconds = serializers.IntegerField()
    max_quote_age_ms = serializers.IntegerField()
    min_duration_ticks = serializers.IntegerField()
    max_duration_ticks = serializers.IntegerField(help_text="0: orders counted in ticks are not offered.")
    max_tick_wait_seconds = serializers.IntegerField()
    offers_sale = serializers.BooleanField(help_text="Whether open orders are bought back early.")
    sell_cutoff_seconds = serializers.IntegerField()
    contracts = serializers.ListField(child=serializers.CharField())
    offers = OfferOutput(many=True)
    curbs = CurbOutput(many=True, help_text="What is held back, now or within a day.")
    last = TickOutput(allow_null=True)

    def get_fields(self) -> dict[str, Any]:
        fields = super().get_fields()
        return {"class": serializers.CharField(), **fields}  # a keyword cannot be declared


class InstrumentsView(ApiView):
    """What can be traded, at which payout, and when."""

    permission_classes = [AllowAny]

    @extend_schema(operation_id="list_instruments", responses=listed(InstrumentOutput))
    def get(self, request: Request) -> Response:
        """List the listed instruments with their payout, limits, session and last tick."""
        return Response({"results": selectors.instrument_rows(), "next": None})


class InstrumentView(ApiView):
    """One instrument."""

    permission_classes = [AllowAny]

    @extend_schema(operation_id="get_instrument", responses=InstrumentOutput)
    def get(self, request: Request, symbol: str) -> Response:
        """Return an instrument with its payout, limits, session and last tick."""
        rows = selectors.instrument_rows(symbol=symbol)
        if not rows:
            raise UnknownInstrument(f"There is no instrument {symbol}.", symbol=symbol)
        return Response(rows[0])


_END = OpenApiParameter("end", datetime, description="Only what is before this instant.")
_CURSOR = OpenApiParameter("cursor", datetime, description="Another name of `end`, as other lists have it.")


class TicksView(ApiView):
    """The platform's own record of an instrument's prices."""

    permission_classes = [AllowAny]

    @extend_schema(operation_id="list_ticks", parameters=[_END, _CURSOR, LIMIT], responses=listed(TickOutput))
    def get(self, request: Request, symbol: str) -> Response:
        """List ticks, oldest first, up to `end`; `next` is the `end` of the page before."""
        instrument = market.listed_instrument(symbol)
        limit = whole_number(request, "limit", default=500, least=1, most=5_000)
        found = market.ticks_page(instrument, page_end(request), limit)
        ticks = [selectors.tick_view(Price(*tick), instrument.price_decimals) for tick in found]
        return Response({"results": ticks, "next": ticks[0].at if len(ticks) == limit else None})


class CandlesView(ApiView):
    """Candles of an instrument."""

    permission_classes = [AllowAny]

    @extend_schema(
        operation_id="list_candles",
        parameters=[OpenApiParameter("interval", int, description="Seconds."), _END, _CURSOR, LIMIT],
        responses=listed(CandleOutput),
    )
    def get(self, request: Request, symbol: str) -> Response:
        """List candles, oldest first, that start before `end`; `next` is the `end` of the page before.

        A page is made of at most 50,000 stored candles (of 5 s up to 30 s, else of 60 s): 34 days, say.
        """
        instrument = market.listed_instrument(symbol)
        interval = whole_number(request, "interval", default=60, least=1, most=86_400)
        asked = whole_number(request, "limit", default=500, least=1, most=2_000)
        limit = market.candles_limit(interval, asked)
        written, count, start = market.written_candles(instrument, interval, page_end(request), limit)
        return Response({"results": orjson.Fragment(written), "next": start if count == limit else None})


def page_end(request: Request) -> datetime | None:
    """Return the instant before which a page of the past ends, by either of its names; raise Invalid."""
    query = request.query_params
    if "end" in query and "cursor" in query:
        raise Invalid(errors={"cursor": ["Send either this or end."]})
    return instant(request, "cursor" if "cursor" in query else "end")
