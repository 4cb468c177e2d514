"""Orders and what bounds them, in the operator console."""

from trading.admin import corrections, curbs, hedging, orders, refusals, risk, terms

__all__ = ["corrections", "curbs", "hedging", "orders", "refusals", "risk", "terms"]
