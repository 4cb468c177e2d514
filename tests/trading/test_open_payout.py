"""What all open orders of an account may pay out together, where its book limits that."""

import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from config.core import clock
from config.core.errors import DomainError, Invalid
from config.core.models import AuditEntry, Fact
from kyc.models import Jurisdiction, Restriction, User
from payments.ledger.checks import check_ledger
from payments.ledger.models import Account, Book, Transfer
from quotes.services import open_days
from tests.cast import browser_for
from tests.market import NOON, Market, funded_account, person, trading_book
from tests.payments.bank import at_once
from tests.trading.conftest import Desk
from tests.trading.test_api import Counter, counter, refused, today_has_partitions  # noqa: F401 - fixtures
from tests.trading.test_contract_orders import moves, ticks
from trading.models import BookTerms, Exposure, Order, Refusals
from trading.services import (
    PlaceOrder,
    placement,
    preview_order,
    sell_order,
    set_customer_limits,
    set_open_payout_limit,
    settle_due,
)
from trading.services.drafts import Found

D = Decimal


def limit(desk: Desk, most: str | None, book: Book | None = None) -> None:
    terms = BookTerms.objects.get(book=book or desk.account.book)
    set_open_payout_limit(
        terms=terms, most=None if most is None else D(most), actor=desk.alice, reason="a quiet week"
    )


def refusal(desk: Desk, *asked: Any, **more: Any) -> DomainError:
    """Place, expect the limit's refusal, and see that nothing moved."""

    def moved() -> list[Any]:
        return [
            list(Exposure.objects.order_by("id").values()),
            list(Account.objects.order_by("id").values("id", "balance", "version")),
            (Order.objects.count(), Transfer.objects.count(), Fact.objects.count()),
        ]

    before = moved()
    with pytest.raises(DomainError) as found:
        desk.place(*asked, **more)
    assert moved() == before
    assert found.value.code == "open_payout_limit"
    return found.value


# --- the limit itself ---------------------------------------------------------------------------------


def test_the_limit_is_kept_to_the_smallest_unit(desk: Desk) -> None:
    limit(desk, "37.00")
    desk.place("up", "10.00")  # pays 18.50
    found = refusal(desk, "up", "10.01")  # 8.5085, rounded down as it would be paid
    assert found.detail == (
        "All open orders of this account may pay out 37.00 USD together. Those that are open could pay 18.50 "
        "and this one 18.51. Stake at most 10.00, or wait until an order has closed."
    )
    assert found.details == {
        "open_payout": "18.50",
        "payout": "18.51",
        "max_open_payout": "37.00",
        "largest_stake": "10.00",
    }
    desk.place("down", "10.00")  # both sides count, and 37.00 is allowed
    full = refusal(desk, "down", "1.00")
    assert full.detail.endswith("could pay 37.00 and this one 1.85. Wait until an order has closed.")
    assert (full.details["open_payout"], full.details["largest_stake"]) == ("37.00", None)


def test_without_an_open_order_nothing_is_waited_for(desk: Desk) -> None:
    limit(desk, "18.50")
    found = refusal(desk, "up", "10.01")
    assert found.detail.endswith("could pay 0.00 and this one 18.51. Stake at most 10.00.")
    limit(desk, "1.84")
    found = refusal(desk, "up", "1.00")
    assert found.detail.endswith("could pay 0.00 and this one 1.85. Choose one that pays less.")
    assert found.details["largest_stake"] is None


@pytest.mark.parametrize("most", ["1.85", "1.86", "1.87", "1.88", "18.51", "18.52", "19.99", "1234.56"])
def test_the_largest_stake_it_names_is_the_largest(desk: Desk, most: str) -> None:
    limit(desk, most)
    largest = D(str(refusal(desk, "up", "999.00").details["largest_stake"]))
    refusal(desk, "up", str(largest + D("0.01")))
    desk.place("up", str(largest))


