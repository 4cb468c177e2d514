"""What receipts say in plain words. They belong to the version of the form: other words are another one."""

from decimal import Decimal

from trading.receipts.form import Level, NotAReceipt, Terms
from trading.rules import KINDS

CLAIMS = {
    ("rise_fall", "up"): "{symbol} ends above its entry price",
    ("rise_fall", "down"): "{symbol} ends below its entry price",
    ("higher_lower", "up"): "{symbol} ends above {barrier}",
    ("higher_lower", "down"): "{symbol} ends below {barrier}",
    ("touch", "touch"): "{symbol} reaches {barrier}",
    ("touch", "no_touch"): "{symbol} does not reach {barrier}",
    ("ends_between", "in"): "{symbol} ends between {low} and {high}",
    ("ends_between", "out"): "{symbol} ends outside {low} and {high}",
    ("stays_between", "in"): "{symbol} reaches neither {low} nor {high}",
    ("stays_between", "out"): "{symbol} reaches {low} or {high}",
    ("digit_match", "matches"): "the last digit of {symbol} at the end is {digit}",
    ("digit_match", "differs"): "the last digit of {symbol} at the end is not {digit}",
    ("digit_over", "over"): "the last digit of {symbol} at the end is above {digit}",
    ("digit_over", "under"): "the last digit of {symbol} at the end is below {digit}",
    ("digit_even", "even"): "the last digit of {symbol} at the end is even",
    ("digit_even", "odd"): "the last digit of {symbol} at the end is odd",
    ("asian", "up"): "{symbol} ends above the average of its ticks from the entry to the end",
    ("asian", "down"): "{symbol} ends below the average of its ticks from the entry to the end",
}
REFUNDS = {
    "tie": "The exit price is the entry price, and the terms give the stake back then.",
    "no_entry": "No tick came in time after the agreed delay, so there is no entry.",
    "no_exit": "No tick came that could end the order in time.",
    "stale_exit": "The last tick before the end is older than the terms allow.",
    "feed_gap": "Prices that may have decided cannot be proven: there is a gap in the record.",
    "market_closed": "The end lies outside the instrument's trading hours.",
    "feed_dead": "The record of prices did not reach the end of the order in the time the terms allow.",
    "voided": "The tick that decides was voided.",
}
RULES = {
    "rise_fall": "The exit price is compared with the entry price; if they are equal, {equal}.",
    "higher_lower": "The exit price is compared with the barrier; if they are equal, both sides lose.",
    "touch": "The first tick after the entry, up to the end, that reaches or crosses the barrier decides for "
    "touch; without one the end decides for no touch.",
    "ends_between": "The exit price is compared with both barriers; on a barrier both sides lose.",
    "stays_between": "The first tick after the entry, up to the end, that reaches or crosses a barrier "
    "decides for out; without one the end decides for in.",
    "digit_match": "The last digit of the exit price, written with {decimals} decimals, is compared with the "
    "digit.",
    "digit_over": "The last digit of the exit price, written with {decimals} decimals, is compared with the "
    "digit; if they are equal, both sides lose.",
    "digit_even": "The last digit of the exit price, written with {decimals} decimals, is even or odd.",
    "asian": "The exit price times the number of ticks from the entry to the exit, both included, is "
    "compared with their sum; if they are equal, both sides lose.",
}
SOLD = (
    "Sold before its end: the fair value of the order at the tick of the sale, less the margin, rounded down."
)


def sentence(terms: Terms, payout_if_right: Decimal) -> str:
    """Say what was agreed; raise NotAReceipt for a contract or side there is none of."""
    claim = CLAIMS.get((terms.contract, terms.side))
    if claim is None:
        raise NotAReceipt(f"There is no contract {terms.contract[:30]} with the side {terms.side[:30]}.")
    levels = {name: _level(getattr(terms, name)) for name in ("barrier", "low", "high")}
    claim = claim.format(symbol=terms.symbol, digit=terms.digit, **levels)
    payout = f"{payout_if_right:.{terms.scale}f} {terms.currency}"
    stake = f"{terms.stake} {terms.currency}"
    length = _time_of_way(terms) if KINDS[terms.contract].watches_path else f", {_time_of_end(terms)}"
    return f"{stake} staked that {claim}{length}. {payout} come back if so."


def _level(level: Level | None) -> str:
    if level is None or level.agreed[:1] not in {"+", "-"}:
        return level.agreed if level else ""
    where = "above" if level.agreed[0] == "+" else "below"
    return f"{level.agreed[1:]} {where} its entry price"


def _time_of_end(terms: Terms) -> str:
    if terms.duration_ticks is not None:
        return f"{_ticks(terms.duration_ticks)} after its entry and by {terms.expires_at}"
    if terms.duration_seconds is not None:
        return f"{terms.duration_seconds} seconds later, at {terms.expires_at}"
    return f"at {terms.expires_at}"


def _time_of_way(terms: Terms) -> str:
    if terms.duration_ticks is not None:
        return f" within {_ticks(terms.duration_ticks)} after its entry and by {terms.expires_at}"
    if terms.duration_seconds is not None:
        return f" within {terms.duration_seconds} seconds, by {terms.expires_at}"
    return f" by {terms.expires_at}"


def _ticks(count: int) -> str:
    return f"{count} tick" if count == 1 else f"{count} ticks"


def rule(terms: Terms, status: str, refund_reason: str | None) -> str:
    """Say which rule ended the order; raise NotAReceipt for an end there is none of."""
    if status == "sold":
        return SOLD
    if status == "refunded":
        said = REFUNDS.get(refund_reason or "")
    else:
        equal = "the stake comes back" if terms.tie_policy == "refund" else "both sides lose"
        said = RULES.get(terms.contract, "").format(equal=equal, decimals=terms.price_decimals)
    if not said:
        raise NotAReceipt("There is no such end of an order.")
    return said
