"""The console's pages about the market."""

from quotes.admin.calendars import CalendarAdmin
from quotes.admin.instruments import InstrumentAdmin, MarkUpAdmin
from quotes.admin.record import (
    CandleCheckAdmin,
    GapAdmin,
    RecordDayAdmin,
    RecordPartAdmin,
    SimulationHourAdmin,
)
from quotes.admin.sources import FixRejectAdmin, SourceAdmin, SourceStateAdmin
from quotes.admin.voids import VoidedTickAdmin

__all__ = [
    "CalendarAdmin",
    "CandleCheckAdmin",
    "FixRejectAdmin",
    "GapAdmin",
    "InstrumentAdmin",
    "MarkUpAdmin",
    "RecordDayAdmin",
    "RecordPartAdmin",
    "SimulationHourAdmin",
    "SourceAdmin",
    "SourceStateAdmin",
    "VoidedTickAdmin",
]
