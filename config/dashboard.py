"""The console's first page: is the market alive, is everything settled, told and balanced."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import ngettext
from django.views.decorators.http import require_safe

from config.core import clock, money
from config.core.models import Fact
from payments.ledger import selectors as ledger
from payments.ledger.models import Account, BalanceSnapshot, Book, LedgerCheck
from quotes import selectors as market
from quotes.models import SourceState
from trading.models import Exposure, Order, RiskAlert
from trading.selectors import curbs_in_force, worst_case

REFRESH_SECONDS = 3
SETTLING_LATE = timedelta(seconds=5)
TELLING_LATE = timedelta(seconds=5)
CHECK_LATE = timedelta(minutes=5)
# The leading feed writes how its sources fare once a second.
STATES_LATE = timedelta(seconds=5)
MOST_HEAT = 40


@dataclass(frozen=True)
class Figure:
    """One number on a tile, with a word on how it stands: good, bad or plain."""

    title: str
    value: str
    note: str = ""
    state: str = "plain"
    link: str = ""


class BookRow(NamedTuple):
    """What a book has at stake, what its house made, and the most it may have to pay beyond stakes."""

    book: Book
    open_orders: int
    stakes: Decimal
    share_percent: int
    house: Decimal
    since: datetime | None
    worst: Decimal


class SourceRow(NamedTuple):
    """How a source fares, as the leading feed last wrote it."""

    code: str
    word: str
    state: str
    quotes_per_second: float
    lag_ms: int | None
    offset_ms: int | None
    silent_ms: int | None
    last_error: str


@dataclass(frozen=True)
class HeatRow:
    """An instrument in a book where something is open: what the house pays beyond stakes, side by side."""

    book: Book
    symbol: str
    cells: list["HeatCell"]


@dataclass(frozen=True)
class HeatCell:
    """One side: `heat_percent` of the hottest there is."""

    side: str
    open_orders: int
    profit: Decimal
    heat_percent: int


def context(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add the dashboard to the console's index."""
    return {**context, **figures(), "refresh_seconds": REFRESH_SECONDS}


@require_safe
def live(request: HttpRequest) -> HttpResponse:
    """Render the dashboard's moving part alone."""
    return render(request, "console/live.html", figures())


def figures() -> dict[str, Any]:
    """Read everything the dashboard shows, in a fixed number of queries that do not grow with history."""
    now = clock.now()
    feeds = market.feed_health()
    books = _books()
    tiles = [
        _settlement(now),
        Figure("Open orders", f"{sum(row.open_orders for row in books):,}", link="trading_order_changelist"),
        _outbox(now),
        _ledger_check(now),
        _risk(now),
    ]
    return {
        "tiles": tiles,
        "feeds": feeds,
        "sources": _sources(now),
        "books": books,
        "heat": _heat(),
        "now": now,
    }


def _sources(now: datetime) -> list[SourceRow]:
    colours = {"up": "good", "idle": "plain", "connecting": "plain"}
    found = []
    for row in SourceState.objects.order_by("source"):
        is_current = now - row.updated_at <= STATES_LATE
        found.append(
            SourceRow(
                code=row.source,
                word=row.state if is_current else f"unknown since {row.updated_at:%H:%M:%S}",
                state=colours.get(row.state, "bad") if is_current else "bad",
                quotes_per_second=row.quotes_per_second if is_current else 0.0,
                lag_ms=row.lag_ms,
                offset_ms=row.offset_ms,
                silent_ms=row.silent_ms,
                last_error=row.last_error,
            )
        )
    return found


def _settlement(now: datetime) -> Figure:
    due = Order.objects.filter(status=Order.Status.OPEN, parked_at=None, expires_at__lte=now)
    oldest = due.order_by("expires_at").values_list("expires_at", flat=True).first()
    parked = Order.objects.filter(status=Order.Status.OPEN, parked_at__isnull=False).count()
    lag = now - oldest if oldest else timedelta()
    return Figure(
        "Settlement lag",
        f"{lag.total_seconds():.1f} s",
        f"{parked} parked, waiting for you" if parked else "of the oldest order due",
        "bad" if parked or lag > SETTLING_LATE else "good",
        "trading_order_changelist",
    )


