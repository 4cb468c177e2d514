"""What every example of the model drill begins from, in the database and on paper."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import orjson

from config.core.sql import prepared
from config.drills import sheets as on
from config.drills.floor import Clock, Quoted, fund, open_trading_book, person
from config.drills.oracle import SIDES
from config.drills.paper import Paper
from config.drills.sheets import Holder, Limit, OwnLimit, Sheet
from payments.ledger.models import Account
from quotes.services import open_days
from trading.models import VolatilityEstimate
from trading.services import estimate_volatility, set_customer_limits, set_risk_limit

# Midnight comes in the middle of most examples: tallies and limits are by day.
BEGINS_AT = datetime(2030, 6, 3, 23, 57, tzinfo=UTC)
HISTORY = 60
BOOKS = {"first": "real", "second": "real", "practice": "demo"}
ACCOUNTS = {"alice first": "300", "alice second": "150", "bob first": "120", "bob practice": "400"}
SYMBOLS = {"HERE": True, "OUTSIDE": False}
LIMITS = (Limit("first", "HERE", "up", Decimal(90)), Limit("first", None, "down", Decimal(120)))
ALICES = OwnLimit(max_stake=Decimal(80), max_daily_loss=Decimal(160))

LINES = """
SELECT json_agg(json_build_array(name, line))::text FROM (
    SELECT 'account ' || split_part(u.email, '@', 1) || ' ' || b.code AS name,
           ARRAY[a.balance::numeric(28, 8)::text, a.version::text] AS line
    FROM ledger_account a JOIN ledger_book b ON b.id = a.book_id JOIN kyc_user u ON u.id = a.owner_id
    UNION ALL
    SELECT 'order ' || client_id, ARRAY[status, refund_reason, payout::numeric(28, 8)::text, entry_seq::text,
           exit_seq::text] FROM trading_order
    UNION ALL
    SELECT a.code || ' ' || b.code, ARRAY[coalesce(sum(l.delta), 0)::numeric(28, 8)::text]
    FROM ledger_account a JOIN ledger_book b ON b.id = a.book_id LEFT JOIN (
        SELECT source_id AS account, -amount AS delta FROM ledger_transfer
        UNION ALL SELECT destination_id, amount FROM ledger_transfer) l ON l.account = a.id
    WHERE a.code IN ('escrow', 'house') GROUP BY a.code, b.code
    UNION ALL
    SELECT 'exposure ' || b.code || ' ' || i.symbol || ' ' || e.side,
           ARRAY[e.open_orders, e.stakes, e.profit]::numeric(28, 8)[]::text[]
    FROM trading_exposure e JOIN ledger_book b ON b.id = e.book_id
    JOIN quotes_instrument i ON i.id = e.instrument_id
    WHERE (e.open_orders, e.stakes, e.profit) <> (0, 0, 0)
    UNION ALL
    SELECT 'tally ' || split_part(u.email, '@', 1) || ' ' || b.code || ' ' || i.symbol || ' ' || t.day,
           ARRAY[t.orders, t.won, t.lost, t.refunded, t.sold, t.turnover, t.profit]::numeric(28, 8)[]::text[]
    FROM trading_tally t JOIN ledger_account a ON a.id = t.account_id JOIN ledger_book b ON b.id = a.book_id
    JOIN kyc_user u ON u.id = a.owner_id JOIN quotes_instrument i ON i.id = t.instrument_id
) named
"""


class Ground:
    """What every example begins from: written once, and rolled back to."""

    def __init__(self) -> None:
        self.clock = Clock(BEGINS_AT - timedelta(seconds=5 * HISTORY + 1))

    def lay(self) -> None:
        """Write it to the database and to paper."""
        open_days([(BEGINS_AT + timedelta(days=day)).date() for day in (-1, 0, 1)])
        books = {code: open_trading_book(code, kind) for code, kind in BOOKS.items()}
        self.people = {name: person(name) for name in ("alice", "bob", "olga", "otto")}
        self.accounts: dict[str, Account] = {}
        holders = {}
        for name, opening in ACCOUNTS.items():
            customer, book = name.split()
            self.accounts[name] = fund(self.people[customer], books[book], Decimal(opening))
            holders[name] = Holder(customer, book, Decimal(opening), BOOKS[book] == "real")
        self.quoted = {symbol: _quoted(symbol, is_simulated) for symbol, is_simulated in SYMBOLS.items()}
        sheets = {symbol: Sheet(symbol=symbol, is_delayed=not here) for symbol, here in SYMBOLS.items()}
        self.paper = Paper(holders, sheets, list(LIMITS), {"alice": ALICES})
        for number in range(HISTORY):
            self.clock.move(seconds=5)
            for symbol, quoted in self.quoted.items():
                # Up and down by as much as a simulation of this volatility moves in five seconds.
                price = Decimal(10_000 + 18 * (number % 2)) / 100
                quoted.tick(price)
                self.paper.tick(symbol, self.clock.at, price)
        self.clock.at = BEGINS_AT
        self.estimate(self.paper)
        for limit in LIMITS:
            instrument = self.quoted[limit.symbol].instrument if limit.symbol else None
            set_risk_limit(
                book=books[limit.book],
                instrument=instrument,
                side=limit.side,
                most=limit.most,
                actor=self.people["olga"],
                comment="drill",
            )
        set_customer_limits(
            customer=self.people["alice"], max_stake=ALICES.max_stake, max_daily_loss=ALICES.max_daily_loss
        )

    def estimate(self, paper: Paper) -> None:
        """Let the platform estimate how the instruments move, and take its word for it."""
        estimate_volatility()
        for symbol, sheet in paper.sheets.items():
            newest = VolatilityEstimate.objects.filter(instrument__symbol=symbol).order_by("-id").first()
            if newest is not None:
                sheet.estimated_at, sheet.deviation = newest.at, newest.per_sqrt_second
                sheet.tick_seconds = newest.tick_seconds


def _quoted(symbol: str, is_simulated: bool) -> Quoted:
    return Quoted(
        symbol,
        is_simulated=is_simulated,
        contracts=list(SIDES),
        fixed_rate=on.RATE,
        min_stake=on.MIN_STAKE,
        max_stake=on.MAX_STAKE,
        min_duration_seconds=on.SHORTEST,
        max_duration_seconds=on.LONGEST,
        max_duration_ticks=on.MAX_TICKS,
        max_tick_wait_seconds=on.TICKS_WAIT,
        max_open_orders=on.MAX_OPEN,
        entry_policy="latest_tick" if is_simulated else "delayed",
        tie_policy="refund" if is_simulated else "lose",
        max_entry_wait_ms=on.ENTRY_WAIT // timedelta(milliseconds=1),
        offers_sale=True,
        sell_cutoff_seconds=on.SELL_CUTOFF.seconds,
    )


def lines() -> dict[str, list[str | None]]:
    (text,) = prepared(LINES, ()) or ("[]",)
    return dict(orjson.loads(text))
