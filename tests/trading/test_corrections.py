"""Corrections: what an order paid, put right by two people, told to the customer and in its receipt."""

import re
from collections.abc import Callable
from copy import deepcopy
from datetime import timedelta
from decimal import Decimal
from threading import Thread
from typing import Any

import pytest
from django.db import DatabaseError, connection, connections, transaction
from django.urls import reverse

from config.core.errors import Conflict, DomainError, Invalid
from config.core.ids import derived_id
from config.core.models import AuditEntry, Fact
from kyc.models import User
from payments.ledger.errors import InsufficientFunds
from payments.ledger.models import Transfer
from payments.ledger.services import NewTransfer, post
from quotes.services import open_days
from tests.cast import browser_for, enrolled
from tests.market import NOON, person
from tests.trading.conftest import Desk
from tests.trading.test_receipts import changed, leaves, resigned, said
from trading import services
from trading.models import Correction, Order, Tally
from trading.receipts.form import canonical
from trading.receipts.judging import judge
from trading.services.resettle import resettle

D = Decimal


@pytest.fixture
def olga(db: None) -> User:
    return person("olga@example.com", is_staff=True)


@pytest.fixture
def bob(db: None) -> User:
    return person("bob@example.com", is_staff=True)


def ended(desk: Desk, side: str = "down") -> Order:
    """Place ten at 0.85, lost unless it is up, and settle it."""
    placed = desk.place(side, "10.00", duration_seconds=10)
    desk.market.tick("101.00", desk.clock.move(5))
    desk.clock.move(5)
    desk.market.quiet_until()
    assert services.settle_due() == 1
    return desk.order(placed)


@pytest.fixture
def lost(desk: Desk) -> Order:
    return ended(desk)


def corrected(order: Order, payout: str, asker: User, decider: User) -> Correction:
    asked = services.request_correction(order=order, payout=D(payout), actor=asker, reason="A wrong price.")
    return services.approve_correction(correction=asked, actor=decider, reason="seen")


# --- the money ----------------------------------------------------------------------------------------


def test_two_people_pay_what_was_missing(desk: Desk, lost: Order, olga: User, bob: User) -> None:
    desk.clock.move(60)
    asked = services.request_correction(order=lost, payout=D("18.50"), actor=olga, reason=" A wrong price. ")
    assert (desk.balance(), asked.state, asked.amount) == ("990.00", "requested", D("18.50"))
    found = services.approve_correction(correction=asked, actor=bob, reason="seen")
    assert (desk.balance(), found.number, services.paid_of(lost)) == ("1008.50", 1, D("18.50"))
    moved = Transfer.objects.get(pk=derived_id(lost.pk, "correction-1"))
    assert (moved.source.code, moved.destination_id, moved.amount, moved.code, moved.reference) == (
        "house", desk.account.pk, D("18.50"), "correction", str(lost.pk),
    )  # fmt: skip
    before = lost.payout, lost.status, lost.closed_at
    lost.refresh_from_db()
    assert (lost.payout, lost.status, lost.closed_at) == before
    deeds = list(
        AuditEntry.objects.filter(object_type="correction").values_list("action", "actor_id", "reason")
    )
    assert sorted(deeds) == [
        ("correction.requested", olga.pk, " A wrong price. "),
        ("order.corrected", bob.pk, "seen"),
    ]


def test_the_customer_is_told(desk: Desk, lost: Order, olga: User, bob: User) -> None:
    corrected(lost, "10.00", olga, bob)
    told, changed_ = Fact.objects.order_by("-id")[:2][::-1]
    desk.account.refresh_from_db()
    assert (told.name, told.topic) == ("order.corrected", f"customer:{desk.alice.pk}")
    assert {name: told.payload[name] for name in ("account", "version", "amount", "paid", "reason")} == {
        "account": desk.account.pk,
        "version": desk.account.version,
        "amount": "10.00",
        "paid": "10.00",
        "reason": "A wrong price.",
    }
    assert told.payload["order"]["id"] == str(lost.pk)
    assert told.payload["order"]["status"] == "lost"
    assert (changed_.name, changed_.payload["balance"], changed_.payload["from_version"]) == (
        "account.changed", "1000.00", desk.account.version - 1,
    )  # fmt: skip


