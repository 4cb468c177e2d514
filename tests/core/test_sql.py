"""Hand-written statements: what stays prepared, and how columns are written."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.db import DatabaseError, connection

from config.core.sql import array, prepared

pytestmark = pytest.mark.django_db
ADD = "SELECT $1::bigint + $2::int, $3::numeric, $4::boolean, $5::timestamptz, $6::text"
AT = datetime(2026, 3, 2, 12, tzinfo=UTC)


def kept() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_prepared_statements WHERE statement = %s", [ADD])
        return int(cursor.fetchone()[0])


def test_a_statement_is_prepared_once_whatever_the_size_of_its_numbers() -> None:
    before = kept()
    assert prepared(ADD, (1, 2, Decimal("0.10"), True, AT, "a")) == (3, Decimal("0.10"), True, AT, "a")
    large = (2**40, 2**20, Decimal("1e20"), False, AT, "'; --")
    assert prepared(ADD, large) == (2**40 + 2**20, Decimal("1e20"), False, AT, "'; --")
    assert kept() == before + 1


def test_nothing_is_a_value_like_others() -> None:
    assert prepared(ADD, (None,) * 6) == (None,) * 5


def test_a_refusal_is_one_of_django() -> None:
    with pytest.raises(DatabaseError, match="division by zero"):
        prepared("SELECT 1 / $1::int", (0,))


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("text", ["a", None, "", "NULL", 'with "quotes"', "back\\slash", "{a,b}", "ä€", "line\nbreak"]),
        ("uuid", [UUID(int=1), None]),
        ("numeric", [Decimal("1E+3"), Decimal("-0.00000001"), None]),
        ("bigint", [2**62, -1, None]),
        ("boolean", [True, False, None]),
        ("timestamptz", [AT, None]),
        ("text", [None, None]),
        ("text", []),
    ],
)
def test_a_column_comes_back_as_it_was(kind: str, values: list[Any]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT %s::{kind}[]", [array(values)])
        assert cursor.fetchone()[0] == values
