"""Trading hours."""

from typing import ClassVar

from django.db import models
from django.db.models import F, Q


class Calendar(models.Model):
    """The trading hours of a market, in the market's own time zone."""

    code = models.SlugField(max_length=40, primary_key=True)
    time_zone = models.CharField(max_length=64, default="UTC")

    def __str__(self) -> str:
        return self.code


class CalendarWeek(models.Model):
    """The weekly hours of a calendar from an instant on. Append-only: the past is never edited."""

    application_rights = "SELECT, INSERT"

    calendar = models.ForeignKey(Calendar, models.PROTECT, related_name="weeks")
    effective_from = models.DateTimeField()
    # Pairs of local minutes since Monday 00:00, ascending, not overlapping: [[0, 10080]] is always open.
    hours = models.JSONField()

    class Meta:
        ordering = ["calendar", "effective_from"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["calendar", "effective_from"], name="calendar_week_once")
        ]

    def __str__(self) -> str:
        return f"{self.calendar_id} from {self.effective_from:%Y-%m-%d}"


class CalendarException(models.Model):
    """A holiday, an early close or extra hours: overrides the week between two instants. Append-only."""

    application_rights = "SELECT, INSERT"

    calendar = models.ForeignKey(Calendar, models.PROTECT, related_name="exceptions")
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    is_open = models.BooleanField()
    note = models.CharField(max_length=120, blank=True)
    recorded_at = models.DateTimeField()

    class Meta:
        ordering = ["calendar", "starts_at"]
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(starts_at__lt=F("ends_at")), name="calendar_exception_order")
        ]

    def __str__(self) -> str:
        return f"{self.calendar_id} {self.starts_at:%Y-%m-%d}"
