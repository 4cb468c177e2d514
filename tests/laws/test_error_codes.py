"""Every refusal has a code of its own: all are in this table and in the OpenAPI document."""

import re

import pytest
import yaml
from django.utils.module_loading import autodiscover_modules

from config.openapi import kinds

CODES = {
    "account_missing": 404,
    "already_posted": 409,
    "book_closed": 422,
    "conflict": 409,
    "contract_not_offered": 422,
    "country_not_served": 422,
    "country_unknown": 400,
    "customer_restricted": 403,
    "duration_out_of_range": 422,
    "email_taken": 409,
    "expiry_cutoff": 422,
    "sign_ups_closed": 422,
    "trading_stopped": 422,
    "forbidden": 403,
    "hours_too_soon": 422,
    "idempotency_mismatch": 422,
    "instrument_not_in_book": 422,
    "instrument_suspended": 422,
    "insufficient_funds": 422,
    "internal": 500,
    "invalid": 400,
    "invalid_hours": 400,
    "invalid_instrument": 400,
    "invalid_source": 400,
    "invitation_invalid": 422,
    "jurisdiction_refused": 403,
    "market_closed": 422,
    "method_not_allowed": 405,
    "missing": 404,
    "not_json": 415,
    "not_refillable": 422,
    "nothing_to_refill": 422,
    "open_payout_limit": 422,
    "order_busy": 409,
    "order_missing": 404,
    "otp_compulsory": 422,
    "otp_not_enrolled": 422,
    "otp_required": 401,
    "password_weak": 400,
    "payout_changed": 422,
    "payout_unavailable": 422,
    "own_limit_reached": 422,
    "invalid_prices": 400,
    "not_voidable": 422,
    "same_person": 403,
    "tick_missing": 404,
    "void_decided": 409,
    "void_exists": 409,
    "exposure_limit": 422,
    "barrier_out_of_range": 422,
    "order_closed": 422,
    "sale_not_offered": 422,
    "sale_price_changed": 422,
    "price_moved": 422,
    "price_stale": 422,
    "profile_invalid": 400,
    "rate_out_of_bounds": 400,
    "reason_missing": 400,
    "receipt_not_ready": 422,
    "refused": 422,
    "registration_invalid": 400,
    "restriction_already_lifted": 409,
    "restriction_invalid": 400,
    "sign_in_restricted": 403,
    "stake_out_of_range": 422,
    "token_invalid": 401,
    "token_reused": 401,
    "too_large": 413,
    "too_many": 429,
    "too_many_attempts": 429,
    "too_many_open_orders": 422,
    "too_young": 422,
    "unauthenticated": 401,
    "unavailable": 503,
    "unknown_instrument": 404,
    "unknown_interval": 400,
    "wrong_credentials": 401,
    "wrong_otp": 401,
}


@pytest.fixture(scope="module")
def declared():
    autodiscover_modules("errors")
    return [kind for kind in kinds() if not kind.__module__.startswith("tests.")]


def test_the_table_is_complete(declared):
    assert {kind.code: kind.status for kind in declared} == CODES


def test_no_code_is_used_twice(declared):
    codes = [kind.code for kind in declared]
    assert sorted(codes) == sorted(set(codes))


def test_codes_and_titles_are_fit_for_clients(declared):
    for kind in declared:
        assert re.fullmatch(r"[a-z][a-z0-9_]{2,40}", kind.code), kind
        assert kind.status in {400, 401, 403, 404, 405, 409, 413, 415, 422, 429, 500, 503}, kind
        assert str(kind.title), kind


@pytest.mark.django_db
def test_all_codes_are_in_the_openapi_document(client):
    answer = client.get("/api/schema")
    assert answer.status_code == 200
    document = yaml.safe_load(answer.content)
    assert document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"] == sorted(CODES)
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert "application/problem+json" in operation["responses"]["default"]["content"], path


@pytest.mark.django_db
def test_the_docs_come_from_our_own_host(client):
    page = client.get("/api/docs").content.decode()
    sources = re.findall(r"(?:src|href)=\"([^\"]+)\"", page)
    assert sources
    assert all(source.startswith(("/static/", "data:")) for source in sources), sources
