"""Voiding a tick: asked for, decided by somebody else, public; and what the database refuses besides."""

import re
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import DatabaseError, IntegrityError, connection, connections, transaction
from django.test import Client
from django.urls import reverse

from config.core.errors import DomainError
from config.core.models import AuditEntry, Fact
from kyc import services as people
from kyc.models import User
from quotes.errors import (
    InvalidPrices,
    NotVoidable,
    ReasonMissing,
    SamePerson,
    TickMissing,
    VoidDecided,
    VoidExists,
)
from quotes.models import EvidenceTick, Instrument, Tick, VoidedTick
from quotes.services import IndependentPrice, Stretch, append_ticks, approve_void, decline_void, request_void
from quotes.services.voiding import voided_spans
from tests.cast import browser_for, client_for, enrolled
from tests.market import person
from tests.quotes.market import NOON, Clock, at, instrument, write

D = Decimal
OTHERS = (("kraken", "1.08500"), ("coinbase", "1.08520"))  # median 1.0851


def prices(*given: tuple[str, str]) -> list[IndependentPrice]:
    return [IndependentPrice(source, D(price)) for source, price in given]


@pytest.fixture
def ticked(eurusd: Instrument, epoch: int, noon: Clock) -> Instrument:
    """EURUSD with three ticks, the second of them far off."""
    write(epoch, eurusd, [(1, "1.08500"), (2, "1.09100"), (3, "1.08510")])
    noon.move(10)
    return eurusd


@pytest.fixture
def anna(db: None) -> User:
    return person("anna@example.com")


@pytest.fixture
def otto(db: None) -> User:
    return person("otto@example.com")


def asked(made: Instrument, actor: User, *others: tuple[str, str], **given: Any) -> VoidedTick:
    values = {"at": at(2), "seq": 2, "reason": "a spike of one source", **given}
    return request_void(
        instrument=made, independent_prices=prices(*(others or OTHERS)), actor=actor, **values
    )


def nothing_moved() -> None:
    assert not VoidedTick.objects.exists()
    assert not AuditEntry.objects.filter(action="void.requested").exists()


# --- asking -------------------------------------------------------------------------------------------


def test_a_request_keeps_what_it_was_measured_by(ticked: Instrument, anna: User) -> None:
    made = VoidedTick.objects.get(pk=asked(ticked, anna).pk)
    assert (made.instrument_id, made.at, made.seq, made.price) == (ticked.pk, at(2), 2, D("1.09100"))
    assert made.independent_prices == [
        {"source": "kraken", "price": "1.085"},
        {"source": "coinbase", "price": "1.0852"},
    ]
    assert (made.deviation, made.limit) == (D("0.00543729"), D("0.005"))  # 0.0059 / 1.0851
    assert (made.state, made.requested_by_id, made.requested_at) == ("requested", anna.pk, at(10))
    assert (made.decided_by_id, made.decided_at) == (None, None)
    entry = AuditEntry.objects.get(action="void.requested")
    assert (entry.actor_id, entry.object_type, entry.object_id) == (anna.pk, "voidedtick", str(made.pk))
    assert (entry.reason, entry.after["deviation"]) == ("a spike of one source", "0.00543729")
    assert not Fact.objects.filter(name="tick.voided").exists()


@pytest.mark.parametrize(
    ("others", "deviation"),
    [
        ((("kraken", "1.0856"), ("coinbase", "1.0856")), "0.00497421"),
        ((("kraken", "1.0965"), ("coinbase", "1.0960")), "0.00478905"),
        ((("kraken", "1.0910"), ("coinbase", "1.0910"), ("bitstamp", "2.0000")), "0.00000000"),
    ],
)
def test_a_tick_near_the_others_is_not_voided(
    ticked: Instrument, anna: User, others: Sequence[tuple[str, str]], deviation: str
) -> None:
    with pytest.raises(NotVoidable) as refused:
        asked(ticked, anna, *others)
    assert refused.value.detail == (
        f"The tick is {deviation} from the independent prices; more than 0.005 is needed."
    )
    assert refused.value.details == {"deviation": deviation, "limit": "0.005"}
    nothing_moved()


