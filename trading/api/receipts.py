"""Receipts over REST: of one's own orders, and the keys by which anybody verifies one."""

from typing import Any, cast
from uuid import UUID

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from config.core.http import ApiView
from config.core.throttle import Limit
from trading.api.parts import listed
from trading.receipts.building import receipt_of
from trading.receipts.keys import public_keys
from trading.receipts.signing import ALGORITHM, PublicKey

JSON = "application/json"


class ReceiptKeyOutput(serializers.Serializer[Any]):
    key = serializers.CharField(help_text="What receipts call it.")
    algorithm = serializers.CharField()
    public_key = serializers.CharField(help_text="32 bytes in base64.")
    valid_from = serializers.DateField(allow_null=True)


class ReceiptView(ApiView):
    """The receipt of an order."""

    throttle = Limit("receipts", per_second=2, burst=60)

    @extend_schema(operation_id="get_receipt", responses={(200, JSON): OpenApiTypes.OBJECT})
    def get(self, request: Request, order_id: UUID) -> HttpResponse:
        """Download the signed receipt of one of one's closed orders."""
        written = receipt_of(cast(int, request.user.pk), order_id)
        name = f"receipt-{order_id}.json"
        return HttpResponse(
            written, content_type=JSON, headers={"Content-Disposition": f'attachment; filename="{name}"'}
        )


class ReceiptKeysView(ApiView):
    """The keys of receipts."""

    permission_classes = [AllowAny]

    @extend_schema(operation_id="list_receipt_keys", responses=listed(ReceiptKeyOutput))
    def get(self, request: Request) -> Response:
        """List the public keys by which receipts are verified, the one in use first."""
        return Response({"results": [key_row(key) for key in public_keys()], "next": None})


def key_row(key: PublicKey) -> dict[str, Any]:
    """Write a key as clients get it."""
    return {
        "key": key.id,
        "algorithm": ALGORITHM,
        "public_key": key.text,
        "valid_from": key.valid_from.isoformat() if key.valid_from else None,
    }
