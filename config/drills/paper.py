"""The platform on paper: it keeps what was ordered and what the market did, and adds up every sum anew.

It decides by `oracle` and by its own reading of the published rules, with its own arithmetic. What it cannot
price are contracts on the way of the price: for those it asks what follows from the platform's rate.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_DOWN, Decimal
from math import erfc, log, sqrt

from config.drills.oracle import (
    ON_THE_WAY,
    SIDES,
    WITH_BARRIER,
    WITH_DIGIT,
    WITH_TWO,
    Gap,
    Tick,
    end_of,
    entry_of,
)
from config.drills.sheets import (
    ALIVE,
    CENT,
    CUTOFF,
    DELAY,
    ENTRY_WAIT,
    ESTIMATE_AGE,
    EXIT_AGE,
    GRACE,
    LEAST_PROFIT,
    LEAST_RATE,
    LONGEST,
    MARGIN,
    MAX_OPEN,
    MAX_STAKE,
    MAX_TICKS,
    MIN_STAKE,
    MOST_RATE,
    QUOTE_AGE,
    RATE,
    SELL_CUTOFF,
    SHORTEST,
    Ask,
    Holder,
    Limit,
    Order,
    OwnLimit,
    Sheet,
    floor,
)

SELLABLE = ("rise_fall", "higher_lower", "ends_between")
BEYOND_PRICE = frozenset({"barrier_out_of_range", "stake_out_of_range"})


@dataclass
class Paper:
    """All of it. Answers are the codes of refusals, or "placed"."""

    holders: dict[str, Holder]
    sheets: dict[str, Sheet]
    limits: list[Limit]
    own_limits: dict[str, OwnLimit]
    orders: list[Order] = field(default_factory=list)

    # --- the market -----------------------------------------------------------------------------------

    def tick(self, symbol: str, at: datetime, price: Decimal) -> None:
        """Take a tick; one that is not later than all before it counts for nothing."""
        sheet = self.sheets[symbol]
        if at > sheet.mark:
            sheet.ticks.append(Tick(at, len(sheet.ticks) + 1, price))
            sheet.mark = at

    def gap(self, symbol: str, until: datetime, reason: str) -> None:
        """Take it that nothing is known since the watermark."""
        sheet = self.sheets[symbol]
        if until > sheet.mark:
            sheet.gaps.append(Gap(sheet.mark, until, reason))
            sheet.mark = until

    # --- placing --------------------------------------------------------------------------------------

    def judged(self, ask: Ask, now: datetime) -> tuple[Decimal | None, frozenset[str]]:
        """Return the payout rate, None without one of ours, and the answers that are right."""
        sheet = self.sheets[ask.symbol]
        if refusal := self._not_offered(ask, sheet, now):
            return None, frozenset({refusal})
        rate = _rate(ask, sheet, now)
        if isinstance(rate, str):
            return None, frozenset({rate})
        answers = frozenset({self._too_much(ask, rate, now) or "placed"})
        return rate, answers if rate is not None else answers | BEYOND_PRICE

    def _not_offered(self, ask: Ask, sheet: Sheet, now: datetime) -> str | None:
        if sheet.is_delayed and (ask.kind in WITH_DIGIT or ask.kind == "digit_even"):
            return "contract_not_offered"
        has_levels = ask.kind in (*WITH_BARRIER, *WITH_TWO)
        if sheet.is_delayed and has_levels and not ask.is_relative:
            return "invalid"
        if ask.kind == "asian" and ask.ticks is None:
            return "invalid"
        if ask.until is not None and now > ask.until - CUTOFF:
            return "expiry_cutoff"
        opens_at = now + DELAY if sheet.is_delayed else now
        if ask.ticks is not None:
            if ask.ticks > MAX_TICKS:
                return "duration_out_of_range"
        elif not SHORTEST <= (ask.expires_at(now, opens_at) - opens_at).total_seconds() <= LONGEST:
            return "duration_out_of_range"
        if not MIN_STAKE <= ask.stake <= MAX_STAKE:
            return "stake_out_of_range"
        return "price_stale" if self._is_stale(sheet, now) else None

    def _too_much(self, ask: Ask, rate: Decimal | None, now: datetime) -> str | None:
        holder = self.holders[ask.account]
        mine = [order for order in self._open() if order.account == ask.account]
        if len(mine) >= MAX_OPEN:
            return "too_many_open_orders"
        own = self.own_limits.get(holder.customer) if holder.is_real else None
        if own is not None and ask.stake > own.max_stake:
            return "own_limit_reached"
        for limit in self.limits:
            if (limit.book, limit.side) != (holder.book, ask.side) or limit.symbol not in (None, ask.symbol):
                continue
            used = sum(
                order.profit
                for order in self._open()
                if (self.holders[order.account].book, order.side) == (limit.book, limit.side)
                and limit.symbol in (None, order.symbol)
            )
            if used + floor(ask.stake * (rate or 0)) > limit.most:
                return "exposure_limit"
        if ask.stake > self.balance(ask.account):
            return "insufficient_funds"
        # Asked under the lock alone, and so the last.
        if own is not None and self._at_risk(holder.customer, now) + ask.stake > own.max_daily_loss:
            return "own_limit_reached"
        return None

    def _at_risk(self, customer: str, now: datetime) -> Decimal:
        """Return the open stakes of a customer's real accounts, and what he has lost on this UTC day."""
        risked = Decimal(0)
        for order in self.orders:
            holder = self.holders[order.account]
            if holder.customer != customer or not holder.is_real:
                continue
            if order.status == "open":
                risked += order.stake
            elif order.closed_at.date() == now.date():
                risked += order.stake - (order.payout or 0)
        return risked

    def place(self, ask: Ask, now: datetime, rate: Decimal) -> Order:
        """Accept an order."""
        sheet = self.sheets[ask.symbol]
        opens_at = now + DELAY if sheet.is_delayed else now
        order = Order(
            kind=ask.kind,
            side=ask.side,
            stake=ask.stake,
            payout_rate=rate,
            entry=None if sheet.is_delayed else sheet.last,
            entry_after=opens_at if sheet.is_delayed else None,
            expires_at=ask.expires_at(now, opens_at),
            duration_ticks=ask.ticks,
            barrier=ask.barrier,
            low=ask.low,
            high=ask.high,
            is_relative=ask.is_relative,
            digit=ask.digit,
            tie_policy="lose" if sheet.is_delayed else "refund",
            max_exit_age=EXIT_AGE,
            max_entry_wait=ENTRY_WAIT,
            account=ask.account,
            symbol=ask.symbol,
            accepted_at=now,
        )
        self.orders.append(order)
        return order

    # --- closing --------------------------------------------------------------------------------------

    def settle(self, now: datetime) -> None:
        """Close and enter all that the records decide, after gaps for feeds that are dead."""
        for sheet in self.sheets.values():
            waiting = [order.expires_at for order in self._open() if order.symbol == sheet.symbol]
            given_up = [at for at in waiting if sheet.mark < at <= now - GRACE]
            if given_up and sheet.mark < now - ALIVE:
                self.gap(sheet.symbol, max(given_up), "feed_dead")
        for order in list(self._open()):
            sheet = self.sheets[order.symbol]
            order.entry = entry_of(order, sheet)
            if end := end_of(order, sheet, sheet.mark):
                order.status, order.reason, order.payout = end.status, end.reason, end.payout
                order.exit, order.closed_at = end.exit, now

    def worth(self, order: Order, now: datetime) -> Decimal | str:
        """Return what an open order is bought back for, or the refusal."""
        sheet, entry = self.sheets[order.symbol], order.entry
        if order.kind not in SELLABLE or order.duration_ticks or entry is None:
            return "sale_not_offered"
        if not max(entry.at, order.accepted_at) + SELL_CUTOFF <= now < order.expires_at - SELL_CUTOFF:
            return "sale_not_offered"
        if self._is_stale(sheet, now):
            return "price_stale"
        is_parted = any(gap.reason == "source_changed" and gap.starts_at >= entry.at for gap in sheet.gaps)
        if now - sheet.estimated_at > ESTIMATE_AGE or is_parted:
            return "sale_not_offered"
        if sheet.voided & {entry.seq, sheet.last.seq}:
            return "sale_not_offered"
        won, tied = _chances(order, entry, sheet, (order.expires_at - now).total_seconds())
        fair = Decimal(won) * (order.stake + order.profit) + Decimal(tied) * order.stake
        return floor(fair * (1 - MARGIN)) or "sale_not_offered"

    def sell(self, order: Order, price: Decimal, key: str, now: datetime) -> None:
        """Buy an order back."""
        order.status, order.payout, order.sale_key = "sold", price, key
        order.exit, order.closed_at = self.sheets[order.symbol].last, now

    # --- what is so -----------------------------------------------------------------------------------

    def _open(self) -> Iterator[Order]:
        return (order for order in self.orders if order.status == "open")

    @staticmethod
    def _is_stale(sheet: Sheet, now: datetime) -> bool:
        return now - min(sheet.last.at, sheet.mark) > QUOTE_AGE

    def balance(self, account: str) -> Decimal:
        """Return what an account holds."""
        mine = (order for order in self.orders if order.account == account)
        return sum(((order.payout or 0) - order.stake for order in mine), self.holders[account].opening)

    def lines(self) -> dict[str, list[str | None]]:
        """Write every sum and every order, by name."""
        lines: dict[str, list[str | None]] = {}
        sums: defaultdict[str, list[Decimal]] = defaultdict(list)
        for name, holder in self.holders.items():
            versions = sum(_moves(order) for order in self.orders if order.account == name)
            lines[f"account {name}"] = [_written(self.balance(name)), str(1 + versions)]
            for system in ("escrow", "house"):
                _add(sums[f"{system} {holder.book}"], 0)
        for number, order in enumerate(self.orders):
            lines[f"order {number}"] = [
                order.status,
                order.reason,
                None if order.payout is None else _written(order.payout),
                str(order.entry.seq) if order.entry else None,
                str(order.exit.seq) if order.exit else None,
            ]
            book = self.holders[order.account].book
            if order.status == "open":
                _add(sums[f"escrow {book}"], order.stake)
                _add(sums[f"exposure {book} {order.symbol} {order.side}"], 1, order.stake, order.profit)
            else:
                gained, is_counted = (order.payout or 0) - order.stake, order.status != "refunded"
                _add(sums[f"house {book}"], -gained)
                ends = [int(order.status == end) for end in ("won", "lost", "refunded", "sold")]
                tally = sums[f"tally {order.account} {order.symbol} {order.closed_at.date()}"]
                _add(tally, 1, *ends, order.stake * is_counted, gained)
        return lines | {name: [_written(value) for value in found] for name, found in sums.items()}


