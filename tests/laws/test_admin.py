"""Nobody but verified staff sees the console, and nothing that must not change can be changed in it."""

from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from axes.models import AccessAttempt
from django.contrib import admin
from django.core.management import call_command
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django_otp import DEVICE_ID_SESSION_KEY
from django_otp.admin import OTPAdminSite

from config.core import clock
from config.core.models import AuditEntry, Fact
from kyc import services
from kyc.errors import CountryUnknown, TokenInvalid
from kyc.models import Jurisdiction, RecoveryCode, RefreshFamily, Restriction, Switch, User
from payments.ledger.models import Account, BalanceSnapshot, Book, LedgerCheck, Transfer
from quotes.models import (
    CandleCheck,
    FixReject,
    Gap,
    Instrument,
    MarkUp,
    RecordDay,
    RecordPart,
    SimulationHour,
    Source,
    SourceState,
    VoidedTick,
)
from quotes.services.markups import set_mark_up
from quotes.services.sources import create_source
from tests.cast import PASSWORD, browser_for, client_for, code_of, enrolled, later
from trading.models import (
    Correction,
    Curb,
    CustomerLimits,
    Exposure,
    HedgeExecution,
    HedgeOrder,
    HedgeTerms,
    Order,
    PayoutRate,
    Refusals,
    RiskAlert,
    RiskLimit,
    Tally,
    Terms,
    VolatilityEstimate,
)

pytestmark = pytest.mark.django_db
# Where nobody needs to be signed in, and what only leads elsewhere.
OPEN = {"admin:login", "admin:logout", "admin:enrol", "admin:jsi18n", "admin:view_on_site"}
NEVER_WRITTEN = [
    Account,
    AuditEntry,
    BalanceSnapshot,
    Book,
    CandleCheck,
    Correction,
    Curb,
    CustomerLimits,
    Exposure,
    Fact,
    FixReject,
    Gap,
    HedgeExecution,
    HedgeOrder,
    LedgerCheck,
    MarkUp,
    Order,
    PayoutRate,
    RecordDay,
    RecordPart,
    RefreshFamily,
    Refusals,
    Restriction,
    RiskAlert,
    RiskLimit,
    SimulationHour,
    SourceState,
    Switch,
    Tally,
    Terms,
    Transfer,
    User,
    VoidedTick,
    VolatilityEstimate,
]


@pytest.fixture
def house(monkeypatch, tmp_path, settings):
    """A seeded platform with one row at least of everything the console shows."""
    settings.DATA_DIR = tmp_path
    call_command("seed_platform")
    trader = User.objects.get(email="trader@tickhouse.example")
    operator = User.objects.get(email="operator@tickhouse.example")
    services.issue_tokens(user=trader)
    services.restrict(customer=trader, scope="trading", reason="test", actor=operator)
    account, instrument = Account.objects.filter(owner=trader)[0], Instrument.objects.get(symbol="VOL100")
    Order.objects.create(
        id=uuid4(),
        account=account,
        client_id="one",
        request_sha256=b"",
        customer=trader,
        shard=0,
        instrument=instrument,
        terms=Terms.objects.get(instrument=instrument),
        contract="rise_fall",
        side="up",
        stake=Decimal(10),
        payout_rate=Decimal("0.9"),
        accepted_at=clock.now(),
        expires_at=clock.now() + timedelta(minutes=1),
    )
    capital = Account.objects.filter(owner=None)[0]
    BalanceSnapshot.objects.create(account=capital, xid_before=1, balance=0, taken_at=clock.now())
    LedgerCheck.objects.create(
        started_at=clock.now(), finished_at=clock.now(), is_whole=True, xid_before=1, differences=[]
    )
    record_of(instrument, operator)
    risk_of(account, instrument, trader)


def risk_of(account, instrument, trader):
    """Make one row of each table of what is at stake."""
    now = clock.now()
    Exposure.objects.create(
        book=account.book, instrument=instrument, side="up", open_orders=1, stakes=10, profit=9
    )
    RiskLimit.objects.create(book=account.book, most=100, starts_at=now, comment="test")
    hedged_by(instrument)
    alert = RiskAlert.objects.create(book=account.book, most=100, used=90, highest=90, opened_at=now)
    Correction.objects.create(
        order=Order.objects.get(), payout=1, amount=1, reason="test", requested_by=trader, requested_at=now
    )
    Curb.objects.create(effect="stop_sales", alert=alert, starts_at=now, comment="test")
    Refusals.objects.create(
        hour=now, code="price_stale", symbol="VOL100", times=1, last_at=now, recent=[{"at": "x"}]
    )
    Tally.objects.create(
        account=account, instrument=instrument, day=now.date(), orders=1, won=1, lost=0, refunded=0, sold=0,
        turnover=10, profit=9,
    )  # fmt: skip
    VolatilityEstimate.objects.create(
        instrument=instrument, at=now, per_sqrt_second=0.001, tick_seconds=0.5, samples=100
    )
    CustomerLimits.objects.create(customer=trader, max_stake=10, set_at=now)


