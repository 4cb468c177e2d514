"""An order's life: what may become of it, what tells it, and which service does it."""

from typing import NamedTuple


class Transition(NamedTuple):
    """One step of an order's life ("" is before it is accepted): atomic, and told by a fact."""

    source: str
    target: str
    fact: str
    service: str


# The database allows these and no others; each is one conditional update in one transaction with its fact.
TRANSITIONS = (
    Transition("", "open", "order.opened", "place_order"),
    Transition("open", "open", "order.entered", "enter_pending"),
    Transition("open", "won", "order.won", "settle_due"),
    Transition("open", "lost", "order.lost", "settle_due"),
    Transition("open", "refunded", "order.refunded", "settle_due"),
    Transition("open", "sold", "order.sold", "sell_order"),
)


def may_become(source: str, target: str) -> bool:
    """Tell whether an order of one status may have the other next."""
    return any((step.source, step.target) == (source, target) for step in TRANSITIONS)
