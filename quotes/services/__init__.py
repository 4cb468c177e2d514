"""Every write of the market."""

from quotes.services.calendars import add_calendar_exception, add_calendar_week, create_calendar
from quotes.services.history import history_lock, record_gap
from quotes.services.instruments import (
    change_instrument,
    create_instrument,
    resume_instrument,
    suspend_instrument,
)
from quotes.services.partitions import drop_day, open_days
from quotes.services.states import save_source_states
from quotes.services.ticks import Appended, Stretch, append_ticks, take_over
from quotes.services.voiding import IndependentPrice, approve_void, decline_void, request_void

__all__ = [
    "Appended",
    "IndependentPrice",
    "Stretch",
    "add_calendar_exception",
    "add_calendar_week",
    "append_ticks",
    "approve_void",
    "change_instrument",
    "create_calendar",
    "create_instrument",
    "decline_void",
    "drop_day",
    "history_lock",
    "open_days",
    "record_gap",
    "request_void",
    "resume_instrument",
    "save_source_states",
    "suspend_instrument",
    "take_over",
]
