"""An order is accepted once, for what was asked, or refused by the first rule that fails."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from config.core.errors import DomainError, Unauthenticated
from config.core.models import Fact
from kyc.models import Jurisdiction, Restriction
from payments.ledger.models import Transfer
from payments.ledger.services import open_account, open_book
from quotes.services import create_calendar
from tests.market import Market, funded_account, person, trading_book
from tests.trading.conftest import Desk
from trading.models import Order


def refusal(desk: Desk, **asked: Any) -> DomainError:
    """Place, expect a refusal, and see that nothing moved."""
    before = (Transfer.objects.count(), Fact.objects.count(), Order.objects.count())
    with pytest.raises(DomainError) as refused:
        desk.place(**asked)
    assert (Transfer.objects.count(), Fact.objects.count(), Order.objects.count()) == before
    return refused.value


def test_an_accepted_order(desk: Desk) -> None:
    placed = desk.place("up", "25.50", duration_seconds=30)
    order = placed.order
    assert not placed.is_replayed
    assert (order.status, order.stake, order.payout_rate) == ("open", "25.50", "0.85")
    assert order.accepted_at == "2030-01-15T12:00:00.000000Z"
    assert order.expires_at == "2030-01-15T12:00:30.000000Z"
    assert order.entry is not None
    assert (order.entry.price, order.entry.seq) == ("100.00", desk.market.seq)
    assert desk.balance() == "974.50"
    stake = Transfer.objects.get(code="stake")
    assert (stake.reference, stake.source_id, stake.destination.code) == (order.id, desk.account.pk, "escrow")
    assert stake.source_version == 2


def test_the_facts_of_a_placement(desk: Desk) -> None:
    placed = desk.place("up", "10.00")
    opened, changed = Fact.objects.order_by("id")[Fact.objects.count() - 2 :]
    assert opened.topic == changed.topic == f"customer:{desk.alice.pk}"
    assert opened.payload["order"]["id"] == placed.order.id
    assert opened.payload["version"] == 2
    assert changed.name == "account.changed"
    assert (changed.payload["balance"], changed.payload["version"], changed.payload["from_version"]) == (
        "990.00",
        2,
        1,
    )


# --- idempotency --------------------------------------------------------------------------------------


def test_a_repeat_answers_as_before(desk: Desk) -> None:
    first = desk.place("up", client_id="same")
    desk.market.tick("250.00", desk.clock.move(1))
    again = desk.place("up", client_id="same")
    assert again.is_replayed
    assert again.order == first.order
    assert desk.balance() == "990.00"


def test_a_repeat_answers_also_when_the_market_has_closed_and_the_money_is_gone(desk: Desk) -> None:
    first = desk.place("up", "1000.00", client_id="same")
    desk.clock.move(3600)
    again = desk.place("up", "1000.00", client_id="same")
    assert again.is_replayed
    assert again.order.id == first.order.id


def test_another_order_under_the_same_client_id_is_refused(desk: Desk) -> None:
    desk.place("up", "10.00", client_id="same")
    assert refusal(desk, stake="11.00", client_id="same").code == "idempotency_mismatch"


# --- the rules, in their order ------------------------------------------------------------------------


def test_1_a_restricted_customer(desk: Desk) -> None:
    Restriction.objects.create(
        customer=desk.alice,
        scope="trading",
        reason="under review",
        starts_at=desk.clock.at,
        made_by=desk.alice,
    )
    assert refusal(desk).code == "customer_restricted"
    Restriction.objects.update(ends_at=desk.clock.at)
    desk.place()


def test_1_a_sanctioned_country(desk: Desk) -> None:
    Jurisdiction.objects.create(country="AE", is_sanctioned=True)
    assert refusal(desk).code == "jurisdiction_refused"


def test_1_real_money_needs_a_licence(desk: Desk) -> None:
    real = open_book(code="real-usd", name="Real", kind="real", currency="USD", scale=2)
    trading_book("real-usd", kind="real")
    account = funded_account(desk.alice.pk, real, "100.00")
    assert refusal(desk, account=account.pk).code == "jurisdiction_refused"
    Jurisdiction.objects.create(country="AE", allows_real=True, licence_reference="L-1")
    desk.place(account=account.pk)


def test_1_somebody_who_was_shut_out(desk: Desk) -> None:
    desk.alice.is_active = False
    desk.alice.save()
    with pytest.raises(Unauthenticated):
        desk.place()


def test_2_somebody_elses_account(desk: Desk) -> None:
    mallory = person("mallory@example.com")
    theirs = open_account(owner_id=mallory.pk, book=desk.account.book)
    refused = refusal(desk, account=theirs.pk)
    assert (refused.code, refused.status) == ("account_missing", 404)


def test_2_an_unlisted_instrument(desk: Desk) -> None:
    desk.market.instrument.is_listed = False
    desk.market.instrument.save()
    assert refusal(desk).code == "unknown_instrument"
    assert refusal(desk, symbol="NOTHING").code == "unknown_instrument"


def test_2_a_book_that_does_not_trade_it(desk: Desk) -> None:
    terms = desk.account.book.trading_terms
    terms.all_instruments = False
    terms.save()
    assert refusal(desk).code == "instrument_not_in_book"
    terms.instruments.add(desk.market.instrument)
    desk.place()


def test_2_a_book_outside_its_dates(desk: Desk) -> None:
    book = desk.account.book
    book.closes_at = desk.clock.at
    book.save()
    assert refusal(desk).code == "book_closed"


def test_2_no_order_outlives_its_book(desk: Desk) -> None:
    book = desk.account.book
    book.closes_at = desk.clock.at + timedelta(seconds=60)
    book.save()
    desk.place(duration_seconds=60)
    refused = refusal(desk, duration_seconds=61)
    assert refused.code == "book_closed"
    assert refused.details == {
        "closes_at": "2030-01-15T12:01:00.000000Z",
        "expires_at": "2030-01-15T12:01:01.000000Z",
    }


def test_3_a_suspended_instrument(desk: Desk) -> None:
    desk.market.instrument.is_suspended = True
    desk.market.instrument.save()
    assert refusal(desk).code == "instrument_suspended"


def test_3_a_contract_or_side_that_is_not_offered(desk: Desk) -> None:
    assert refusal(desk, contract="touch").code == "contract_not_offered"
    assert refusal(desk, side="sideways").code == "invalid"


@pytest.mark.parametrize(
    ("name", "value"), [("barrier", "+0.50"), ("low", "99"), ("high", "101"), ("digit", 7)]
)
def test_3_what_other_contracts_take(desk: Desk, name: str, value: Any) -> None:
    assert refusal(desk, contract="touch", **{name: value}).code == "contract_not_offered"
    unfit = refusal(desk, **{name: value})
    assert (unfit.code, unfit.detail) == ("invalid", "rise_fall takes no barrier and no digit.")
    assert unfit.details["errors"] == {name: ["rise_fall takes none."]}


def test_5_ticks_where_none_are_counted(desk: Desk) -> None:
    refused = refusal(desk, duration_ticks=5, duration_seconds=None)
    assert (refused.code, refused.detail) == (
        "duration_out_of_range",
        "The duration is 5 ticks; ticks are not counted here.",
    )


def test_either_seconds_or_ticks(desk: Desk) -> None:
    assert refusal(desk, duration_ticks=5, duration_seconds=60).code == "invalid"


@pytest.fixture
def fx(db: None, make_desk: Callable[..., Desk], standing: Any) -> Desk:
    # Tuesday noon UTC; open to 12:02 UTC only.
    day = 24 * 60
    calendar = create_calendar(code="short", hours=[[day, day + 12 * 60 + 2]])
    return make_desk(instrument={"symbol": "EURUSD", "calendar": calendar})


def test_4_no_order_across_the_close(fx: Desk) -> None:
    fx.place(duration_seconds=119)
    refused = refusal(fx, duration_seconds=120)
    assert refused.code == "market_closed"
    assert refused.details["closes_at"] == "2030-01-15T12:02:00.000000Z"


def test_4_no_order_when_closed(fx: Desk) -> None:
    fx.clock.move(120)
    fx.market.tick("100.00")
    refused = refusal(fx)
    assert refused.code == "market_closed"
    assert refused.details["opens_at"] == "2030-01-22T00:00:00.000000Z"


def test_4_a_clock_expiry_has_a_deadline(desk: Desk) -> None:
    expiry = desk.clock.at + timedelta(seconds=60)
    desk.clock.move(55)
    desk.market.tick("100.00")
    placed = desk.place(expires_at=expiry)
    assert placed.order.duration_seconds is None
    desk.clock.move(0.001)
    refused = refusal(desk, expires_at=expiry)
    assert (refused.code, refused.details["deadline"]) == ("expiry_cutoff", "2030-01-15T12:00:55.000000Z")


@pytest.mark.parametrize(("seconds", "accepted"), [(4, False), (5, True), (3600, True), (3601, False)])
def test_5_durations(desk: Desk, seconds: int, accepted: bool) -> None:
    if accepted:
        desk.place(duration_seconds=seconds)
    else:
        refused = refusal(desk, duration_seconds=seconds)
        assert refused.code == "duration_out_of_range"
        assert refused.details["min_duration_seconds"] == 5


@pytest.mark.parametrize(
    ("stake", "code"),
    [
        ("0.99", "stake_out_of_range"),
        ("1.00", None),
        ("1000.00", None),
        ("1000.01", "stake_out_of_range"),
        ("10.001", "invalid"),
        ("-10.00", "invalid"),
        ("ten", "invalid"),
        ("NaN", "invalid"),
        ("1e400", "invalid"),
    ],
)
def test_6_stakes(desk: Desk, stake: str, code: str | None) -> None:
    if code is None:
        desk.place(stake=stake)
    else:
        assert refusal(desk, stake=stake).code == code


def test_7_a_stale_price(desk: Desk) -> None:
    desk.clock.move(5)
    desk.market.quiet_until()
    desk.place()
    desk.clock.move(0.001)
    desk.market.quiet_until()
    refused = refusal(desk)
    assert (refused.code, refused.details["age_ms"], refused.details["max_quote_age_ms"]) == (
        "price_stale",
        5001,
        5000,
    )


def test_7_a_lagging_source(desk: Desk) -> None:
    desk.market.append(until=desk.clock.at, lag_ms=2_001)
    assert refusal(desk).code == "price_stale"


def test_7_no_price_yet(desk: Desk) -> None:
    other = Market("VOL50")
    other.terms()
    assert refusal(desk, symbol="VOL50").code == "price_stale"


@pytest.mark.parametrize(
    ("side", "price", "slippage", "accepted"),
    [
        ("up", "100.00", "0", True),
        ("up", "99.99", "0", False),
        ("up", "99.99", "0.01", True),
        ("up", "250.00", "0", True),
        ("down", "100.01", "0", False),
        ("down", "99.00", "0", True),
    ],
)
def test_8_slippage(desk: Desk, side: str, price: str, slippage: str, accepted: bool) -> None:
    if accepted:
        desk.place(side, price=price, max_slippage=slippage)
    else:
        refused = refusal(desk, side=side, price=price, max_slippage=slippage)
        assert refused.code == "price_moved"
        assert (refused.details["seen_price"], refused.details["price"]) == (price, "100.00")


def test_9_a_lower_payout_than_asked(desk: Desk) -> None:
    desk.place(min_payout_rate="0.85")
    refused = refusal(desk, min_payout_rate="0.86")
    assert (refused.code, refused.details["payout_rate"]) == ("payout_changed", "0.85")


def test_10_the_number_of_open_orders(db: None, make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(max_open_orders=2)
    desk.place()
    desk.place()
    refused = refusal(desk)
    assert (refused.code, refused.details["open_orders"]) == ("too_many_open_orders", 2)


def test_12_not_enough_money(desk: Desk) -> None:
    desk.place(stake="990.01")
    refused = refusal(desk, stake="10.00")
    assert refused.code == "insufficient_funds"
    assert (refused.details["balance"], refused.details["amount"]) == ("9.99", "10.00")
    assert "9.99" in refused.detail
    assert "10.00" in refused.detail


def test_the_first_rule_that_fails_refuses(desk: Desk) -> None:
    """Everything is wrong; mending one thing after the other meets the refusals in their order."""
    desk.market.instrument.is_suspended = True
    desk.market.instrument.save()
    wrong = {
        "duration_seconds": 1,
        "stake": "99999.00",
        "min_payout_rate": "0.99",
        "price": "1",
        "max_slippage": "0",
    }
    desk.clock.move(100)
    desk.market.quiet_until()
    met = [refusal(desk, **wrong).code]
    desk.market.instrument.is_suspended = False
    desk.market.instrument.save()
    met.append(refusal(desk, **wrong).code)
    met.append(refusal(desk, **{**wrong, "duration_seconds": 60}).code)
    met.append(refusal(desk, **{**wrong, "duration_seconds": 60, "stake": "1000.00"}).code)
    desk.clock.move(0.001)
    desk.market.tick("100.00")
    met.append(refusal(desk, **{**wrong, "duration_seconds": 60, "stake": "1000.00"}).code)
    met.append(refusal(desk, **{**wrong, "duration_seconds": 60, "stake": "1000.00", "price": "100"}).code)
    assert met == [
        "instrument_suspended",
        "duration_out_of_range",
        "stake_out_of_range",
        "price_stale",
        "price_moved",
        "payout_changed",
    ]


@pytest.mark.parametrize(
    "asked",
    [
        {"client_id": ""},
        {"client_id": "x" * 65},
        {"duration_seconds": None},
        {"price": "1.0"},
        {"min_payout_rate": "much"},
    ],
)
def test_malformed_commands(desk: Desk, asked: dict[str, Any]) -> None:
    assert refusal(desk, **asked).code == "invalid"


def test_the_hot_statements_stay_prepared(desk: Desk) -> None:
    desk.place("up", "10.00")
    kept = kept_statements()
    assert "SELECT trading_read_placement" in kept
    assert "SELECT * FROM trading_place" in kept
    desk.place("down", "20.00", duration_seconds=3_000)
    assert kept_statements() == kept


def kept_statements() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement FROM pg_prepared_statements ORDER BY statement")
        return [statement.partition("(")[0] for (statement,) in cursor.fetchall()]
