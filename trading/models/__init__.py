"""Orders, and what operators set for them."""

from trading.models.orders import SHARDS, Order
from trading.models.terms import PRICED_RATE, RATE, BookTerms, PayoutRate, Terms, VolatilityEstimate

__all__ = [
    "PRICED_RATE",
    "RATE",
    "SHARDS",
    "BookTerms",
    "Order",
    "PayoutRate",
    "Terms",
    "VolatilityEstimate",
]
