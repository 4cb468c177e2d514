"""A recorded day with simulated customers: what the payout policy makes of their orders."""

from trading.simulation.customers import Customers, Wish, wishes
from trading.simulation.day import Day, Minute, Offer, simulate
from trading.simulation.market import Ticks
from trading.simulation.picture import draw

__all__ = ["Customers", "Day", "Minute", "Offer", "Ticks", "Wish", "draw", "simulate", "wishes"]
