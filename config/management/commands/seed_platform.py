"""What a fresh installation starts with. Running it again changes nothing that is there.

Everywhere: the sanctioned countries, the books with their system accounts, trading hours, instruments with
their terms. In the embedded default also one sandbox jurisdiction, a trader and an operator, whose passwords
are written to `sign-ins.json` in the data folder, readable by its owner alone, and nowhere else.
"""

import json
import os
import secrets
from dataclasses import asdict, dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.urls import reverse

from kyc import selectors as people
from kyc import services as kyc
from kyc.models import Jurisdiction, User
from payments.ledger import services as ledger
from payments.ledger.models import Book
from quotes import selectors as market
from quotes import services as quotes
from quotes.models import Calendar, Instrument
from quotes.rules import ALWAYS_OPEN, FX_HOURS, MADE_HERE, SIMULATED
from trading import services as trading
from trading.models import BookTerms, Terms

SANCTIONED = ("CU", "IR", "KP", "SY")
SANDBOX_COUNTRY, SANDBOX_LICENCE = "AE", "SANDBOX"
TRADER, OPERATOR = "trader@tickhouse.example", "operator@tickhouse.example"

# An outside source's round trip may take half of what an order waits for its entry: a price is then older
# than the entry's instant by less than the wait, also at the end of a stall that nobody could notice.
LIVE_ENTRY_DELAY_MS, MAX_SOURCE_LAG_MS = 1_000, 500


@dataclass(frozen=True)
class Seed:
    """An instrument with its terms. Its hours are always open: a simulation never sleeps.

    A live FX source brings the calendar `fx` with it: calendars are for good, so an operator then makes a new
    instrument on it.
    """

    symbol: str
    name: str
    instrument_class: str
    price_decimals: int
    rate: str
    price: str
    volatility: str
    source_symbol: str = ""


INSTRUMENTS = (
    Seed("VOL100", "Volatility 100", "volatility", 2, "0.95", "1000", "1.0"),
    Seed("VOL50", "Volatility 50", "volatility", 3, "0.95", "250", "0.5"),
    Seed("EURUSD", "Euro / US dollar", "fx", 6, "0.85", "1.085", "0.08"),
    Seed("BTCUSDT", "Bitcoin / Tether", "crypto", 2, "0.88", "97000", "0.55", source_symbol="btcusdt"),
)


CONTRACTS = ["rise_fall", "higher_lower", "touch", "ends_between", "stays_between", "asian"]
DIGITS = ["digit_match", "digit_over", "digit_even"]


@dataclass(frozen=True)
class SignIn:
    """How a seeded person signs in."""

    email: str
    password: str
    enrol_url: str = ""


class Command(BaseCommand):
    help = "Create what a fresh installation starts with; running it again changes nothing that is there."

    def handle(self, *args: Any, **options: Any) -> None:
        """Seed."""
        seed_jurisdictions()
        books = seed_books()
        seed_market()
        for book in books:
            BookTerms.objects.get_or_create(book=book, defaults={"all_instruments": True})
        if not settings.PRODUCTION:
            seed_people()


def seed_jurisdictions() -> None:
    """Refuse sanctioned countries; allow real money nowhere but in the embedded sandbox."""
    for country in SANCTIONED:
        _law(country, is_sanctioned=True)
    if not settings.PRODUCTION:
        _law(SANDBOX_COUNTRY, allows_real=True, licence_reference=SANDBOX_LICENCE)


def _law(country: str, **given: Any) -> None:
    if not Jurisdiction.objects.filter(pk=country).exists():
        nothing = {"is_sanctioned": False, "allows_real": False, "licence_reference": ""}
        kyc.change_jurisdiction(country=country, actor=None, reason="seed", **{**nothing, **given})


def seed_books() -> list[Book]:
    """Open the demo book and the real book of the platform's currency, with their system accounts."""
    demo = ledger.open_book(
        code="demo",
        name="Demo",
        kind=Book.Kind.DEMO,
        currency="USD",
        scale=2,
        opening_balance=Decimal("10000.00"),
    )
    real = ledger.open_book(code="real-usd", name="US dollars", kind=Book.Kind.REAL, currency="USD", scale=2)
    return [demo, real]