def hedged_by(instrument):
    """Make one row of each table of hedging."""
    now = clock.now()
    provider = Source.objects.create(
        code="prime", kind="fix", name="Prime", url="tcp://127.0.0.1:1", changed_at=now
    )
    names = {"instrument": instrument, "provider": provider, "source_symbol": "VOL"}
    HedgeTerms.objects.create(
        **names, currency="USD", threshold=1, lot=1, max_quantity=9, collar=Decimal("0.01"), changed_at=now
    )
    order = HedgeOrder.objects.create(
        **names,
        id=uuid4(),
        side="buy",
        quantity=1,
        limit_price=1,
        decided_at=now,
        good_until=now,
        inputs={},
        changed_at=now,
    )
    HedgeExecution.objects.create(order=order, exec_id="1", quantity=1, price=1, fields={}, recorded_at=now)


def record_of(instrument, operator):
    """Make one row of each table of the market that a feed and its jobs fill."""
    now = clock.now()
    source = create_source(
        code="kraken",
        kind="kraken",
        name="Kraken",
        url="wss://ws.kraken.com/v2",
        actor=operator,
        reason="test",
    )
    SourceState.objects.create(source=source.code, state="up", updated_at=now)
    FixReject.objects.create(source=source, at=now, kind="reject", text="unknown tag")
    set_mark_up(
        instrument=instrument,
        group="standard",
        amount=Decimal(1),
        min_spread=Decimal(0),
        actor=operator,
        reason="test",
    )
    Gap.objects.create(
        instrument=instrument,
        starts_at=now - timedelta(seconds=9),
        ends_at=now,
        reason="feed_down",
        recorded_at=now,
    )
    CandleCheck.objects.create(day=now.date(), instrument=instrument, candles=1, checked_at=now)
    day = RecordDay.objects.create(day=now.date() - timedelta(days=40), root=b"r" * 32, sealed_at=now)
    RecordPart.objects.create(
        day=day, instrument=instrument, ticks=1, first_seq=1, last_seq=1, first_at=now, last_at=now,
        head=b"h" * 32, file="1.parquet", file_bytes=100, file_sha256=b"f" * 32,
    )  # fmt: skip
    VoidedTick.objects.create(
        instrument=instrument,
        at=now,
        seq=1,
        price=2,
        independent_prices=[],
        deviation=1,
        limit=Decimal("0.005"),
        reason="test",
        requested_by_id=operator.pk,
        requested_at=now,
    )
    SimulationHour.objects.create(
        instrument=instrument, hour=now, commitment="c" * 64, sealed_seed=b"SEALED", committed_at=now
    )


def console_urls():
    """Return the name and pattern of every named address of the console."""

    def walk(patterns):
        for pattern in patterns:
            if isinstance(pattern, URLResolver):
                yield from walk(pattern.url_patterns)
            elif isinstance(pattern, URLPattern) and pattern.name:
                yield f"admin:{pattern.name}", pattern

    return walk(
        resolver
        for resolver in get_resolver().url_patterns
        if getattr(resolver, "namespace", None) == "admin"
    )


def address(name, pattern):
    """Return the address with arguments that exist, None when there is no row to look at."""
    wanted = list(pattern.pattern.regex.groupindex)
    if wanted != ["object_id"]:
        given = {"token": "nothing", "app_label": "kyc", "content_type_id": 1}
        return reverse(name, kwargs={key: given.get(key, 1) for key in wanted})
    pages = {f"admin:{m._meta.app_label}_{m._meta.model_name}_": m for m in admin.site._registry}
    first = next(model for start, model in pages.items() if name.startswith(start))._default_manager.first()
    return reverse(name, args=[first.pk]) if first else None


def test_the_only_admin_site_is_ours():
    assert isinstance(admin.site, OTPAdminSite)
    namespaces = [r.namespace for r in get_resolver().url_patterns if isinstance(r, URLResolver)]
    assert namespaces.count("admin") == 1
    assert len({type(a.admin_site) for a in admin.site._registry.values()}) == 1


