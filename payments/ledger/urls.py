"""Where accounts are reached."""

from django.urls import path

from payments.ledger import api

app_name = "ledger"

api_urlpatterns = [
    path("accounts", api.AccountsView.as_view(), name="accounts"),
    path("accounts/<int:account_id>", api.AccountView.as_view(), name="account"),
    path("accounts/<int:account_id>/statement", api.StatementView.as_view(), name="statement"),
    path("accounts/<int:account_id>/refill", api.RefillView.as_view(), name="refill"),
]
