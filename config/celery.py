"""The worker and beat roles."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
app = Celery("tickhouse")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
