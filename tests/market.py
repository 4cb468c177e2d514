"""A market that tests drive by hand: instruments with terms, ticks at chosen instants, a standing clock."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

from config.core import clock
from payments.ledger.models import Account, Book
from payments.ledger.services import NewTransfer, open_account, open_book, post
from quotes.models import Calendar, Instrument
from quotes.services import Stretch, append_ticks, create_calendar, create_instrument, take_over
from trading.models import BookTerms, Terms
from trading.services import set_terms

NOON = datetime(2030, 1, 15, 12, tzinfo=UTC)
_numbers = count(1)


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self, at: datetime = NOON) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at

    def move(self, seconds: float) -> datetime:
        self.at += timedelta(seconds=seconds)
        return self.at


@contextmanager
def standing_clock(at: datetime = NOON) -> Iterator[Clock]:
    stands = Clock(at)
    with clock.ticking(stands):
        yield stands


class Market:
    """One instrument and the feed that quotes it."""

    def __init__(self, symbol: str = "VOL100", *, calendar: Calendar | None = None, **settings: Any) -> None:
        self.instrument: Instrument = create_instrument(
            symbol=symbol,
            name=symbol,
            instrument_class="volatility",
            price_decimals=settings.pop("price_decimals", 2),
            calendar=calendar or create_calendar(code="always"),
            source="replay",
            source_symbol=symbol,
            **settings,
        )
        self.epoch = take_over([self.instrument.pk])
        self.seq = 0

    def terms(self, **changes: Any) -> Terms:
        defaults: dict[str, Any] = {
            "contracts": ["rise_fall"],
            "fixed_rate": Decimal("0.85"),
            "min_rate": Decimal("0.50"),
            "max_rate": Decimal("0.95"),
            "min_stake": Decimal("1.00"),
            "max_stake": Decimal("1000.00"),
            "min_duration_seconds": 5,
            "max_duration_seconds": 3600,
        }
        return set_terms(instrument=self.instrument, actor=None, reason="test", **{**defaults, **changes})

    def tick(self, price: str, at: datetime | None = None) -> int:
        """Write one tick now (or at an instant) and advance the watermark to it; return its seq."""
        at = at or clock.now()
        self.append([(at, Decimal(price))], until=at)
        return self.seq

    def append(
        self, ticks: Sequence[tuple[datetime, Decimal]] = (), *, until: datetime, lag_ms: int | None = None
    ) -> None:
        stretch = Stretch(until=until, ticks=ticks, source="replay", source_lag_ms=lag_ms)
        appended = append_ticks(epoch=self.epoch, stretches={self.instrument.pk: stretch})[self.instrument.pk]
        self.seq = appended.rows[-1][1] if appended.rows else self.seq

    def quiet_until(self, at: datetime | None = None) -> None:
        """Advance the watermark without a tick: the source is alive and says nothing."""
        self.append(until=at or clock.now())


def trading_book(
    code: str = "practice", *, kind: str = "demo", scale: int = 2, currency: str = "USD"
) -> Book:
    """Open a book that trades every instrument."""
    book = open_book(code=code, name=code, kind=kind, currency=currency, scale=scale)
    BookTerms.objects.get_or_create(book=book, defaults={"all_instruments": True})
    return book


def funded_account(owner_id: int, book: Book, amount: str) -> Account:
    """Open an account and move money to it from the book's capital."""
    account = open_account(owner_id=owner_id, book=book)
    fund(account, amount)
    account.refresh_from_db()
    return account


def fund(account: Account, amount: str) -> None:
    from django.db import transaction

    from config.core.ids import new_id

    capital = Account.objects.get(book=account.book, owner=None, code="capital")
    with transaction.atomic():
        post([NewTransfer(new_id(), capital.pk, account.pk, Decimal(amount), "deposit", "test")])


def person(email: str, **values: Any) -> Any:
    """Make a customer without going through registration: for tests about orders alone."""
    from kyc.models import User

    return User.objects.create(
        email=email, country="AE", registered_at=clock.now(), password="!", is_active=True, **values
    )
