"""Where the public record is reached."""

from django.urls import path

from quotes import api, views

app_name = "quotes"

api_urlpatterns = [
    path("instruments/<str:symbol>/seeds", api.SeedsView.as_view(), name="seeds"),
    path("record", api.RecordView.as_view(), name="record"),
    path("record/voided", api.VoidedTicksView.as_view(), name="record-voided"),
    path("record/<str:day>", api.RecordDayView.as_view(), name="record-day"),
    path("record/<str:day>/<str:symbol>", api.RecordFileView.as_view(), name="record-file"),
]
page_urlpatterns = [
    path("record/", views.record, name="record"),
    path("record/voided/", views.record_voided, name="record-voided"),
    path("record/<str:day>/", views.record_day, name="record-day"),
]
