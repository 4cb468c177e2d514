"""Drill 6, feed faults: whatever a feed does, no outcome rests on a stale or a late tick, and none changes.

Two instruments, one with entry at the latest tick and one delayed, live through stalls, cuts, duplicates,
disorder, spikes and a clock that jumps by five seconds, at their own time on a virtual clock. Every order is
decided again at the end from what is stored, by a computation of its own, and must come out byte for byte as
it was settled. Sabotage: ticks count in the order in which they arrive, though their instant has passed.
"""

import hashlib
import random
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import ROUND_FLOOR, Decimal
from typing import Any

from config.bench.stage import funded_accounts
from config.core import clock
from config.core.errors import DomainError
from config.core.ids import new_id
from config.drills.books import ledger_amiss
from quotes import services
from quotes.feed import Feed
from quotes.intake import Link
from quotes.models import Gap, Instrument, Tick, Watermark
from quotes.services import Stretch, create_calendar, create_instrument, open_days
from quotes.services import ticks as door
from trading.models import Order, Terms
from trading.services import PlaceOrder, enter_pending, place_order, set_terms, settle_due

BEGINS_AT = datetime(2030, 6, 3, 9, tzinfo=UTC)
STEP = timedelta(milliseconds=250)
SOURCE = "binance"
PLACED_PER_STEP = 2
CUSTOMERS = 20
MAX_EXIT_AGE = timedelta(seconds=30)
MAX_QUOTE_AGE = timedelta(seconds=5)


class NoSources:
    """Stands where the sources' thread would: the drill quotes itself."""

    def watch(self, *_: Any) -> None:
        """Deliver nothing."""

    def stop(self) -> None:
        """End nothing."""


class Market:
    """One instrument, its true price, and a connection that things happen to."""

    def __init__(self, symbol: str, entry_policy: str, chance: random.Random) -> None:
        self.instrument: Instrument = create_instrument(
            symbol=symbol,
            name=symbol,
            instrument_class="crypto",
            price_decimals=2,
            calendar=create_calendar(code="always"),
            source=SOURCE,
            source_symbol=symbol.lower(),
            max_quote_age_ms=int(MAX_QUOTE_AGE.total_seconds() * 1000),
        )
        set_terms(
            instrument=self.instrument,
            actor=None,
            reason="drill",
            contracts=["rise_fall"],
            fixed_rate=Decimal("0.87"),
            min_rate=Decimal("0.5"),
            max_rate=Decimal("0.95"),
            min_stake=Decimal("1"),
            max_stake=Decimal("1000"),
            min_duration_seconds=5,
            max_duration_seconds=300,
            max_open_orders=100_000,
            entry_policy=entry_policy,
            entry_delay_ms=2_000,
        )
        self.chance, self.price, self.buffered = chance, Decimal(10_000), list[Decimal]()
        self.fault, self.left = "", 0
        self.link = self._link()

    def _link(self) -> Link:
        return Link(timedelta(seconds=1), source=SOURCE, is_pinged=True)

    def move(self) -> Decimal:
        """Take the true price one step on."""
        self.price += Decimal(self.chance.randint(-40, 40)) / 100
        return self.price

    def quote(self, feed: Feed, price: Decimal) -> None:
        """Deliver a quote around a price."""
        half = Decimal("0.05")
        feed.intake.quote(self.instrument.symbol, price - half, price + half, self.link)

    def ping(self, feed: Feed) -> None:
        """Ask and be answered, as a live connection is."""
        feed.intake.ask(self.link)
        feed.intake.answer(self.link)

    def reconnect(self, feed: Feed) -> None:
        """Lose the connection, and have another."""
        feed.intake.cut(self.link)
        self.link = self._link()