def test_each_profit_is_rounded_before_it_is_added(desk: Desk) -> None:
    limit(desk, "5.58")
    for _ in range(3):
        desk.place("up", "1.01")  # pays 1.86, of 1.8685
    assert refusal(desk, "up", "1.00").details["open_payout"] == "5.58"


def test_a_limit_below_what_is_open_touches_no_open_order(desk: Desk) -> None:
    placed = desk.place("up", "100.00")
    limit(desk, "50.00")
    found = refusal(desk, "up", "1.00")
    assert (found.details["open_payout"], found.details["max_open_payout"]) == ("185.00", "50.00")
    ticks(desk, "101.00", every=60)
    assert settle_due() == 1
    assert f"{desk.order(placed).payout:.2f}" == "185.00"
    desk.place("up", "27.00")


def test_no_limit(desk: Desk) -> None:
    limit(desk, "10.00")
    refusal(desk, "up", "500.00")
    limit(desk, None)
    desk.place("up", "500.00")
    desk.place("up", "500.00")


def test_a_repeat_answers_as_before(desk: Desk) -> None:
    limit(desk, "18.50")
    first = desk.place("up", "10.00", client_id="same")
    again = desk.place("up", "10.00", client_id="same")
    assert (again.is_replayed, again.order) == (True, first.order)


# --- what counts --------------------------------------------------------------------------------------


def test_other_accounts_and_other_books_are_counted_apart(desk: Desk) -> None:
    limit(desk, "18.50")
    book, other = desk.account.book, trading_book("second")
    bob = person("bob@example.com")
    theirs = Desk(desk.clock, desk.market, bob, funded_account(bob.pk, book, "100.00"), iter(range(9)))
    theirs.place("up", "10.00")
    mine = funded_account(desk.alice.pk, other, "1000.00")
    desk.place("up", "900.00", account=mine.pk)
    desk.place("up", "10.00")
    refusal(desk, "up", "1.00")
    limit(desk, "1800.00", other)
    assert refusal(desk, "up", "100.00", account=mine.pk).details["open_payout"] == "1665.00"


def test_other_instruments_of_the_account_count(desk: Desk) -> None:
    limit(desk, "18.50")
    second = Market("VOL50", calendar=desk.market.instrument.calendar)
    second.terms()
    desk.clock.move(1)
    desk.market.tick("100.00")
    second.tick("100.00")
    desk.place("up", "5.00")
    assert refusal(desk, "up", "6.00", symbol="VOL50").details["open_payout"] == "9.25"
    desk.place("up", "5.00", symbol="VOL50")


@pytest.mark.parametrize("price", ["101.00", "99.00", "100.00"])
def test_whatever_closes_an_order_makes_room(desk: Desk, price: str) -> None:
    """Won, lost and refunded."""
    limit(desk, "18.50")
    desk.place("up", "10.00")
    refusal(desk, "up", "10.00")
    ticks(desk, price, every=60)
    assert settle_due() == 1
    desk.place("up", "10.00")


