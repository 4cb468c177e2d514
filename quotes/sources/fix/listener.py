"""Who hears what a FIX session receives, and who keeps the orders sent on it."""

from typing import Protocol

from quotes.sources.fix.messages import Message


class Listener(Protocol):
    """Who hears what a session receives; every call comes on the event loop."""

    def logged_on(self, ask_seconds: float) -> None:
        """The peer has answered the Logon; it is asked for an answer so many seconds after each."""

    def deliver(self, message: Message, is_current: bool) -> None:
        """An application message, in order; not current while others are missing, or when sent again."""

    def alive(self, message: Message) -> None:
        """A sign of life, and nothing is missing."""

    def lost(self) -> None:
        """Messages are missing."""

    def skipped(self) -> None:
        """Messages of this connection are missing for good."""

    def caught_up(self) -> None:
        """What was missing has been made up for, or will never be."""

    def stalled(self) -> None:
        """What comes now may have waited here, unread."""

    def asked(self) -> None:
        """A TestRequest is on its way."""

    def answered(self) -> None:
        """It has been answered."""

    def refused(self, request_id: str) -> None:
        """The peer delivers nothing upon this market data request."""

    def complained(self, text: str) -> None:
        """The peer has refused something, or something could not be read."""


class Orders(Protocol):
    """Who keeps the orders sent on a session; every call comes from a thread and may use the database."""

    def may_resend(self, message: Message) -> bool:
        """Tell whether an order the peer asks for again may still be sent; if not, it never is."""

    def refused(self, seq: int, text: str) -> None:
        """The peer refuses the message of ours with this number."""
