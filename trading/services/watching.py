"""The risk watcher: limits nearly used up and houses below their floor, acted on and put right again."""

from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

import structlog
from django.db import connection, transaction
from prometheus_client import Counter

from config.core import audit, clock, money
from config.core.outbox import OPERATORS_TOPIC, publish
from payments.ledger.models import Account
from payments.ledger.selectors import system_balances
from trading.facts import RiskAlerted
from trading.models import BookTerms, Curb, RiskAlert, RiskLimit
from trading.rules import CUT, LEVELS, house_level, level
from trading.services.curbs import lift_curb, set_curb

log = structlog.get_logger(__name__)
ALERTS = Counter("risk_alerts", "Limits nearly used up and houses below their floor.", ["kind"])
# One watches at a time; another in the same second has nothing to add.
WATCH_LOCK = 7_220_300
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


class Use(NamedTuple):
    """How much of a limit is used, and the least profit of an order there."""

    used: Decimal
    least: Decimal


def watch_risk() -> int:
    """Act on every limit that is nearly used up and every house below its floor; return how many changes.

    From 80 % operators are alerted, from 90 % payouts are lowered, a full limit stops its orders, and a house
    below its floor those of its book. What it set it lifts when calm has returned; what an operator lifted it
    leaves alone until then. Each step is audited and told.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", (WATCH_LOCK,))
        if not cursor.fetchone()[0]:
            return 0
        now = clock.now()
        return _watch_limits(now) + _watch_houses(now)


def _watch_limits(now: datetime) -> int:
    with connection.cursor() as cursor:
        cursor.execute(USE, {"now": now})
        uses = {pk: Use(*use) for pk, *use in cursor.fetchall()}
    limits = RiskLimit.objects.select_related("book", "instrument").in_bulk(uses)
    alerts = {each.limit_id: each for each in RiskAlert.objects.filter(closed_at=None, limit__isnull=False)}
    changes = 0
    for pk, alert in alerts.items():
        if pk not in uses:
            changes += _calm(alert, now, "the limit has ended")
    for pk, limit in limits.items():
        use = uses[pk]
        changes += _act(limit, level(use.used, limit.most, use.least), use.used, alerts.get(pk), now)
    return changes


def _act(limit: RiskLimit, found: str, used: Decimal, alert: RiskAlert | None, now: datetime) -> int:
    if found == "calm":
        return _calm(alert, now, "calm again") if alert else 0
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


def _watch_houses(now: datetime) -> int:
    alerts = {each.book_id: each for each in RiskAlert.objects.filter(closed_at=None, limit=None)}
    changes = 0
    for terms in BookTerms.objects.exclude(floor=None).select_related("book"):
        floor = terms.floor or money.ZERO
        held = system_balances(terms.book)[Account.Code.HOUSE]
        found, alert = house_level(held, floor), alerts.pop(terms.book_id, None)
        if found == "calm":
            changes += _calm(alert, now, "the house is above its floor") if alert else 0
        elif found == "stopped":
            if alert is None:
                alert = _open(RiskAlert(book=terms.book, most=floor, used=held), now)
                changes += 1
            RiskAlert.objects.filter(pk=alert.pk, highest__gt=held).update(highest=held)
            held_text, floor_text = (f"{amount:.{terms.book.scale}f}" for amount in (held, floor))
            said = f"the house holds {held_text} and its floor is {floor_text}"
            changes += _curb(alert, Curb.Effect.STOP_ORDERS, said, book=terms.book)
    return changes + sum(_calm(alert, now, "there is no floor any more") for alert in alerts.values())


def _open(alert: RiskAlert, now: datetime) -> RiskAlert:
    alert.highest, alert.opened_at = alert.used, now
    alert.save(force_insert=True)
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
    set_curb(effect=effect, comment=comment, alert=alert, **scope)  # type: ignore[arg-type]
    return 1


def _calm(alert: RiskAlert, now: datetime, reason: str) -> int:
    RiskAlert.objects.filter(pk=alert.pk, closed_at=None).update(closed_at=now)
    audit.record(action="risk.calmed", target=alert, reason=reason)
    return 1 + sum(lift_curb(curb=curb, actor=None, reason=reason) for curb in alert.curbs.all())
