"""A customer's accounts over REST."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from config.core.errors import Invalid
from config.core.http import ApiView, decode_cursor, encode_cursor, idempotency_key, whole_number
from config.core.throttle import Limit
from payments.ledger import selectors, services
from payments.ledger.models import Book

REFILL = Limit("refill", per_second=0.2, burst=10)


class AccountOutput(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    kind = serializers.ChoiceField(choices=Book.Kind.choices)
    book = serializers.CharField()
    name = serializers.CharField()
    code = serializers.CharField()
    currency = serializers.CharField()
    decimals = serializers.IntegerField()
    balance = serializers.CharField()
    version = serializers.IntegerField(help_text="How many transfers the account has seen.")
    is_refillable = serializers.BooleanField()
    opened_at = serializers.DateTimeField()


class LineOutput(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    at = serializers.DateTimeField()
    code = serializers.CharField()
    amount = serializers.CharField(help_text="Signed: negative amounts left the account.")
    balance = serializers.CharField(help_text="After this line.")
    version = serializers.IntegerField()
    reference = serializers.CharField()


class AccountsView(ApiView):
    """The caller's accounts."""

    class Output(serializers.Serializer[Any]):
        results = AccountOutput(many=True)
        next = serializers.CharField(allow_null=True)

    @extend_schema(operation_id="accounts_list", responses=Output)
    def get(self, request: Request) -> Response:
        return Response({"results": selectors.account_rows(_caller(request)), "next": None})


class AccountView(ApiView):
    """One of the caller's accounts."""

    @extend_schema(operation_id="accounts_read", responses=AccountOutput)
    def get(self, request: Request, account_id: int) -> Response:
        return Response(selectors.account_row(selectors.account_for(_caller(request), account_id)))


class StatementView(ApiView):
    """Everything that moved an account, newest first: each balance is the one before it plus its amount."""

    class Output(serializers.Serializer[Any]):
        results = LineOutput(many=True)
        next = serializers.CharField(allow_null=True)

    @extend_schema(
        operation_id="accounts_statement",
        responses=Output,
        parameters=[OpenApiParameter("cursor", str), OpenApiParameter("limit", int, description="1–200")],
    )
    def get(self, request: Request, account_id: int) -> Response:
        account = selectors.account_for(_caller(request), account_id)
        limit = whole_number(request, "limit", default=50, least=1, most=200)
        lines = selectors.statement(account, before_version=_before(request), limit=limit + 1)
        more = encode_cursor(lines[limit - 1]["version"]) if len(lines) > limit else None
        return Response({"results": lines[:limit], "next": more})


class RefillView(ApiView):
    """Top a demo account up to its opening balance."""

    throttle = REFILL

    class Input(serializers.Serializer[Any]):
        client_id = serializers.CharField(
            max_length=64, required=False, help_text="Or the header Idempotency-Key."
        )

    @extend_schema(
        operation_id="accounts_refill",
        request=Input,
        responses=AccountOutput,
        parameters=[OpenApiParameter("Idempotency-Key", str, OpenApiParameter.HEADER)],
    )
    def post(self, request: Request, account_id: int) -> Response:
        body = request.data if isinstance(request.data, dict) else {}
        key = idempotency_key(request, body.get("client_id"))
        refilled = services.refill_account(owner_id=_caller(request), account_id=account_id, client_id=key)
        headers = {"Idempotency-Replayed": "true"} if refilled.is_replayed else {}
        return Response(selectors.account_row(refilled.account), headers=headers)


def _caller(request: Request) -> int:
    # Every view here asks for somebody signed in.
    return request.user.pk or 0


def _before(request: Request) -> int | None:
    cursor = request.query_params.get("cursor")
    if not cursor:
        return None
    version = decode_cursor(cursor)
    if not isinstance(version, int) or isinstance(version, bool) or not 0 <= version < 2**63:
        raise Invalid(errors={"cursor": ["This is not a cursor of this list."]})
    return version
