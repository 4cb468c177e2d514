"""The market: instruments, their hours, who quotes them, and the platform's own record of prices."""

from quotes.models.calendars import Calendar, CalendarException, CalendarWeek
from quotes.models.instruments import PRICE, Instrument, MarkUp, Quotation, Watermark
from quotes.models.record import (
    Candle,
    CandleCheck,
    EvidenceTick,
    Gap,
    RecordDay,
    RecordPart,
    Tick,
    VoidedTick,
)
from quotes.models.sources import (
    FixMessage,
    FixReject,
    FixSession,
    SimulationHour,
    SimulationRun,
    Source,
    SourceState,
)

__all__ = [
    "PRICE",
    "Calendar",
    "CalendarException",
    "CalendarWeek",
    "Candle",
    "CandleCheck",
    "EvidenceTick",
    "FixMessage",
    "FixReject",
    "FixSession",
    "Gap",
    "Instrument",
    "MarkUp",
    "Quotation",
    "RecordDay",
    "RecordPart",
    "SimulationHour",
    "SimulationRun",
    "Source",
    "SourceState",
    "Tick",
    "VoidedTick",
    "Watermark",
]