def test_exactly_the_limit_is_not_beyond_it(eurusd: Instrument, epoch: int, anna: User) -> None:
    write(epoch, eurusd, [(1, "1.00500"), (2, "1.00501"), (3, "0.99500"), (4, "0.99499")])
    others = (("kraken", "0.99"), ("coinbase", "1"), ("bitstamp", "1.2"))
    for seq, beyond in ((1, False), (2, True), (3, False), (4, True)):
        if beyond:
            assert asked(eurusd, anna, *others, at=at(seq), seq=seq).deviation == D("0.00501")
            continue
        with pytest.raises(NotVoidable):
            asked(eurusd, anna, *others, at=at(seq), seq=seq)
    assert VoidedTick.objects.count() == 2


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ([("kraken", "1.085")], "Give the prices of 2 to 20 independent sources."),
        ([(f"source-{n}", "1.085") for n in range(21)], "Give the prices of 2 to 20 independent sources."),
        ([("kraken", "1.085"), ("Kraken ", "1.085")], "Name each source once, with at most 40 characters."),
        ([("kraken", "1.085"), (" ", "1.085")], "Name each source once, with at most 40 characters."),
        ([("kraken", "1.085"), ("x" * 41, "1.085")], "Name each source once, with at most 40 characters."),
        (
            [("kraken", "1.085"), ("Replay", "1.085")],
            "replay makes the prices here; it is not independent of them.",
        ),
        ([("kraken", "1.085"), ("coinbase", "0")], "A price is above zero and has at most eight decimals."),
        ([("kraken", "1.085"), ("coinbase", "-1")], "A price is above zero and has at most eight decimals."),
        ([("kraken", "1.085"), ("coinbase", "NaN")], "A price is above zero and has at most eight decimals."),
        (
            [("kraken", "1.085"), ("coinbase", "1e12")],
            "A price is above zero and has at most eight decimals.",
        ),
        ([("a", "1.085"), ("b", "1.000000001")], "A price is above zero and has at most eight decimals."),
    ],
)
def test_independent_prices_are_of_two_named_others(
    ticked: Instrument, anna: User, others: Sequence[tuple[str, str]], words: str
) -> None:
    with pytest.raises(InvalidPrices) as refused:
        asked(ticked, anna, *others)
    assert refused.value.detail == words
    nothing_moved()


def test_the_widest_deviation_there_can_be(eurusd: Instrument, epoch: int, anna: User) -> None:
    write(epoch, eurusd, [(1, "999999999999.99999999")])
    made = asked(eurusd, anna, ("a", "0.00000001"), ("b", "0.00000001"), at=at(1), seq=1)
    assert VoidedTick.objects.get(pk=made.pk).deviation == D("99999999999999999998.00000000")


def test_only_a_stored_tick_that_counts_is_voided(ticked: Instrument, epoch: int, anna: User) -> None:
    append_ticks(epoch=epoch, stretches={ticked.pk: Stretch(at(4), [(at(2.5), D("2"))], "replay", 0)})
    assert Tick.objects.filter(is_late=True).values_list("seq", flat=True).get() == -1
    for where in ({"seq": 3}, {"at": at(1)}, {"seq": 4, "at": at(4)}, {"at": at(2) - timedelta(days=400)}):
        with pytest.raises(TickMissing):
            asked(ticked, anna, **where)
    with pytest.raises(NotVoidable, match="late"):
        asked(ticked, anna, at=at(2.5), seq=-1)
    with pytest.raises(ReasonMissing):
        asked(ticked, anna, reason="  ")
    nothing_moved()


def test_a_simulated_price_has_no_independent_one(db: None, open_noon: None, noon: Clock, anna: User) -> None:
    made = instrument("EURUSD", source="simulated", simulated_price="1.085", simulated_volatility="1.5")
    with pytest.raises(NotVoidable, match="The prices of EURUSD are made by its seed"):
        asked(made, anna)
    nothing_moved()


def test_one_request_a_tick_until_it_is_declined(ticked: Instrument, anna: User, otto: User) -> None:
    first = asked(ticked, anna)
    with pytest.raises(VoidExists):
        asked(ticked, otto)
    decline_void(request=first, actor=otto, reason="the market moved")
    second = asked(ticked, anna)
    approve_void(request=second, actor=otto, reason="seen on three exchanges")
    with pytest.raises(VoidExists):
        asked(ticked, anna)
    assert list(VoidedTick.objects.order_by("id").values_list("state", flat=True)) == ["declined", "approved"]


# --- deciding -----------------------------------------------------------------------------------------


