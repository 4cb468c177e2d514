"""Every address of the web role."""

from django.contrib import admin
from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

from config.core import health
from kyc import urls as people
from payments.ledger import urls as ledger
from quotes import urls as market
from trading import urls as trading

# Searched from the top at every request: the busiest first.
api = [
    *trading.api_urlpatterns,
    *ledger.api_urlpatterns,
    *people.api_urlpatterns,
    *market.api_urlpatterns,
]
schema = SpectacularAPIView.as_view(authentication_classes=(), permission_classes=())
docs = SpectacularSwaggerView.as_view(url_name="schema", authentication_classes=(), permission_classes=())

urlpatterns = [
    path("api/v1/", include((api, "api"))),
    path("", include((people.page_urlpatterns, "kyc"))),
    path("", include((trading.page_urlpatterns, "trading"))),
    path("", include((market.page_urlpatterns, "quotes"))),
    path("admin/", admin.site.urls),
    path("api/schema", schema, name="schema"),
    path("api/docs", docs, name="docs"),
    path("healthz", health.view),
    path("readyz", health.view),
    path("metrics", health.view),
]

handler400 = "config.core.http.bad_request"
handler403 = "config.core.http.permission_denied"
handler404 = "config.core.http.not_found"
handler500 = "config.core.http.server_error"
