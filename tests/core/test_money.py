"""Amounts: read strictly, written plainly, rounded in one place and always down."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.core import money
from config.core.errors import Invalid


@pytest.mark.parametrize(
    ("stake", "rate", "scale", "profit"),
    [
        ("10.00", "0.85", 2, "8.50"),
        ("1.00", "0.8", 2, "0.80"),
        ("0.01", "0.99", 2, "0.00"),
        ("0.03", "0.85", 2, "0.02"),
        ("9.99", "0.8555", 2, "8.54"),
        ("1.11", "0.9999", 2, "1.10"),
        ("7", "0.85", 0, "5"),
        ("1", "0.9999", 0, "0"),
        ("0.00000001", "0.9999", 8, "0E-8"),
        ("0.00000003", "0.5", 8, "1E-8"),
        ("1234567.89", "0.7777", 2, "960123.44"),
        ("9999999999999999999", "0.9999", 0, "9998999999999999999"),
    ],
)
def test_profit_rounds_down(stake, rate, scale, profit):
    found = money.profit(Decimal(stake), Decimal(rate), scale)
    assert found == Decimal(profit)
    assert found.as_tuple().exponent == -scale


@given(
    units=st.integers(1, 10**18),
    basis_points=st.integers(1, 9_999),
    scale=st.sampled_from([0, 2, 8]),
)
def test_profit_is_the_largest_amount_not_above_the_product(units, basis_points, scale):
    stake, rate = Decimal(units).scaleb(-scale), Decimal(basis_points).scaleb(-4)
    profit = money.profit(stake, rate, scale)
    assert profit == Decimal(units * basis_points // 10_000).scaleb(-scale)
    assert 0 <= profit < stake


@pytest.mark.parametrize(
    ("value", "scale", "amount"),
    [
        ("10", 2, "10.00"),
        ("10.5", 2, "10.50"),
        ("10.50000", 2, "10.50"),
        ("0", 2, "0.00"),
        ("0.00000001", 8, "0.00000001"),
        ("1e2", 0, "100"),
        (7, 2, "7.00"),
        (Decimal("7.1"), 2, "7.10"),
    ],
)
def test_parse_reads_an_amount(value, scale, amount):
    assert money.text(money.parse(value, scale), scale) == amount


@pytest.mark.parametrize(
    "value",
    ["0.001", "", "ten", "-1", "NaN", "Infinity", "1,5", "10000000000000000000", 1.5, True, None, [], b"1"],
)
def test_parse_refuses(value):
    with pytest.raises(Invalid):
        money.parse(value, 2)


def test_more_decimals_than_the_scale_are_never_rounded_away():
    with pytest.raises(Invalid) as refused:
        money.text(Decimal("1.005"), 2)
    assert refused.value.details == {"scale": 2}


@pytest.mark.parametrize(
    ("amount", "scale", "text"),
    [("0", 8, "0.00000000"), ("1E+3", 2, "1000.00"), ("1E-8", 8, "0.00000001"), ("-5", 2, "-5.00")],
)
def test_text_is_plain(amount, scale, text):
    assert money.text(Decimal(amount), scale) == text
