"""What the model on paper writes down: terms, instruments, accounts, limits, what is asked for, orders."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from config.drills.oracle import Agreed, Record, Tick

MIN_STAKE, MAX_STAKE = Decimal(1), Decimal(500)
RATE, MARGIN = Decimal("0.85"), Decimal("0.05")
LEAST_RATE, MOST_RATE, LEAST_PROFIT = Decimal("0.05"), Decimal(20), Decimal("0.50")
MAX_OPEN, MAX_TICKS = 6, 5
SHORTEST, LONGEST, TICKS_WAIT = 5, 60, 60
CUTOFF, SELL_CUTOFF, DELAY = timedelta(seconds=5), timedelta(seconds=2), timedelta(milliseconds=500)
ENTRY_WAIT, QUOTE_AGE, EXIT_AGE = timedelta(seconds=8), timedelta(seconds=20), timedelta(seconds=30)
GRACE, ALIVE, ESTIMATE_AGE = timedelta(seconds=120), timedelta(seconds=1), timedelta(minutes=10)
CENT, NEVER = Decimal("0.01"), datetime(1, 1, 1, tzinfo=UTC)


@dataclass
class Sheet(Record):
    """An instrument: its record, watermark, and how it moves as last estimated, per √second and per tick."""

    symbol: str = ""
    is_delayed: bool = False
    mark: datetime = NEVER
    estimated_at: datetime = NEVER
    deviation: float = 0
    tick_seconds: float = 0

    @property
    def last(self) -> Tick:
        """The latest tick."""
        return self.ticks[-1]


@dataclass(frozen=True)
class Holder:
    """Who holds an account, in which book, and with how much it began."""

    customer: str
    book: str
    opening: Decimal
    is_real: bool


@dataclass(frozen=True)
class Limit:
    """The most profit at risk on a side in a book, of one instrument or of all."""

    book: str
    symbol: str | None
    side: str
    most: Decimal


@dataclass(frozen=True)
class OwnLimit:
    """What a customer allows himself over his accounts of real money."""

    max_stake: Decimal
    max_daily_loss: Decimal


@dataclass(frozen=True, kw_only=True)
class Ask:
    """What is asked for; `until` is a clock expiry. Levels are prices, or distances with `is_relative`."""

    account: str
    symbol: str
    kind: str
    side: str
    stake: Decimal
    seconds: int | None = None
    ticks: int | None = None
    until: datetime | None = None
    barrier: Decimal | None = None
    low: Decimal | None = None
    high: Decimal | None = None
    is_relative: bool = False
    digit: int | None = None

    def expires_at(self, accepted_at: datetime, opens_at: datetime) -> datetime:
        """Return the last instant of the order: counted in ticks, it waits from its acceptance on."""
        if self.ticks is not None:
            return accepted_at + timedelta(seconds=TICKS_WAIT)
        return self.until or opens_at + timedelta(seconds=self.seconds or 0)


@dataclass(kw_only=True)
class Order(Agreed):
    """An accepted order and what has become of it."""

    account: str
    symbol: str
    accepted_at: datetime
    status: str = "open"
    reason: str | None = None
    payout: Decimal | None = None
    exit: Tick | None = None
    closed_at: datetime = NEVER
    sale_key: str | None = None

    @property
    def profit(self) -> Decimal:
        """What the house pays beyond the stake if it wins."""
        return floor(self.stake * self.payout_rate)


def floor(amount: Decimal) -> Decimal:
    """Return an amount rounded down to cents."""
    return Decimal(int(amount * 100)) / 100
