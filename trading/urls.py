"""Where orders and instruments are reached."""

from django.urls import path

from trading import api, views

app_name = "trading"

api_urlpatterns = [
    path("instruments", api.InstrumentsView.as_view(), name="instruments"),
    path("instruments/<str:symbol>", api.InstrumentView.as_view(), name="instrument"),
    path("instruments/<str:symbol>/ticks", api.TicksView.as_view(), name="ticks"),
    path("instruments/<str:symbol>/candles", api.CandlesView.as_view(), name="candles"),
    path("orders", api.OrdersView.as_view(), name="orders"),
    path("orders/preview", api.PreviewView.as_view(), name="preview"),
    path("orders/<uuid:order_id>/sell", api.SaleView.as_view(), name="sell"),
    path("orders/<uuid:order_id>/receipt", api.ReceiptView.as_view(), name="receipt"),
    path("orders/<uuid:order_id>", api.OrderView.as_view(), name="order"),
    path("receipt-keys", api.ReceiptKeysView.as_view(), name="receipt-keys"),
]
page_urlpatterns = [
    path("", views.landing, name="landing"),
    path("trade/", views.terminal, name="terminal"),
    path("receipt/", views.receipt, name="receipt"),
]
