"""The operator console's own registrations: other people's models on our site."""

from typing import Any

from django.contrib import admin
from django.contrib.auth import admin as _groups  # noqa: F401 - registers what is taken back below
from django.contrib.auth.models import Group
from django.http import HttpRequest
from django_celery_beat import admin as _schedules  # noqa: F401
from django_celery_beat import models as schedules
from django_otp.plugins.otp_totp import admin as _devices  # noqa: F401
from django_otp.plugins.otp_totp.models import TOTPDevice

from config.core.console import ConsoleAdmin, ReadOnlyAdmin

site = admin.site
# Groups come with roles; an authenticator's secret is nobody's to look at; suns do not start our tasks.
site.unregister([Group, TOTPDevice, schedules.SolarSchedule, schedules.ClockedSchedule])
site.unregister([schedules.PeriodicTask, schedules.IntervalSchedule, schedules.CrontabSchedule])


@admin.register(schedules.PeriodicTask)
class PeriodicTaskAdmin(ConsoleAdmin):
    """What beat starts, and when. Tasks are declared in the settings; here they are paused and re-timed."""

    list_display = ("name", "enabled", "interval", "crontab", "last_run_at", "total_run_count")
    list_filter = ("enabled",)
    list_select_related = ("interval", "crontab")
    search_fields = ("name", "task")
    fields = ("name", "task", "enabled", "interval", "crontab", "description", "last_run_at")
    readonly_fields = ("name", "task", "last_run_at")

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Refuse: a task nobody wrote cannot be started."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse: beat would only make it again."""
        return False


@admin.register(schedules.IntervalSchedule)
class IntervalScheduleAdmin(ConsoleAdmin):
    """Every so often."""


@admin.register(schedules.CrontabSchedule)
class CrontabScheduleAdmin(ReadOnlyAdmin):
    """At times of the day."""
