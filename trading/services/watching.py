"""The risk watcher: limits nearly used up and houses below their floor, acted on and put right again."""

from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import NamedTuple

import structlog
from django.db import IntegrityError, connection, transaction
from prometheus_client import Counter, Gauge

from config.core import audit, clock, money
from config.core.errors import Conflict
from config.core.outbox import OPERATORS_TOPIC, publish
from payments.ledger.selectors import house_balances
from trading.facts import RiskAlerted
from trading.models import BookTerms, Curb, RiskAlert, RiskLimit
from trading.rules import CUT, LEVELS, house_level, level
from trading.services.curbs import lift_curb, set_curb

log = structlog.get_logger(__name__)
WATCHED = Gauge("risk_watched_timestamp_seconds", "When this process last watched all limits and houses.")
ALERTS = Counter("risk_alerts", "Limits nearly used up and houses below their floor.", ["kind"])
USE = """
SELECT l.id,
       (SELECT coalesce(sum(e.profit), 0)
        FROM trading_exposure e JOIN quotes_instrument i ON i.id = e.instrument_id
        WHERE e.book_id = l.book_id AND (l.instrument_id IS NULL OR e.instrument_id = l.instrument_id)
          AND (l.instrument_class = '' OR i.instrument_class = l.instrument_class)
          AND (l.side = '' OR e.side = l.side)),
       (SELECT coalesce(min(t.min_stake * least(t.min_rate, t.min_priced_rate)), 0)
        FROM quotes_instrument i CROSS JOIN LATERAL (
            SELECT * FROM trading_terms WHERE instrument_id = i.id ORDER BY version DESC LIMIT 1) t
        WHERE (l.instrument_id IS NULL OR i.id = l.instrument_id)
          AND (l.instrument_class = '' OR i.instrument_class = l.instrument_class))
FROM trading_risklimit l
WHERE l.starts_at <= %(now)s AND (l.ends_at IS NULL OR l.ends_at > %(now)s)
ORDER BY l.id
"""


Act = Callable[[], int]


class Use(NamedTuple):
    """How much of a limit is used, and the least profit of an order there."""

    used: Decimal
    least: Decimal


def watch_risk() -> int:
    """Act on every limit that is nearly used up and every house below its floor; return how many changes.

    From 80 % operators are alerted, from 90 % payouts are lowered, a full limit stops its orders, and a house
    below its floor those of its book. What it set it lifts when calm has returned; what an operator lifted it
    leaves alone until then. Each step is audited and told, in a transaction of its own, safe in any number of
    processes. What fails for one limit or house stops no other; it is raised at the end.
    """
    now, changes, failures = clock.now(), 0, []
    for act in [*_houses(now), *_limits(now)]:
        try:
            changes += act()
        except Conflict:
            continue  # another watcher has done it
        except Exception as failure:
            log.exception("a limit or a house could not be watched", error=str(failure))
            failures.append(failure)
    if failures:
        raise failures[0]
    WATCHED.set_to_current_time()
    return changes


def _limits(now: datetime) -> Iterator[Act]:
    with connection.cursor() as cursor:
        cursor.execute(USE, {"now": now})
        uses = {pk: Use(*use) for pk, *use in cursor.fetchall()}
    limits = RiskLimit.objects.select_related("book", "instrument").in_bulk(uses)
    alerts = {each.limit_id: each for each in RiskAlert.objects.filter(closed_at=None, limit__isnull=False)}
    for pk, alert in alerts.items():
        if pk not in uses:
            yield partial(_calm, alert, "the limit has ended")
    for pk, limit in limits.items():
        use = uses[pk]
        found = level(use.used, limit.most, use.least)
        yield partial(_act, limit, found, use.used, alerts.get(pk), now)


