"""Background work of the market."""

from datetime import timedelta

import structlog
from celery import shared_task
from django.conf import settings
from django.db import DatabaseError
from prometheus_client import Counter

from config.core import clock
from quotes import selectors, services

log = structlog.get_logger(__name__)
DAYS_AHEAD = 7
KEPT_TOO_LONG = Counter("quotes_days_not_dropped", "Old days of ticks that could not be dropped")


@shared_task(name="quotes.maintain_ticks")
def maintain_ticks() -> None:
    """Open the days ahead; drop those past TICK_RETENTION_DAYS once what they prove is kept."""
    today = clock.now().date()
    opened = services.open_days([today + timedelta(days=ahead) for ahead in range(DAYS_AHEAD + 1)])
    log.info("days of ticks opened", days=[str(day) for day in opened])
    oldest = today - timedelta(days=settings.TICK_RETENTION_DAYS)
    for day in selectors.tick_days():
        if day >= oldest:
            break
        try:
            kept = services.drop_day(day)
        except DatabaseError as error:
            KEPT_TOO_LONG.inc()
            log.error("a day of ticks was not dropped", day=str(day), error=str(error))
            continue
        if kept is None:
            KEPT_TOO_LONG.inc()
            log.error("a day of ticks must stay: an order that needs it is not settled", day=str(day))
        else:
            log.info("day of ticks dropped", day=str(day), evidence=kept)