def test_another_operator_approves(ticked: Instrument, anna: User, otto: User, noon: Clock) -> None:
    made = asked(ticked, anna)
    before = Tick.objects.get(seq=2)
    noon.move(5)
    approve_void(request=made, actor=otto, reason="seen on three exchanges")
    made.refresh_from_db()
    assert (made.state, made.decided_by_id, made.decided_at) == ("approved", otto.pk, at(15))
    entry = AuditEntry.objects.get(action="tick.voided")
    assert (entry.actor_id, entry.object_id, entry.reason) == (
        otto.pk,
        str(made.pk),
        "seen on three exchanges",
    )
    assert (entry.before, entry.after) == ({"state": "requested"}, {"state": "approved"})
    fact = Fact.objects.get(name="tick.voided")
    assert fact.topic == "operators"
    assert fact.payload == {"v": 1, **ROW}
    assert Tick.objects.get(seq=2).price == before.price, "the tick stays in the record"


ROW = {
    "symbol": "EURUSD",
    "at": "2030-03-05T12:00:02.000000Z",
    "seq": 2,
    "price": "1.09100",
    "independent_prices": [
        {"source": "kraken", "price": "1.085"},
        {"source": "coinbase", "price": "1.0852"},
    ],
    "deviation": "0.00543729",
    "limit": "0.005",
    "reason": "a spike of one source",
    "decided_at": "2030-03-05T12:00:15.000000Z",
}


def test_who_asked_does_not_decide(ticked: Instrument, anna: User) -> None:
    made = asked(ticked, anna)
    for decide in (approve_void, decline_void):
        with pytest.raises(SamePerson):
            decide(request=made, actor=anna, reason="I am sure")
    made.refresh_from_db()
    assert made.state == "requested"
    assert not AuditEntry.objects.filter(action__in=["tick.voided", "void.declined"]).exists()
    assert not Fact.objects.filter(name="tick.voided").exists()


def test_a_request_is_decided_once(ticked: Instrument, anna: User, otto: User) -> None:
    made = asked(ticked, anna)
    with pytest.raises(ReasonMissing):
        approve_void(request=made, actor=otto, reason=" ")
    decline_void(request=made, actor=otto, reason="the market moved")
    assert AuditEntry.objects.get(action="void.declined").reason == "the market moved"
    for decide in (approve_void, decline_void):
        with pytest.raises(VoidDecided):
            decide(request=made, actor=otto, reason="after all")
    made.refresh_from_db()
    assert made.state == "declined"
    assert not Fact.objects.filter(name="tick.voided").exists()


def test_a_voided_tick_outlives_its_day(ticked: Instrument, anna: User, otto: User) -> None:
    """Why an order was refunded stays provable when the day's ticks have left."""
    start = NOON.replace(hour=0)
    made = asked(ticked, anna)
    assert list(voided_spans(start, start + timedelta(days=1))) == []
    approve_void(request=made, actor=otto, reason="seen")
    (span,) = voided_spans(start, start + timedelta(days=1))
    assert span == (ticked.pk, at(2), at(2), True)
    assert list(voided_spans(start + timedelta(days=1), start + timedelta(days=2))) == []
    assert not EvidenceTick.objects.exists()


# --- what the database refuses ------------------------------------------------------------------------


def refused(sql: str, *values: Any, kind: type[DatabaseError] = DatabaseError) -> str:
    with pytest.raises(kind) as caught, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql, values)
    return str(caught.value)


def test_one_person_is_refused_by_the_database(ticked: Instrument, anna: User, otto: User) -> None:
    made = asked(ticked, anna)
    decide = "UPDATE quotes_voidedtick SET state = %s, decided_by_id = %s, decided_at = %s WHERE id = %s"
    for state, by, when in (
        ("approved", anna.pk, at(20)),
        ("declined", anna.pk, at(20)),
        ("approved", None, at(20)),
        ("approved", otto.pk, None),
        ("requested", otto.pk, at(20)),
        ("else", otto.pk, at(20)),
    ):
        words = refused(decide, state, by, when, made.pk, kind=IntegrityError)
        assert "voided_tick_by_two_people" in words, (state, by, when)
    made.refresh_from_db()
    assert (made.state, made.decided_by_id, made.decided_at) == ("requested", None, None)
    with connection.cursor() as cursor:
        cursor.execute(decide, ["approved", otto.pk, at(20), made.pk])
    made.refresh_from_db()
    assert made.state == "approved"