def test_a_sale_makes_room(db: None, make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(offers_sale=True)
    moves(desk)
    limit(desk, "18.50")
    placed = desk.place("up", "10.00")
    ticks(desk, "100.50", every=30)
    refusal(desk, "up", "10.00")
    sell_order(customer_id=desk.alice.pk, order_id=placed.order.id, client_id="sale")
    desk.place("up", "10.00")


# --- its place among the rules ------------------------------------------------------------------------


def test_the_number_of_open_orders_is_asked_first(db: None, make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(max_open_orders=1)
    limit(desk, "18.50")
    desk.place("up", "10.00")
    with pytest.raises(DomainError) as found:
        desk.place("up", "10.00")
    assert found.value.code == "too_many_open_orders"


def test_a_preview_names_it_among_the_others(desk: Desk) -> None:
    limit(desk, "18.50")
    command = PlaceOrder(
        client_id="preview",
        account=desk.account.pk,
        symbol="VOL100",
        contract="rise_fall",
        side="up",
        stake="1000.00",
        duration_seconds=60,
    )
    Restriction.objects.create(
        customer=desk.alice, scope="trading", reason="x", starts_at=desk.clock.at, made_by=desk.alice
    )
    seen = preview_order(customer_id=desk.alice.pk, command=command)
    assert [each.code for each in seen.refusals] == ["customer_restricted", "open_payout_limit"]
    assert seen.refusals[1].details["payout"] == f"{seen.payout:.2f}" == "1850.00"


def test_what_somebody_has_open_is_not_kept_with_the_refusals(desk: Desk) -> None:
    limit(desk, "18.50")
    desk.place("up", "5.00")
    refusal(desk, "up", "9.00")
    (row,) = Refusals.objects.all()
    assert row.code == "open_payout_limit"
    assert row.recent == [{"at": clock.iso(NOON), "side": "up", "stake": "9.00", "duration_seconds": "60"}]


# --- under the lock -----------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True, databases=["default", "owner"])
def test_two_that_fit_singly_and_not_together(
    make_desk: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have read that nothing is open before either is written."""
    open_days([NOON.date()])
    desk = make_desk()
    limit(desk, "30.00")
    read, both = placement.read_placement, threading.Barrier(2)

    def read_together(*asked: Any) -> Found | None:
        found = read(*asked)
        both.wait(60)
        return found

    monkeypatch.setattr(placement, "read_placement", read_together)
    answers = at_once(2, lambda number: desk.place("up", "10.00", client_id=f"race-{number}"))
    assert sorted(getattr(answer, "code", "placed") for answer in answers) == ["open_payout_limit", "placed"]
    assert desk.balance() == "990.00"


@pytest.mark.django_db(transaction=True, databases=["default", "owner"])
def test_with_room_for_k_exactly_k_are_taken(make_desk: Callable[..., Desk]) -> None:
    open_days([NOON.date()])
    desk = make_desk()
    limit(desk, "130.00")  # seven pay 129.50
    answers = at_once(40, lambda number: desk.place("up", "10.00", client_id=f"race-{number}"))
    codes = [getattr(answer, "code", "placed") for answer in answers]
    assert (codes.count("placed"), codes.count("open_payout_limit")) == (7, 33)
    told = {answer.details["open_payout"] for answer in answers if isinstance(answer, DomainError)}
    assert told == {"129.50"}
    assert desk.balance() == "930.00"
    assert check_ledger(whole=True).differences == []


def test_what_was_read_is_asked_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if another order had been taken between the read and the lock."""
    limit(desk, "30.00")
    read = placement.read_placement

    def before_the_other(*asked: Any) -> Found | None:
        found = read(*asked)
        if found is not None:
            found.open_payout, found.open_orders = D(0), 0
        return found

    desk.place("up", "10.00")
    monkeypatch.setattr(placement, "read_placement", before_the_other)
    found = refusal(desk, "up", "10.00")
    assert (found.details["open_payout"], found.details["payout"]) == ("18.50", "18.50")
    desk.place("up", "6.22")  # pays 11.50


def test_his_own_limit_of_loss_is_asked_beside_it(desk: Desk) -> None:
    """Both are sums under the lock: neither's answers for the other."""
    real = funded_account(desk.alice.pk, trading_book("money", kind="real"), "100.00")
    limit(desk, "100.00", real.book)
    set_customer_limits(customer=desk.alice, max_daily_loss=D("30.00"))
    Jurisdiction.objects.create(country="AE", allows_real=True, licence_reference="TEST")
    desk.place("up", "20.00", account=real.pk)
    with pytest.raises(DomainError) as found:
        desk.place("up", "10.01", account=real.pk)
    assert (found.value.code, found.value.details["at_risk"]) == ("own_limit_reached", "20.00")
    limit(desk, "50.00", real.book)
    assert refusal(desk, "up", "10.00", account=real.pk).details["open_payout"] == "37.00"


def test_code_that_does_not_know_the_limit_places_as_before(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a release is rolled out the one before it still places: with an argument less."""
    values = placement._placement_values
    monkeypatch.setattr(placement, "_placement_values", lambda *given: values(*given)[:-1])
    monkeypatch.setattr(placement, "_PLACE", placement._PLACE.replace(", $42", ""))
    desk.place("up", "10.00")
    assert desk.balance() == "990.00"


# --- over REST ----------------------------------------------------------------------------------------


def test_the_problem_over_rest(counter: Counter, olga: User) -> None:  # noqa: F811
    terms = BookTerms.objects.get(book=counter.account.book)
    set_open_payout_limit(terms=terms, most=D("30.00"), actor=olga, reason="test")
    assert counter.place().status_code == 201
    problem = refused(counter.place(client_id="second"), 422, "open_payout_limit")
    assert problem == {
        "type": "/problems/open_payout_limit",
        "title": "Your open orders could pay out too much together",
        "status": 422,
        "detail": "All open orders of this account may pay out 30.00 USD together. Those that are open could "
        "pay 18.50 and this one 18.50. Stake at most 6.22, or wait until an order has closed.",
        "code": "open_payout_limit",
        "open_payout": "18.50",
        "payout": "18.50",
        "max_open_payout": "30.00",
        "largest_stake": "6.22",
    }
    body = counter.body(client_id=...)
    seen = counter.client.post("/api/v1/orders/preview", body, format="json").json()
    assert [each["code"] for each in seen["refusals"]] == ["open_payout_limit"]


# --- in the console -----------------------------------------------------------------------------------


@pytest.fixture
def console(olga: User) -> Client:
    return browser_for(olga, verified=True)


def fill(terms: BookTerms, **given: str) -> dict[str, Any]:
    return {"action": "limit_open_payout", "_selected_action": terms.pk, "_reasoned": "1", **given}


def test_it_is_set_with_a_reason_and_taken_away(console: Client, olga: User) -> None:
    terms, page = BookTerms.objects.get(book=trading_book()), reverse("admin:trading_bookterms_changelist")
    done = console.post(page, fill(terms, most="5000", reason="a big week"), follow=True)
    assert "An account of practice may have 5000 of payouts open." in done.content.decode()
    assert ">5,000.00</td>" in console.get(page).content.decode()
    done = console.post(page, fill(terms, most="", reason="calm"), follow=True)
    assert "Accounts of practice may have any payout open." in done.content.decode()
    terms.refresh_from_db()
    assert terms.max_open_payout is None
    entries = AuditEntry.objects.filter(action="open_payout_limit.set").order_by("id")
    assert [(each.actor_id, each.reason, each.before, each.after) for each in entries] == [
        (olga.pk, "a big week", {"max_open_payout": None}, {"max_open_payout": "5000.00"}),
        (olga.pk, "calm", {"max_open_payout": "5000.00000000"}, {"max_open_payout": None}),
    ]


@pytest.mark.parametrize(
    "given",
    [{"most": "5000", "reason": ""}, {"most": "0", "reason": "x"}, {"most": "0.001", "reason": "x"}],
)
def test_what_is_not_set(console: Client, given: dict[str, str]) -> None:
    terms, page = BookTerms.objects.get(book=trading_book()), reverse("admin:trading_bookterms_changelist")
    console.post(page, fill(terms, **given), follow=True)
    terms.refresh_from_db()
    assert terms.max_open_payout is None
    assert not AuditEntry.objects.filter(action="open_payout_limit.set").exists()


def test_nobody_sets_it_without_the_right(olga: User) -> None:
    terms, page = BookTerms.objects.get(book=trading_book()), reverse("admin:trading_bookterms_changelist")
    olga.is_superuser = False
    olga.save()
    answer = browser_for(olga, verified=True).post(page, fill(terms, most="5000", reason="x"))
    assert answer.status_code == 403
    terms.refresh_from_db()
    assert terms.max_open_payout is None


@pytest.mark.parametrize("most", ["0", "-1", "0.001", "NaN"])
def test_a_limit_that_makes_no_sense(desk: Desk, most: str) -> None:
    with pytest.raises(Invalid):
        limit(desk, most)
    assert BookTerms.objects.get().max_open_payout is None