def test_every_address_of_the_console_lets_verified_staff_in_alone(house, olga, bob):
    strangers = {
        "anonymous": Client(),
        "customer": browser_for(bob),
        "staff without the second factor": browser_for(olga),
    }
    verified = browser_for(olga, verified=True)
    visited = 0
    for name, pattern in console_urls():
        url = None if name in OPEN else address(name, pattern)
        if url is None:
            continue
        for who, browser in strangers.items():
            answer = browser.get(url)
            assert answer.status_code == 302, (name, who)
            assert answer["Location"].startswith("/admin/login/"), (name, who)
        expected = {200}
        if name.endswith(("_add", "_delete")) or name == "admin:autocomplete":
            expected |= {403}
        if name.endswith(("_history", ":password_change")):
            expected = {302}
        assert verified.get(url).status_code in expected, name
        visited += 1
    assert visited > 95


def test_every_list_can_be_searched_for_anything(house, olga):
    verified = browser_for(olga, verified=True)
    for model in admin.site._registry:
        url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        for search in ("12", "abc", "operator@tickhouse.example", "'%"):
            assert verified.get(url, {"q": search}).status_code == 200, (model, search)


def test_lists_never_count(house, olga, django_assert_max_num_queries):
    verified = browser_for(olga, verified=True)
    for model in (Transfer, Order, Fact, AuditEntry, Gap, MarkUp, RecordPart, SimulationHour, Source):
        url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        with django_assert_max_num_queries(12) as seen:
            assert verified.get(url).status_code == 200
        assert not [q["sql"] for q in seen.captured_queries if "COUNT(" in q["sql"].upper()], model


def test_what_is_never_written_by_hand_cannot_be(house, olga, rf):
    request = rf.get("/")
    request.user = olga
    verified = browser_for(olga, verified=True)
    for model in NEVER_WRITTEN:
        page = admin.site._registry[model]
        assert not page.has_add_permission(request), model
        assert not page.has_change_permission(request), model
        assert not page.has_delete_permission(request), model
        assert "delete_selected" not in page.get_actions(request), model
        base = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        row, before = model._default_manager.first(), model._default_manager.count()
        for address in (
            reverse(f"{base}_add"),
            reverse(f"{base}_change", args=[row.pk]),
            reverse(f"{base}_delete", args=[row.pk]),
        ):
            assert verified.post(address, {"code": "x", "post": "yes"}).status_code == 403, address
        assert model._default_manager.count() == before


def test_an_action_asks_for_a_reason_states_its_effect_and_audits(house, olga, bob):
    verified = browser_for(olga, verified=True)
    url = reverse("admin:kyc_user_changelist")
    chosen = {"action": "restrict", "_selected_action": [bob.pk], "index": "0", "select_across": "0"}
    asked = verified.post(url, chosen)
    assert asked.status_code == 200
    assert "Open orders are settled as agreed" in asked.content.decode()
    assert not Restriction.objects.filter(customer=bob).exists()
    without = verified.post(url, {**chosen, "_reasoned": "1", "scope": "trading", "reason": ""})
    assert "This field is required" in without.content.decode()
    assert not Restriction.objects.filter(customer=bob).exists()
    done = verified.post(
        url, {**chosen, "_reasoned": "1", "scope": "trading", "reason": "asked for a pause"}, follow=True
    )
    assert "bob@example.com is restricted: trading." in done.content.decode()
    assert Restriction.objects.get(customer=bob).made_by == olga
    entry = AuditEntry.objects.get(action="customer.restricted", object_id=str(bob.pk))
    assert (entry.actor_name, entry.reason) == ("olga@example.com", "asked for a pause")
    assert str(entry.ip) == "127.0.0.1"
    trail = verified.get(reverse("admin:kyc_user_history", args=[bob.pk]), follow=True).content.decode()
    assert "customer.restricted" in trail


def test_a_refused_action_says_so_and_changes_nothing(house, olga):
    restriction = Restriction.objects.get()
    services.lift_restriction(restriction=restriction, reason="test", actor=olga)
    verified = browser_for(olga, verified=True)
    url = reverse("admin:kyc_restriction_lift", args=[restriction.pk])
    answer = verified.post(url, {"_reasoned": "1", "reason": "again"}, follow=True)
    assert "lifted before" in answer.content.decode()
    assert AuditEntry.objects.filter(action="customer.restriction_lifted").count() == 1


def test_a_parked_fact_is_retried_with_a_reason(house, olga):
    fact = Fact.objects.order_by("id").first()
    Fact.objects.filter(pk=fact.pk).update(parked_at=clock.now(), attempts=10, error="Boom")
    verified = browser_for(olga, verified=True)
    url = reverse("admin:core_fact_retry", args=[fact.pk])
    verified.post(url, {"_reasoned": "1", "reason": "fixed the handler"})
    fact.refresh_from_db()
    assert (fact.parked_at, fact.attempts) == (None, 0)
    assert AuditEntry.objects.get(action="fact.retried").reason == "fixed the handler"


