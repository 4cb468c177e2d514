"""Every non-trivial read of orders, instruments and risk."""

from trading.selectors.instruments import instrument_rows
from trading.selectors.orders import (
    OrderRow,
    order_of,
    order_view,
    orders_of,
    settlement_lag,
    tick_view,
    view_of,
)
from trading.selectors.risk import (
    covered_instruments,
    curb_scope,
    curbs_in_force,
    curbs_of_the_day,
    curbs_over,
    payout_cut,
    worst_case,
)
from trading.selectors.timing import Timing, order_timing

__all__ = [
    "OrderRow",
    "Timing",
    "covered_instruments",
    "curb_scope",
    "curbs_in_force",
    "curbs_of_the_day",
    "curbs_over",
    "instrument_rows",
    "order_of",
    "order_timing",
    "order_view",
    "orders_of",
    "payout_cut",
    "settlement_lag",
    "tick_view",
    "view_of",
    "worst_case",
]