def seed_market() -> None:
    """Lay down hours, instruments and the first version of their terms."""
    always = quotes.create_calendar(code="always", time_zone="UTC", hours=ALWAYS_OPEN)
    quotes.create_calendar(code="fx", time_zone="America/New_York", hours=FX_HOURS)
    made = []
    for seed in INSTRUMENTS:
        instrument = _instrument(seed, always)
        seed_terms(instrument, Decimal(seed.rate))
        if market.source_of(instrument) == SIMULATED:
            made.append(instrument.pk)
    trading.estimate_volatility(simulated=made)


def _instrument(seed: Seed, calendar: Calendar) -> Instrument:
    found = Instrument.objects.filter(symbol=seed.symbol).first()
    return found or quotes.create_instrument(
        symbol=seed.symbol,
        name=seed.name,
        instrument_class=seed.instrument_class,
        price_decimals=seed.price_decimals,
        calendar=calendar,
        source=SIMULATED,
        source_symbol=seed.source_symbol,
        simulated_price=Decimal(seed.price),
        simulated_volatility=Decimal(seed.volatility),
        simulated_interval_ms=500,
        max_source_lag_ms=MAX_SOURCE_LAG_MS,
    )


def seed_terms(instrument: Instrument, rate: Decimal) -> None:
    """Write the first terms; while nobody has written others, keep their entry policy right for the source.

    A live market can be seen elsewhere first, so an order there enters at a tick after its acceptance, and
    later than a price that the platform may still be waiting for.
    """
    is_live = market.source_of(instrument) not in MADE_HERE
    policy = Terms.EntryPolicy.DELAYED if is_live else Terms.EntryPolicy.LATEST_TICK
    entry = {"entry_policy": policy, "entry_delay_ms": LIVE_ENTRY_DELAY_MS}
    newest = Terms.objects.filter(instrument=instrument).order_by("-version").first()
    if newest is None:
        trading.set_terms(
            instrument=instrument,
            actor=None,
            reason="seed",
            contracts=CONTRACTS + (DIGITS if instrument.instrument_class == "volatility" else []),
            fixed_rate=rate,
            min_rate=Decimal("0.50"),
            max_rate=Decimal("0.95"),
            min_stake=Decimal("1"),
            max_stake=Decimal("5000"),
            min_duration_seconds=5 if not is_live else 15,
            max_duration_seconds=24 * 3600,
            max_duration_ticks=0 if is_live else 20,
            offers_sale=not is_live,
            **entry,
        )
    elif newest.created_by_id is None and newest.entry_policy != policy:
        trading.set_terms(instrument=instrument, actor=None, reason="seed: the source changed", **entry)


def seed_people() -> None:
    """Create the trader and the operator of the embedded default and tell how they sign in."""
    path = Path(settings.DATA_DIR) / "sign-ins.json"
    known = _read(path)
    told = {
        "trader": asdict(_trader(known.get("trader", {}))),
        "operator": asdict(_operator(known.get("operator", {}))),
    }
    if told != known:
        _write(path, told)


def _trader(known: dict[str, str]) -> SignIn:
    user = User.objects.filter(email=TRADER).first()
    if user is not None and user.check_password(known.get("password", "")):
        return SignIn(TRADER, known["password"])
    password = secrets.token_urlsafe(12)
    if user is None:
        kyc.register_customer(
            email=TRADER,
            password=password,
            country=SANDBOX_COUNTRY,
            born_on=date(1990, 1, 31),
            accepts_terms=True,
        )
    else:
        kyc.reset_password(user=user, password=password)
    return SignIn(TRADER, password)


def _operator(known: dict[str, str]) -> SignIn:
    user = User.objects.filter(email=OPERATOR, is_staff=True).first()
    if user is not None and known and people.has_otp(user):
        # He may have chosen another at the link.
        password = known["password"] if user.check_password(known["password"]) else ""
        return SignIn(OPERATOR, password, settings.PUBLIC_URL + reverse("admin:index"))
    # Until he has enrolled each start hands out a fresh invitation, and a password to choose there.
    password = known.get("password") or secrets.token_urlsafe(12)
    _, token = kyc.invite_operator(email=OPERATOR)
    return SignIn(OPERATOR, password, settings.PUBLIC_URL + reverse("admin:enrol", args=[token]))


def _read(path: Path) -> dict[str, Any]:
    try:
        known = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _write(path: Path, told: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(told, file, indent=2)
    fresh.replace(path)
