"""FIX 4.4 market data: a session of our own, whose numbers outlive its connections."""

from quotes.sources.fix.source import FixOptions, FixSource

__all__ = ["FixOptions", "FixSource"]
