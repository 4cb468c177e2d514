"""Every write to orders and their terms."""

from trading.services.corrections import (
    approve_correction,
    decline_correction,
    paid_of,
    request_correction,
)
from trading.services.curbs import import_events, lift_curb, set_curb
from trading.services.drafts import PlaceOrder
from trading.services.hedge_terms import (
    close_hedge_order,
    provider_fault_of,
    set_hedge_terms,
    switch_hedging,
)
from trading.services.hedging import (
    claim_hedge_order,
    decide_hedges,
    hedges_by_provider,
    record_execution,
    refuse_hedge_order,
    resend_hedge_order,
)
from trading.services.limits import (
    lift_risk_limit,
    set_customer_limits,
    set_floor,
    set_open_payout_limit,
    set_risk_limit,
)
from trading.services.payouts import recalculate_payouts
from trading.services.placement import Placed, place_order
from trading.services.preview import Preview, preview_order
from trading.services.refusals import trim_refusals
from trading.services.selling import Offer, Sold, sale_offer, sell_order
from trading.services.settlement import enter_pending, settle_due, unpark_order
from trading.services.sniping import delay_sniped_entries
from trading.services.terms import set_payout_rate, set_terms
from trading.services.volatility import estimate_volatility
from trading.services.watching import watch_risk

__all__ = [
    "Offer",
    "PlaceOrder",
    "Placed",
    "Preview",
    "Sold",
    "approve_correction",
    "claim_hedge_order",
    "close_hedge_order",
    "decide_hedges",
    "decline_correction",
    "delay_sniped_entries",
    "enter_pending",
    "estimate_volatility",
    "hedges_by_provider",
    "import_events",
    "lift_curb",
    "lift_risk_limit",
    "paid_of",
    "place_order",
    "preview_order",
    "provider_fault_of",
    "recalculate_payouts",
    "record_execution",
    "refuse_hedge_order",
    "request_correction",
    "resend_hedge_order",
    "sale_offer",
    "sell_order",
    "set_curb",
    "set_customer_limits",
    "set_floor",
    "set_hedge_terms",
    "set_open_payout_limit",
    "set_payout_rate",
    "set_risk_limit",
    "set_terms",
    "settle_due",
    "switch_hedging",
    "trim_refusals",
    "unpark_order",
    "watch_risk",
]
