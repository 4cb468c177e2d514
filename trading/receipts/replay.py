"""Deciding an order again from what its receipt says alone, by the platform's own rules; purely."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal

from trading.receipts.form import Level, NotAReceipt, Receipt, Terms, TickRow, amount, instant, number, price
from trading.rules import KINDS, Contract, Gap, History, Outcome, Price, decide, pending_entry, reach


def ticks_of(receipt: Receipt) -> list[Price]:
    """Read the receipt's ticks; raise NotAReceipt."""
    return [price(row, receipt.terms.price_decimals) for row in receipt.ticks]


def tick_of(receipt: Receipt, row: TickRow | None) -> Price | None:
    """Read one of the receipt's ticks; raise NotAReceipt."""
    return None if row is None else price(row, receipt.terms.price_decimals)


def contract_of(receipt: Receipt) -> Contract:
    """Read what was agreed; a delayed entry is left to be found. Raises NotAReceipt."""
    terms = receipt.terms
    kind = KINDS.get(terms.contract)
    taken = {name: getattr(terms, name) is not None for name in ("barrier", "low", "high", "digit")}
    if (
        kind is None
        or terms.side not in kind.sides
        or {name for name in taken if taken[name]} != {*kind.takes}
    ):
        raise NotAReceipt("Its terms are those of no contract.")
    barrier, low, high = (_level(terms, level) for level in (terms.barrier, terms.low, terms.high))
    agreed = [level.agreed for level in (terms.barrier, terms.low, terms.high) if level]
    signed = {text[:1] in {"+", "-"} for text in agreed}
    if len(signed) > 1:
        raise NotAReceipt("Its barriers are partly prices and partly distances.")
    return Contract(
        kind=terms.contract,
        side=terms.side,
        stake=amount(terms.stake, terms.scale),
        payout_rate=number(terms.payout_rate),
        scale=terms.scale,
        price_decimals=terms.price_decimals,
        entry=None if terms.entry_after else tick_of(receipt, receipt.entry),
        entry_after=instant(terms.entry_after) if terms.entry_after else None,
        expires_at=instant(terms.expires_at),
        duration_ticks=terms.duration_ticks,
        barrier=barrier,
        low=low,
        high=high,
        is_relative=signed == {True},
        digit=terms.digit,
        tie_policy=terms.tie_policy,
        max_exit_age=timedelta(seconds=terms.max_exit_age_seconds),
        max_entry_wait=timedelta(milliseconds=terms.max_entry_wait_ms),
    )


def _level(terms: Terms, level: Level | None) -> Decimal | None:
    if level is None:
        return None
    if level.price is not None:
        amount(level.price, terms.price_decimals)
    return amount(level.agreed.removeprefix("+"), terms.price_decimals)


def history_of(receipt: Receipt, contract: Contract) -> History:
    """Read what the receipt knows of the market; raise NotAReceipt."""
    ticks = ticks_of(receipt)
    first = next((tick for tick in ticks if contract.entry_after and tick.at > contract.entry_after), None)
    entry = contract.entry or pending_entry(contract, first)
    nth = reached = None
    count, total = 0, Decimal(0)
    if entry is not None and contract.needs_every_tick:
        after = [tick for tick in ticks if entry.at < tick.at <= contract.expires_at]
        nth = _nth(receipt, after, entry, contract.duration_ticks)
        where = reach(contract, entry)
        end = nth.at if nth else contract.expires_at
        reached = next((tick for tick in after if tick.at <= end and where.is_reached_by(tick.price)), None)
        count, total = _summed(receipt, [entry, *(tick for tick in after if tick.at <= end)])
    before = [tick for tick in ticks if tick.at <= contract.expires_at]
    return History(
        known_until=instant(receipt.known_until),
        gaps=[Gap(instant(gap.starts_at), instant(gap.ends_at), gap.reason) for gap in receipt.gaps],
        open_at_end=receipt.open_at_end,
        first_after=first,
        last_before=before[-1] if before else None,
        nth=nth,
        reached=reached,
        ticks=count,
        total=total,
        voided=frozenset(row.seq for row in receipt.voided),
    )


def _nth(receipt: Receipt, after: Sequence[Price], entry: Price, counted: int | None) -> Price | None:
    if counted is None:
        return None
    # Ticks are numbered without a hole, so that the number tells where not all of them are at hand.
    if receipt.way is not None and not receipt.way.is_whole:
        return next((tick for tick in after if tick.seq == entry.seq + counted), None)
    return after[counted - 1] if 0 < counted <= len(after) else None


def _summed(receipt: Receipt, way: Sequence[Price]) -> tuple[int, Decimal]:
    if receipt.way is not None and not receipt.way.is_whole:
        return receipt.way.ticks, amount(receipt.way.total, receipt.terms.price_decimals)
    return len(way), sum((tick.price for tick in way), Decimal(0))


def replayed(receipt: Receipt) -> Outcome | None:
    """Decide the receipt's order by its own ticks; None when they do not reach to its end.

    Raises NotAReceipt for what cannot be read, and ArithmeticError for numbers beyond any order's.
    """
    contract = contract_of(receipt)
    return decide(contract, history_of(receipt, contract))
