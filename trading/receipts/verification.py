"""What can be checked of a receipt with nothing but itself and the platform's keys; purely."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import timedelta
from decimal import ROUND_DOWN, Decimal
from itertools import pairwise
from typing import Any, Literal
from uuid import UUID

from config.core import money
from config.core.ids import derived_id
from trading.receipts.form import (
    NotAReceipt,
    Receipt,
    Sale,
    Terms,
    TransferRow,
    amount,
    instant,
    number,
)
from trading.receipts.replay import contract_of, history_of, replayed, tick_of, ticks_of
from trading.receipts.signing import NotSigned, PublicKey, signer_of
from trading.receipts.wording import rule, sentence
from trading.rules import Contract, Price, Question, Volatility, absolute, pending_entry, sale_value

Result = Literal["pass", "fail", "unknown"]


@dataclass(frozen=True, slots=True)
class Check:
    """A line of what was checked: its name, how it ended, and a sentence."""

    name: str
    result: Result
    words: str


class Wrong(Exception):
    """Something in a receipt does not agree with the rest of it; says what."""


def check_signature(document: dict[str, Any], keys: Collection[PublicKey]) -> Check:
    """Check who signed a document."""
    try:
        key = signer_of(document, keys)
    except NotSigned as error:
        return Check("Signature", "fail", str(error))
    return Check(
        "Signature", "pass", f"Signed by this platform with the key {key.id}; nothing was changed since."
    )


def check_contents(receipt: Receipt) -> list[Check]:
    """Check that a receipt agrees with itself: its terms, its ticks, its outcome, its transfers."""
    looks: tuple[tuple[str, Callable[[Receipt], str]], ...] = (
        ("Terms", _terms),
        ("Ticks", _ticks),
        ("Outcome", _sale if receipt.status == "sold" else _outcome),
        ("Money", _money),
    )
    return [_checked(name, look, receipt) for name, look in looks]


def _checked(name: str, look: Callable[[Receipt], str], receipt: Receipt) -> Check:
    try:
        return Check(name, "pass", look(receipt))
    except (Wrong, NotAReceipt) as error:
        return Check(name, "fail", str(error))
    except (ArithmeticError, ValueError):
        return Check(name, "fail", "Its numbers are beyond those of any order.")


# --- terms --------------------------------------------------------------------------------------------


def _terms(receipt: Receipt) -> str:
    terms, contract = receipt.terms, contract_of(receipt)
    accepted_at = instant(receipt.accepted_at)
    if (terms.entry_policy == "delayed") is not (contract.entry_after is not None):
        raise Wrong("Its entry is not the one its entry policy asks for.")
    starts_at = contract.entry_after or accepted_at
    if terms.duration_seconds is not None and terms.duration_ticks is not None:
        raise Wrong("It has two durations.")
    if terms.duration_seconds is not None:
        if contract.expires_at != starts_at + timedelta(seconds=terms.duration_seconds):
            raise Wrong("Its expiry does not follow from its duration.")
    elif contract.expires_at <= accepted_at:
        raise Wrong("It expires before it was accepted.")
    entry = tick_of(receipt, receipt.entry)
    fixed = None if entry is None and contract.is_relative else absolute(contract, entry or _NOWHERE)
    for name in ("barrier", "low", "high"):
        level, price = getattr(terms, name), getattr(fixed, name, None)
        written = None if price is None else f"{price:.{terms.price_decimals}f}"
        if level is not None and level.price != written:
            raise Wrong("A barrier's price does not follow from what was agreed.")
    if receipt.sentence != sentence(terms, _if_right(receipt)):
        raise Wrong("Its sentence does not say what its terms say.")
    if receipt.rule != rule(terms, receipt.status, receipt.refund_reason):
        raise Wrong("The rule it names is not the one that ends such an order.")
    return "The sentence, the expiry and the barriers follow from the terms."


_NOWHERE = Price(instant("1970-01-01T00:00:00.000000Z"), 0, Decimal(0))


def _if_right(receipt: Receipt) -> Decimal:
    terms = receipt.terms
    stake = amount(terms.stake, terms.scale)
    return stake + money.profit(stake, number(terms.payout_rate), terms.scale)


# --- ticks --------------------------------------------------------------------------------------------


def _ticks(receipt: Receipt) -> str:
    ticks, known_until = ticks_of(receipt), instant(receipt.known_until)
    for one, next_ in pairwise(ticks):
        if next_.seq <= one.seq or next_.at <= one.at:
            raise Wrong(f"Tick {next_.seq} does not come after tick {one.seq}.")
    if ticks and ticks[-1].at > known_until:
        raise Wrong(f"Tick {ticks[-1].seq} comes after the time up to which the record was complete.")
    for name, row in (("entry", receipt.entry), ("exit", receipt.exit)):
        if row is not None and row not in receipt.ticks:
            raise Wrong(f"Its {name} is not among its ticks.")
    if any(row not in receipt.ticks for row in receipt.voided):
        raise Wrong("A voided tick is not among its ticks.")
    needs_all = contract_of(receipt).needs_every_tick and receipt.entry is not None
    if needs_all is not (receipt.way is not None):
        raise Wrong("It tells of the ticks on the way where none count, or does not where they do.")
    if receipt.way is not None and receipt.entry is not None:
        _way(receipt, ticks)
        if not receipt.way.is_whole:
            return f"{len(ticks)} ticks in order, the deciding and extreme of {receipt.way.ticks} on the way."
    return f"{len(ticks)} ticks in order, entry and exit among them."


def _way(receipt: Receipt, ticks: list[Price]) -> None:
    """See that no tick on the way is missing, or else that what is said of those left out can be true."""
    assert receipt.way is not None  # noqa: S101 - asked before
    way, decimals = receipt.way, receipt.terms.price_decimals
    entry, exit_ = tick_of(receipt, receipt.entry), tick_of(receipt, receipt.exit)
    contract = contract_of(receipt)
    until = exit_.at if exit_ else min(contract.expires_at, instant(receipt.known_until))
    on_it = [tick for tick in ticks if entry and entry.at <= tick.at <= until]
    total = amount(way.total, decimals)
    lowest, highest = tick_of(receipt, way.lowest), tick_of(receipt, way.highest)
    if not on_it or lowest not in on_it or highest not in on_it:
        raise Wrong("The lowest and the highest tick of its way are not on it.")
    prices = [tick.price for tick in on_it]
    if (min(prices), max(prices)) != (lowest.price, highest.price):
        raise Wrong("The lowest and the highest tick of its way are others.")
    if way.ticks != on_it[-1].seq - on_it[0].seq + 1 and (way.is_whole or exit_ is not None):
        raise Wrong("Its way has another number of ticks than their numbers tell.")
    if way.is_whole and (way.ticks != len(on_it) or total != sum(prices)):
        raise Wrong("A tick on its way is missing.")
    if not way.ticks * lowest.price <= total <= way.ticks * highest.price:
        raise Wrong("The sum of its ticks is beyond their lowest and highest.")


# --- outcome ------------------------------------------------------------------------------------------


def _outcome(receipt: Receipt) -> str:
    decided = replayed(receipt)
    if decided is None:
        raise Wrong("Its ticks do not reach to its end: they decide nothing yet.")
    told = (receipt.status, receipt.refund_reason, amount(receipt.payout, receipt.terms.scale))
    again = (decided.status, decided.refund_reason, decided.payout)
    if told != again:
        payout = f"{decided.payout:.{receipt.terms.scale}f} {receipt.terms.currency}"
        ends = f"{decided.status} ({decided.refund_reason})" if decided.refund_reason else decided.status
        raise Wrong(f"By its own ticks and terms the order ends otherwise: {ends}, {payout}.")
    for name, tick, row in (("entry", decided.entry, receipt.entry), ("exit", decided.exit, receipt.exit)):
        if tick != tick_of(receipt, row):
            raise Wrong(f"By its own ticks and terms another tick is the {name}.")
    return f"Decided again from its own ticks: {receipt.status}, {receipt.payout} {receipt.terms.currency}."


def _sale(receipt: Receipt) -> str:
    """Compute the price of an early sale again.

    Probabilities are binary fractions, and another machine's may differ in the last of their digits: a price
    on either side of them is right.
    """
    sale, terms, contract = receipt.sale, receipt.terms, contract_of(receipt)
    entry, tick = tick_of(receipt, receipt.entry), tick_of(receipt, receipt.exit)
    found = contract.entry or pending_entry(contract, history_of(receipt, contract).first_after)
    if sale is None or entry is None or tick is None or found != entry or receipt.refund_reason is not None:
        raise Wrong("A sold order has an entry, the tick of the sale and what its price was made of.")
    at = instant(sale.at)
    if not entry.at <= tick.at <= at < contract.expires_at or sale.at != receipt.closed_at:
        raise Wrong("It was not sold between its entry and its end.")
    won, tied = _probabilities(terms, absolute(contract, entry), entry, tick, sale)
    told = (number(sale.probability), number(sale.tie_probability))
    if max(abs(won - told[0]), abs(tied - told[1])) > Decimal("2e-9"):
        raise Wrong("The probabilities of its sale do not follow from its ticks and its volatility.")
    fair = (won * _if_right(receipt) + tied * contract.stake) * (1 - number(sale.margin))
    unit, slack = money.unit(terms.scale), _if_right(receipt) * Decimal("1e-12")
    least, most = ((fair + by).quantize(unit, rounding=ROUND_DOWN) for by in (-slack, slack))
    if not least <= amount(receipt.payout, terms.scale) <= most:
        raise Wrong(
            f"Its price does not follow from its ticks and terms: {fair.quantize(unit, ROUND_DOWN):f}."
        )
    return f"The price of the sale, computed again from its own ticks: {receipt.payout} {terms.currency}."


def _probabilities(
    terms: Terms, fixed: Contract, entry: Price, tick: Price, sale: Sale
) -> tuple[Decimal, Decimal]:
    """Return the fair probabilities, at the tick of a sale, that its order is won and that it is a tie."""
    level = entry.price if terms.contract == "rise_fall" else fixed.barrier
    question = Question(
        kind=terms.contract,
        spot=float(tick.price),
        seconds=(fixed.expires_at - instant(sale.at)).total_seconds(),
        barrier=None if level is None else float(level),
        low=None if fixed.low is None else float(fixed.low),
        high=None if fixed.high is None else float(fixed.high),
    )
    moves = Volatility(
        float(number(sale.volatility.per_sqrt_second)), float(number(sale.volatility.tick_seconds))
    )
    refunds = terms.contract == "rise_fall" and terms.tie_policy == "refund"
    grid = 10.0**-terms.price_decimals
    won, tied = sale_value(question, moves, terms.side, grid=grid, ties_refund=refunds)
    return Decimal(won), Decimal(tied)


# --- money --------------------------------------------------------------------------------------------


def _money(receipt: Receipt) -> str:
    expected = transfers_of(receipt)
    if [each for each in receipt.transfers if each not in expected] or len(expected) != len(
        receipt.transfers
    ):
        raise Wrong("Its transfers are not those of such an end.")
    if (receipt.sale is not None) is not (receipt.status == "sold"):
        raise Wrong("Only a sold order tells of a sale.")
    if not receipt.corrections:
        return "The transfers are those of such an end, each posted once."
    _corrections(receipt)
    paid = f"{receipt.corrections[-1].payout} {receipt.terms.currency}"
    return f"The transfers are those of such an end, each posted once; corrected, it paid {paid} in all."


def _corrections(receipt: Receipt) -> None:
    """See that each correction moves what is missing to the sum it names, within what such an order pays."""
    order, scale = _order_id(receipt), receipt.terms.scale
    paid, since = amount(receipt.payout, scale), instant(receipt.closed_at)
    for number_, row in enumerate(receipt.corrections, 1):
        due, at = amount(row.payout, scale), instant(row.at)
        source, to = ("house", "customer") if due > paid else ("customer", "house")
        moved = TransferRow(
            str(derived_id(order, f"correction-{number_}")),
            "correction",
            f"{abs(due - paid):.{scale}f}",
            source,
            to,
        )
        if due == paid or not 0 <= due <= _if_right(receipt) or at < since or row.transfer != moved:
            raise Wrong("A correction does not move what was missing to the sum it names.")
        paid, since = due, at


def transfers_of(receipt: Receipt) -> list[TransferRow]:
    """Return the transfers that an order with this end has; raise NotAReceipt."""
    order, scale = _order_id(receipt), receipt.terms.scale
    stake, payout = amount(receipt.terms.stake, scale), amount(receipt.payout, scale)
    kept, gained = max(stake - payout, money.ZERO), max(payout - stake, money.ZERO)
    returned = {"won": "stake_returned", "lost": "", "refunded": "stake_refunded", "sold": "sold"}
    rows = [("stake", "stake", stake, "customer", "escrow")]
    if receipt.status == "lost":
        rows.append(("release", "stake_lost", stake, "escrow", "house"))
    else:
        rows.append(("release", returned.get(receipt.status, ""), min(stake, payout), "escrow", "customer"))
        rows.append(("kept", "stake_lost", kept, "escrow", "house"))
        rows.append(("profit", "profit", gained, "house", "customer"))
    return [
        TransferRow(str(derived_id(order, what)), code, f"{value:.{scale}f}", source, to)
        for what, code, value, source, to in rows
        if value > 0
    ]


def _order_id(receipt: Receipt) -> UUID:
    try:
        order = UUID(receipt.order)
    except ValueError:
        order = None
    if order is None or str(order) != receipt.order:
        raise NotAReceipt(f"{receipt.order[:40]} is not the number of an order.")
    return order
