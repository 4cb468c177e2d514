"""What beat asks of the ledger."""

from celery import shared_task

from payments.ledger import services
from payments.ledger.checks import check_ledger


@shared_task(name="ledger.take_snapshots")
def take_snapshots() -> None:
    """Keep the sums of system accounts short."""
    services.take_snapshots()


@shared_task(name="ledger.check_changed")
def check_changed() -> None:
    """Verify what moved since the last clean check."""
    check_ledger(whole=False)


@shared_task(name="ledger.check_all")
def check_all() -> None:
    """Verify everything."""
    check_ledger(whole=True)