def test_it_counts_on_the_day_the_order_closed(desk: Desk, lost: Order, olga: User, bob: User) -> None:
    desk.clock.at += timedelta(days=1)
    corrected(lost, "18.50", olga, bob)
    (tally,) = Tally.objects.all()
    assert (tally.day, tally.orders, tally.lost, tally.turnover, tally.profit) == (
        NOON.date(), 1, 1, D(10), D("8.50"),
    )  # fmt: skip


def test_one_correction_follows_another_and_takes_back(
    desk: Desk, lost: Order, olga: User, bob: User
) -> None:
    for number, (payout, balance) in enumerate(
        (("18.50", "1008.50"), ("10.00", "1000.00"), ("0", "990.00")), 1
    ):
        found = corrected(lost, payout, olga, bob)
        assert (found.number, desk.balance(), services.paid_of(lost)) == (number, balance, D(payout))
    assert list(Correction.objects.order_by("number").values_list("amount", flat=True)) == [
        D("18.50"), D("-8.50"), D(-10),
    ]  # fmt: skip


def test_what_is_not_there_is_not_taken_back(desk: Desk, olga: User, bob: User) -> None:
    order = ended(desk, "up")
    asked = services.request_correction(order=order, payout=D(0), actor=olga, reason="A wrong price.")
    house = desk.account.counter_id or 0
    with transaction.atomic():
        post([NewTransfer(derived_id(order.pk, "gone"), desk.account.pk, house, D(1000), "test", "test")])
    with pytest.raises(InsufficientFunds) as refused, transaction.atomic():
        services.approve_correction(correction=asked, actor=bob, reason="seen")
    assert refused.value.details == {"balance": "8.50", "amount": "18.50"}
    asked.refresh_from_db()
    assert (asked.state, desk.balance()) == ("requested", "8.50")
    services.decline_correction(correction=asked, actor=bob, reason="spent")
    assert services.paid_of(order) == D("18.50")
    assert not Fact.objects.filter(name="order.corrected").exists()


# --- who and what -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payout", "words"),
    [
        ("18.51", "It is asked to pay 18.51; such an order pays 0 to 18.50 USD."),
        ("0.00", "It has paid 0.00 USD; nothing is to be moved."),
        ("1.001", "decimals"),
        ("-1", "out of range"),
    ],
)
def test_sums_no_order_pays(lost: Order, olga: User, payout: str, words: str) -> None:
    with pytest.raises(Invalid, match=re.escape(words)):
        services.request_correction(order=lost, payout=D(payout), actor=olga, reason="A wrong price.")


@pytest.mark.parametrize("reason", ["", "  ab  ", "x" * 1_001, "a wrong\0price"])
def test_a_reason_says_something(lost: Order, olga: User, reason: str) -> None:
    with pytest.raises(Invalid, match="Say why, in 3 to 1000 characters"):
        services.request_correction(order=lost, payout=D(10), actor=olga, reason=reason)


def test_an_open_order_is_not_corrected(desk: Desk, olga: User) -> None:
    order = desk.order(desk.place())
    with pytest.raises(Invalid, match="open"):
        services.request_correction(order=order, payout=D(10), actor=olga, reason="A wrong price.")


def test_one_request_waits_at_a_time(lost: Order, olga: User, bob: User) -> None:
    asked = services.request_correction(order=lost, payout=D(10), actor=olga, reason="A wrong price.")
    with pytest.raises(Conflict, match="waits to be decided"):
        services.request_correction(order=lost, payout=D(5), actor=bob, reason="Another price.")
    services.decline_correction(correction=asked, actor=bob, reason="no")
    services.request_correction(order=lost, payout=D(5), actor=bob, reason="Another price.")


