"""Orders, and what operators set for them."""

from trading.models.orders import SHARDS, Order
from trading.models.risk import CustomerLimits, Exposure, RiskLimit, Tally
from trading.models.terms import PRICED_RATE, RATE, BookTerms, PayoutRate, Terms, VolatilityEstimate

__all__ = [
    "PRICED_RATE",
    "RATE",
    "SHARDS",
    "BookTerms",
    "CustomerLimits",
    "Exposure",
    "Order",
    "PayoutRate",
    "RiskLimit",
    "Tally",
    "Terms",
    "VolatilityEstimate",
]
