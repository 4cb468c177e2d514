"""What the market refuses, and what stops a feed."""

from config.core.errors import Conflict, Forbidden, Invalid, Missing, Refused


class UnknownInstrument(Missing):
    code = "unknown_instrument"
    title = "There is no such instrument"


class UnknownInterval(Invalid):
    code = "unknown_interval"
    title = "There are no candles of that interval"


class InvalidInstrument(Invalid):
    code = "invalid_instrument"
    title = "The instrument cannot be like this"


class InvalidSource(Invalid):
    code = "invalid_source"
    title = "The source cannot be like this"


class InvalidHours(Invalid):
    code = "invalid_hours"
    title = "Trading hours are ascending pairs of minutes of the week"


class HoursTooSoon(Refused):
    code = "hours_too_soon"
    title = "Trading hours change in the future only"


class ReasonMissing(Invalid):
    code = "reason_missing"
    title = "Say why"


class TickMissing(Missing):
    code = "tick_missing"
    title = "There is no such tick"


class InvalidPrices(Invalid):
    code = "invalid_prices"
    title = "Give the prices of two independent sources at least"


class NotVoidable(Refused):
    code = "not_voidable"
    title = "This tick cannot be voided"


class VoidExists(Conflict):
    code = "void_exists"
    title = "Voiding this tick was requested or approved before"


class VoidDecided(Conflict):
    code = "void_decided"
    title = "This request was decided before"


class SamePerson(Forbidden):
    code = "same_person"
    title = "Somebody other than who asked decides"


class Deposed(Exception):
    """Another feed has taken the watermarks over; nothing was written, and this one must end."""


class PartitionMissing(Exception):
    """The day of a tick has no partition; nothing was written, and the ticks are still the caller's."""
