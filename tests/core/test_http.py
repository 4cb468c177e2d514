"""Every answer is JSON, every refusal a problem document that says nothing of our inside."""

from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import orjson
import psycopg
import pytest
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.db import OperationalError, ProgrammingError
from django.http import Http404
from rest_framework import serializers
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory, force_authenticate

from config.core import http
from config.core.callers import client_ip
from config.core.errors import Broken, Invalid, Refused
from config.core.http import ApiView, idempotency_key, page
from config.core.models import Fact
from config.core.throttle import Limit

make = APIRequestFactory()


class Echo(ApiView):
    authentication_classes = ()
    permission_classes = ()
    throttle = ()

    def post(self, request):
        return Response(request.data)


class Raises(ApiView):
    authentication_classes = ()
    permission_classes = ()
    throttle = ()
    error: BaseException

    def get(self, request):
        raise self.error


def ask(view, request):
    response = view(request)
    response.render()
    return response


def failing(error):
    view = type("Failing", (Raises,), {"error": error})
    return view.as_view()


def post(body, kind="application/json", **headers):
    response = ask(Echo.as_view(), make.generic("POST", "/", body, content_type=kind, headers=headers))
    return response.status_code, orjson.loads(response.content)


def test_an_object_comes_back_as_it_was_sent():
    assert post('{"stake": "10.00", "n": 1, "accept": null}') == (
        200,
        {"stake": "10.00", "n": 1, "accept": None},
    )


@pytest.mark.parametrize("accept", ["text/html", "application/xml", "*/*", "nonsense"])
def test_whatever_is_accepted_json_is_answered(accept):
    assert post("{}", Accept=accept) == (200, {})


@pytest.mark.parametrize("body", ["[1]", "1", '"x"', "{", "NaN", '{"a": NaN}', "\xff", "[" * 100_000])
def test_anything_but_an_object_is_invalid(body):
    status, problem = post(body)
    assert (status, problem["code"]) == (400, "invalid")


def test_other_types_and_large_bodies_have_codes_of_their_own():
    assert post("a=1", "application/x-www-form-urlencoded")[1]["code"] == "not_json"
    assert post(orjson.dumps({"a": "x" * 300_000}))[1]["code"] == "too_large"
    assert post(orjson.dumps({"a": "x" * 3_000_000}))[0] == 413


def test_values_are_written_for_machines():
    instant = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    value = {"at": instant, "price": Decimal("1E-8"), "id": UUID(int=7), "none": None}
    written = orjson.loads(http.JsonRenderer().render(value))
    assert written == {
        "at": "2026-01-02T03:04:05.000000Z",
        "price": "0.00000001",
        "id": "00000000-0000-0000-0000-000000000007",
        "none": None,
    }


class Form(serializers.Serializer):
    stake = serializers.CharField()
    legs = serializers.ListField(child=serializers.IntegerField(), required=False)


def validation_error():
    form = Form(data={"legs": ["x"]})
    with pytest.raises(serializers.ValidationError) as error:
        form.is_valid(raise_exception=True)
    return error.value


def sql_error(state, kind=OperationalError):
    cause = psycopg.errors.lookup(state)("secret table name") if state else psycopg.OperationalError("secret")
    error = kind("secret table name")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "status", "code", "retry_after"),
    [
        (Refused("No.", stake="1.00"), 422, "refused", None),
        (Http404("secret"), 404, "missing", None),
        (Fact.DoesNotExist("secret"), 404, "missing", None),
        (PermissionDenied("secret"), 403, "forbidden", None),
        (sql_error("55P03"), 409, "conflict", "1"),
        (sql_error("40P01"), 409, "conflict", "1"),
        (sql_error("57014"), 503, "unavailable", "2"),
        (sql_error("57P01"), 503, "unavailable", "2"),
        (sql_error("53300"), 503, "unavailable", "2"),
        (sql_error(None), 503, "unavailable", "2"),
        (sql_error("42P01", ProgrammingError), 500, "internal", None),
        (Broken("secret"), 500, "internal", None),
        (ValueError("secret"), 500, "internal", None),
    ],
)
def test_every_error_has_its_problem_and_no_secret(error, status, code, retry_after):
    response = ask(failing(error), make.get("/"))
    body = orjson.loads(response.content)
    assert response.status_code == status == body["status"]
    assert body["code"] == code
    assert body["type"] == f"/problems/{code}"
    assert response["Content-Type"] == "application/problem+json"
    assert response.get("Retry-After") == retry_after
    assert b"secret" not in response.content


def test_the_numbers_involved_are_in_the_problem():
    body = orjson.loads(ask(failing(Refused("No.", stake=Decimal("1.00"))), make.get("/")).content)
    assert (body["detail"], body["stake"]) == ("No.", "1.00")


def test_a_wrong_field_is_named():
    body = orjson.loads(ask(failing(validation_error()), make.get("/")).content)
    assert body["errors"] == {
        "stake": ["This field is required."],
        "legs.0": ["A valid integer is required."],
    }


def test_another_method_says_which_are_answered():
    response = ask(Echo.as_view(), make.delete("/"))
    assert (response.status_code, response.data["code"]) == (405, "method_not_allowed")
    assert response["Allow"] == "POST, OPTIONS"


def test_nobody_is_401_and_told_how():
    from rest_framework.permissions import IsAuthenticated

    view = type("Closed", (Echo,), {"permission_classes": (IsAuthenticated,)})
    response = ask(view.as_view(), make.post("/", {}, format="json"))
    assert (response.status_code, response.data["code"]) == (401, "unauthenticated")
    assert response["WWW-Authenticate"].startswith("Bearer")