def _moves(order: Order) -> int:
    """Return how many transfers of an order touch its account."""
    if order.status in ("open", "lost"):
        return 1
    return 3 if (order.payout or 0) > order.stake else 2


def _add(sums: list[Decimal], *values: Decimal | int) -> None:
    sums[:] = [
        before + value for before, value in zip(sums or [Decimal(0)] * len(values), values, strict=True)
    ]


def _written(amount: Decimal) -> str:
    return f"{amount:.8f}"


# --- prices -------------------------------------------------------------------------------------------


def _beyond(level: Decimal, spot: Decimal, deviation: float) -> float:
    """Return the probability that a price without drift ends above a level: Φ(d₂)."""
    return erfc((log(float(level) / float(spot)) + deviation**2 / 2) / (deviation * sqrt(2))) / 2


def _chances(order: Order, entry: Tick, sheet: Sheet, seconds: float) -> tuple[float, float]:
    """Return the probabilities that an open order is won, and that it ends in a tie that refunds."""
    spot, deviation = sheet.last.price, sheet.deviation * sqrt(seconds)
    base, half = entry.price if order.is_relative else Decimal(0), CENT / 2

    def beyond(level: Decimal) -> float:
        return _beyond(level, spot, deviation)

    if order.kind == "ends_between":
        low, high = base + (order.low or 0), base + (order.high or 0)
        inside = beyond(low + half) - beyond(high - half)
        outside = 1 - beyond(low - half) + beyond(high + half)
        return max(0.0, inside if order.side == "in" else outside), 0.0
    level = entry.price if order.kind == "rise_fall" else base + (order.barrier or 0)
    over, under = beyond(level + half), 1 - beyond(level - half)
    is_refunded = order.kind == "rise_fall" and order.tie_policy == "refund"
    return (over if order.side == "up" else under), max(0.0, 1 - over - under) if is_refunded else 0.0