def _risk(now: datetime) -> Figure:
    alerts = RiskAlert.objects.filter(closed_at=None).count()
    curbs = curbs_in_force(now).count()
    said = (
        ngettext("%d curb in force", "%d curbs in force", curbs) % curbs if curbs else "nothing is held back"
    )
    title = ngettext("%d alert", "%d alerts", alerts) % alerts if alerts else "calm"
    return Figure(
        "Risk", title, said, "bad" if alerts else "plain" if curbs else "good", "trading_curb_changelist"
    )


def _outbox(now: datetime) -> Figure:
    parked = Fact.objects.filter(parked_at__isnull=False, published_at=None).count()
    oldest = (
        Fact.objects.filter(published_at=None).order_by("id").values_list("created_at", flat=True).first()
    )
    lag = now - oldest if oldest else timedelta()
    return Figure(
        "Facts untold for",
        f"{lag.total_seconds():.1f} s",
        f"{parked} parked" if parked else "none parked",
        "bad" if parked or lag > TELLING_LATE else "good",
        "core_fact_changelist",
    )


def _ledger_check(now: datetime) -> Figure:
    last = LedgerCheck.objects.order_by("-id").first()
    if last is None:
        return Figure("Ledger check", "never ran", "beat runs it every minute", "bad")
    seconds, count = int((now - last.finished_at).total_seconds()), len(last.differences)
    late = now - last.finished_at > CHECK_LATE
    return Figure(
        "Ledger check",
        ngettext("%d difference", "%d differences", count) % count if count else "clean",
        f"{seconds} s ago, {'everything' if last.is_whole else 'what changed'}",
        "bad" if count or late else "good",
        "ledger_ledgercheck_changelist",
    )


# By the partial index of open orders: what is closed is not read.
_OPEN = """
SELECT a.book_id, count(*), coalesce(sum(o.stake), 0)
FROM trading_order o JOIN ledger_account a ON a.id = o.account_id
WHERE o.status = 'open' GROUP BY a.book_id
"""


def _books() -> list[BookRow]:
    with connection.cursor() as cursor:
        cursor.execute(_OPEN)
        open_by_book = {book: (count, stakes) for book, count, stakes in cursor.fetchall()}
    rows = list(Book.objects.order_by("id"))
    most = max((count for count, _ in open_by_book.values()), default=0)
    found = []
    for book in rows:
        count, stakes = open_by_book.get(book.pk, (0, money.ZERO))
        house, since = _house_today(book)
        share = round(100 * count / most) if most else 0
        found.append(
            BookRow(
                book,
                count,
                money.fit(stakes, book.scale),
                share,
                money.fit(house, book.scale),
                since,
                money.fit(worst_case(book), book.scale) if count else money.ZERO,
            )
        )
    return found


def _heat() -> list[HeatRow]:
    """Return the hottest instruments first, at most MOST_HEAT sides of them."""
    exposed = Exposure.objects.filter(open_orders__gt=0).select_related("book", "instrument")
    found: dict[tuple[int, int], HeatRow] = {}
    most = money.ZERO
    for each in exposed.order_by("-profit")[:MOST_HEAT]:
        most = most or each.profit
        row = found.setdefault(
            (each.book_id, each.instrument_id), HeatRow(each.book, each.instrument.symbol, [])
        )
        profit = money.fit(each.profit, each.book.scale)
        row.cells.append(HeatCell(each.side, each.open_orders, profit, int(100 * each.profit / (most or 1))))
    return list(found.values())


def _house_today(book: Book) -> tuple[Decimal, datetime | None]:
    """Return what the house won or lost since the last snapshot before midnight UTC, and that instant."""
    midnight = clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
    before = (
        BalanceSnapshot.objects.filter(
            account__book=book,
            account__owner=None,
            account__code=Account.Code.HOUSE,
            taken_at__lt=midnight,
        )
        .order_by("-id")
        .first()
    )
    now = ledger.system_balances(book).get(Account.Code.HOUSE, money.ZERO)
    return (now - before.balance, before.taken_at) if before else (now, None)
