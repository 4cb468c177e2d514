"""Instruments and orders over REST."""

import re
from datetime import datetime
from typing import Any, TypeVar, cast
from uuid import UUID

import msgspec
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from config.core.errors import Invalid
from config.core.http import ApiView, idempotency_key, instant, page, whole_number
from config.core.throttle import Limit
from kyc.tokens import Claims
from quotes import selectors as market
from quotes.errors import UnknownInstrument
from trading import selectors
from trading.models import Order
from trading.rules import Price
from trading.services import PlaceOrder, place_order

S = TypeVar("S", bound=msgspec.Struct)


class TickOutput(serializers.Serializer[Any]):
    at = serializers.DateTimeField()
    seq = serializers.IntegerField()
    price = serializers.CharField()


class CandleOutput(serializers.Serializer[Any]):
    start = serializers.DateTimeField()
    open = serializers.CharField()
    high = serializers.CharField()
    low = serializers.CharField()
    close = serializers.CharField()
    ticks = serializers.IntegerField()
    is_forming = serializers.BooleanField()
    last_seq = serializers.IntegerField()


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
    contracts = serializers.ListField(child=serializers.CharField())
    last = TickOutput(allow_null=True)

    def get_fields(self) -> dict[str, Any]:
        fields = super().get_fields()
        return {"class": serializers.CharField(), **fields}  # a keyword cannot be declared


