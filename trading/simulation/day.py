"""A recorded day, minute by minute: orders open and end at its ticks, and the payout rate follows them."""

from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from heapq import heappop, heappush
from random import Random

from config.core import money
from trading.rules import (
    Contract,
    Ended,
    History,
    Outcome,
    Policy,
    decide,
    entry_deadline,
    pending_entry,
    recalculated,
)
from trading.simulation.customers import Customers, Wish, wishes
from trading.simulation.market import Ticks

MINUTE = timedelta(minutes=1)
SCALE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What the terms say. Without `entry_delay` an order enters at the latest tick."""

    policy: Policy
    window: timedelta = timedelta(minutes=30)
    price_decimals: int = 5
    entry_delay: timedelta = timedelta(0)
    tie_policy: str = "refund"
    max_quote_age: timedelta = timedelta(seconds=5)
    max_exit_age: timedelta = timedelta(seconds=30)
    max_entry_wait: timedelta = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Placed:
    """An accepted order; its outcome is known from `closes_at` on."""

    wish: Wish
    contract: Contract
    closes_at: datetime
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Minute:
    """What beat found at an instant, and the rate from then on.

    `orders` were won or lost in the window; `up` and `down` are the open stakes. Since the day began: `ended`
    orders won or lost, `turnover` their stakes, `house` what the house has won at the rates of the policy,
    `house_fixed` with the same orders at the fixed rate.
    """

    at: datetime
    rate: Decimal
    exact: Decimal
    reason: str
    probability: Decimal | None
    effective_orders: Decimal | None
    skew: Decimal | None
    orders: int
    up: Decimal
    down: Decimal
    ended: int
    turnover: Decimal
    house: Decimal
    house_fixed: Decimal

    @property
    def fuller_share(self) -> Decimal | None:
        """The part of the open stakes on the fuller side; None where nothing is open."""
        total = self.up + self.down
        return max(self.up, self.down) / total if total else None


@dataclass(slots=True)
class Day:
    """The walk and what came of it."""

    ticks: Ticks
    offer: Offer
    rate: Decimal
    exact: Decimal
    minutes: list[Minute] = field(default_factory=list)
    placed: list[Placed] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    """Wishes at a moment without a fresh price."""
    turnover: Decimal = money.ZERO
    house: Decimal = money.ZERO
    house_fixed: Decimal = money.ZERO
    _due: list[tuple[datetime, int]] = field(default_factory=list)
    _open: dict[str, Decimal] = field(default_factory=lambda: {"up": money.ZERO, "down": money.ZERO})
    _ended: deque[tuple[datetime, Ended]] = field(default_factory=deque)

    def place(self, wish: Wish) -> None:
        """Accept an order at the rate in force, or refuse it where the last tick is too old."""
        last, offer = self.ticks.last_before(wish.at), self.offer
        if last is None or wish.at - last.at > offer.max_quote_age:
            self.refused += 1
            return
        enters_at = wish.at + offer.entry_delay
        contract = Contract(
            side=wish.side,
            stake=wish.stake,
            payout_rate=self.rate,
            scale=SCALE,
            price_decimals=offer.price_decimals,
            entry=None if offer.entry_delay else last,
            entry_after=enters_at if offer.entry_delay else None,
            expires_at=enters_at + wish.duration,
            tie_policy=offer.tie_policy,
            max_exit_age=offer.max_exit_age,
            max_entry_wait=offer.max_entry_wait,
        )
        placed = _decided(wish, contract, self.ticks)
        heappush(self._due, (placed.closes_at, len(self.placed)))
        self.placed.append(placed)
        self._open[wish.side] += wish.stake

    def close(self, until: datetime) -> None:
        """End every order that is due at an instant."""
        while self._due and self._due[0][0] <= until:
            at, number = heappop(self._due)
            wish, outcome = self.placed[number].wish, self.placed[number].outcome
            self._open[wish.side] -= wish.stake
            self.outcomes[outcome.status] += 1
            if outcome.status == "refunded":
                continue
            is_won = outcome.status == "won"
            profit = money.profit(wish.stake, self.offer.policy.fixed_rate, SCALE)
            self.turnover += wish.stake
            self.house += wish.stake - outcome.payout
            self.house_fixed += -profit if is_won else wish.stake
            self._ended.append((at, Ended(wish.customer, wish.stake, is_won)))

    def recalculate(self, at: datetime) -> None:
        """Do as beat does: bring the rate to what the policy says of the window that ends now."""
        while self._ended and self._ended[0][0] < at - self.offer.window:
            self._ended.popleft()
        up, down = self._open["up"], self._open["down"]
        found = recalculated(self.offer.policy, [each for _, each in self._ended], (up, down), self.exact)
        # A fixed rate that is in force already leaves no row behind, so the next run steps from the last one.
        if found.probability is not None or found.rate != self.rate:
            self.exact = found.exact
        self.rate = found.rate
        self.minutes.append(
            Minute(
                at=at,
                rate=self.rate,
                exact=self.exact,
                reason=found.reason,
                probability=found.probability,
                effective_orders=found.effective_orders,
                skew=found.skew,
                orders=len(self._ended),
                up=up,
                down=down,
                ended=self.outcomes["won"] + self.outcomes["lost"],
                turnover=self.turnover,
                house=self.house,
                house_fixed=self.house_fixed,
            )
        )


def simulate(
    ticks: Ticks, customers: Customers, offer: Offer, *, start: datetime, end: datetime, seed: int
) -> Day:
    """Walk from one whole minute to another; orders still open at the end are left out of the result.

    The customers send the same orders whatever the rate is: only what the house pays for them differs.
    """
    day = Day(ticks, offer, offer.policy.fixed_rate, offer.policy.fixed_rate)
    chance = Random(seed)  # noqa: S311 - a simulation
    at = start
    while at <= end:
        day.close(at)
        day.recalculate(at)
        if at < end:
            for wish in wishes(customers, ticks, at, chance):
                day.place(wish)
        at += MINUTE
    return day


def _decided(wish: Wish, contract: Contract, ticks: Ticks) -> Placed:
    """Look the outcome up: the recording knows already what the order waits for."""
    first = None if contract.entry_after is None else ticks.first_after(contract.entry_after)
    closes_at = contract.expires_at
    if contract.entry is None and pending_entry(contract, first) is None:
        closes_at = entry_deadline(
            contract.entry_after or closes_at, contract.max_entry_wait, contract.expires_at
        )
    history = History(
        known_until=closes_at, first_after=first, last_before=ticks.last_before(contract.expires_at)
    )
    outcome = decide(contract, history)
    assert outcome is not None, "a day that is over decides every order"  # noqa: S101
    return Placed(wish, contract, closes_at, outcome)