def test_who_asks_does_not_approve_and_nobody_decides_twice(
    desk: Desk, lost: Order, olga: User, bob: User
) -> None:
    asked = services.request_correction(order=lost, payout=D(10), actor=olga, reason="A wrong price.")
    with pytest.raises(Conflict, match="Another operator does"):
        services.approve_correction(correction=asked, actor=olga, reason="mine")
    services.approve_correction(correction=asked, actor=bob, reason="seen")
    for again in (services.approve_correction, services.decline_correction):
        with pytest.raises(Conflict, match="already"):
            again(correction=asked, actor=bob, reason="again")
    assert (desk.balance(), Transfer.objects.filter(code="correction").count()) == ("1000.00", 1)


def test_who_asked_may_take_it_back(desk: Desk, lost: Order, olga: User) -> None:
    asked = services.request_correction(order=lost, payout=D(10), actor=olga, reason="A wrong price.")
    assert services.decline_correction(correction=asked, actor=olga, reason="my mistake").state == "declined"
    assert desk.balance() == "990.00"


def test_nobody_corrects_an_order_of_his_own(desk: Desk, lost: Order, olga: User) -> None:
    with pytest.raises(Conflict, match="of his own"):
        services.request_correction(order=lost, payout=D(10), actor=desk.alice, reason="A wrong price.")
    asked = services.request_correction(order=lost, payout=D(10), actor=olga, reason="A wrong price.")
    with pytest.raises(Conflict, match="of his own"):
        services.approve_correction(correction=asked, actor=desk.alice, reason="mine")
    assert desk.balance() == "990.00"


def test_there_is_an_end_of_corrections(desk: Desk, lost: Order, olga: User, bob: User) -> None:
    for number in range(20):
        corrected(lost, "10" if number % 2 == 0 else "0", olga, bob)
    with pytest.raises(Conflict, match="20 times already"):
        services.request_correction(order=lost, payout=D(10), actor=olga, reason="A wrong price.")
    assert judge(canonical(said(desk, lost))).is_good


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("payout = 1", "permission denied"),
        ("reason = 'other'", "permission denied"),
        (
            "state = 'approved', number = 1, decided_at = now(), decided_by_id = requested_by_id",
            "by_two_people",
        ),
        ("state = 'approved', decided_at = now(), decided_by_id = {bob}", "by_two_people"),
        ("state = 'declined', decided_at = now()", "by_two_people"),
    ],
)
def test_the_database_refuses(lost: Order, olga: User, bob: User, change: str, words: str) -> None:
    services.request_correction(order=lost, payout=D(10), actor=olga, reason="A wrong price.")
    with pytest.raises(DatabaseError, match=words), connection.cursor() as cursor:
        cursor.execute(f"UPDATE trading_correction SET {change.format(bob=bob.pk, olga=olga.pk)}")


def test_what_is_decided_stays(lost: Order, olga: User, bob: User) -> None:
    corrected(lost, "10.00", olga, bob)
    with pytest.raises(DatabaseError, match=r"append-only|changed"), connection.cursor() as cursor:
        cursor.execute("UPDATE trading_correction SET state = 'declined', number = NULL")