def test_a_second_request_and_a_small_deviation_are_refused_by_the_database(
    ticked: Instrument, anna: User
) -> None:
    asked(ticked, anna)
    kept = '"limit", reason, requested_by_id, requested_at, state'
    again = (
        "INSERT INTO quotes_voidedtick "
        f"(instrument_id, at, seq, price, independent_prices, deviation, {kept}) "
        f"SELECT instrument_id, at, %s, price, independent_prices, %s, {kept} FROM quotes_voidedtick"
    )
    assert "voided_tick_once" in refused(again, 2, "0.1", kind=IntegrityError)
    assert "voided_tick_beyond_limit" in refused(again, 3, "0.005", kind=IntegrityError)


@pytest.mark.parametrize("decision", ["approve", "decline"])
def test_the_application_cannot_change_what_was_decided(
    ticked: Instrument, anna: User, otto: User, decision: str
) -> None:
    made = asked(ticked, anna)
    for column in ("price", "seq", "reason", "requested_by_id", '"limit"'):
        assert "permission denied" in refused(f"UPDATE quotes_voidedtick SET {column} = {column}")
    assert "permission denied" in refused("DELETE FROM quotes_voidedtick")
    (approve_void if decision == "approve" else decline_void)(request=made, actor=otto, reason="seen")
    before = VoidedTick.objects.values().get()
    for change in (
        "state = 'declined'",
        "state = 'requested', decided_by_id = NULL, decided_at = NULL",
        "decided_by_id = 99",
        "decided_at = decided_at + interval '1 hour'",
    ):
        assert "append-only" in refused(f"UPDATE quotes_voidedtick SET {change}"), change
    assert VoidedTick.objects.values().get() == before


@pytest.mark.django_db(transaction=True, databases=["default", "owner"])
def test_not_even_the_owner_changes_a_request(ticked: Instrument, anna: User) -> None:
    asked(ticked, anna)
    before = VoidedTick.objects.values().get()
    for sql in (
        "UPDATE quotes_voidedtick SET price = 1",
        "UPDATE quotes_voidedtick SET requested_by_id = 99",
        "UPDATE quotes_voidedtick SET reason = 'another'",
        "DELETE FROM quotes_voidedtick",
    ):
        with pytest.raises(DatabaseError, match="append-only"), connections["owner"].cursor() as cursor:
            cursor.execute(sql)
    assert VoidedTick.objects.values().get() == before


# --- the public list ----------------------------------------------------------------------------------


def test_the_list_is_empty_and_says_the_limit(db: None) -> None:
    answer = client_for().get("/api/v1/record/voided")
    assert (answer.status_code, answer.json()) == (200, {"limit": "0.005", "results": [], "next": None})
    page = Client().get("/record/voided/").content.decode()
    assert "No tick was ever voided" in page
    assert "more than 0.5 % from the median" in page
    assert '<a href="/record/voided/">Voided ticks</a>' in Client().get("/record/").content.decode()


def test_what_is_voided_is_public_without_names(
    ticked: Instrument, anna: User, otto: User, noon: Clock
) -> None:
    made = asked(ticked, anna)
    noon.move(5)
    assert client_for().get("/api/v1/record/voided").json()["results"] == []
    assert "spike" not in Client().get("/record/voided/").content.decode()
    approve_void(request=made, actor=otto, reason="seen on three exchanges")
    answer = client_for().get("/api/v1/record/voided")
    assert answer.json() == {"limit": "0.005", "results": [ROW], "next": None}
    page = re.sub(r"\s+", " ", Client().get("/record/voided/").content.decode())
    for words in (
        '<th scope="row">EURUSD</th>',
        '<time datetime="2030-03-05T12:00:02.000000Z">2030-03-05 12:00:02.000000</time> · 2',
        ">1.09100</td>",
        ">kraken 1.085, coinbase 1.0852</td>",
        "<div>0.543729 %<br><small>limit 0.5 %</small>",
        ">a spike of one source</td>",
        "2030-03-05 12:00:15</time>",
    ):
        assert words in page, words
    for name in ("anna", "otto", "three exchanges"):
        assert name not in page
        assert name not in answer.content.decode()


