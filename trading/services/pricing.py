"""What a contract takes, and what it pays: barriers read, probabilities asked, bounds kept."""

from datetime import timedelta
from decimal import ROUND_CEILING, Decimal

from config.core import money
from config.core.errors import Invalid
from trading import errors
from trading.rules import KINDS, Kind, Question, Volatility, payout_rate, probabilities
from trading.services.drafts import Draft, PlaceOrder

# Profits are rounded down to the smallest unit: below so many that takes a visible share.
LEAST_PROFIT_UNITS = Decimal(50)
PARAMETERS = ("barrier", "low", "high", "digit")
# An older estimate would price tomorrow's market with yesterday's.
LEAST_PROBABILITY = 1e-6
LARGEST_PRICE = Decimal(10) ** 11
OLDEST_VOLATILITY = timedelta(minutes=10)


def has_its_shape(asked: PlaceOrder, kind: Kind) -> None:
    """Raise Invalid unless exactly the parameters and a length of the contract are given."""
    given = {name for name in PARAMETERS if getattr(asked, name) is not None}
    wrong = {name: [f"{asked.contract} takes none."] for name in sorted(given.difference(kind.takes))}
    wrong |= {name: [f"{asked.contract} needs it."] for name in kind.takes if name not in given}
    if asked.digit is not None and "digit" in kind.takes and not 0 <= asked.digit <= 9:
        wrong["digit"] = ["0 to 9."]
    if wrong:
        takes = ", ".join(kind.takes) or "no barrier and no digit"
        raise Invalid(f"{asked.contract} takes {takes}.", errors=wrong)
    if asked.length not in kind.lengths:
        field = {"seconds": "duration_seconds", "clock": "expires_at"}[asked.length]
        said = f"{asked.contract} is counted in ticks."
        raise Invalid(said, errors={field: [said], "duration_ticks": ["Send this instead."]})


def read_levels(draft: Draft) -> None:
    """Read the barriers: with a sign they are distances from the entry, without one prices."""
    asked, decimals = draft.asked, draft.found.price_decimals
    texts = {name: text for name in PARAMETERS[:3] if (text := getattr(asked, name)) is not None}
    signed = {name for name, text in texts.items() if text[:1] in ("+", "-")}
    if signed and signed != texts.keys():
        raise Invalid(
            "Give both barriers with a sign, as distances from the entry, or both as prices.",
            errors={name: ["With a sign like the other, or both without."] for name in sorted(texts)},
        )
    draft.is_relative = bool(signed)
    if texts and not signed and draft.found.entry_policy == "delayed":
        # The entry comes later than the price this is priced at: who sees a move first would buy on it.
        said = "On this instrument a barrier is a distance from the entry: write it with a sign, + or -."
        raise Invalid(said, errors={name: ["With a sign, + or -."] for name in sorted(texts)})
    for name, text in texts.items():
        try:
            level = money.parse(text[1:] if signed else text, decimals)
        except Invalid as refused:
            raise Invalid(f"{name}: {refused.detail}", errors={name: [refused.detail]}) from None
        if level >= LARGEST_PRICE:
            raise Invalid(f"{name} is out of range.", errors={name: ["Out of range."]})
        setattr(draft, name, -level if text[0] == "-" else level)
    if draft.low is not None and draft.high is not None and draft.low >= draft.high:
        raise Invalid("low must be below high.", errors={"low": [f"Below {asked.high}."]})


def priced_rate(draft: Draft) -> Decimal:
    """Return the rate of a contract priced by its probability; raise what makes it not worth offering."""
    found, asked = draft.found, draft.asked
    volatility = Volatility(1.0, 1.0)  # digits and averages are worth the same whatever the market does
    if KINDS[asked.contract].takes and asked.digit is None:
        if found.volatility_id is None or draft.accepted_at - found.volatility_at > OLDEST_VOLATILITY:
            raise errors.PayoutUnavailable(
                f"Too little is known of how {asked.symbol} moves to price this. Try again in a minute."
            )
        volatility = Volatility(found.volatility_per_sqrt_second, found.tick_seconds)
        draft.volatility_id = found.volatility_id
    first, second = probabilities(_question(draft), volatility)
    probability = first if asked.side == KINDS[asked.contract].sides[0] else second
    low, high = found.min_priced_rate, found.max_priced_rate
    rate = payout_rate(probability, found.margin) if probability > LEAST_PROBABILITY else None
    if rate is None or not low <= rate <= high:
        would = "almost never happens" if rate is None else f"would pay {rate.normalize():f} of the stake"
        raise errors.BarrierOutOfRange(
            f"This {would}; {low.normalize():f} to {high.normalize():f} are offered. Choose another barrier, "
            "digit or duration.",
            payout_rate=None if rate is None else f"{rate.normalize():f}",
            min_payout_rate=f"{low.normalize():f}",
            max_payout_rate=f"{high.normalize():f}",
        )
    cuts = (curb.cut or money.ZERO for curb in found.curbs or () if curb.covers(asked.contract))
    rate = max(rate - max(cuts, default=money.ZERO), low)
    least = LEAST_PROFIT_UNITS * money.unit(found.scale)
    if money.profit(draft.stake, rate, found.scale) < least:
        needed = (least / rate).quantize(money.unit(found.scale), rounding=ROUND_CEILING)
        raise errors.StakeOutOfRange(
            f"A stake of {draft.stake} {found.currency} at {rate.normalize():f} wins too little to be "
            f"rounded fairly; at least {needed} is needed.",
            stake=str(draft.stake),
            min_stake=str(needed),
            payout_rate=f"{rate.normalize():f}",
        )
    return rate


def _question(draft: Draft) -> Question:
    asked, levels = draft.asked, draft.levels()
    if wrong := [name for name, level in levels.items() if level <= 0]:
        raise Invalid("A barrier must be above zero.", errors={name: ["Above zero."] for name in wrong})
    spot = draft.found.last_price
    if asked.contract == "touch" and levels["barrier"] == spot:
        said = f"The price stands at {spot} already."
        raise Invalid(f"The barrier cannot be the price itself. {said}", errors={"barrier": [said]})
    opens_at = draft.entry_after or draft.accepted_at
    return Question(
        kind=asked.contract,
        spot=float(spot),
        seconds=(draft.expires_at - opens_at).total_seconds() if asked.duration_ticks is None else None,
        ticks=asked.duration_ticks,
        digit=asked.digit,
        **{name: float(level) for name, level in levels.items()},
    )
