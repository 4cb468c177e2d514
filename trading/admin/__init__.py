"""Orders and what bounds them, in the operator console."""

from trading.admin import curbs, hedging, orders, refusals, risk, terms

__all__ = ["curbs", "hedging", "orders", "refusals", "risk", "terms"]