@pytest.mark.django_db(transaction=True, databases=["default", "owner"])
def test_of_two_who_approve_one_pays(standing: Any, make_desk: Callable[..., Desk]) -> None:
    open_days([NOON.date()])
    desk = make_desk()
    olga, bob, carl = (person(f"{name}@example.com", is_staff=True) for name in ("olga", "bob", "carl"))
    order = ended(desk)
    asked = services.request_correction(order=order, payout=D(10), actor=olga, reason="A wrong price.")
    answers: list[str] = []

    def approve(actor: User) -> None:
        try:
            services.approve_correction(correction=asked, actor=actor, reason="seen")
            answers.append("paid")
        except DomainError as refusal:
            answers.append(refusal.code)
        finally:
            connections.close_all()

    threads = [Thread(target=approve, args=[actor]) for actor in (bob, carl) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == ["conflict"] * 5 + ["paid"]
    assert (desk.balance(), Transfer.objects.filter(code="correction").count()) == ("1000.00", 1)


# --- receipts -----------------------------------------------------------------------------------------


def test_the_receipt_says_so_and_verifies(desk: Desk, lost: Order, olga: User, bob: User) -> None:
    before = said(desk, lost)
    corrected(lost, "18.50", olga, bob)
    desk.clock.move(10)
    corrected(lost, "10.00", olga, bob)
    told = said(desk, lost)
    assert {**told, "corrections": [], "signature": before["signature"]} == before
    rows = [
        (row["payout"], row["transfer"]["amount"], row["transfer"]["from"]) for row in told["corrections"]
    ]
    assert rows == [("18.50", "18.50", "house"), ("10.00", "8.50", "customer")]
    judged = judge(canonical(told))
    money = next(check for check in judged.checks if check.name == "Money")
    assert (money.result, money.words.rpartition("; ")[2]) == ("pass", "corrected, it paid 10.00 USD in all.")
    assert judged.is_good
    old = judge(canonical(before))
    assert [check.name for check in old.checks if check.result == "fail"] == ["Corrections"]
    at = told["corrections"][0]["at"]
    assert old.checks[-1].words == f"It was corrected at {at}. Its present receipt says so."
    assert resettle(lost.accepted_at.date()).differences == []


def test_a_correction_that_is_altered_is_seen(desk: Desk, lost: Order, olga: User, bob: User) -> None:
    corrected(lost, "18.50", olga, bob)
    corrected(lost, "10.00", olga, bob)
    told, unseen = said(desk, lost), []
    for number in range(2):
        for path in leaves(told["corrections"][number]):
            altered = deepcopy(told)
            row = altered["corrections"][number]
            for name in path[:-1]:
                row = row[name]
            row[path[-1]] = changed(row[path[-1]])
            # By the signature any; by what it says all but what two people wrote, and when.
            assert judge(canonical(altered)).checks[0].result == "fail"
            found = {check.name: check.result for check in judge(resigned(altered)).checks}
            if found["Money"] == "pass":
                unseen.append(path)
    assert set(unseen) <= {("reason",), ("at",)}
    fewer = {**told, "corrections": told["corrections"][1:]}
    assert {check.name: check.result for check in judge(resigned(fewer)).checks}["Money"] == "fail"
    early = deepcopy(told)
    early["corrections"][0]["at"] = told["accepted_at"]
    assert {check.name: check.result for check in judge(resigned(early)).checks}["Money"] == "fail"


# --- the console --------------------------------------------------------------------------------------


def test_in_the_console(desk: Desk, lost: Order, olga: User, bob: User) -> None:
    for operator in (olga, bob):
        operator.is_superuser = True
        operator.save()
        enrolled(operator)
    asking, deciding = browser_for(olga, verified=True), browser_for(bob, verified=True)
    url = reverse("admin:trading_order_correct", args=[lost.pk])
    shown = asking.get(url).content.decode()
    assert "Nothing moves until another operator approves" in shown
    refused = asking.post(url, {"_reasoned": "1", "payout": "100", "reason": "A wrong price."}, follow=True)
    assert "such an order pays 0 to 18.50 USD" in refused.content.decode()
    asking.post(url, {"_reasoned": "1", "payout": "18.50", "reason": "A wrong price."})
    (asked,) = Correction.objects.all()
    row = reverse("admin:trading_correction_change", args=[asked.pk])
    assert "lost, stake 10, paid 0" in asking.get(row).content.decode()
    approve = reverse("admin:trading_correction_approve", args=[asked.pk])
    assert approve in deciding.get(row).content.decode()
    own = asking.post(approve, {"_reasoned": "1", "reason": "mine"}, follow=True)
    assert "Another operator does" in own.content.decode()
    deciding.post(approve, {"_reasoned": "1", "reason": "seen"})
    asked.refresh_from_db()
    assert (asked.state, asked.decided_by, desk.balance()) == ("approved", bob, "1008.50")
    order = asking.get(reverse("admin:trading_order_change", args=[lost.pk])).content.decode()
    assert re.search(r"Paid in all.*?18\.5\b", order, re.DOTALL)
    assert "18.5" in deciding.get(reverse("admin:trading_correction_changelist")).content.decode()
