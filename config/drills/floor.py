"""What drills at their own time stand on: books, people with money, and instruments quoted by hand."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import transaction

from config.core import clock
from config.core.ids import new_id
from kyc.models import Jurisdiction, User
from payments.ledger.models import Account, Book
from payments.ledger.services import NewTransfer, open_account, open_book, post
from quotes.models import Instrument
from quotes.services import Stretch, append_ticks, create_calendar, create_instrument, take_over
from trading.models import BookTerms
from trading.services import set_terms


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at

    def move(self, **by: float) -> datetime:
        """Move on, by what a timedelta takes, and return the new instant."""
        self.at += timedelta(**by)
        return self.at


def open_trading_book(code: str, kind: str = "real") -> Book:
    """Open a book in dollars that trades every instrument, where the law allows it."""
    Jurisdiction.objects.get_or_create(
        country="AE", defaults={"allows_real": True, "licence_reference": "DRILL"}
    )
    book = open_book(code=code, name=code, kind=kind, currency="USD", scale=2)
    BookTerms.objects.get_or_create(book=book, defaults={"all_instruments": True})
    return book


def person(name: str) -> User:
    """Make somebody who may trade."""
    return User.objects.create(email=f"{name}@example.com", country="AE", registered_at=clock.now())


def fund(owner: User, book: Book, amount: Decimal) -> Account:
    """Open somebody's account with that much from the book's capital."""
    account = open_account(owner_id=owner.pk, book=book)
    capital = Account.objects.get(book=book, code=Account.Code.CAPITAL, owner=None)
    with transaction.atomic():
        post([NewTransfer(new_id(), capital.pk, account.pk, amount, "deposit", "drill")])
    return account


class Quoted:
    """An instrument with its terms, whose feed is the drill. Simulated, it also offers digits."""

    def __init__(self, symbol: str, *, is_simulated: bool, **terms: Any) -> None:
        self.source = "simulated" if is_simulated else "replay"
        self.instrument: Instrument = create_instrument(
            symbol=symbol,
            name=symbol,
            instrument_class="volatility",
            price_decimals=2,
            calendar=create_calendar(code="always"),
            source=self.source,
            source_symbol=symbol,
            simulated_price=Decimal(100),
            # 0.0008 per √second: a quarter of a price unit in ten seconds.
            simulated_volatility=Decimal("4.5"),
            simulated_interval_ms=1_000,
            max_quote_age_ms=20_000,
        )
        defaults: dict[str, Any] = {
            "contracts": ["rise_fall"],
            "fixed_rate": Decimal("0.85"),
            "min_rate": Decimal("0.5"),
            "max_rate": Decimal("0.95"),
            "min_stake": Decimal(1),
            "max_stake": Decimal(1_000),
            "min_duration_seconds": 5,
            "max_duration_seconds": 60,
            "max_open_orders": 1_000_000,
        }
        self.set_terms(**{**defaults, **terms})
        self.epoch = take_over([self.instrument.pk])

    def set_terms(self, **changes: Any) -> None:
        """Write a new version of the terms."""
        set_terms(instrument=self.instrument, actor=None, reason="drill", **changes)

    def append(self, until: datetime, ticks: Sequence[tuple[datetime, Decimal]] = ()) -> None:
        """Write ticks and the watermark."""
        stretch = Stretch(until=until, ticks=ticks, source=self.source)
        append_ticks(epoch=self.epoch, stretches={self.instrument.pk: stretch})

    def tick(self, price: Decimal) -> None:
        """Write one tick at this instant."""
        self.append(clock.now(), [(clock.now(), price)])
