"""Background work of the market."""

from datetime import date, timedelta

import structlog
from celery import shared_task
from django.conf import settings
from django.db import DatabaseError
from prometheus_client import Counter

from config.core import clock
from config.core.leader import Leadership
from quotes import selectors, services
from quotes.models import RecordDay
from quotes.services import candles, seeds

log = structlog.get_logger(__name__)
DAYS_AHEAD = 7
# A day is held up that long by a source that is away, at worst, and then given up.
SEALED_AFTER = timedelta(days=2)
NOT_SEALED = Counter("quotes_days_not_sealed", "Closed days of ticks that could not be archived and sealed")
REPAIRED = Counter("quotes_candles_repaired", "Stored candles that differed from their ticks")
KEPT_TOO_LONG = Counter("quotes_days_not_dropped", "Old days of ticks that could not be dropped")


@shared_task(name="quotes.maintain_ticks")
def maintain_ticks() -> list[str] | None:
    """Open the days ahead, seal those that are over, drop the sealed ones past TICK_RETENTION_DAYS.

    Returns the days that could not be sealed or dropped when it was time; None: somebody else is at it.
    """
    today = clock.now().date()
    opened = services.open_days([today + timedelta(days=ahead) for ahead in range(DAYS_AHEAD + 1)])
    log.info("days of ticks opened", days=[str(day) for day in opened])
    oldest = today - timedelta(days=settings.TICK_RETENTION_DAYS)
    with Leadership("archive") as lead:
        if not lead.acquire():
            log.info("days of ticks are being archived by somebody else")
            return None
        failed: list[str] = []
        sealed = set(RecordDay.objects.values_list("day", flat=True))
        for day in selectors.tick_days():
            if day >= today:
                continue
            done = True if day in sealed else _seal(day, today)
            if done and day < oldest:
                done = _retire(day)
            if done is False:
                failed.append(str(day))
        return failed


def _seal(day: date, today: date) -> bool | None:
    """Seal a day that is over: True when it is, or has nothing to seal; None: not time yet; False: failed."""
    # The archive's libraries are for those who use it.
    from quotes.archive import ArchiveFailed
    from quotes.rules.chain import ChainBroken
    from quotes.services.archive import DayOpen, seal_day

    try:
        sealed = seal_day(day=day)
    except DayOpen as reason:
        if today - day > SEALED_AFTER:
            NOT_SEALED.inc()
            log.error("a day of ticks is not sealed", day=str(day), reason=str(reason))
            return False
        log.info("a day of ticks is not sealed yet", day=str(day), reason=str(reason))
        return None
    except (ArchiveFailed, ChainBroken, DatabaseError) as error:
        NOT_SEALED.inc()
        log.error("a day of ticks was not sealed", day=str(day), error=str(error))
        return False
    if sealed is not None:
        log.info("day of ticks sealed", day=str(day), root=bytes(sealed.root).hex())
    return True


def _retire(day: date) -> bool:
    """Drop a day past its time, or say why it stays; return whether it is dropped."""
    from quotes.archive import ArchiveFailed
    from quotes.services.archive import retire_day
    from quotes.services.partitions import NotArchived

    try:
        kept = retire_day(day=day)
    except (ArchiveFailed, NotArchived, DatabaseError) as error:
        KEPT_TOO_LONG.inc()
        log.error("a day of ticks was not dropped", day=str(day), error=str(error))
        return False
    if kept is None:
        KEPT_TOO_LONG.inc()
        log.error("a day of ticks must stay: an order that needs it is not settled", day=str(day))
        return False
    log.info("day of ticks dropped", day=str(day), evidence=kept)
    return True


# --- Seeds of simulated prices, candles ---------------------------------------------------------------


@shared_task(name="quotes.reveal_seeds")
def reveal_seeds() -> None:
    """Publish the seeds of the simulated hours that are over."""
    if revealed := seeds.reveal_seeds():
        log.info("seeds revealed", count=revealed)


@shared_task(name="quotes.verify_candles")
def verify_candles() -> None:
    """Compare yesterday's stored candles with its ticks, and repair them."""
    yesterday = clock.now().date() - timedelta(days=1)
    try:
        checks = candles.verify_candles(day=yesterday)
    except candles.DayNotKept as reason:
        log.warning("candles are not verified", day=str(yesterday), reason=str(reason))
        return
    repaired = sum(len(each.repaired) for each in checks)
    REPAIRED.inc(repaired)
    log.log(30 if repaired else 20, "candles verified", day=str(yesterday), repaired=repaired)
