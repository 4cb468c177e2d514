"""Orders, and what operators set for them."""

from trading.models.corrections import Correction
from trading.models.hedging import HedgeExecution, HedgeOrder, HedgeTerms
from trading.models.orders import SHARDS, Order
from trading.models.risk import Curb, CustomerLimits, Exposure, Refusals, RiskAlert, RiskLimit, Tally
from trading.models.terms import PRICED_RATE, RATE, BookTerms, PayoutRate, Terms, VolatilityEstimate

__all__ = [
    "PRICED_RATE",
    "RATE",
    "SHARDS",
    "BookTerms",
    "Correction",
    "Curb",
    "CustomerLimits",
    "Exposure",
    "HedgeExecution",
    "HedgeOrder",
    "HedgeTerms",
    "Order",
    "PayoutRate",
    "Refusals",
    "RiskAlert",
    "RiskLimit",
    "Tally",
    "Terms",
    "VolatilityEstimate",
]
