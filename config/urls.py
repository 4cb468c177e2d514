"""Every address of the web role."""

from django.contrib import admin
from django.urls import include, path

from kyc.urls import api as people

api = [*people]

urlpatterns = [
    path("admin/", admin.site.urls),
    path("api/v1/", include(api)),
    path("", include("kyc.urls")),
]