def _rate(ask: Ask, sheet: Sheet, now: datetime) -> Decimal | str | None:
    """Return the payout rate, why there is none, or None for what is not priced here."""
    if ask.kind == "rise_fall":
        return RATE
    spot = sheet.last.price
    base = spot if ask.is_relative else Decimal(0)
    barrier, low, high = (base + (level or 0) for level in (ask.barrier, ask.low, ask.high))
    if ask.kind in (*WITH_BARRIER, *WITH_TWO) and now - sheet.estimated_at > ESTIMATE_AGE:
        return "payout_unavailable"
    if ask.kind == "touch" and barrier == spot:
        return "invalid"
    if ask.kind in ON_THE_WAY:
        return None
    opens_at = now + DELAY if sheet.is_delayed else now
    seconds = (ask.expires_at(now, opens_at) - opens_at).total_seconds()
    if ask.ticks is not None:
        seconds = ask.ticks * sheet.tick_seconds
    deviation = sheet.deviation * sqrt(seconds)
    deviation, digit = sheet.deviation * sqrt(seconds), ask.digit or 0
    first = 0.5
    if ask.kind == "higher_lower":
        first = _beyond(barrier, spot, deviation)
    elif ask.kind == "ends_between":
        first = max(0.0, _beyond(low, spot, deviation) - _beyond(high, spot, deviation))
    elif ask.kind == "digit_match":
        first = 0.1
    elif ask.kind == "digit_over":
        first = (9 - digit) / 10
    second = digit / 10 if ask.kind == "digit_over" else 1 - first
    probability = first if ask.side == SIDES[ask.kind][0] else second
    if probability <= 1e-6:
        return "barrier_out_of_range"
    exact = (1 - MARGIN) / Decimal(probability).quantize(Decimal("1e-12")) - 1
    rate = exact.quantize(Decimal("0.0001"), ROUND_DOWN)
    if not LEAST_RATE <= rate <= MOST_RATE:
        return "barrier_out_of_range"
    return rate if floor(ask.stake * rate) >= LEAST_PROFIT else "stake_out_of_range"
