"""Hedges as FIX 4.4 writes them: NewOrderSingle, OrderStatusRequest, ExecutionReport."""

from datetime import datetime
from decimal import Decimal

from quotes.sources.fix.messages import Field, Message, Unreadable, read_price, utc_timestamp
from trading.models import HedgeOrder
from trading.rules.hedging import Report

NEW_ORDER, STATUS_REQUEST, EXECUTION = "D", "H", "8"
SIDES = {"buy": "1", "sell": "2"}
LIMIT, IMMEDIATE_OR_CANCEL = "2", "3"
CL_ORD_ID = 11
LONGEST_ID = 200
# What the columns of quantities and prices hold.
UNIT = Decimal("1e-8")
LARGEST = Decimal(10) ** 12 - UNIT


def new_order(order: HedgeOrder, at: datetime) -> list[Field]:
    """Return the body of the NewOrderSingle: a limit, filled at once as far as it can be."""
    return [
        (CL_ORD_ID, str(order.pk)),
        (55, order.source_symbol),
        (54, SIDES[order.side]),
        (60, utc_timestamp(at)),
        (38, f"{order.quantity.normalize():f}"),
        (40, LIMIT),
        (44, f"{order.limit_price.normalize():f}"),
        (59, IMMEDIATE_OR_CANCEL),
    ]


def status_request(order: HedgeOrder) -> list[Field]:
    """Return the body of the question what became of an order."""
    return [(CL_ORD_ID, str(order.pk)), (55, order.source_symbol), (54, SIDES[order.side])]


def read_report(message: Message) -> Report:
    """Read an ExecutionReport. Raises Unreadable."""
    exec_type = _needed(message, 150)
    is_fill = exec_type in ("F", "G") or (exec_type in ("1", "2") and message.get(32) is not None)
    return Report(
        cl_ord_id=_needed(message, CL_ORD_ID),
        exec_id=_needed(message, 17),
        exec_type=exec_type,
        ord_status=_needed(message, 39),
        quantity=_amount(message, 32, needed=is_fill) if is_fill else Decimal(0),
        price=_amount(message, 31, needed=is_fill) if is_fill else Decimal(0),
        cum_quantity=_amount(message, 14, needed=True),
        average_price=_amount(message, 6),
        refers_to=_needed(message, 19) if exec_type in ("G", "H") else "",
        text=message.get(58) or "",
        raw=message.fields,
    )


def _needed(message: Message, tag: int) -> str:
    value = message.get(tag)
    if value is None or len(value) > LONGEST_ID or "\0" in value:
        raise Unreadable(f"field {tag} is missing or cannot be", tag, 1)
    return value


def _amount(message: Message, tag: int, *, needed: bool = False) -> Decimal:
    value = _needed(message, tag) if needed else message.get(tag)
    amount = Decimal(0) if value is None else read_price(value, tag)
    if not 0 <= amount <= LARGEST:
        raise Unreadable(f"field {tag} is out of range", tag, 5)
    return amount.quantize(UNIT)
