"""FIX 4.4: a session of our own, whose numbers outlive its connections, and market data over it."""

from quotes.sources.fix.opening import FixOptions
from quotes.sources.fix.source import FixSource

__all__ = ["FixOptions", "FixSource"]
