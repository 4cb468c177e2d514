"""Every write to orders and their terms."""

from trading.services.acceptance import PlaceOrder
from trading.services.placement import Placed, place_order
from trading.services.settlement import enter_pending, settle_due, unpark_order
from trading.services.terms import recalculate_payouts, set_payout_rate, set_terms

__all__ = [
    "PlaceOrder",
    "Placed",
    "enter_pending",
    "place_order",
    "recalculate_payouts",
    "set_payout_rate",
    "set_terms",
    "settle_due",
    "unpark_order",
]
