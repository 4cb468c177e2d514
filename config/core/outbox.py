"""Facts go up: recorded with the change itself, delivered later by the relay, handled idempotently."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from django.db import transaction

from config.core import audit, clock, facts
from config.core.errors import Broken
from config.core.models import Fact
from config.core.sql import copied

Handler = Callable[[Fact], None]


_within: dict[str, list[Handler]] = defaultdict(list)
_after: dict[str, list[Handler]] = defaultdict(list)


def handler(name: str, *, in_transaction: bool = False) -> Callable[[Handler], Handler]:
    """Declare a reaction to a fact.

    After the relay: at least once, so it must be idempotent by the fact's id. With `in_transaction` it runs
    inside the publishing transaction and commits or fails with its cause.
    """

    def declare(function: Handler) -> Handler:
        (_within if in_transaction else _after)[name].append(function)
        return function

    return declare


def handlers(name: str, *, in_transaction: bool = False) -> Sequence[Handler]:
    """Return the reactions declared for a fact name: after the relay, or inside the transaction."""
    return (_within if in_transaction else _after).get(name, ())


def publish(topic: str, data: facts.FactData) -> Fact:
    """Record one fact in the running transaction; raise Broken outside of one."""
    return publish_many([(topic, data)])[0]


def publish_many(items: Sequence[tuple[str, facts.FactData]]) -> list[Fact]:
    """Record facts in the running transaction, in this order; raise Broken outside of one.

    Lock the account rows first, so that the ids of one account's facts are in commit order.
    """
    _require_transaction()
    at = clock.now()
    rows = [
        Fact(topic=topic, name=data.fact_name, payload=facts.payload(data), created_at=at)
        for topic, data in items
    ]
    Fact.objects.bulk_create(rows)
    for row in rows:
        for react in handlers(row.name, in_transaction=True):
            react(row)
    return rows


def write_facts(rows: Sequence[tuple[str, str, str]], *, at: datetime) -> None:
    """Record thousands of facts, each (topic, name, payload as JSON text), in the running transaction.

    By COPY, 8 times faster than `publish_many` for a settlement batch; so no id comes back, and a fact that
    somebody handles in the transaction is refused (Broken).
    """
    _require_transaction()
    if any(handlers(name, in_transaction=True) for _, name, _ in rows):
        raise Broken("a fact with in-transaction handlers must be published by publish_many")
    instant = at.isoformat()
    lines = [f"{topic}\t{name}\t{copied(payload)}\t{instant}\n" for topic, name, payload in rows]
    statement = "COPY core_fact (topic, name, payload, created_at) FROM STDIN"
    with transaction.get_connection().cursor() as cursor, cursor.copy(statement) as copy:
        copy.write("".join(lines))


def _require_transaction() -> None:
    if not transaction.get_connection().in_atomic_block:
        raise Broken("a fact may only be published inside the transaction that makes it true")


@transaction.atomic
def retry(fact: Fact, *, actor: Any, reason: str) -> bool:
    """Let a parked fact and its topic go on, from the first attempt; return whether it was parked."""
    if not Fact.objects.filter(pk=fact.pk, parked_at__isnull=False).update(parked_at=None, attempts=0):
        return False
    audit.record(action="fact.retried", actor=actor, target=fact, reason=reason, before={"error": fact.error})
    return True


def customer_topic(customer_id: int) -> str:
    """Return the topic of one customer's private facts."""
    return f"customer:{customer_id}"


def instrument_topic(symbol: str) -> str:
    """Return the topic of an instrument's public facts."""
    return f"instrument:{symbol}"


OPERATORS_TOPIC = "operators"


def as_message(row: Fact) -> dict[str, Any]:
    """Return what a socket sends for a fact."""
    return {"type": row.name, "id": row.pk, "seq": row.pk, "at": clock.iso(row.created_at), **row.payload}
