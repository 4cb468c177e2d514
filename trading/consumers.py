"""What orders and accounts say over the private socket."""

from typing import Any

from config.core import sockets
from config.core.outbox import customer_topic
from kyc.models import User
from payments.ledger.selectors import account_rows
from trading import selectors


def register() -> None:
    """Declare the private channel of a customer and the public one of all instruments."""
    sockets.register(
        "account",
        snapshot=account_snapshot,
        topic=lambda user: customer_topic(user.pk),
        may=lambda user: user.is_authenticated,
    )
    sockets.register("instruments", snapshot=instruments_snapshot, topic="instrument:*")


def account_snapshot(user: User) -> dict[str, Any]:
    """Return the customer's accounts and open orders, whole."""
    orders = selectors.orders_of(user.pk, status="open")
    return {
        "accounts": account_rows(user.pk),
        "open_orders": [selectors.view_of(order) for order in orders],
    }


def instruments_snapshot(_user: Any) -> dict[str, Any]:
    """Return the listed instruments, whole."""
    return {"instruments": selectors.instrument_rows()}
