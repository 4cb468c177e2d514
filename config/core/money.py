"""Money is Decimal in its currency's scale; more decimals than the scale is an error, never a rounding."""

from decimal import ROUND_DOWN, Decimal, InvalidOperation
from typing import Any

from config.core.errors import Invalid

ZERO = Decimal(0)
# One digit less than the column numeric(28, 8) holds before the point, so that sums of a few fit too.
LARGEST = Decimal(10) ** 19


def unit(scale: int) -> Decimal:
    """Return the smallest amount of a scale: 0.01 for 2."""
    return Decimal(1).scaleb(-scale)


def parse(value: Any, scale: int) -> Decimal:
    """Read a non-negative amount with at most `scale` decimals; raise Invalid otherwise.

    Accepts str, int and Decimal. A float is refused: its decimals are not what was typed.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise Invalid('Write an amount as a decimal string, for example "10.00".')
    try:
        amount = Decimal(value)
    except InvalidOperation:
        raise Invalid('Write an amount as a decimal string, for example "10.00".') from None
    if not amount.is_finite() or amount < 0 or amount >= LARGEST:
        raise Invalid("The amount is out of range.")
    return fit(amount, scale)


def fit(amount: Decimal, scale: int) -> Decimal:
    """Return the amount with exactly `scale` decimals; raise Invalid when that would round it."""
    fitted = amount.quantize(unit(scale))
    if fitted != amount:
        raise Invalid(f"The amount has more than {scale} decimals.", scale=scale)
    return fitted


def floor(amount: Decimal, scale: int) -> Decimal:
    """Return the amount rounded down to the scale: the one place where money is rounded."""
    return amount.quantize(unit(scale), rounding=ROUND_DOWN)


def profit(stake: Decimal, rate: Decimal, scale: int) -> Decimal:
    """Return stake × rate, rounded down to the scale."""
    return floor(stake * rate, scale)


def text(amount: Decimal, scale: int) -> str:
    """Write an amount as a plain decimal string with exactly `scale` decimals."""
    return f"{fit(amount, scale):f}"
