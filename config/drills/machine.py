"""Does at random to the platform and to its model on paper the same, and compares after each step."""

import sys
from collections import Counter
from copy import deepcopy
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar

from django.db import transaction
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from config.core.errors import DomainError
from config.drills import sheets as on
from config.drills.ground import ACCOUNTS, BEGINS_AT, SYMBOLS, Ground, lines
from config.drills.oracle import SIDES, WITH_BARRIER, WITH_DIGIT, WITH_TWO
from config.drills.sheets import Ask, Order
from payments.ledger import checks
from quotes.models import Instrument
from quotes.services import IndependentPrice, approve_void, record_gap, request_void
from trading.services import PlaceOrder, enter_pending, place_order, sell_order, settle_due

CENTS = (-25, -5, -1, 0, 0, 1, 5, 25)
WAITS = (0.0, 0.000001, 0.25, 1.0, 2.0, 5.0)
BESIDE = tuple(timedelta(microseconds=each) for each in (-1, 0, 0, 0, 0, 1))
HARMS = ("feed_down", "source_silent", "source_changed", "void")
LONG_WAITS = (11.0, 31.0, 119.999999, 120.0, 180.0)
STAKES = tuple(map(Decimal, ("0.99", "1.00", "1.01", "5.00", "7.77", "20.00", "60.00", "80.01")))
LENGTHS: tuple[dict[str, int], ...] = (
    *({"seconds": seconds} for seconds in (4, 5, 5, 12, 30, 60)),
    *({"clock": seconds} for seconds in (4, 8, 30)),
    *({"ticks": ticks} for ticks in (1, 2, 3, 5, 6)),
)
DIGITS = (*WITH_DIGIT, "digit_even")
which = st.integers(0, 30)
orders = st.fixed_dictionaries(
    {
        "account": st.sampled_from(list(ACCOUNTS)),
        "symbol": st.sampled_from(list(SYMBOLS)),
        "kind": st.sampled_from([*SIDES, "rise_fall", "higher_lower"]),
        "side": st.integers(0, 1),
        "stake": st.sampled_from(STAKES),
        "length": st.sampled_from(LENGTHS),
        "levels": st.tuples(st.sampled_from(CENTS), st.sampled_from([1, 5, 25])),
        "is_relative": st.booleans(),
        "digit": st.integers(0, 9),
    }
)


class Diverged(Exception):
    """The platform and the model differ."""

    def __init__(self, what: str, platform: Any, model: Any) -> None:
        super().__init__(f"{what}: the platform says {platform}, the model {model}")


def agree(what: str, platform: Any, model: Any) -> None:
    """Raise Diverged unless both say the same."""
    if platform != model:
        raise Diverged(what, platform, model)


def _levels(order: Order) -> list[Decimal]:
    return [each for each in (order.barrier, order.low, order.high) if each is not None]


