"""Anti-sniping: an instrument whose orders know the next movement enters them later, for everybody."""

import structlog
from django.db import transaction
from prometheus_client import Counter

from config.core import audit
from config.core.outbox import instrument_topic, publish
from trading.facts import OffersChanged
from trading.models import Terms
from trading.rules import is_sniped, later_entry, timing_score
from trading.selectors import order_timing
from trading.services.payouts import lock_rates
from trading.services.terms import set_terms

log = structlog.get_logger(__name__)
SNIPED = Counter("orders_sniped", "Looks at an instrument that found its orders knew the next movement.")


def delay_sniped_entries() -> int:
    """Delay the entry, by one step, of every instrument whose orders know the next movement; return how many.

    Looked at are instruments whose prices come from outside, and how their orders are timed: not how they
    end, nor whose they are. The step is a new version of the terms, audited and told to everybody; orders
    accepted before it are not counted again. Safe in any number of processes. Where the delay is the longest
    already, it is only told to operators. What fails for one instrument stops no other; it is raised at the
    end.
    """
    found = [each.instrument for each in order_timing() if is_sniped(each.orders, each.ahead)]
    delayed, failures = 0, []
    for instrument_id in found:
        try:
            delayed += _delay(instrument_id)
        except Exception as failure:
            log.exception("an entry could not be delayed", instrument=instrument_id)
            failures.append(failure)
    if failures:
        raise failures[0]
    return delayed


@transaction.atomic
def _delay(instrument_id: int) -> bool:
    # Counted again under the lock that terms change under: of two that look, the second finds the step taken.
    instrument = lock_rates(instrument_id)
    timing = next(iter(order_timing(instrument_id)), None)
    if timing is None or not is_sniped(timing.orders, timing.ahead):
        return False
    score = timing_score(timing.orders, timing.ahead)
    said = (
        f"{timing.ahead} of {timing.orders} orders went with the next movement of the price, "
        f"{score:.1f} standard deviations above chance"
    )
    SNIPED.inc()
    terms = Terms.objects.filter(instrument=instrument).latest("version")
    delay_ms = later_entry(terms.entry_policy, terms.entry_delay_ms)
    if delay_ms is None:
        log.error("orders are sniped at the longest delay", symbol=instrument.symbol, because=said)
        return False
    changed = {"entry_policy": Terms.EntryPolicy.DELAYED, "entry_delay_ms": delay_ms}
    set_terms(instrument=instrument, actor=None, reason=said, **changed)
    audit.record(
        action="entry.delayed",
        target=("instrument", instrument.symbol),
        before={name: str(getattr(terms, name)) for name in changed},
        after={name: str(value) for name, value in changed.items()},
        reason=said,
    )
    publish(instrument_topic(instrument.symbol), OffersChanged(symbol=instrument.symbol))
    log.warning("entry delayed", symbol=instrument.symbol, entry_delay_ms=delay_ms, because=said)
    return True
