"""What beat asks of the ledger."""

import structlog
from celery import shared_task

from config.core.errors import Conflict
from payments.ledger import services
from payments.ledger.checks import check_ledger

log = structlog.get_logger(__name__)


@shared_task(name="ledger.take_snapshots")
def take_snapshots() -> None:
    """Keep the sums of system accounts short."""
    services.take_snapshots()


@shared_task(name="ledger.check_changed")
def check_changed() -> None:
    """Verify what moved since the last clean check."""
    _check(whole=False)


@shared_task(name="ledger.check_all")
def check_all() -> None:
    """Verify everything."""
    _check(whole=True)


def _check(*, whole: bool) -> None:
    try:
        check_ledger(whole=whole)
    except Conflict as running:  # should it never end, the age of the last check raises the alarm
        log.warning("ledger check left out", whole=whole, because=running.detail)
