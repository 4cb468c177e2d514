"""Orders over REST: placed, previewed, listed, sold."""

from datetime import datetime
from typing import Any, cast
from uuid import UUID

import msgspec
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from config.core.errors import Invalid
from config.core.faults import faultpoint
from config.core.http import ApiView, idempotency_key, page, problem, whole_number
from config.core.throttle import Limit
from kyc.tokens import Claims
from trading import selectors
from trading.api.parts import LIMIT, TickOutput, listed, read
from trading.models import Order
from trading.services import PlaceOrder, place_order, preview_order, sale_offer, sell_order


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
    duration_ticks = serializers.IntegerField(required=False)
    barrier = serializers.CharField(required=False, help_text="As a price, once it is known.")
    low = serializers.CharField(required=False)
    high = serializers.CharField(required=False)
    distances = serializers.DictField(
        child=serializers.CharField(),
        required=False,
        help_text="Barriers agreed as distances from the entry.",
    )
    digit = serializers.IntegerField(required=False)


class PreviewOutput(serializers.Serializer[Any]):
    symbol = serializers.CharField()
    price = serializers.CharField(allow_null=True)
    currency = serializers.CharField()
    expires_at = serializers.DateTimeField(allow_null=True)
    payout_rate = serializers.CharField(allow_null=True)
    profit = serializers.CharField(allow_null=True)
    payout = serializers.CharField(allow_null=True)
    barrier = serializers.CharField(required=False)
    low = serializers.CharField(required=False)
    high = serializers.CharField(required=False)
    refusals = serializers.ListField(
        child=serializers.DictField(), help_text="What would refuse the order now, as problem documents."
    )


class OrderInput(msgspec.Struct, forbid_unknown_fields=True):
    """The order asked for; `client_id` may travel as the header Idempotency-Key instead.

    A barrier with a sign is a distance from the entry, without one a price.
    """

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

    def command(self, client_id: str) -> PlaceOrder:
        """Return it as the service takes it."""
        return PlaceOrder(
            client_id=client_id,
            account=self.account,
            symbol=self.symbol,
            contract=self.contract,
            side=self.side,
            stake=self.stake,
            duration_seconds=self.duration_seconds,
            expires_at=self.expires_at,
            min_payout_rate=self.min_payout_rate,
            price=self.price,
            max_slippage=self.max_slippage,
            duration_ticks=self.duration_ticks,
            barrier=self.barrier,
            low=self.low,
            high=self.high,
            digit=self.digit,
        )


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

    @extend_schema(
        operation_id="place_order",
        request={"application/json": msgspec.json.schema(OrderInput)["$defs"]["OrderInput"]},
        parameters=[OpenApiParameter("Idempotency-Key", str, OpenApiParameter.HEADER)],
        responses={201: OrderOutput, 200: OrderOutput},
    )
    def post(self, request: Request) -> Response:
        """Accept an order or refuse it; a repeat of its client_id answers 200 with the first result."""
        asked = read(OrderInput, request.data)
        command = asked.command(idempotency_key(request, asked.client_id))
        sign_in = request.auth.family if isinstance(request.auth, Claims) else None
        placed = place_order(customer_id=_customer_id(request), command=command, sign_in=sign_in)
        if placed.is_replayed:
            return Response(placed.order, headers={"Idempotency-Replayed": "true"})
        faultpoint("orders.before_answer")
        return Response(placed.order, status=201)

    @extend_schema(
        operation_id="list_orders",
        parameters=[
            OpenApiParameter("account", int),
            OpenApiParameter("status", str, description="open, closed, or one final status."),
            OpenApiParameter("client_id", str),
            OpenApiParameter("cursor", str),
            LIMIT,
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


class PreviewView(ApiView):
    """What an order would be, before it is placed."""

    @extend_schema(
        operation_id="preview_order",
        request={"application/json": msgspec.json.schema(OrderInput)["$defs"]["OrderInput"]},
        responses=PreviewOutput,
    )
    def post(self, request: Request) -> Response:
        """Price an order without placing it, and name everything that would refuse it."""
        command = read(OrderInput, request.data).command("preview")
        found = preview_order(customer_id=_customer_id(request), command=command)
        decimals, scale = found.price_decimals, found.scale
        return Response(
            {
                "symbol": found.symbol,
                "price": None if found.price is None else f"{found.price:.{decimals}f}",
                "currency": found.currency,
                "expires_at": found.expires_at,
                "payout_rate": None if found.payout_rate is None else f"{found.payout_rate.normalize():f}",
                "profit": None if found.profit is None else f"{found.profit:.{scale}f}",
                "payout": None if found.payout is None else f"{found.payout:.{scale}f}",
                **{name: f"{level:.{decimals}f}" for name, level in found.levels.items()},
                "refusals": [problem(refusal) for refusal in found.refusals],
            }
        )


class SaleOutput(serializers.Serializer[Any]):
    price = serializers.CharField(help_text="What comes back to the account.")
    currency = serializers.CharField()
    tick = TickOutput()


class SaleView(ApiView):
    """Selling an open order back before its end."""

    @property
    def throttle(self) -> Limit | tuple[Limit, ...]:  # type: ignore[override]
        """Asking for the price uses up nothing that selling may take."""
        return OrdersView.placing if self.request.method == "POST" else ApiView.throttle

    class Input(msgspec.Struct, forbid_unknown_fields=True):
        """`min_price`: refuse when the order is worth less by then."""

        client_id: str | None = None
        min_price: str | None = None

    @extend_schema(operation_id="get_sale_price", responses=SaleOutput)
    def get(self, request: Request, order_id: UUID) -> Response:
        """Return what the order would be bought back for now; 422 says why not."""
        due, offer = sale_offer(customer_id=_customer_id(request), order_id=order_id)
        return Response(
            {
                "price": f"{offer.price:.{due.scale}f}",
                "currency": due.currency,
                "tick": selectors.tick_view(offer.tick, due.price_decimals),
            }
        )

    @extend_schema(
        operation_id="sell_order",
        request={"application/json": msgspec.json.schema(Input)["$defs"]["Input"]},
        parameters=[OpenApiParameter("Idempotency-Key", str, OpenApiParameter.HEADER)],
        responses=OrderOutput,
    )
    def post(self, request: Request, order_id: UUID) -> Response:
        """Sell the order back; a repeat of its client_id answers with the first result."""
        asked = read(self.Input, request.data)
        sold = sell_order(
            customer_id=_customer_id(request),
            order_id=order_id,
            client_id=idempotency_key(request, asked.client_id),
            min_price=asked.min_price,
        )
        return Response(sold.order, headers={"Idempotency-Replayed": "true"} if sold.is_replayed else None)


class OrderView(ApiView):
    """One order."""

    @extend_schema(operation_id="get_order", responses=OrderOutput)
    def get(self, request: Request, order_id: UUID) -> Response:
        """Return one of one's orders, open or closed."""
        return Response(selectors.order_of(_customer_id(request), order_id))


def _customer_id(request: Request) -> int:
    return cast(int, request.user.pk)  # the view lets nobody in who has none
