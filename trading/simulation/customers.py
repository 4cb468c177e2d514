"""Simulated customers: who wants what and when. The same seed wants the same, whatever the rate is."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random

from trading.simulation.market import Ticks

# Of the busiest hours' orders, in percent by hour (UTC): a night, and the hours of two market places.
ACTIVITY = (1, 1, 1, 1, 2, 10, 30, 60, 80, 90, 80, 80, 90, 100, 100, 100, 90, 70, 50, 40, 20, 10, 2, 1)
STAKES = tuple(map(Decimal, ("5", "10", "10", "10", "20", "20", "50")))
DURATIONS = tuple(timedelta(seconds=seconds) for seconds in (30, 60, 60, 120, 300))
# Who knows the next second gains nothing from the next five minutes.
QUICK_DURATION = timedelta(seconds=15)


@dataclass(frozen=True, slots=True, kw_only=True)
class Customers:
    """Who trades. Hours are of the day (UTC), the first and the one after the last; shares are parts of one.

    Most take either side at random. In the crowded hours `crowded_share` of their orders is on up. In the
    quick hours `quick_orders` of all orders are of the `quick_share` of customers who see the price `lead`
    before the feed has it, and take the side it goes to.
    """

    count: int = 200
    orders_per_minute: int = 20
    """In the busiest hours."""
    crowded_hours: tuple[int, int] = (8, 10)
    crowded_share: float = 0.85
    quick_hours: tuple[int, int] = (13, 17)
    quick_share: float = 0.2
    quick_orders: float = 0.5
    lead: timedelta = timedelta(seconds=2)

    @property
    def quick(self) -> int:
        """How many are quick: those with the lowest numbers."""
        return int(self.count * self.quick_share)


@dataclass(frozen=True, slots=True)
class Wish:
    """A rise/fall order that a customer, by his number, sends at an instant."""

    at: datetime
    customer: int
    side: str
    stake: Decimal
    duration: timedelta


def wishes(customers: Customers, ticks: Ticks, minute: datetime, chance: Random) -> list[Wish]:
    """Return what is wanted within the minute that begins, by time."""
    expected = customers.orders_per_minute * ACTIVITY[minute.hour] / 100
    # The fraction adds up over the minutes.
    drawn = [_wish(customers, ticks, minute, chance) for _ in range(int(expected + chance.random()))]
    return sorted((wish for wish in drawn if wish is not None), key=lambda wish: wish.at)


def _wish(customers: Customers, ticks: Ticks, minute: datetime, chance: Random) -> Wish | None:
    at = minute + timedelta(milliseconds=_below(chance, 60_000))
    stake = STAKES[_below(chance, len(STAKES))]
    is_quick = chance.random() < customers.quick_orders and customers.quick > 0
    if is_quick and _is_within(minute, customers.quick_hours):
        side = _side_ahead(ticks, at, customers.lead)
        who = _below(chance, customers.quick)
        return None if side is None else Wish(at, who, side, stake, QUICK_DURATION)
    ups = customers.crowded_share if _is_within(minute, customers.crowded_hours) else 0.5
    side = "up" if chance.random() < ups else "down"
    who = customers.quick + _below(chance, customers.count - customers.quick)
    return Wish(at, who, side, stake, DURATIONS[_below(chance, len(DURATIONS))])


def _below(chance: Random, limit: int) -> int:
    # Only random() gives the same in every version of Python.
    return int(chance.random() * limit)


def _is_within(minute: datetime, hours: tuple[int, int]) -> bool:
    return hours[0] <= minute.hour < hours[1]


def _side_ahead(ticks: Ticks, at: datetime, lead: timedelta) -> str | None:
    now, ahead = ticks.last_before(at), ticks.last_before(at + lead)
    if now is None or ahead is None or now.price == ahead.price:
        return None
    return "up" if ahead.price > now.price else "down"
