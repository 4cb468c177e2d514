"""Curbs hold trading back over exactly what they name, while they last, and never touch an open order."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from config.core import clock
from config.core.errors import Conflict, DomainError, Invalid
from config.core.models import AuditEntry, Fact
from tests.cast import client_for
from tests.market import NOON, Market, funded_account, trading_book
from tests.trading.conftest import Desk
from tests.trading.test_contract_orders import moves, simulate, ticks
from tests.trading.test_exposure import refused
from trading.models import Curb, PayoutRate
from trading.services import (
    PlaceOrder,
    import_events,
    lift_curb,
    preview_order,
    recalculate_payouts,
    sale_offer,
    sell_order,
    set_curb,
    settle_due,
)

D = Decimal


def curb(desk: Desk, effect: str = "stop_orders", **named: Any) -> Curb:
    return set_curb(effect=effect, actor=desk.alice, comment="a quiet hour", **named)


def test_all_trading_stops_and_goes_on(desk: Desk) -> None:
    placed = desk.place("up", "10.00")
    held = curb(desk)
    found = refused(lambda: desk.place("up", "10.00"))
    assert (found.code, found.detail, found.details) == (
        "trading_stopped",
        "New orders on VOL100 are not taken now. Open orders are not affected.",
        {"symbol": "VOL100", "contract": "rise_fall", "ends_at": None},
    )
    ticks(desk, "101.00", every=60)
    assert settle_due() == 1
    assert desk.order(placed).status == "won"
    assert lift_curb(curb=held, actor=desk.alice, reason="it is over") is True
    assert lift_curb(curb=held, actor=desk.alice, reason="again") is False
    desk.place("up", "10.00")
    assert list(
        AuditEntry.objects.filter(object_type="curb").order_by("id").values_list("action", "reason")
    ) == [("curb.set", "a quiet hour"), ("curb.lifted", "it is over")]
    assert [
        (fact.topic, fact.name)
        for fact in Fact.objects.filter(name__in=["curb.set", "curb.lifted", "offers.changed"]).order_by("id")
    ] == [
        ("operators", "curb.set"),
        ("instrument:VOL100", "offers.changed"),
        ("operators", "curb.lifted"),
        ("instrument:VOL100", "offers.changed"),
    ]


def test_it_ends_by_itself(desk: Desk) -> None:
    curb(desk, ends_at=NOON + timedelta(seconds=90))
    found = refused(lambda: desk.place())
    assert found.detail == (
        "New orders on VOL100 are not taken now until 2030-01-15T12:01:30.000000Z. "
        "Open orders are not affected."
    )
    desk.clock.move(90)
    desk.market.tick("100.00")
    desk.place()


def test_it_begins_when_it_is_to(desk: Desk) -> None:
    curb(desk, starts_at=NOON + timedelta(seconds=1))
    desk.place()
    desk.clock.move(1)
    desk.market.tick("100.00")
    assert refused(lambda: desk.place()).code == "trading_stopped"


@pytest.mark.parametrize(
    ("named", "holds"),
    [
        ({"instrument_class": "volatility"}, True),
        ({"instrument_class": "fx"}, False),
        ({"contract": "rise_fall"}, True),
        ({"contract": "touch"}, False),
        ({"side": "up"}, True),
        ({"side": "down"}, False),
        ({"effect": "stop_all"}, True),
        ({"effect": "stop_sales"}, False),
        ({"effect": "event"}, False),
        ({"effect": "lower_payouts", "cut": D("0.1")}, False),
    ],
)
def test_it_holds_over_what_it_names(desk: Desk, named: dict[str, Any], holds: bool) -> None:
    curb(desk, **named)
    if holds:
        assert refused(lambda: desk.place("up")).code == "trading_stopped"
    else:
        assert desk.place("up").order.status == "open"


def test_it_holds_over_its_instrument_and_its_book(desk: Desk) -> None:
    other = Market("VOL50", calendar=desk.market.instrument.calendar)
    other.terms()
    desk.clock.move(1)
    other.tick("100.00")
    desk.market.tick("100.00")
    account = funded_account(desk.alice.pk, trading_book("second"), "100.00")
    curb(desk, instrument=other.instrument, book=account.book)
    desk.place(symbol="VOL50")
    desk.place(account=account.pk)
    assert refused(lambda: desk.place(symbol="VOL50", account=account.pk)).code == "trading_stopped"


def test_a_preview_names_it(desk: Desk) -> None:
    curb(desk, contract="rise_fall")
    command = PlaceOrder(
        client_id="preview",
        account=desk.account.pk,
        symbol="VOL100",
        contract="rise_fall",
        side="up",
        stake="10.00",
        duration_seconds=60,
    )
    (found,) = preview_order(customer_id=desk.alice.pk, command=command).refusals
    assert found.detail == "This contract is not sold on VOL100 now. Others are."


# --- early sales --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("named", "holds"),
    [
        ({"effect": "stop_sales"}, True),
        ({"effect": "stop_all"}, True),
        ({"effect": "event"}, True),
        ({"effect": "stop_orders"}, False),
        ({"effect": "stop_sales", "side": "down"}, False),
        ({"effect": "stop_sales", "contract": "touch"}, False),
        ({"effect": "stop_sales", "instrument_class": "fx"}, False),
    ],
)
def test_sales_are_held_back(
    db: None, make_desk: Callable[..., Desk], named: dict[str, Any], holds: bool
) -> None:
    desk = make_desk(offers_sale=True)
    moves(desk)
    placed = desk.place("up", "10.00")
    ticks(desk, "100.50", every=30)
    curb(desk, **named)
    sell = {"customer_id": desk.alice.pk, "order_id": placed.order.id}
    if not holds:
        assert sell_order(client_id="sale", **sell).order.status == "sold"
        return
    for ask in (lambda: sale_offer(**sell), lambda: sell_order(client_id="sale", **sell)):
        found = refused(ask)
        assert (found.code, found.detail) == (
            "sale_not_offered",
            "Early sales are stopped now. The order goes on to its end.",
        )


# --- payouts ------------------------------------------------------------------------------------------


def newest(desk: Desk) -> tuple[str, str]:
    rate = PayoutRate.objects.filter(instrument=desk.market.instrument).latest("id")
    return f"{rate.rate.normalize():f}", rate.reason


def test_lower_payouts_lower_the_rate_for_everybody_and_lifting_restores_it(desk: Desk) -> None:
    held = curb(desk, "lower_payouts", cut=D("0.10"))
    assert newest(desk) == ("0.75", "lowered for now")
    assert desk.place("up", "10.00").order.payout_rate == "0.75"
    assert recalculate_payouts() == 0
    lift_curb(curb=held, actor=desk.alice, reason="room again")
    assert newest(desk) == ("0.85", "fixed rate")
    changed = Fact.objects.filter(name="payout.changed").order_by("id")
    assert [(each.payload["previous_rate"], each.payload["payout_rate"]) for each in changed][-2:] == [
        ("0.85", "0.75"),
        ("0.75", "0.85"),
    ]


def test_a_cut_never_passes_the_bounds_of_the_terms(desk: Desk) -> None:
    curb(desk, "lower_payouts", cut=D("0.90"))
    assert newest(desk)[0] == "0.5"


def test_the_largest_cut_counts_and_one_for_another_contract_does_not(desk: Desk) -> None:
    curb(desk, "lower_payouts", cut=D("0.05"))
    curb(desk, "lower_payouts", cut=D("0.20"))
    curb(desk, "lower_payouts", cut=D("0.30"), contract="touch")
    assert newest(desk)[0] == "0.65"


def test_priced_contracts_pay_less_while_payouts_are_lowered(
    db: None, make_desk: Callable[..., Desk]
) -> None:
    desk = make_desk(contracts=["digit_even"], max_duration_ticks=10, margin=D("0.05"))
    simulate(desk)
    ask = {"contract": "digit_even", "side": "even", "duration_ticks": 5, "duration_seconds": None}
    assert desk.place(stake="10.00", **ask).order.payout_rate == "0.9"
    curb(desk, "lower_payouts", cut=D("0.10"))
    assert desk.place(stake="10.00", **ask).order.payout_rate == "0.8"
    desk.market.terms(
        contracts=["digit_even"], max_duration_ticks=10, margin=D("0.05"), min_priced_rate=D("0.85")
    )
    assert desk.place(stake="10.00", **ask).order.payout_rate == "0.85"


# --- what cannot be meant -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("named", "field"),
    [
        ({"effect": "stop_everything"}, "effect"),
        ({"contract": "swap"}, "contract"),
        ({"side": "left"}, "side"),
        ({"cut": D("0.1")}, "cut"),
        ({"effect": "lower_payouts"}, "cut"),
        ({"effect": "lower_payouts", "cut": D(1)}, "cut"),
        ({"ends_at": NOON}, "ends_at"),
        ({"starts_at": NOON + timedelta(days=1), "ends_at": NOON + timedelta(hours=1)}, "ends_at"),
    ],
)
def test_what_cannot_be_meant_is_refused(desk: Desk, named: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        curb(desk, **named)
    assert list(caught.value.details["errors"]) == [field]
    assert not Curb.objects.exists()
    assert not AuditEntry.objects.filter(action="curb.set").exists()


@pytest.mark.parametrize("effect", ["stop_orders", "event"])
def test_the_same_stands_once(desk: Desk, effect: str) -> None:
    first = curb(desk, effect)
    for _ in range(2):
        with pytest.raises(Conflict):
            curb(desk, effect)
    lift_curb(curb=first, actor=desk.alice, reason="over")
    desk.clock.move(1)
    assert curb(desk, effect).pk != first.pk


def test_an_instrument_and_a_class_exclude_each_other(desk: Desk) -> None:
    named = {"instrument": desk.market.instrument, "instrument_class": "fx"}
    with pytest.raises(Invalid):
        curb(desk, **named)
    with pytest.raises(IntegrityError), transaction.atomic():
        Curb.objects.create(effect="stop_orders", starts_at=clock.now(), comment="past the door", **named)


# --- economic events ----------------------------------------------------------------------------------

CALENDAR = """at,symbol,name,minutes_before,minutes_after
2030-01-15T12:10:00Z,VOL100,Rate decision,,
2030-01-15T15:30:00+01:00,class:fx,Payrolls,5,30
2030-02-01T00:00:00Z,*,Everything,0,1
"""


def test_events_are_imported_once(desk: Desk) -> None:
    assert import_events(text=CALENDAR, actor=desk.alice, reason="the month") == (3, 0)
    assert import_events(text=CALENDAR, actor=desk.alice, reason="again") == (0, 3)
    assert [
        (
            each.instrument and each.instrument.symbol,
            each.instrument_class,
            clock.iso(each.starts_at)[:16],
            clock.iso(each.ends_at)[:16] if each.ends_at else None,
            each.comment,
        )
        for each in Curb.objects.order_by("id")
    ] == [
        ("VOL100", "", "2030-01-15T12:08", "2030-01-15T12:15", "Rate decision"),
        (None, "fx", "2030-01-15T14:25", "2030-01-15T15:00", "Payrolls"),
        (None, "", "2030-02-01T00:00", "2030-02-01T00:01", "Everything"),
    ]
    (entry,) = AuditEntry.objects.filter(action="events.imported")
    assert (entry.after["rows"], entry.after["new"], entry.reason) == (3, 3, "the month")


def test_around_an_event_rise_fall_alone_is_offered(db: None, make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(contracts=["rise_fall", "touch"])
    moves(desk)
    import_events(text=CALENDAR, actor=desk.alice, reason="the month")
    touch = {"contract": "touch", "barrier": "+0.50"}
    desk.place("touch", "10.00", **touch)
    desk.clock.at = NOON + timedelta(minutes=8)
    desk.market.tick("100.00")
    moves(desk)
    desk.place("up", "10.00")
    found = refused(lambda: desk.place("touch", "10.00", **touch))
    assert (found.code, found.detail) == (
        "trading_stopped",
        "Around an economic event VOL100 offers rise/fall alone until 2030-01-15T12:15:00.000000Z.",
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("when,symbol,name\n", "line 1: the columns are at,symbol,name,minutes_before,minutes_after"),
        ("at,symbol,name\n", "There is no event in it."),
        ("at,symbol,name\n2030-01-15T12:00:00,VOL100,x\n", "line 2: '2030-01-15T12:00:00' needs a time zone"),
        ("at,symbol,name\nnoon,VOL100,x\n", "line 2: "),
        ("at,symbol,name\n9999-12-31T23:59:00-05:00,VOL100,x\n", "line 2: "),
        ("at,symbol,name\n2030-01-15T12:00:00Z,GOLD,x\n", "line 2: there is no instrument 'GOLD'"),
        ("at,symbol,name\n2030-01-15T12:00:00Z,class:art,x\n", "line 2: there is no class 'art'"),
        ("at,symbol,name\n2030-01-15T12:00:00Z,*,\n", "line 2: a name is one line of 1 to 200 characters"),
        (
            "at,symbol,name,minutes_before,minutes_after\n2030-01-15T12:00:00Z,*,x,-1,\n",
            "line 2: '-1' is no number of minutes up to 1440",
        ),
        (
            "at,symbol,name,minutes_before,minutes_after\n2030-01-15T12:00:00Z,*,x,0,0\n",
            "line 2: it lasts no time",
        ),
    ],
)
def test_a_calendar_that_cannot_be_read_records_nothing(desk: Desk, text: str, said: str) -> None:
    with pytest.raises(DomainError) as caught:
        import_events(text=text, actor=desk.alice, reason="the month")
    assert said in caught.value.detail
    assert not Curb.objects.exists()


def test_instruments_say_what_is_held_back(desk: Desk) -> None:
    curb(desk, "event", instrument=desk.market.instrument, ends_at=NOON + timedelta(minutes=5))
    curb(desk, "stop_orders", instrument_class="fx")
    curb(desk, "stop_orders", side="up")
    curb(desk, "stop_sales", starts_at=NOON + timedelta(days=2))
    curb(desk, "lower_payouts", cut=D("0.10"))
    answer = client_for().get("/api/v1/instruments/VOL100").json()
    assert answer["curbs"] == [
        {
            "effect": "event",
            "book": None,
            "contract": None,
            "starts_at": "2030-01-15T12:00:00.000000Z",
            "ends_at": "2030-01-15T12:05:00.000000Z",
        }
    ]
    assert answer["payout_rate"] == "0.75"
