"""Terms are versions: what changes holds for orders accepted from then on, and everybody is told."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.exceptions import FieldDoesNotExist
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from config.core.errors import Invalid
from config.core.models import AuditEntry, Fact
from payments.ledger.services import open_book
from quotes.services import open_days
from tests.market import NOON, Market, funded_account, person, standing_clock, trading_book
from tests.payments.bank import at_once
from tests.trading.conftest import Desk
from trading.errors import RateOutOfBounds
from trading.models import BookTerms, Order, PayoutRate, Terms
from trading.services import (
    PlaceOrder,
    payouts,
    place_order,
    recalculate_payouts,
    set_payout_rate,
    set_terms,
    settle_due,
)
from trading.services.placement import Placed
from trading.tasks import recalculate_payouts as task


@pytest.fixture
def olga(db: None) -> Any:
    return person("olga@example.com", is_staff=True)


def rates(desk: Desk) -> list[str]:
    return [
        f"{rate.rate.normalize():f}"
        for rate in PayoutRate.objects.filter(instrument=desk.market.instrument).order_by("id")
    ]


def payout_facts() -> list[dict[str, Any]]:
    return [fact.payload for fact in Fact.objects.filter(name="payout.changed").order_by("id")]


# --- terms --------------------------------------------------------------------------------------------


def test_a_change_is_a_new_version_and_keeps_what_it_does_not_name(desk: Desk, olga: Any) -> None:
    first = Terms.objects.get()
    second = set_terms(
        instrument=desk.market.instrument, actor=olga, reason="calmer", max_stake=Decimal("500.00")
    )
    assert (first.version, second.version) == (1, 2)
    changed = {
        field.name
        for field in Terms._meta.fields
        if getattr(first, field.attname) != getattr(second, field.attname)
    }
    assert changed == {"id", "version", "max_stake", "created_at", "created_by", "reason"} - (
        {"created_at"} if first.created_at == second.created_at else set()
    )
    assert Terms.objects.get(version=1).max_stake == 1000


def test_a_change_is_audited_with_what_it_changed(desk: Desk, olga: Any) -> None:
    before = AuditEntry.objects.count()
    set_terms(instrument=desk.market.instrument, actor=olga, reason="calmer", max_stake=Decimal("500.00"))
    entry = AuditEntry.objects.order_by("-id")[0]
    assert AuditEntry.objects.count() == before + 1
    assert (entry.action, entry.actor_id, entry.reason) == ("terms.changed", olga.pk, "calmer")
    assert Decimal(entry.before["max_stake"]) == 1000
    assert entry.after == {"max_stake": "500.00"}


def test_an_open_order_keeps_the_terms_it_was_accepted_under(desk: Desk, olga: Any) -> None:
    old = desk.place("up", "10.00", duration_seconds=60)
    set_terms(
        instrument=desk.market.instrument,
        actor=olga,
        reason="ties lose now",
        tie_policy="lose",
        max_stake=Decimal("5.00"),
    )
    assert desk.place("up", "5.00", duration_seconds=60).order.terms == 2
    desk.market.tick("100.00", desk.clock.move(30))
    desk.clock.move(30)
    desk.market.quiet_until()
    assert settle_due() == 2
    ended = [(order.stake, order.status) for order in Order.objects.order_by("id")]
    assert ended == [(Decimal("10.00"), "refunded"), (Decimal("5.00"), "lost")]
    assert desk.order(old).terms.version == 1


def test_a_repeat_is_answered_though_the_terms_would_refuse_it_now(desk: Desk, olga: Any) -> None:
    first = desk.place("up", "10.00", client_id="same")
    set_terms(instrument=desk.market.instrument, actor=olga, reason="test", max_stake=Decimal("5.00"))
    again = desk.place("up", "10.00", client_id="same")
    assert (again.is_replayed, again.order) == (True, first.order)


@pytest.mark.parametrize(
    "wrong",
    [
        {"min_rate": Decimal(0)},
        {"min_rate": Decimal("0.86")},
        {"max_rate": Decimal("0.84")},
        {"max_rate": Decimal(1)},
        {"min_stake": Decimal(0)},
        {"max_stake": Decimal("0.99")},
        {"min_duration_seconds": 0},
        {"max_duration_seconds": 4},
    ],
)
def test_terms_that_make_no_sense_are_refused_by_the_database(desk: Desk, olga: Any, wrong: Any) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        set_terms(instrument=desk.market.instrument, actor=olga, reason="test", **wrong)
    assert Terms.objects.count() == 1


def test_a_field_that_is_none_of_the_terms(desk: Desk, olga: Any) -> None:
    with pytest.raises((TypeError, FieldDoesNotExist)), transaction.atomic():
        set_terms(instrument=desk.market.instrument, actor=olga, reason="test", colour="red")
    assert Terms.objects.count() == 1


# --- payout rates -------------------------------------------------------------------------------------


def test_the_first_terms_set_the_first_rate(desk: Desk) -> None:
    assert rates(desk) == ["0.85"]
    assert payout_facts() == [
        {"v": 1, "symbol": "VOL100", "payout_rate": "0.85", "previous_rate": None, "reason": "terms"}
    ]


def test_a_new_rate_holds_for_orders_accepted_from_then_on(desk: Desk, olga: Any) -> None:
    old = desk.place("up", "10.00")
    rate = set_payout_rate(
        instrument=desk.market.instrument, rate=Decimal("0.9"), actor=olga, reason="a good day"
    )
    assert (rate.rate, rate.set_by_id, rate.reason) == (Decimal("0.9"), olga.pk, "a good day")
    assert (rate.inputs["policy"], Decimal(rate.inputs["fixed_rate"])) == ("fixed", Decimal("0.9"))
    assert rates(desk) == ["0.85", "0.9"]
    new = desk.place("up", "10.00")
    assert (old.order.payout_rate, new.order.payout_rate) == ("0.85", "0.9")
    desk.market.tick("101.00", desk.clock.move(30))
    desk.clock.move(30)
    desk.market.quiet_until()
    settle_due()
    assert [order.payout for order in Order.objects.order_by("id")] == [Decimal("18.50"), Decimal("19.00")]
    assert desk.balance() == "1017.50"


def test_everybody_is_told_of_a_new_rate(desk: Desk, olga: Any) -> None:
    set_payout_rate(instrument=desk.market.instrument, rate=Decimal("0.9"), actor=olga, reason="a good day")
    fact = Fact.objects.filter(name="payout.changed").latest("id")
    assert fact.topic == "instrument:VOL100"
    assert fact.payload == {
        "v": 1,
        "symbol": "VOL100",
        "payout_rate": "0.9",
        "previous_rate": "0.85",
        "reason": "a good day",
    }


@pytest.mark.parametrize("rate", ["0.4999", "0.9501", "1", "0", "-0.85"])
def test_a_rate_outside_the_bounds_changes_nothing(desk: Desk, olga: Any, rate: str) -> None:
    entries = AuditEntry.objects.count()
    with pytest.raises(RateOutOfBounds) as refused:
        set_payout_rate(instrument=desk.market.instrument, rate=Decimal(rate), actor=olga, reason="test")
    assert (refused.value.code, refused.value.status) == ("rate_out_of_bounds", 400)
    assert "0.5 to 0.95" in refused.value.detail
    assert rates(desk) == ["0.85"]
    assert (Terms.objects.count(), len(payout_facts()), AuditEntry.objects.count()) == (1, 1, entries)


def test_a_rate_with_more_decimals_than_are_stored_is_not_rounded(desk: Desk, olga: Any) -> None:
    with pytest.raises(Invalid):
        set_payout_rate(instrument=desk.market.instrument, rate=Decimal("0.85555"), actor=olga, reason="test")
    assert (rates(desk), len(payout_facts())) == (["0.85"], 1)


@pytest.mark.parametrize("rate", ["0.5", "0.95"])
def test_the_bounds_belong_to_the_range(desk: Desk, olga: Any, rate: str) -> None:
    set_payout_rate(instrument=desk.market.instrument, rate=Decimal(rate), actor=olga, reason="test")
    assert rates(desk) == ["0.85", rate]


def test_an_instrument_without_terms_has_no_rate(desk: Desk, olga: Any) -> None:
    bare = Market("VOL50").instrument
    with pytest.raises(RateOutOfBounds):
        set_payout_rate(instrument=bare, rate=Decimal("0.85"), actor=olga, reason="test")
    assert not PayoutRate.objects.filter(instrument=bare).exists()


# --- recalculation ------------------------------------------------------------------------------------


def test_recalculation_changes_nothing_that_is_right(desk: Desk) -> None:
    assert recalculate_payouts() == 0
    assert task() == 0
    assert (rates(desk), len(payout_facts())) == (["0.85"], 1)


def test_recalculation_brings_the_rate_to_its_policy(desk: Desk, olga: Any) -> None:
    instrument = desk.market.instrument
    set_terms(instrument=instrument, actor=olga, reason="another policy", fixed_rate=Decimal("0.8"))
    assert rates(desk) == ["0.85"]  # the next run of beat follows
    assert task() == 1
    assert rates(desk) == ["0.85", "0.8"]
    newest = PayoutRate.objects.latest("id")
    assert (newest.reason, newest.set_by) == ("fixed rate", None)
    told = payout_facts()[-1]
    assert (told["previous_rate"], told["payout_rate"], told["reason"]) == ("0.85", "0.8", "fixed rate")
    assert task() == 0


def test_recalculation_leaves_instruments_without_terms_alone(desk: Desk) -> None:
    Market("VOL50")
    assert recalculate_payouts() == 0
    assert PayoutRate.objects.count() == 1


@pytest.mark.django_db(transaction=True, databases=["default", "owner"])
def test_a_change_of_terms_or_rates_does_not_hold_up_placements() -> None:
    open_days([NOON.date()])
    with standing_clock(NOON - timedelta(seconds=1)) as stands:
        market = Market()
        market.terms()
        stands.at = NOON
        market.tick("100.00")
        account = funded_account(person("alice@example.com").pk, trading_book(), "100.00")
        command = PlaceOrder(
            client_id="meanwhile",
            account=account.pk,
            symbol="VOL100",
            contract="rise_fall",
            side="up",
            stake="10.00",
            duration_seconds=60,
        )

        def meanwhile(_number: int) -> Placed:
            with connection.cursor() as cursor:
                cursor.execute("SET lock_timeout = '500ms'")
            return place_order(customer_id=account.owner_id, command=command)

        with transaction.atomic():
            set_terms(instrument=market.instrument, actor=None, reason="test", max_stake=Decimal(500))
            recalculate_payouts()
            [placed] = at_once(1, meanwhile)
        assert isinstance(placed, Placed), placed


def test_instruments_are_recalculated_each_in_its_own_transaction(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    Market("VOL50").terms()
    monkeypatch.setattr(payouts, "recalculate_payout", lambda pk: bool(seen.append(pk)))
    with CaptureQueriesContext(connection) as queries:
        assert recalculate_payouts() == 0
    assert (len(seen), len(queries)) == (2, 1)


# --- the smallest profit ------------------------------------------------------------------------------


def test_a_profit_too_small_to_count_is_refused_with_numbers(desk: Desk, olga: Any) -> None:
    with pytest.raises(Invalid) as refused, transaction.atomic():
        set_terms(instrument=desk.market.instrument, actor=olga, reason="test", min_stake=Decimal("0.98"))
    assert refused.value.detail == (
        "The smallest stake 0.98 at the lowest rate 0.5 earns 0.49; the book practice needs at least 0.50."
    )
    assert Terms.objects.count() == 1
    set_terms(instrument=desk.market.instrument, actor=olga, reason="test", min_stake=Decimal("1.00"))


def test_only_books_that_trade_the_instrument_count(desk: Desk, olga: Any) -> None:
    other = open_book(code="yen", name="Yen", kind="demo", currency="JPY", scale=0)
    entry = BookTerms.objects.create(book=other)
    set_terms(instrument=desk.market.instrument, actor=olga, reason="test", min_stake=Decimal("1.00"))
    entry.instruments.add(desk.market.instrument)
    with pytest.raises(Invalid, match="the book yen needs at least 50"), transaction.atomic():
        set_terms(instrument=desk.market.instrument, actor=olga, reason="test", min_stake=Decimal("99.99"))
    set_terms(instrument=desk.market.instrument, actor=olga, reason="test", cutoff_seconds=6)  # not asked
    set_terms(instrument=desk.market.instrument, actor=olga, reason="test", min_stake=Decimal("100"))
