"""What beat starts for the kernel."""

from datetime import timedelta

from celery import shared_task

from config.core import clock
from config.core.models import Fact

KEPT = timedelta(days=7)
BATCH = 5000


@shared_task(name="core.trim_facts")
def trim_facts() -> int:
    """Delete facts delivered more than seven days ago, in short transactions; return how many."""
    old = Fact.objects.filter(published_at__lt=clock.now() - KEPT).order_by("published_at")
    deleted = 0
    while ids := list(old.values_list("pk", flat=True)[:BATCH]):
        deleted += Fact.objects.filter(pk__in=ids).delete()[0]
    return deleted