def test_a_jurisdiction_changes_with_a_reason(house, olga):
    verified = browser_for(olga, verified=True)
    url = reverse("admin:kyc_jurisdiction_change", args=["AE"])
    verified.post(url, {"licence_reference": "L-1", "allows_real": "on"})
    assert Jurisdiction.objects.get(pk="AE").licence_reference == "SANDBOX"
    verified.post(url, {"licence_reference": "L-1", "allows_real": "on", "reason": "licence renewed"})
    assert Jurisdiction.objects.get(pk="AE").licence_reference == "L-1"
    entry = AuditEntry.objects.filter(action="jurisdiction.changed").latest("id")
    assert (entry.actor_id, entry.before["licence_reference"], entry.reason) == (
        olga.pk,
        "SANDBOX",
        "licence renewed",
    )
    twice = verified.post(
        url, {"is_sanctioned": "on", "allows_real": "on", "licence_reference": "L", "reason": "x y"}
    )
    assert twice.status_code == 200, "the database's own rule is told on the form"
    assert not Jurisdiction.objects.get(pk="AE").is_sanctioned


# --- The way in ---------------------------------------------------------------------------------------


def sign_in(browser, email, code):
    return browser.post("/admin/login/", {"username": email, "password": PASSWORD, "code": code})


def test_staff_enter_with_all_three_and_nobody_else(olga, bob, client):
    device = olga.totpdevice_set.get()
    assert sign_in(client, "OLGA@example.com", "000000").status_code == 200
    device.refresh_from_db()
    device.throttle_reset()
    assert sign_in(client, "olga@example.com", code_of(device)).status_code == 302
    assert client.get("/admin/").status_code == 200
    customer, his = Client(), enrolled(bob)
    answer = sign_in(customer, "bob@example.com", code_of(his))
    assert "password or the code is wrong" in answer.content.decode()
    assert customer.get("/admin/").status_code == 302
    his.refresh_from_db()
    assert his.last_t == -1, "a customer's code is not even tried"


def test_the_console_locks_like_every_other_door(olga, client):
    for _ in range(4):
        client.post("/admin/login/", {"username": "olga@example.com", "password": "no", "code": "1"})
    body = {"email": "olga@example.com", "password": "wrong"}
    assert client_for().post("/api/v1/auth/token", body, format="json").status_code == 429
    answer = sign_in(client, "olga@example.com", code_of(olga.totpdevice_set.get()))
    assert "Too many attempts" in answer.content.decode()


def test_what_was_typed_in_a_failed_attempt_is_not_kept(olga, client):
    typed = {"username": "olga@example.com", "password": "almost-right", "code": "a recovery code"}
    client.post("/admin/login/", typed)
    kept = AccessAttempt.objects.get()
    assert not any(secret in f"{kept.post_data}{kept.get_data}" for secret in typed.values())


def test_an_invitation_works_once(client, db):
    user, token = services.invite_operator(email="new@example.com")
    url = f"/admin/enrol/{token}/"
    assert client.get(url).status_code == 200
    device = services.invited_app(user, token)
    weak = client.post(url, {"password": "1234567890", "code": code_of(device)})
    assert "entirely numeric" in weak.content.decode()
    wrong = client.post(url, {"password": PASSWORD, "code": "000000"})
    assert "wrong or was used" in wrong.content.decode()
    user.refresh_from_db()
    assert (user.is_staff, user.has_usable_password(), user.totpdevice_set.count()) == (False, False, 0)
    done = client.post(url, {"password": PASSWORD, "code": code_of(device)})
    assert done.content.decode().count("<li>") == 10
    assert client.get("/admin/").status_code == 200
    assert Client().get(url).status_code == 422
    user.refresh_from_db()
    assert user.check_password(PASSWORD)
    assert "recovery" not in client.get("/admin/").content.decode().lower()


def test_a_second_invitation_replaces_the_first_and_expires(client, db):
    _, first = services.invite_operator(email="new@example.com")
    _, second = services.invite_operator(email="new@example.com")
    assert client.get(f"/admin/enrol/{first}/").status_code == 422
    with later(timedelta(days=3, seconds=1)):
        assert client.get(f"/admin/enrol/{second}/").status_code == 422
    assert client.get(f"/admin/enrol/{second}/").status_code == 200


