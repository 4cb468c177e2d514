"""What beat runs for orders."""

from datetime import timedelta

import structlog
from celery import shared_task
from prometheus_client import Counter

from config.core import clock
from trading import services

log = structlog.get_logger(__name__)

# What expired longer ago than this should have been closed by a settler.
MISSED_AFTER = timedelta(seconds=5)
# Barriers are compared with so much of the past: what no settler saw in it is closed at its end.
LOOKS_BACK = timedelta(minutes=5)
SWEPT = Counter("orders_swept", "Orders the sweep closed because no settler had.")


@shared_task(name="trading.sweep_orders")
def sweep_orders() -> int:
    """Close what the settlers should have closed and did not; count it as an alarm."""
    try:
        services.enter_pending()
    finally:  # what fails for the one half must not stop the other; it is raised all the same
        swept = services.settle_due(older_than=MISSED_AFTER, since=clock.now() - LOOKS_BACK)
        if swept:
            SWEPT.inc(swept)
            log.error("the sweep closed orders that no settler had closed", orders=swept)
    return swept


@shared_task(name="trading.recalculate_payouts")
def recalculate_payouts() -> int:
    """Bring the payout rates to what their policies say."""
    return services.recalculate_payouts()


@shared_task(name="trading.delay_sniped_entries")
def delay_sniped_entries() -> int:
    """Delay the entry of instruments whose orders know the next movement of the price."""
    return services.delay_sniped_entries()


@shared_task(name="trading.trim_refusals")
def trim_refusals() -> int:
    """Delete old counts of refusals."""
    return services.trim_refusals()


@shared_task(name="trading.estimate_volatility")
def estimate_volatility() -> int:
    """Record how much each instrument moved lately."""
    return services.estimate_volatility()
