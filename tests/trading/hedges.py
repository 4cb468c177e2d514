"""A house that hedges: its instrument, its provider, and alice who trades with real money."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from config.core import clock
from config.core.ids import new_id
from kyc.services import change_jurisdiction
from quotes.models import Source
from quotes.services import Stretch, append_ticks
from quotes.services.fix import open_fix_session, take_fix_number
from quotes.services.sources import create_source
from quotes.sources.fix.messages import encode, header
from tests.market import Clock, Market, funded_account, person, trading_book
from trading import services
from trading.hedging.messages import new_order
from trading.models import HedgeOrder, VolatilityEstimate
from trading.rules.hedging import Report
from trading.services import PlaceOrder, place_order

D = Decimal


class Outside(Market):
    """A market whose prices somebody else makes, so that it can be hedged."""

    def append(
        self, ticks: Sequence[tuple[datetime, Decimal]] = (), *, until: datetime, lag_ms: int | None = None
    ) -> None:
        stretch = Stretch(until=until, ticks=ticks, source="kraken", source_lag_ms=lag_ms)
        append_ticks(epoch=self.epoch, stretches={self.instrument.pk: stretch})


def provider(actor: Any, code: str = "lp", *, port: int = 1, **options: Any) -> Source:
    wanted = {"sender": "TICKHOUSE", "target": "LP", "reset_on_logon": False, **options}
    url = f"127.0.0.1:{port}"
    return create_source(
        code=code, kind="fix", name=code, url=url, options=wanted, actor=actor, reason="test"
    )


def estimate(market: Market, per_sqrt_second: float = 0.0001) -> VolatilityEstimate:
    return VolatilityEstimate.objects.create(
        instrument=market.instrument, at=clock.now(), per_sqrt_second=per_sqrt_second, tick_seconds=0.5,
        samples=100,
    )  # fmt: skip


class House:
    """An instrument that is hedged, and alice who trades it with real money."""

    def __init__(self, clock: Clock, *, max_quote_age_ms: int = 5_000) -> None:
        self.clock = clock
        self.olga = person("olga@example.com", is_staff=True)
        law: dict[str, Any] = {"is_sanctioned": False, "allows_real": True, "licence_reference": "SANDBOX"}
        change_jurisdiction(country="AE", **law, actor=None, reason="test")
        self.market = Outside("EURUSD", price_decimals=5, max_quote_age_ms=max_quote_age_ms)
        self.market.terms(
            contracts=["rise_fall", "higher_lower", "ends_between", "touch"],
            max_duration_ticks=10,
            max_stake=D(1_000_000),
        )

    def open(self, port: int = 1) -> "House":
        """Quote, let alice trade with real money, and hedge at the provider of this port."""
        self.market.tick("1.08000")
        self.estimate = estimate(self.market)
        self.book = trading_book("usd", kind="real")
        self.alice = person("alice@example.com")
        self.account = funded_account(self.alice.pk, self.book, "100000.00")
        self.lp = provider(self.olga, port=port)
        self.terms = services.set_hedge_terms(
            instrument=self.market.instrument, actor=self.olga, reason="test", provider=self.lp,
            source_symbol="EUR/USD", currency="USD", threshold=D(1000), lot=D(100), max_quantity=D(1_000_000),
        )  # fmt: skip
        services.switch_hedging(terms=self.terms, is_on=True, actor=self.olga, reason="test")
        open_fix_session(source="lp", reset=True)
        return self

    def place(self, side: str = "up", stake: str = "100.00", **asked: Any) -> UUID:
        wanted = {
            "client_id": str(new_id()), "account": self.account.pk, "symbol": "EURUSD", "side": side,
            "contract": "rise_fall", "stake": stake, "duration_seconds": 100, **asked,
        }  # fmt: skip
        return UUID(str(place_order(customer_id=self.alice.pk, command=PlaceOrder(**wanted)).order.id))

    def decide(self) -> list[HedgeOrder]:
        return services.decide_hedges(providers={"lp"})

    def send(self, order: HedgeOrder, seq: int = 1, *, is_repeat: bool = False) -> None:
        """Keep its number and its message, as the session does before the bytes are sent."""

        def claim(number: int, repeat: bool) -> bool:
            return services.claim_hedge_order(order.pk, number, repeat)

        now = clock.now()
        raw = encode("D", header("TICKHOUSE", "LP", seq, now), new_order(order, now))
        take_fix_number(source="lp", seq=seq, next_in=1, raw=raw, claim=claim, is_repeat=is_repeat)

    def hear(self, order: HedgeOrder, exec_id: str = "E1", status: str = "2", **said: Any) -> bool:
        values = {"exec_type": "F", "quantity": order.quantity, "cum_quantity": order.quantity, **said}
        report = Report(cl_ord_id=str(order.pk), exec_id=exec_id, ord_status=status, **values)
        return services.record_execution(provider="lp", report=report)

    def filled(self) -> HedgeOrder:
        """Decide, send and fill one order."""
        (order,) = self.decide()
        number = HedgeOrder.objects.exclude(sent_seq=None).count() + 1
        self.send(order, number)
        self.hear(order)
        order.refresh_from_db()
        return order