class Machine(RuleBasedStateMachine):
    """Ticks, silences, gaps, orders, sales, settlements and voids, as they may follow each other."""

    ground: ClassVar[Ground]
    seen: ClassVar[Counter[str]]

    @initialize(some=st.lists(orders, min_size=1, max_size=4))
    def begin(self, some: list[dict[str, Any]]) -> None:
        """Stand on the ground, in a transaction that is rolled back, with some orders asked for."""
        self.example = transaction.atomic()
        self.example.__enter__()
        self.clock, self.paper = self.ground.clock, deepcopy(self.ground.paper)
        self.clock.at = BEGINS_AT
        self.commands: list[PlaceOrder] = []
        self.ids: list[Any] = []
        self.place_some(some)

    # --- the market -----------------------------------------------------------------------------------

    @rule(
        symbol=st.sampled_from(list(SYMBOLS)),
        cents=st.sampled_from(CENTS),
        wait=st.sampled_from(WAITS),
        settles=st.booleans(),
    )
    def tick(self, symbol: str, cents: int, wait: float, settles: bool) -> None:
        """Quote one instrument; without a wait the tick may be late. The settler may be there at once."""
        self._tick(symbol, self.paper.sheets[symbol].last.price + Decimal(cents) / 100, wait, settles)

    @rule(number=which, level=st.integers(0, 2), when=st.sampled_from(WAITS + BESIDE), settles=st.booleans())
    def tick_where_it_hurts(self, number: int, level: int, when: float | timedelta, settles: bool) -> None:
        """Quote the entry or a barrier of an open order exactly; also at its last instant, or beside it."""
        found = [order for order in self.paper.orders if order.status == "open"]
        if found := [order for order in found if _levels(order)] or found:
            order = found[-1 - number % len(found)]
            entry = order.entry or self.paper.sheets[order.symbol].last
            prices = [
                *((entry.price if order.is_relative else 0) + each for each in _levels(order)),
                entry.price,
            ]
            if isinstance(when, timedelta):
                self.clock.at = max(self.clock.at, order.expires_at + when)
                when = 0.0
            self._tick(order.symbol, prices[level % len(prices)], when, settles)

    def _tick(self, symbol: str, price: Decimal, wait: float, settles: bool) -> None:
        now = self.clock.move(seconds=wait)
        self.ground.quoted[symbol].tick(price)
        self.paper.tick(symbol, now, price)
        if settles:
            self.settle()

    @rule(
        wait=st.sampled_from(WAITS + LONG_WAITS),
        how=st.sampled_from(["in silence", "heard", "quoted", "quoted"]),
        cents=st.sampled_from(CENTS),
    )
    def let_time_pass(self, wait: float, how: str, cents: int) -> None:
        """Let time pass; at its end both sources say that they live, or are quoted and estimated anew."""
        now = self.clock.move(seconds=wait)
        for symbol, quoted in self.ground.quoted.items():
            if how == "quoted":
                self.tick(symbol, cents, 0.0, False)
            elif how == "heard":
                quoted.append(now)
                self.paper.sheets[symbol].mark = max(now, self.paper.sheets[symbol].mark)
        if how == "quoted":
            self.ground.estimate(self.paper)

    @rule(symbol=st.sampled_from(list(SYMBOLS)), how=st.sampled_from(HARMS), number=st.integers(0, 5))
    def do_harm(self, symbol: str, how: str, number: int) -> None:
        """Record a gap up to now, or void one of the last ticks of the outside."""
        now = self.clock.move(seconds=number / 10)
        if how == "void":
            self._void(self.paper.sheets["OUTSIDE"], number)
        else:
            record_gap(instrument_id=self._instrument(symbol).pk, ends_at=now, reason=how)
            self.paper.gap(symbol, now, how)

    def _void(self, sheet: on.Sheet, number: int) -> None:
        tick = sheet.ticks[-1 - number]
        if tick.seq in sheet.voided:
            return
        self.clock.move(microseconds=1)  # no two are approved at one instant
        others = [IndependentPrice(name, tick.price * 2) for name in ("one", "another")]
        request = request_void(
            instrument=self._instrument(sheet.symbol),
            at=tick.at,
            seq=tick.seq,
            independent_prices=others,
            actor=self.ground.people["olga"],
            reason="drill",
        )
        approve_void(request=request, actor=self.ground.people["otto"], reason="drill")
        sheet.voided.add(tick.seq)

    def _instrument(self, symbol: str) -> Instrument:
        return self.ground.quoted[symbol].instrument

    # --- orders ---------------------------------------------------------------------------------------

    @rule(asked=orders)
    def place(self, asked: dict[str, Any]) -> None:
        """Place an order of any kind."""
        self._place(**asked)

    @rule(some=st.lists(orders, min_size=2, max_size=4))
    def place_some(self, some: list[dict[str, Any]]) -> None:
        """Place several at one instant."""
        for asked in some:
            self._place(**asked)

    def _place(self, **asked: Any) -> None:
        ask = self._ask(**asked)
        rate, right = self.paper.judged(ask, self.clock.at)
        number, command = len(self.commands), self._command(ask)
        answer, found = "placed", None
        try:
            found = self._send(command).order
        except DomainError as refusal:
            answer = refusal.code
        self.seen[f"{ask.kind}: {answer}" if found else answer] += 1
        if answer not in right:
            raise Diverged(f"{ask}", answer, sorted(right))
        if found is None:
            return
        given = Decimal(found.payout_rate)
        if not (given == rate if rate is not None else on.LEAST_RATE <= given <= on.MOST_RATE):
            raise Diverged(f"the rate of {ask}", given, rate)
        order = self.paper.place(ask, self.clock.at, given)
        agree(f"the expiry of order {number}", datetime.fromisoformat(found.expires_at), order.expires_at)
        self.commands.append(command)
        self.ids.append(found.id)

    def _ask(
        self,
        *,
        symbol: str,
        kind: str,
        side: int,
        length: dict[str, int],
        levels: tuple[int, int],
        is_relative: bool,
        digit: int,
        **asked: Any,
    ) -> Ask:
        """Make of what was drawn what may be accepted; with the digit 0 as it comes, to be refused."""
        if digit:
            is_relative = is_relative or symbol == "OUTSIDE"
            length = {"ticks": 1 + digit % on.MAX_TICKS} if kind == "asian" else length
            symbol = "HERE" if kind in DIGITS else symbol
        base = Decimal(0) if is_relative else self.paper.sheets[symbol].last.price
        first, width = (Decimal(cents) / 100 for cents in levels)
        if kind in WITH_BARRIER:
            asked["barrier"] = base + first
        elif kind in WITH_TWO:
            asked["low"], asked["high"] = base - width, base + abs(first) + width
        elif kind in WITH_DIGIT:
            asked["digit"] = digit
        if "clock" in length:
            asked["until"] = self.clock.at + timedelta(seconds=length["clock"])
        else:
            asked |= length
        is_relative = is_relative and kind in (*WITH_BARRIER, *WITH_TWO)
        return Ask(symbol=symbol, kind=kind, side=SIDES[kind][side], is_relative=is_relative, **asked)

    def _command(self, ask: Ask) -> PlaceOrder:
        sign = "+" if ask.is_relative else ""
        levels = {"barrier": ask.barrier, "low": ask.low, "high": ask.high}
        return PlaceOrder(
            client_id=str(len(self.commands)),
            account=self.ground.accounts[ask.account].pk,
            symbol=ask.symbol,
            contract=ask.kind,
            side=ask.side,
            stake=str(ask.stake),
            duration_seconds=ask.seconds,
            duration_ticks=ask.ticks,
            expires_at=ask.until,
            digit=ask.digit,
            **{name: None if level is None else f"{level:{sign}.2f}" for name, level in levels.items()},
        )

    def _send(self, command: PlaceOrder) -> Any:
        (account,) = (each for each in self.ground.accounts.values() if each.pk == command.account)
        return place_order(customer_id=account.owner_id or 0, command=command)

    @rule(number=which)
    def place_again(self, number: int) -> None:
        """Repeat a command: the order is answered as it is now."""
        if self.commands:
            again = self._send(self.commands[number % len(self.commands)])
            agree(f"order {number % len(self.commands)} again", again.is_replayed, True)

    @rule(number=which, is_other_key=st.booleans(), wait=st.sampled_from([0.0, 2.0]))
    def sell(self, number: int, is_other_key: bool, wait: float) -> None:
        """Sell an order, open or not, under its key or under another."""
        if not self.ids:
            return
        self.clock.move(seconds=wait)
        number %= len(self.ids)
        order, now = self.paper.orders[number], self.clock.at
        key = f"sale {number} {is_other_key}"
        worth: Decimal | str = "order_closed"
        if order.status == "open":
            worth = self.paper.worth(order, now)
        elif order.sale_key == key:
            worth = order.payout or Decimal(0)
        found: Decimal | str
        try:
            owner = self.ground.people[self.paper.holders[order.account].customer]
            sold = sell_order(customer_id=owner.pk, order_id=self.ids[number], client_id=key)
            found = Decimal(sold.order.payout or 0)
        except DomainError as refusal:
            found = refusal.code
        self.seen[f"sale: {found if isinstance(found, str) else 'sold'}"] += 1
        agree(f"the sale of order {number}", found, worth)
        if order.status == "open" and isinstance(worth, Decimal):
            self.paper.sell(order, worth, key, now)

    @rule()
    def settle(self) -> None:
        """Close all that can be decided, as the settler does."""
        while settle_due() + enter_pending():
            pass
        self.paper.settle(self.clock.at)

    # --- comparing ------------------------------------------------------------------------------------

    @invariant()
    def both_say_the_same(self) -> None:
        """Compare balances, versions, escrow, house, orders, exposure and tallies."""
        if hasattr(self, "paper"):
            self.seen["steps"] += 1
            ours, theirs = self.paper.lines(), lines()
            # Orders first: they say more than the sums that follow from them.
            for name in sorted(ours.keys() | theirs.keys(), key=lambda name: (name[:5] != "order", name)):
                agree(name, theirs.get(name), ours.get(name))

    def teardown(self) -> None:
        """Let all orders end and the ledger check itself, and undo the example."""
        if not hasattr(self, "example"):
            return
        try:
            if sys.exception() is None:
                self._end()
        finally:
            transaction.set_rollback(True)
            self.example.__exit__(None, None, None)

    def _end(self) -> None:
        self.clock.move(seconds=on.LONGEST + 1)
        for symbol in SYMBOLS:
            self.tick(symbol, 1, 0.0, True)
        self.both_say_the_same()
        for order in self.paper.orders:
            self.seen[f"{order.kind} ended: {order.reason or order.status}"] += 1
        agree("open orders", [each for each in self.paper.orders if each.status == "open"], [])
        agree("the ledger", list(checks._differences(0)), [])


def play(ground: Ground, number: int, examples: int, steps: int, *, shortens: bool) -> tuple[str, list[str]]:
    """Play so many examples of so many steps; return the first divergence, or "", and the steps to it."""
    Machine.ground, Machine.seen = ground, Counter()
    chosen = settings(
        max_examples=examples,
        stateful_step_count=steps,
        phases=[Phase.generate, Phase.shrink] if shortens else [Phase.generate],
        deadline=None,
        derandomize=False,
        database=None,
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(seed(number)(Machine), settings=chosen)
    except Exception as error:  # noqa: BLE001 - whatever differs is what is looked for
        notes = "\n".join(getattr(error, "__notes__", ()))
        return f"{type(error).__name__}: {error}".splitlines()[0], notes.splitlines()
    return "", []