def _act(limit: RiskLimit, found: str, used: Decimal, alert: RiskAlert | None, now: datetime) -> int:
    if found == "calm":
        return _calm(alert, "calm again") if alert else 0
    stands = LEVELS.index(found)
    if alert is None:
        if stands < LEVELS.index("alerted"):
            return 0
        alert = _open(RiskAlert(book=limit.book, limit=limit, most=limit.most, used=used), now)
        changes = 1
    else:
        RiskAlert.objects.filter(pk=alert.pk, highest__lt=used).update(highest=used)
        changes = 0
    scope = {
        "book": limit.book,
        "instrument": limit.instrument,
        "instrument_class": limit.instrument_class,
        "side": limit.side,
    }
    share = f"{used / limit.most:.0%} of limit {limit.pk} used"
    if stands >= LEVELS.index("lowered"):
        changes += _curb(alert, Curb.Effect.LOWER_PAYOUTS, share, cut=CUT, **scope)
    if found == "stopped":
        changes += _curb(alert, Curb.Effect.STOP_ORDERS, share, **scope)
    return changes


def _houses(now: datetime) -> Iterator[Act]:
    alerts = {each.book_id: each for each in RiskAlert.objects.filter(closed_at=None, limit=None)}
    floors = list(BookTerms.objects.exclude(floor=None).select_related("book"))
    held = house_balances() if floors else {}
    for terms in floors:
        yield partial(_act_on_house, terms, held[terms.book_id], alerts.pop(terms.book_id, None), now)
    for alert in alerts.values():
        yield partial(_calm, alert, "there is no floor any more")


def _act_on_house(terms: BookTerms, held: Decimal, alert: RiskAlert | None, now: datetime) -> int:
    floor, changes = terms.floor or money.ZERO, 0
    found = house_level(held, floor)
    if found == "calm":
        return _calm(alert, "the house is above its floor") if alert else 0
    if found != "stopped":
        return 0
    if alert is None:
        alert = _open(RiskAlert(book=terms.book, most=floor, used=held), now)
        changes = 1
    RiskAlert.objects.filter(pk=alert.pk, highest__gt=held).update(highest=held)
    held_text, floor_text = (f"{amount:.{terms.book.scale}f}" for amount in (held, floor))
    said = f"the house holds {held_text} and its floor is {floor_text}"
    return changes + _curb(alert, Curb.Effect.STOP_ORDERS, said, book=terms.book)


@transaction.atomic
def _open(alert: RiskAlert, now: datetime) -> RiskAlert:
    alert.highest, alert.opened_at = alert.used, now
    try:
        with transaction.atomic():
            alert.save(force_insert=True)
    except IntegrityError:
        raise Conflict("It is alerted already.") from None
    after = {"book": alert.book.code, "limit": alert.limit_id, "used": alert.used, "most": alert.most}
    audit.record(action="risk.alerted", target=alert, after=after)
    scale = alert.book.scale
    publish(
        OPERATORS_TOPIC,
        RiskAlerted(
            alert=alert.pk,
            book=alert.book.code,
            limit=alert.limit_id,
            used=f"{alert.used:.{scale}f}",
            most=f"{alert.most:.{scale}f}",
        ),
    )
    ALERTS.labels("limit" if alert.limit_id else "floor").inc()
    log.warning(
        "risk alert", book=alert.book.code, limit=alert.limit_id, used=str(alert.used), most=str(alert.most)
    )
    return alert


def _curb(alert: RiskAlert, effect: str, comment: str, **scope: object) -> int:
    if Curb.objects.filter(alert=alert, effect=effect).exists():
        return 0
    try:
        set_curb(effect=effect, comment=comment, alert=alert, **scope)  # type: ignore[arg-type]
    except Conflict:  # another watcher was quicker
        return 0
    return 1


def _calm(alert: RiskAlert, reason: str) -> int:
    """End an alert, its curbs first: whoever is killed between ends it the next time."""
    lifted = sum(lift_curb(curb=curb, actor=None, reason=reason) for curb in alert.curbs.all())
    return lifted + _close(alert, reason)


@transaction.atomic
def _close(alert: RiskAlert, reason: str) -> int:
    closed = RiskAlert.objects.filter(pk=alert.pk, closed_at=None).update(closed_at=clock.now())
    if closed:
        audit.record(action="risk.calmed", target=alert, reason=reason)
    return closed