def test_who_registered_an_operator_s_address_before_him_gains_nothing(bob):
    stranger, mobile = browser_for(bob), client_for(bob)
    his, pair = enrolled(bob), services.issue_tokens(user=bob)
    RecoveryCode.objects.create(user=bob, code_hash="his")
    prepared = services.enrol_otp(user=bob)
    user, token = services.invite_operator(email="BOB@example.com")
    assert user == bob
    bob.refresh_from_db()
    assert (bob.is_staff, bob.is_superuser) == (False, False)
    session = stranger.session
    session[DEVICE_ID_SESSION_KEY] = his.persistent_id
    session.save()
    assert stranger.get("/admin/").status_code == 302
    url, new = f"/admin/enrol/{token}/", "a-password-of-his-own"
    invitee = Client()
    assert prepared.config_url not in invitee.get(url).content.decode()
    refused = invitee.post(url, {"password": new, "code": code_of(prepared)})
    assert "wrong or was used" in refused.content.decode()
    code = code_of(services.invited_app(bob, token))
    assert invitee.post(url, {"password": new, "code": code}).content.decode().count("<li>") == 10
    bob.refresh_from_db()
    assert (bob.is_staff, bob.is_superuser) == (True, True)
    assert bob.check_password(new)
    assert [device.pk for device in bob.totpdevice_set.all()] == [bob.totpdevice_set.get(confirmed=True).pk]
    assert not bob.totpdevice_set.filter(pk__in=[his.pk, prepared.pk]).exists()
    assert not RecoveryCode.objects.filter(user=bob, code_hash="his").exists()
    assert invitee.get("/admin/").status_code == 200
    assert stranger.get("/admin/").status_code == 302
    assert stranger.get("/api/v1/me").status_code == mobile.get("/api/v1/me").status_code == 401
    with pytest.raises(TokenInvalid):
        services.refresh_tokens(refresh=pair.refresh)


def test_the_console_does_not_tell_that_the_password_was_right(olga, client):
    refusals = []
    for password, code in ((PASSWORD, "000000"), ("wrong", "000000"), (PASSWORD, "000001")):
        typed = {"username": "olga@example.com", "password": password, "code": code}
        refusals.append(client.post("/admin/login/", typed).context["form"].non_field_errors())
    services.restrict(customer=olga, scope="sign_in", reason="test", actor=olga)
    typed["password"] = PASSWORD
    refusals.append(client.post("/admin/login/", typed).context["form"].non_field_errors())
    assert refusals == [refusals[0]] * 4


def test_an_operator_s_session_is_short_by_whatever_door(olga, bob, client):
    device = olga.totpdevice_set.get()
    assert sign_in(client, "olga@example.com", code_of(device)).status_code == 302
    assert client.session.get_expiry_age() == 8 * 3600
    other = Client()
    other.post("/sign-in/", {"email": "olga@example.com", "password": PASSWORD})
    other.post("/sign-in/code/", {"code": code_of(device, ahead=1)})
    assert other.session["_auth_user_id"] == str(olga.pk)
    assert other.session.get_expiry_age() == 8 * 3600
    customer = Client()
    customer.post("/sign-in/", {"email": "bob@example.com", "password": PASSWORD})
    assert customer.session.get_expiry_age() == 14 * 24 * 3600


def test_a_country_is_stored_as_it_is_looked_up(house, olga):
    verified = browser_for(olga, verified=True)
    url = reverse("admin:kyc_jurisdiction_add")
    law = {"allows_real": "on", "licence_reference": "L-9", "reason": "licensed"}
    assert verified.post(url, {**law, "country": "es"}).status_code == 302
    assert Jurisdiction.objects.get(licence_reference="L-9").pk == "ES"
    unknown = verified.post(url, {**law, "country": "XX"})
    assert "no country with these" in unknown.content.decode()
    with pytest.raises(CountryUnknown):
        services.change_jurisdiction(
            country="XX", is_sanctioned=True, allows_real=False, licence_reference="", actor=olga
        )
    assert not Jurisdiction.objects.filter(pk="XX").exists()


def test_every_page_carries_a_content_policy(olga, client):
    def scripts(path, browser=client):
        policy = dict(part.split(" ", 1) for part in browser.get(path)["Content-Security-Policy"].split("; "))
        assert policy["object-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
        assert policy["default-src"] == policy["form-action"] == "'self'"
        return policy["script-src"]

    assert scripts("/admin/login/") == "'self' 'unsafe-eval'"
    assert scripts("/admin/", browser_for(olga, verified=True)) == "'self' 'unsafe-eval'"
    assert scripts("/api/docs") == "'self' 'unsafe-inline'"
    assert "unsafe" not in scripts("/administration/")
    assert "unsafe" not in scripts("/sign-in/")
    assert "Content-Security-Policy" not in client.get("/api/v1/time")
