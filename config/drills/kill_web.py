"""Drill 3, kill -9 web between commit and answer: a repeated command has one effect, and the same answer.

The web role is slow to answer what it has committed, or ends by itself just then; it is killed -9 and started
again, over and over. Customers repeat each command, by `client_id` or by `Idempotency-Key`, until it is
answered. Sabotage: idempotency is off. The database keeps another key with an order than the customer sent,
so that neither the look-up nor the unique constraint knows a repeat.
"""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from random import Random
from typing import Any

import msgspec
from django.db import connections

from config.bench.stage import Market
from config.core.models import Fact
from config.drills import stage
from trading.models import Order

CUSTOMERS = 8
# Each order is answered a second late, or its process ends instead.
ACTIONS = ["sleep=1", "exit"]
# More than the web role needs to be back.
TRIES = 600

FORGET = """
CREATE FUNCTION drill_forget_key() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.client_id := gen_random_uuid();
    RETURN NEW;
END $$;
CREATE TRIGGER drill_forget_key BEFORE INSERT ON trading_order
    FOR EACH ROW EXECUTE FUNCTION drill_forget_key();
"""


@contextmanager
def keys_forgotten() -> Iterator[None]:
    """Sabotage: what a command was called is not kept."""
    with connections["owner"].cursor() as cursor:
        cursor.execute(FORGET)
    try:
        yield
    finally:
        with connections["owner"].cursor() as cursor:
            cursor.execute("DROP TRIGGER drill_forget_key ON trading_order; DROP FUNCTION drill_forget_key()")


def run(seed: int, dose: int = 100, sabotage: bool = False) -> dict[str, Any]:
    """Kill the web role `dose` times; return what was seen, with what did not hold under `broken`."""
    market, web = Market(2), stage.Role("web")
    market.tick("100.00")
    customers = stage.customers(
        CUSTOMERS, market, web.url, duration_seconds=3600, pause_seconds=0.05, tries=TRIES
    )
    kills: Counter[str] = Counter()
    with keys_forgotten() if sabotage else nullcontext(), stage.killed_at_the_end(web):
        with stage.working(*(customer.trade for customer in customers)):
            for number in range(dose):
                kills[_kill(web, stage.chance(seed, number))] += 1
            web.start()
        broken = [found for customer in customers for found in _amiss(customer)]
    broken += stage.money_amiss()
    answers = [answer for customer in customers for answer in customer.answers.values()]
    return stage.report(
        "kill-web",
        seed,
        sabotage,
        broken,
        kills=dict(sorted(kills.items())),
        commands=len(answers),
        answered_by_repeat=sum(answer.is_replayed for answer in answers),
        sent_again=sum(customer.retries for customer in customers),
        orders=Order.objects.count(),
    )


def _kill(web: stage.Role, chance: Random) -> str:
    """Kill the role once it has committed an order that it has not answered."""
    action, before = chance.choice(ACTIONS), Order.objects.count()
    web.start(FAULTPOINT=f"orders.before_answer:{action}")
    stage.wait_until(lambda: Order.objects.count() > before, "an order placed")
    time.sleep(chance.uniform(0, 0.4))
    web.kill()
    return action


def _amiss(customer: stage.Customer) -> Iterator[str]:
    """Name every command that had another number of effects than one, or is answered in another way now."""
    yield from customer.errors
    mine = Order.objects.filter(account=customer.account)
    effects = Counter(mine.values_list("stake", flat=True))
    facts = Fact.objects.filter(name="order.opened", payload__order__account=customer.account.pk)
    opened = {str(order["client_id"]): order for order in facts.values_list("payload__order", flat=True)}
    for number, answer in customer.answers.items():
        key, count = f"order-{number}", effects.pop(customer.stake(number), 0)
        if count != 1:
            yield f"{key} of account {customer.account.pk} had {count} effects"
        if msgspec.json.decode(answer.body) != opened.get(key):
            yield f"{key} of account {customer.account.pk} was answered by another order than it opened"
        again = customer.place(number)
        if again is None or not again.is_replayed or again.body != answer.body:
            yield f"{key} of account {customer.account.pk} has another answer when it is sent again"
    for stake in effects:
        yield f"account {customer.account.pk} has an order of {stake} that nobody was answered for"
