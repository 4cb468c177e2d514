"""Drill 10, the model: the platform and a model of it on paper, which shares no rule with it, never differ.

A state machine does the same to both, at random and at their own time: ticks, gaps, orders of every contract,
early sales, settlements, voids. After each step every balance, version, order, exposure, tally, escrow and
house is compared. Each example is a transaction that is rolled back. The settlement core alone is played too,
many more times: orders and records by chance, decided by the rules and by `oracle`. A divergence is found
again by its seed. Sabotage: a price that equals the barrier wins higher/lower for the side `up`.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, cast
from unittest.mock import patch

from django.core.management.base import CommandError

from config.core import clock
from config.drills import ground, oracle
from config.drills.stage import chance, report
from trading.rules import KINDS, Contract, Gap, History, Price, decide, pending_entry, reach
from trading.rules.contracts import End

# A step costs Python and PostgreSQL 6 to 9 ms: 2,000 examples of 50 take a quarter of an hour, 10,000 over an
# hour. Examples were given up rather than steps, for what goes wrong needs orders that live and end; and the
# core alone decides 200,000 orders in a minute.
STEPS, DOSE_PER_EXAMPLE, PATHS_PER_DOSE = 50, 5, 20
BEGINS_AT = datetime.fromisoformat("2030-06-03T12:00:00+00:00")


def run(seed: int, dose: int = 10_000, sabotage: bool = False, steps: int = STEPS) -> dict[str, Any]:
    """Play `dose` / 5 examples of so many steps, and 20 × `dose` orders of the core; return what was seen.

    What differed is under `broken`: of the machine the first divergence, with the steps to it beside.
    Raises CommandError without hypothesis, which only those who develop the platform install.
    """
    try:
        from config.drills import machine
    except ModuleNotFoundError as absent:
        if absent.name != "hypothesis":
            raise
        raise CommandError("This drill needs hypothesis: pip install -r requirements-dev.txt.") from absent
    place, examples = ground.Ground(), max(1, dose // DOSE_PER_EXAMPLE)
    with clock.ticking(place.clock):
        place.lay()
        with equality_wins() if sabotage else nullcontext():
            core, differed = simulated(seed, dose * PATHS_PER_DOSE)
            diverged, led_to_it = machine.play(place, seed, examples, steps, shortens=not sabotage)
    return report(
        "model",
        seed,
        sabotage,
        [diverged, *differed] if diverged else differed,
        steps_to_it=led_to_it,
        examples=examples,
        steps=steps,
        seen=dict(sorted(machine.Machine.seen.items())),
        core=dict(sorted(core.items())),
    )


@contextmanager
def equality_wins() -> Iterator[None]:
    """Sabotage: count equality of higher/lower as won for `up`."""

    def winner(end: End) -> str:
        return "up" if end.exit >= cast(Decimal, end.barrier) else "down"

    mutated = {"higher_lower": replace(KINDS["higher_lower"], winner=winner)}
    with patch.dict(cast(dict[str, Any], KINDS), mutated):
        yield


# --- the settlement core ------------------------------------------------------------------------------


def simulated(seed: int, paths: int) -> tuple[Counter[str], list[str]]:
    """Decide so many orders by the rules and by the oracle; return what ends came, and what differed."""
    seen: Counter[str] = Counter()
    differed: list[str] = []
    for number in range(paths):
        made, record = any_order(seed, number)
        # Of some the end is not known yet.
        known = made.expires_at + timedelta(seconds=chance("known", seed, number).choice([-50, -1, 0, 40]))
        record = record.upto(known)
        ours = end_of(contract_of(made), record, known)
        theirs = oracle.end_of(made, record, known)
        seen[f"{made.kind}: {theirs.word if theirs else 'too early'}"] += 1
        if ours != theirs:
            differed.append(f"path {number}: {made}: the rules say {ours}, the oracle {theirs}")
    return seen, differed


def any_order(seed: int, number: int) -> tuple[oracle.Agreed, oracle.Record]:
    """Return an order and a record by chance, always the same for a seed and a number."""
    by = chance("core", seed, number)
    record = oracle.any_record(by, BEGINS_AT)
    return oracle.any_agreed(by, record.ticks[0]), record


def contract_of(made: oracle.Agreed) -> Contract:
    """Return an order as the rules see it."""
    values = asdict(made) | {"entry": Price(*made.entry) if made.entry else None}
    return Contract(**values)


def end_of(agreed: Contract, record: oracle.Record, known_until: datetime) -> oracle.End | None:
    """Decide by the rules."""
    found = decide(agreed, history_of(agreed, record, known_until))
    if found is None:
        return None
    ticks = (
        None if each is None else oracle.Tick(each.at, each.seq, each.price)
        for each in (found.entry, found.exit)
    )
    return oracle.End(found.status, found.refund_reason, found.payout, *ticks)


def history_of(agreed: Contract, record: oracle.Record, known_until: datetime) -> History:
    """Read from a record what the settler reads from the tables."""
    ticks: Sequence[Price] = [Price(*tick) for tick in record.ticks]
    after = agreed.entry_after
    first = next((tick for tick in ticks if after is not None and after < tick.at <= agreed.expires_at), None)
    known = History(known_until=known_until, first_after=first, gaps=[Gap(*gap) for gap in record.gaps])
    entry = agreed.entry or pending_entry(agreed, first)
    if entry is None:
        return known
    life = [tick for tick in ticks if entry.at < tick.at <= agreed.expires_at]
    count = agreed.duration_ticks
    nth = life[count - 1] if count is not None and len(life) >= count else None
    life = life if nth is None else life[:count]
    edges = reach(agreed, entry)
    return replace(
        known,
        last_before=life[-1] if life else entry,
        nth=nth,
        reached=next((tick for tick in life if edges.is_reached_by(tick.price)), None),
        ticks=len(life) + 1,
        total=entry.price + sum((tick.price for tick in life), Decimal(0)),
        voided=frozenset(record.voided),
    )
