"""The REST API of trading."""

from trading.api.instruments import CandlesView, InstrumentsView, InstrumentView, TicksView
from trading.api.orders import OrdersView, OrderView, PreviewView, SaleView
from trading.api.receipts import ReceiptKeysView, ReceiptView

__all__ = [
    "CandlesView",
    "InstrumentView",
    "InstrumentsView",
    "OrderView",
    "OrdersView",
    "PreviewView",
    "ReceiptKeysView",
    "ReceiptView",
    "SaleView",
    "TicksView",
]
