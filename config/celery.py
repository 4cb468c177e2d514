"""The worker and beat roles."""

import os
from typing import Any

from celery import Celery
from celery.signals import beat_init, worker_ready

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
app = Celery("tickhouse")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@worker_ready.connect
@beat_init.connect
def serve_health(**_: Any) -> None:
    """Answer /healthz, /readyz and /metrics beside the work."""
    from django.conf import settings

    from config.core import health

    health.serve(settings.METRICS_PORT)
