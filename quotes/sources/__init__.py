"""Adapters to who delivers quotes, one module each, behind one small protocol."""

from collections.abc import Collection
from typing import Protocol

from quotes.intake import Subscription


class Source(Protocol):
    """A liquidity provider: runs on the feed's event loop and puts its quotes into the feed's intake.

    It sets `Link.sign` whenever it knows that nothing is missing, and cuts the link when it no longer does.
    """

    name: str

    def watch(self, subscriptions: Collection[Subscription]) -> None:
        """Deliver exactly these instruments from now on; called on the event loop."""

    async def run(self) -> None:
        """Deliver until cancelled, whatever happens to the connection."""
