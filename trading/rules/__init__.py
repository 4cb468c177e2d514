"""The engine's rules, purely: how an order ends, what the contracts are, what they are worth."""

from trading.rules.contracts import KINDS, Kind, Reach, last_digit, needs_every_tick, reach_of, slipped
from trading.rules.life import TRANSITIONS, may_become
from trading.rules.outcomes import (
    Contract,
    Gap,
    History,
    Outcome,
    Price,
    absolute,
    decide,
    entry_deadline,
    pending_entry,
    reach,
)
from trading.rules.payouts import Ended, Policy, Recalculated, recalculated
from trading.rules.pricing import Question, Volatility, payout_rate, probabilities, sale_value
from trading.rules.risk import CUT, LEVELS, house_level, level
from trading.rules.sniping import DIRECTED, is_sniped, later_entry, timing_score

__all__ = [
    "CUT",
    "DIRECTED",
    "KINDS",
    "LEVELS",
    "TRANSITIONS",
    "Contract",
    "Ended",
    "Gap",
    "History",
    "Kind",
    "Outcome",
    "Policy",
    "Price",
    "Question",
    "Reach",
    "Recalculated",
    "Volatility",
    "absolute",
    "decide",
    "entry_deadline",
    "house_level",
    "is_sniped",
    "last_digit",
    "later_entry",
    "level",
    "may_become",
    "needs_every_tick",
    "payout_rate",
    "pending_entry",
    "probabilities",
    "reach",
    "reach_of",
    "recalculated",
    "sale_value",
    "slipped",
    "timing_score",
]
