"""Every write to orders and their terms."""

from trading.services.drafts import PlaceOrder
from trading.services.limits import lift_risk_limit, set_customer_limits, set_risk_limit
from trading.services.payouts import recalculate_payouts
from trading.services.placement import Placed, place_order
from trading.services.preview import Preview, preview_order
from trading.services.selling import Offer, Sold, sale_offer, sell_order
from trading.services.settlement import enter_pending, settle_due, unpark_order
from trading.services.terms import set_payout_rate, set_terms
from trading.services.volatility import estimate_volatility

__all__ = [
    "Offer",
    "PlaceOrder",
    "Placed",
    "Preview",
    "Sold",
    "enter_pending",
    "estimate_volatility",
    "lift_risk_limit",
    "place_order",
    "preview_order",
    "recalculate_payouts",
    "sale_offer",
    "sell_order",
    "set_customer_limits",
    "set_payout_rate",
    "set_risk_limit",
    "set_terms",
    "settle_due",
    "unpark_order",
]