class Drill:
    """The floor on which everything happens, step by step."""

    def __init__(self, seed: int, orders: int) -> None:
        self.chance, self.wanted = random.Random(seed), orders  # noqa: S311 - it must be repeatable
        self.at = BEGINS_AT
        self.faults: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.placed = 0

    def live(self) -> None:
        """Trade through all faults until enough orders are placed and every one is closed."""
        open_days([(BEGINS_AT + timedelta(days=day)).date() for day in (-1, 0, 1)])
        self.accounts = funded_accounts(CUSTOMERS)
        self.markets = [
            Market("CALM", Terms.EntryPolicy.LATEST_TICK, self.chance),
            Market("LATER", Terms.EntryPolicy.DELAYED, self.chance),
        ]
        self.at += timedelta(seconds=1)
        self.feed = Feed(sources=NoSources())
        self.feed.take_over()
        while self.placed < self.wanted:
            self._step(places=True)
        for _ in range(int(timedelta(minutes=10) / STEP)):
            self._step(places=False)
            if not Order.objects.filter(status=Order.Status.OPEN).exists():
                break

    def _step(self, *, places: bool) -> None:
        self.at += STEP
        for market in self.markets:
            FAULTS[market.fault](self, market) if market.left else self._quiet(market, places)
            market.left = max(0, market.left - 1)
        self.feed.flush()
        if places:
            for _ in range(PLACED_PER_STEP):
                self._place()
        enter_pending()
        settle_due()

    def _quiet(self, market: Market, may_fail: bool) -> None:
        """Deliver as a source should; now and then begin a fault."""
        if market.fault in ("stall", "cut"):
            self._heal(market)
        market.fault = ""
        market.ping(self.feed)
        for _ in range(self.chance.randint(0, 3)):
            self.at += timedelta(microseconds=self.chance.randint(1, 9_000))
            market.quote(self.feed, market.move())
        if may_fail and self.chance.random() < 0.02:
            market.fault = self.chance.choice(sorted(set(FAULTS) - {""}))
            market.left = self.chance.choice([1, 2, 8, 30, 200])
            self.faults[market.fault] += 1

    def _heal(self, market: Market) -> None:
        # What waited in a buffer comes first, and nobody knows how old it is.
        for price in market.buffered:
            market.quote(self.feed, price)
        market.buffered.clear()

    def _place(self) -> None:
        account, market = self.chance.choice(self.accounts), self.chance.choice(self.markets)
        command = PlaceOrder(
            client_id=str(new_id()),
            account=account.pk,
            symbol=market.instrument.symbol,
            contract="rise_fall",
            side=self.chance.choice(["up", "down"]),
            stake=f"{self.chance.randint(100, 9999) / 100:.2f}",
            duration_seconds=self.chance.randint(5, 60),
        )
        try:
            place_order(customer_id=account.owner_id or 0, command=command)
        except DomainError as refusal:
            self.refused[refusal.code] += 1
        self.placed += 1

    # --- faults ---------------------------------------------------------------------------------------

    def stall(self, market: Market) -> None:
        """The line stands and brings nothing; a ping stays without an answer."""
        if market.link.asked_at is None:
            self.feed.intake.ask(market.link)
        market.buffered.append(market.move())
        if market.left == 1:
            self._heal(market)
            self.feed.intake.answer(market.link)
            market.ping(self.feed)

    def cut(self, market: Market) -> None:
        """The connection is lost; the market moves on without us."""
        market.move()
        market.reconnect(self.feed)

    def duplicate(self, market: Market) -> None:
        """The same quote comes three times."""
        market.ping(self.feed)
        price = market.move()
        for _ in range(3):
            market.quote(self.feed, price)

    def disorder(self, market: Market) -> None:
        """A tick turns up whose instant the watermark has passed, as from a backlog."""
        market.ping(self.feed)
        market.quote(self.feed, market.move())
        self.feed.flush()
        mark = Watermark.objects.get(instrument=market.instrument)
        settled = Order.objects.filter(instrument=market.instrument, expires_at__lt=mark.at)
        settled = settled.filter(status__in=(Order.Status.WON, Order.Status.LOST)).order_by("-expires_at")
        # Where it would hurt most: at the very instant at which the last decided order expired.
        hurts = settled.values_list("expires_at", flat=True).first()
        late = hurts or mark.at - timedelta(microseconds=self.chance.randint(1, 3_000_000))
        stretch = Stretch(mark.at, [(late, market.price + 7)], SOURCE, 0)
        services.append_ticks(epoch=mark.epoch, stretches={market.instrument.pk: stretch})

    def spike(self, market: Market) -> None:
        """A price that nobody else has seen."""
        market.ping(self.feed)
        market.quote(self.feed, market.move() * 3)
        market.quote(self.feed, market.move())

    def clock(self, market: Market) -> None:
        """The clock jumps five seconds ahead or back."""
        market.left = 1
        self.at += timedelta(seconds=self.chance.choice([-5, 5]))
        market.ping(self.feed)
        market.quote(self.feed, market.move())


FAULTS: dict[str, Callable[[Drill, Market], None]] = {
    "": lambda drill, market: None,
    "stall": Drill.stall,
    "cut": Drill.cut,
    "duplicate": Drill.duplicate,
    "disorder": Drill.disorder,
    "spike": Drill.spike,
    "clock": Drill.clock,
}


@contextmanager
def arrival_order_accepted() -> Iterator[None]:
    """Sabotage: number ticks as they arrive and never look at the watermark."""
    careful = door._number

    def careless(instrument_id: int, mark: Any, stretch: Stretch, copied: list[str]) -> door.Appended:
        rows = [
            (at, mark.last_seq + place, price) for place, (at, price) in enumerate(stretch.ticks, start=1)
        ]
        copied.extend(f"{instrument_id}\t{at.isoformat()}\t{seq}\t{price:f}\tf\n" for at, seq, price in rows)
        return door.Appended(max(mark.at, stretch.until), rows, 0)

    door._number = careless
    try:
        yield
    finally:
        door._number = careful