# --- Limits -------------------------------------------------------------------------------------------


class Person(AnonymousUser):
    is_authenticated = True

    def __init__(self, pk):
        self.pk = self.id = pk


class Limited(Echo):
    throttle = (Limit("both", 0.01, 2), Limit("both-ip", 0.01, 3, per="ip"))


def limited(person=None, address="192.0.2.1", **meta):
    request = make.post("/", {}, format="json", REMOTE_ADDR=address, **meta)
    if person:
        force_authenticate(request, person)
    return ask(Limited.as_view(), request)


def test_limits_are_published_and_refuse_with_the_seconds_to_wait():
    seen = [limited(Person(1))["RateLimit-Remaining"] for _ in range(2)]
    assert seen == ["1", "0"]
    refused = limited(Person(1))
    assert (refused.status_code, refused.data["code"]) == (429, "too_many")
    assert refused["Retry-After"] == "100"
    assert (refused["RateLimit-Limit"], refused["RateLimit-Remaining"]) == ("2", "0")
    assert limited(Person(2)).status_code == 200
    assert limited(Person(3)).status_code == 429  # the address has had its three
    assert limited(Person(3), address="192.0.2.2").status_code == 200


def test_neighbours_in_one_ipv6_network_are_one():
    for last in range(3):
        limited(Person(10 + last), address=f"2001:db8::{last}")
    assert limited(Person(20), address="2001:db8::99").status_code == 429
    assert limited(Person(20), address="2001:db8:0:1::99").status_code == 200


@pytest.mark.parametrize(
    ("proxies", "forwarded", "expected"),
    [
        (0, "203.0.113.9", "192.0.2.1"),
        (1, "203.0.113.9", "203.0.113.9"),
        (1, "10.0.0.1, 203.0.113.9", "203.0.113.9"),
        (2, "198.51.100.7, 203.0.113.9", "198.51.100.7"),
        (2, "203.0.113.9", "192.0.2.1"),
        (1, "nonsense", "0.0.0.0"),
        (1, "::ffff:203.0.113.9", "203.0.113.9"),
    ],
)
def test_only_our_own_proxies_are_believed(settings, proxies, forwarded, expected):
    settings.TRUSTED_PROXIES = proxies
    assert client_ip(make.get("/", REMOTE_ADDR="192.0.2.1", HTTP_X_FORWARDED_FOR=forwarded)) == expected


# --- Keys and cursors ---------------------------------------------------------------------------------


def test_a_key_comes_from_header_or_body_but_not_from_two_mouths():
    with_header = make.get("/", headers={"Idempotency-Key": "abc-1"})
    assert idempotency_key(with_header) == "abc-1"
    assert idempotency_key(with_header, "abc-1") == "abc-1"
    assert idempotency_key(make.get("/"), "body.1") == "body.1"
    for request, client_id in [
        (with_header, "other"),
        (make.get("/"), None),
        (make.get("/"), ""),
        (make.get("/"), 7),
        (make.get("/"), "x" * 65),
        (make.get("/"), "a b"),
        (make.get("/"), "ab\n"),
    ]:
        with pytest.raises(Invalid):
            idempotency_key(request, client_id)


def listed(query=""):
    request = ApiView().initialize_request(make.get(f"/{query}"))
    return page(Fact.objects.all(), request, lambda row: {"id": row.pk})


@pytest.mark.django_db
def test_pages_follow_each_other_without_gap_or_repeat_while_rows_arrive():
    def add(count):
        Fact.objects.bulk_create(
            Fact(topic="t", name="n", payload={}, created_at=datetime.now(UTC)) for _ in range(count)
        )

    add(7)
    everything = list(Fact.objects.order_by("-id").values_list("id", flat=True))
    first = listed("?limit=3")
    add(2)
    second = listed(f"?limit=3&cursor={first['next']}")
    third = listed(f"?limit=3&cursor={second['next']}")
    assert [row["id"] for part in (first, second, third) for row in part["results"]] == everything
    assert third["next"] is None
    assert listed(f"?limit=1&cursor={third['next'] or ''}")["results"] != []


@pytest.mark.django_db
@pytest.mark.parametrize(
    "query",
    [
        "?limit=0",
        "?limit=201",
        "?limit=x",
        "?limit=-1",
        "?cursor=%21",
        "?cursor=abc",
        "?cursor=W10",
        "?cursor=Inh4Ig",
    ],
)
def test_a_bad_cursor_or_limit_is_refused_by_name(query):
    with pytest.raises(Invalid) as refusal:
        listed(query)
    assert set(refusal.value.details["errors"]) == {query[1:].partition("=")[0]}


# --- Outside of views ---------------------------------------------------------------------------------


def test_an_unknown_address_is_a_problem_under_api_and_a_page_elsewhere(client):
    under_api = client.get("/api/v1/nothing-here")
    assert (under_api.status_code, under_api["Content-Type"]) == (404, "application/problem+json")
    assert under_api.json()["code"] == "missing"
    elsewhere = client.get("/nothing-here")
    assert elsewhere.status_code == 404
    assert elsewhere["Content-Type"].startswith("text/html")


def test_a_foreign_host_is_a_problem_too(client):
    answer = client.get("/api/v1/time", HTTP_HOST="evil.example")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")
