"""The risk watcher's table: what follows from how much of a limit is used."""

from decimal import Decimal

ALERT, LOWER = Decimal("0.8"), Decimal("0.9")
# An alert ends well below where it began, so that a limit does not flutter around it.
CALM = Decimal("0.7")
# A house must hold so many times its floor before its alert ends.
RESTORED = Decimal("1.1")
# Payout rates fall by so much of the stake while nine tenths of a limit are used.
CUT = Decimal("0.1")

LEVELS = ("calm", "watched", "alerted", "lowered", "stopped")


def level(used: Decimal, most: Decimal, least: Decimal) -> str:
    """Name what the use of a limit calls for, one of LEVELS.

    `least` is the smallest profit an order there can have: with less room than that the limit is full, for
    orders that would pass it are refused. A limit of nothing is its operator's own
    stop and calls for nothing.
    """
    if most == 0:
        return "calm"
    if used + least > most:
        return "stopped"
    if used >= most * LOWER:
        return "lowered"
    if used >= most * ALERT:
        return "alerted"
    return "watched" if used >= most * CALM else "calm"


def house_level(held: Decimal, floor: Decimal) -> str:
    """Name what a house's holdings call for: stopped below its floor, watched until they are restored."""
    if held < floor:
        return "stopped"
    return "watched" if held < floor * RESTORED else "calm"