def test_the_list_goes_on_by_cursor_last_decided_first(
    eurusd: Instrument, epoch: int, anna: User, otto: User, noon: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(epoch, eurusd, [(second, "1.20000") for second in range(1, 6)])
    made = [asked(eurusd, anna, at=at(second), seq=second) for second in range(1, 6)]
    for number in (2, 0, 4, 1):  # the fourth stays undecided
        noon.move(1)
        approve_void(request=made[number], actor=otto, reason="seen")
    client, seen, query = client_for(), [], {"limit": 1}
    while query:
        answer = client.get("/api/v1/record/voided", query).json()
        seen += [row["seq"] for row in answer["results"]]
        query = {"limit": 1, "cursor": answer["next"]} if answer["next"] else None
    assert seen == [2, 5, 1, 3]
    for wrong in ("cursor=nonsense", "limit=0", "limit=201"):
        assert client.get(f"/api/v1/record/voided?{wrong}").json()["code"] == "invalid", wrong

    monkeypatch.setattr("quotes.views.VOIDED_A_PAGE", 3)
    first = Client().get("/record/voided/").content.decode()
    assert re.findall(r"</time> · (\d)", first) == ["2", "5", "1"]
    (onward,) = re.findall(r'href="(\?before=[^"]+)"', first)
    assert re.findall(r"</time> · (\d)", Client().get(f"/record/voided/{onward}").content.decode()) == ["3"]
    oldest = Client().get("/record/voided/?before=2030-03-05T12:00:00Z").content.decode()
    assert "There are no older ones" in oldest
    for wrong in ("yesterday", "2030-03-05", "0001-01-01T00:00:00Z"):
        assert Client().get("/record/voided/", {"before": wrong}).status_code == 404


def test_the_list_is_described(db: None) -> None:
    assert "operationId: list_voided_ticks\n" in client_for().get("/api/schema").content.decode()


# --- the console --------------------------------------------------------------------------------------


def operator(name: str, *rights: str) -> User:
    user, _ = people.invite_operator(email=f"{name}@example.com")
    user.is_staff = True
    user.save(update_fields=["is_staff"])
    enrolled(user)
    named = Permission.objects.filter(content_type__app_label="quotes", codename__in=rights)
    assert named.count() == len(rights)
    user.user_permissions.set(named)
    return user


@pytest.fixture
def watcher(db: None) -> User:
    return operator("watcher", "view_instrument", "view_voidedtick")


@pytest.fixture
def asker(db: None) -> User:
    """May ask and decide."""
    return operator("asker", "view_instrument", "view_voidedtick", "add_voidedtick", "change_voidedtick")


@pytest.fixture
def decider(db: None) -> User:
    return operator("decider", "view_instrument", "view_voidedtick", "change_voidedtick")


def text(answer: Any) -> str:
    assert answer.status_code == 200
    return re.sub(r"\s+", " ", answer.content.decode())


def console_url(name: str, of: Any) -> str:
    return reverse(f"admin:quotes_{name}", args=[of.pk])


ANSWERS = {
    "at": "2030-03-05T12:00:02.000000Z",
    "seq": "2",
    "prices": "kraken 1.08500\n\ncoinbase 1.08520\n",
    "reason": "a spike of one source",
}


def test_a_tick_is_proposed_from_the_inspector(ticked: Instrument, asker: User) -> None:
    console = browser_for(asker, verified=True)
    shown = text(console.get(console_url("instrument_ticks", ticked), {"at": "2030-03-05T12:00:02Z"}))
    ask = console_url("instrument_void_tick", ticked)
    link = f"{ask}?at=2030-03-05T12%3A00%3A02.000000Z&amp;seq=2"
    assert link in shown
    form = text(console.get(link.replace("&amp;", "&")))
    assert 'value="2030-03-05T12:00:02.000000Z"' in form
    assert "more than 0.5 % from the median of the independent prices" in form
    assert "another operator approves" in form
    for wrong, words in (
        ({"prices": "kraken 1.08500"}, "Give the prices of 2 to 20 independent sources."),
        ({"prices": "kraken"}, "kraken: write a source and its price."),
        ({"prices": "kraken 1.0909\ncoinbase 1.0909"}, "The tick is 0.00009167 from the independent prices"),
        ({"seq": "9"}, "EURUSD has no tick 9 at 2030-03-05T12:00:02.000000Z"),
        ({"reason": ""}, "This field is required"),
    ):
        assert words in text(console.post(ask, {**ANSWERS, **wrong})), words
    nothing_moved()
    done = text(console.post(ask, ANSWERS, follow=True))
    assert "Voiding tick 2 of EURUSD is requested." in done
    assert '<b class="word-bad">voiding requested</b>' in done
    assert link not in done
    made = VoidedTick.objects.get()
    assert (made.requested_by_id, made.deviation) == (asker.pk, D("0.00543729"))
    assert "was requested or approved before" in text(console.post(ask, ANSWERS))


def test_who_asked_sees_no_way_to_decide(ticked: Instrument, asker: User, decider: User) -> None:
    made = asked(ticked, asker)
    approve, decline = console_url("voidedtick_approve", made), console_url("voidedtick_decline", made)
    page = console_url("voidedtick_change", made)
    his = browser_for(asker, verified=True)
    shown = text(his.get(page))
    assert "asker@example.com" in shown
    assert "0.543729 % (limit 0.5 %)" in shown
    assert approve not in shown
    assert decline not in shown
    given = {"_reasoned": "1", "reason": "I am sure"}
    assert "EURUSD 2: You asked for it; somebody else decides." in text(his.post(approve, given, follow=True))
    several = {**given, "action": "approve", "_selected_action": [made.pk], "index": "0"}
    refused = text(his.post(reverse("admin:quotes_voidedtick_changelist"), several, follow=True))
    assert "You asked for it; somebody else decides." in refused
    made.refresh_from_db()
    assert made.state == "requested"

    console = browser_for(decider, verified=True)
    shown = text(console.get(page))
    assert approve in shown
    assert decline in shown
    said = text(console.get(approve))
    assert "EURUSD at 2030-03-05T12:00:02.000000Z: 1.091, 0.543729 % from the median of 2 others." in said
    assert "what is settled stays settled" in said
    done = text(console.post(approve, {"_reasoned": "1", "reason": "seen"}, follow=True))
    assert "Tick 2 of EURUSD is voided." in done
    made.refresh_from_db()
    assert (made.state, made.decided_by_id) == ("approved", decider.pk)
    assert approve not in text(console.get(page)), "it is decided"
    again = text(console.post(approve, {"_reasoned": "1", "reason": "again"}, follow=True))
    assert "This request was decided before" in again
    assert AuditEntry.objects.filter(action="tick.voided").count() == 1


def test_who_only_looks_asks_and_decides_nothing(
    ticked: Instrument, watcher: User, decider: User, anna: User
) -> None:
    made = asked(ticked, anna)
    ask = console_url("instrument_void_tick", ticked)
    looking = browser_for(watcher, verified=True)
    assert ask not in text(looking.get(console_url("instrument_ticks", ticked), {"at": ANSWERS["at"]}))
    assert text(looking.get(reverse("admin:quotes_voidedtick_changelist")))
    assert console_url("voidedtick_approve", made) not in text(
        looking.get(console_url("voidedtick_change", made))
    )
    given = {"_reasoned": "1", "reason": "no right to"}
    for action in ("approve", "decline"):
        assert looking.post(console_url(f"voidedtick_{action}", made), given).status_code == 403
        several = {**given, "action": action, "_selected_action": [made.pk], "index": "0"}
        looking.post(reverse("admin:quotes_voidedtick_changelist"), several)
    other = {**ANSWERS, "at": "2030-03-05T12:00:03Z", "seq": "3", "prices": "a 2\nb 2"}
    for browser in (looking, browser_for(decider, verified=True)):
        assert browser.post(ask, other).status_code == 403
        assert browser.get(ask).status_code == 403
    assert list(VoidedTick.objects.values_list("pk", "state")) == [(made.pk, "requested")]


def test_a_request_is_declined_in_the_console(ticked: Instrument, anna: User, decider: User) -> None:
    made = asked(ticked, anna)
    console = browser_for(decider, verified=True)
    given = {"_reasoned": "1", "reason": "the market moved"}
    done = text(console.post(console_url("voidedtick_decline", made), given, follow=True))
    assert "Tick 2 of EURUSD stays as it is." in done
    made.refresh_from_db()
    assert made.state == "declined"
    assert AuditEntry.objects.get(action="void.declined").actor_id == decider.pk


@pytest.mark.parametrize("wrong", ["abc", "99999"])
def test_there_is_no_such_request(olga: User, wrong: str) -> None:
    console = browser_for(olga, verified=True)
    assert console.get(reverse("admin:quotes_voidedtick_change", args=[wrong])).status_code == 302
    assert console.get(reverse("admin:quotes_instrument_void_tick", args=[wrong])).status_code == 404


def test_every_refusal_of_voiding_has_a_code() -> None:
    kinds: list[type[DomainError]] = [
        TickMissing,
        InvalidPrices,
        NotVoidable,
        VoidExists,
        VoidDecided,
        SamePerson,
    ]
    assert {kind.code: kind.status for kind in kinds} == {
        "tick_missing": 404,
        "invalid_prices": 400,
        "not_voidable": 422,
        "void_exists": 409,
        "void_decided": 409,
        "same_person": 403,
    }