class OrderOutput(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    client_id = serializers.CharField()
    account = serializers.IntegerField()
    symbol = serializers.CharField()
    contract = serializers.CharField()
    side = serializers.CharField()
    stake = serializers.CharField()
    currency = serializers.CharField()
    payout_rate = serializers.CharField()
    status = serializers.ChoiceField(Order.Status.choices)
    refund_reason = serializers.ChoiceField(Order.RefundReason.choices, allow_null=True)
    accepted_at = serializers.DateTimeField()
    entry_after = serializers.DateTimeField(allow_null=True)
    duration_seconds = serializers.IntegerField(allow_null=True)
    expires_at = serializers.DateTimeField()
    entry = TickOutput(allow_null=True)
    exit = TickOutput(allow_null=True)
    payout = serializers.CharField(allow_null=True)
    closed_at = serializers.DateTimeField(allow_null=True)
    terms = serializers.IntegerField()


def listed(output: type[serializers.Serializer[Any]]) -> type[serializers.Serializer[Any]]:
    """Return the serializer of a page of `output`, for the API's description."""
    name = output.__name__.removesuffix("Output")
    return type(
        f"{name}PageOutput",
        (serializers.Serializer,),
        {"results": output(many=True), "next": serializers.CharField(allow_null=True)},
    )


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
_LIMIT = OpenApiParameter("limit", int)


class TicksView(ApiView):
    """The platform's own record of an instrument's prices."""

    permission_classes = [AllowAny]

    @extend_schema(
        operation_id="list_ticks", parameters=[_END, _CURSOR, _LIMIT], responses=listed(TickOutput)
    )
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
        parameters=[OpenApiParameter("interval", int, description="Seconds."), _END, _CURSOR, _LIMIT],
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
        found = market.candles_page(instrument, interval, page_end(request), limit)
        candles = [market.candle_row(candle, instrument.price_decimals) for candle in found]
        return Response({"results": candles, "next": candles[0]["start"] if len(found) == limit else None})


def page_end(request: Request) -> datetime | None:
    """Return the instant before which a page of the past ends, by either of its names; raise Invalid."""
    query = request.query_params
    if "end" in query and "cursor" in query:
        raise Invalid(errors={"cursor": ["Send either this or end."]})
    return instant(request, "cursor" if "cursor" in query else "end")


class OrdersView(ApiView):
    """Place an order, list one's orders."""

    placing = Limit("orders", per_second=20, burst=60, fail_closed=True)

    @property
    def throttle(self) -> Limit | tuple[Limit, ...]:  # type: ignore[override]
        """Reading one's orders neither uses up what placing may take nor fails when Redis is away."""
        return self.placing if self.request.method == "POST" else ApiView.throttle

    @property
    def checks_person_itself(self) -> bool:
        """Placing reads the person, his restrictions and his sign-in together with all else it needs."""
        return self.request.method == "POST"

    class Input(msgspec.Struct, forbid_unknown_fields=True):
        """The order asked for; `client_id` may travel as the header Idempotency-Key instead."""

        account: int
        symbol: str
        contract: str
        side: str
        stake: str
        client_id: str | None = None
        duration_seconds: int | None = None
        expires_at: datetime | None = None
        min_payout_rate: str | None = None
        price: str | None = None
        max_slippage: str | None = None
        duration_ticks: int | None = None
        barrier: str | None = None
        low: str | None = None
        high: str | None = None
        digit: int | None = None

    @extend_schema(
        operation_id="place_order",
        request={"application/json": msgspec.json.schema(Input)["$defs"]["Input"]},
        parameters=[OpenApiParameter("Idempotency-Key", str, OpenApiParameter.HEADER)],
        responses={201: OrderOutput, 200: OrderOutput},
    )
    def post(self, request: Request) -> Response:
        """Accept an order or refuse it; a repeat of its client_id answers 200 with the first result."""
        asked = read(self.Input, request.data)
        command = PlaceOrder(
            client_id=idempotency_key(request, asked.client_id),
            account=asked.account,
            symbol=asked.symbol,
            contract=asked.contract,
            side=asked.side,
            stake=asked.stake,
            duration_seconds=asked.duration_seconds,
            expires_at=asked.expires_at,
            min_payout_rate=asked.min_payout_rate,
            price=asked.price,
            max_slippage=asked.max_slippage,
            duration_ticks=asked.duration_ticks,
            barrier=asked.barrier,
            low=asked.low,
            high=asked.high,
            digit=asked.digit,
        )
        sign_in = request.auth.family if isinstance(request.auth, Claims) else None
        placed = place_order(customer_id=_customer_id(request), command=command, sign_in=sign_in)
        if placed.is_replayed:
            return Response(placed.order, headers={"Idempotency-Replayed": "true"})
        return Response(placed.order, status=201)

    @extend_schema(
        operation_id="list_orders",
        parameters=[
            OpenApiParameter("account", int),
            OpenApiParameter("status", str, description="open, closed, or one final status."),
            OpenApiParameter("client_id", str),
            OpenApiParameter("cursor", str),
            _LIMIT,
        ],
        responses=listed(OrderOutput),
    )
    def get(self, request: Request) -> Response:
        """List one's orders, newest first."""
        query = request.query_params
        status = query.get("status")
        if status not in (None, "closed", *Order.Status.values):
            raise Invalid(errors={"status": [f"One of closed, {', '.join(Order.Status.values)}."]})
        client_id = query.get("client_id")
        if client_id is not None and "\x00" in client_id:
            raise Invalid(errors={"client_id": ["No order has such a key."]})
        accounts = (
            [whole_number(request, "account", default=0, least=1, most=10**9)] if "account" in query else []
        )
        orders = selectors.orders_of(
            _customer_id(request),
            accounts=accounts,
            status=status,
            client_id=client_id,
        )
        return Response(page(orders, request, selectors.view_of))


class OrderView(ApiView):
    """One order."""

    @extend_schema(operation_id="get_order", responses=OrderOutput)
    def get(self, request: Request, order_id: UUID) -> Response:
        """Return one of one's orders, open or closed."""
        return Response(selectors.order_of(_customer_id(request), order_id))


def _customer_id(request: Request) -> int:
    return cast(int, request.user.pk)  # the view lets nobody in who has none


def read(shape: type[S], data: Any) -> S:
    """Read a command's body into its shape; raise Invalid naming the field that does not fit."""
    try:
        return msgspec.convert(data, shape)
    except msgspec.ValidationError as refused:
        path = re.search(r"at `\$\.(\w+)`|field `(\w+)`", str(refused))
        field = next(filter(None, path.groups())) if path else "non_field_errors"
        what = str(refused).partition(" - at ")[0]
        raise Invalid(f"{field}: {what}.", errors={field: [what]}) from None
