"""Orders and what bounds them, in the operator console."""

from trading.admin import orders, risk, terms

__all__ = ["orders", "risk", "terms"]
