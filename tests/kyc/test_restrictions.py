from datetime import timedelta

import pytest
from django.contrib.auth import get_user

from config.core import clock
from config.core.models import AuditEntry, Fact
from kyc import selectors, services
from kyc.errors import RestrictionInvalid, RestrictionLifted
from kyc.models import Restriction
from tests.cast import browser_for, client_for

pytestmark = pytest.mark.django_db


def test_a_sign_in_restriction_works_at_the_next_request_everywhere(bob, olga):
    mobile, browser = client_for(bob), browser_for(bob)
    assert mobile.get("/api/v1/me").status_code == browser.get("/api/v1/me").status_code == 200
    services.restrict(customer=bob, scope="sign_in", reason="court order", actor=olga)
    assert mobile.get("/api/v1/me").status_code == browser.get("/api/v1/me").status_code == 401
    assert browser.get("/trade/")["Location"].startswith("/sign-in/")
    assert not get_user(browser).is_authenticated
    told = Fact.objects.filter(topic=f"customer:{bob.pk}").order_by("id").values_list("name", flat=True)
    assert list(told)[-2:] == ["customer.restricted", "customer.signed_out"]
    entry = AuditEntry.objects.get(action="customer.restricted")
    assert (entry.actor_id, entry.object_id, entry.reason) == (olga.pk, str(bob.pk), "court order")


def test_a_trading_restriction_leaves_him_signed_in(bob, olga):
    client = client_for(bob)
    services.restrict(customer=bob, scope="trading", reason="complaint", actor=olga)
    assert client.get("/api/v1/me").status_code == 200
    assert selectors.may_sign_in(bob)
    assert selectors.live_restrictions().filter(customer=bob, scope="trading").exists()


def test_it_ends_by_itself_or_when_lifted_once(bob, olga):
    ends_at = clock.now() + timedelta(hours=1)
    services.restrict(customer=bob, scope="trading", reason="cooling", actor=olga, ends_at=ends_at)
    assert selectors.live_restrictions().filter(customer=bob, scope="trading").exists()
    with clock.ticking(lambda: ends_at):
        assert not selectors.live_restrictions().exists()
    restriction = Restriction.objects.get()
    services.lift_restriction(restriction=restriction, reason="mistake", actor=olga)
    assert not selectors.live_restrictions().exists()
    with pytest.raises(RestrictionLifted):
        services.lift_restriction(restriction=restriction, reason="mistake", actor=olga)
    assert AuditEntry.objects.filter(action="customer.restriction_lifted").count() == 1


@pytest.mark.parametrize(
    "given",
    [
        {"scope": "everything"},
        {"reason": "  "},
        {"ends_at": clock.now() - timedelta(seconds=1)},
    ],
)
def test_it_needs_a_scope_a_reason_and_an_end_ahead(bob, olga, given):
    with pytest.raises(RestrictionInvalid):
        services.restrict(**{"customer": bob, "scope": "trading", "reason": "x", "actor": olga, **given})
    assert not Restriction.objects.exists()


def test_a_lifted_restriction_revives_no_session(bob, olga):
    before = browser_for(bob)
    services.restrict(customer=bob, scope="sign_in", reason="stolen laptop", actor=olga)
    services.lift_restriction(restriction=Restriction.objects.get(), reason="he called", actor=olga)
    assert before.get("/api/v1/me").status_code == 401
    bob.refresh_from_db()
    again = browser_for(bob)
    assert again.get("/api/v1/me").status_code == 200
    services.sign_out_everywhere(user=bob, reason="asked for it", actor=olga)
    assert again.get("/api/v1/me").status_code == 401