def run(seed: int, dose: int = 10_000, sabotage: bool = False) -> dict[str, Any]:
    """Live through `dose` orders; return what was seen, with what did not hold under `broken`."""
    drill = Drill(seed, dose)
    with clock.ticking(lambda: drill.at):
        if sabotage:
            with arrival_order_accepted():
                drill.live()
        else:
            drill.live()
        broken = ledger_amiss()
    orders = list(Order.objects.select_related("instrument", "account__book").order_by("id"))
    records = {market.instrument.pk: Record(market.instrument.pk) for market in drill.markets}
    broken += [found for order in orders if (found := records[order.instrument_id].objection(order))]
    settled, again = hashlib.sha256(), hashlib.sha256()
    for order in orders:
        settled.update(told(order))
        again.update(records[order.instrument_id].decided(order))
    if settled.digest() != again.digest():
        broken.append("settled again from what is stored, the outcomes are not the same bytes")
    return {
        "drill": "feed-faults",
        "seed": seed,
        "sabotage": sabotage,
        "orders": len(orders),
        "refused": dict(sorted(drill.refused.items())),
        "outcomes": dict(sorted(Counter(order.refund_reason or order.status for order in orders).items())),
        "faults": dict(sorted(drill.faults.items())),
        "ticks": Tick.objects.filter(is_late=False).count(),
        "late_ticks": Tick.objects.filter(is_late=True).count(),
        "gaps": dict(Counter(Gap.objects.values_list("reason", flat=True))),
        "outcomes_sha256": settled.hexdigest(),
        "broken": broken[:20],
        "broken_count": len(broken),
    }


# --- the second computation ---------------------------------------------------------------------------


# Status, refund reason, number of the exit tick, payout.
End = tuple[str, str | None, int | None, Decimal | None]


def told(order: Order) -> bytes:
    """Write what an order says of its end."""
    return _line(order, (order.status, order.refund_reason, order.exit_seq, order.payout))


def _line(order: Order, end: End) -> bytes:
    return "|".join(str(part) for part in (order.pk, *end[:3], f"{end[3] or 0:.2f}\n")).encode()


class Record:
    """What is stored of one instrument, read once, and what it says of any order."""

    def __init__(self, instrument_id: int) -> None:
        rows = Tick.objects.filter(instrument_id=instrument_id, is_late=False).order_by("at", "seq")
        self.ticks = list(rows.values_list("at", "seq", "price"))
        self.times = [at for at, _, _ in self.ticks]
        self.gaps = list(
            Gap.objects.filter(instrument_id=instrument_id).values_list("starts_at", "ends_at", "reason")
        )

    def last(self, upto: datetime) -> Any:
        """Return the last tick up to an instant."""
        place = bisect_right(self.times, upto)
        return self.ticks[place - 1] if place else None

    def entry(self, order: Order) -> Any:
        """Return the tick an order must have entered at, None without one.

        Which tick was the latest durable one at acceptance is known from the order alone: one under way then,
        or stamped by a clock that was put back, may have an earlier instant. It must be a tick, and not late.
        """
        if order.entry_after is None:
            said = (order.entry_at, order.entry_seq, order.entry_price)
            place = bisect_right(self.times, order.entry_at or order.accepted_at)
            is_tick = place > 0 and self.ticks[place - 1] == said and said[0] <= order.accepted_at
            return said if is_tick else None
        place = bisect_right(self.times, order.entry_after)
        found = self.ticks[place] if place < len(self.ticks) else None
        deadline = min(order.entry_after + timedelta(seconds=10), order.expires_at)
        return found if found is not None and found[0] <= deadline else None

    def decided(self, order: Order) -> bytes:
        """Decide an order again and write its end as `told` does."""
        return _line(order, self._end(order))

    def _end(self, order: Order) -> End:
        entry, last = self.entry(order), self.last(order.expires_at)
        if entry is None:
            return "refunded", "no_entry", None, order.stake
        for starts_at, ends_at, reason in self.gaps:
            if starts_at < order.expires_at <= ends_at:
                return "refunded", "feed_dead" if reason == "feed_dead" else "feed_gap", None, order.stake
        if last is None or last[1] <= entry[1]:
            return "refunded", "no_exit", None, order.stake
        if order.expires_at - last[0] > MAX_EXIT_AGE:
            return "refunded", "stale_exit", last[1], order.stake
        if last[2] == entry[2]:
            return "refunded", "tie", last[1], order.stake
        if (last[2] > entry[2]) != (order.side == "up"):
            return "lost", None, last[1], Decimal(0)
        profit = (order.stake * order.payout_rate).quantize(Decimal("0.01"), rounding=ROUND_FLOOR)
        return "won", None, last[1], order.stake + profit

    def objection(self, order: Order) -> str:
        """Say what an order rests on that it must not; "" when all is well."""
        if order.status == Order.Status.OPEN:
            return f"{order.pk} is still open"
        if order.status == Order.Status.REFUNDED:
            return ""
        entry, last = self.entry(order), self.last(order.expires_at)
        if entry is None or (order.entry_at, order.entry_seq, order.entry_price) != entry:
            return f"{order.pk} entered at tick {order.entry_seq}, not at {entry and entry[1]}"
        if order.entry_after is None and order.accepted_at - entry[0] > MAX_QUOTE_AGE:
            return f"{order.pk} entered at a stale tick"
        if (order.exit_at, order.exit_seq, order.exit_price) != last:
            return f"{order.pk} ended at tick {order.exit_seq}, not at {last and last[1]}"
        if order.expires_at - last[0] > MAX_EXIT_AGE:
            return f"{order.pk} ended at a stale tick"
        return ""
