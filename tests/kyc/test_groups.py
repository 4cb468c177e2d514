"""Customer groups: one word of a person, changed by operators with a reason."""

import pytest
from django.urls import reverse

from config.core.models import AuditEntry
from kyc.errors import ProfileInvalid
from kyc.models import User
from kyc.services import set_customer_group
from tests.cast import browser_for

pytestmark = pytest.mark.django_db


def changes():
    return AuditEntry.objects.filter(action="customer.group_changed")


def test_everybody_begins_in_the_standard_group(bob, olga):
    assert (bob.group, olga.group) == ("standard", "standard")


def test_a_customer_goes_to_another_group_with_a_reason_and_a_trail(bob, olga):
    set_customer_group(customer=bob, group="vip-2", actor=olga, reason="large turnover")
    bob.refresh_from_db()
    assert bob.group == "vip-2"
    entry = changes().get()
    assert (entry.before, entry.after) == ({"group": "standard"}, {"group": "vip-2"})
    assert (entry.actor_id, entry.object_id, entry.reason) == (olga.pk, str(bob.pk), "large turnover")
    set_customer_group(customer=bob, group="vip-2", actor=olga, reason="once more")
    assert changes().count() == 1


@pytest.mark.parametrize("group", ["", "VIP", "two words", "-vip", "v" * 21, "vip\n", "vip@eu", "привет"])
def test_what_cannot_name_a_group_is_refused(bob, olga, group):
    with pytest.raises(ProfileInvalid) as refused:
        set_customer_group(customer=bob, group=group, actor=olga, reason="large turnover")
    assert list(refused.value.details["errors"]) == ["group"]
    bob.refresh_from_db()
    assert (bob.group, changes().count()) == ("standard", 0)


def test_without_a_reason_nobody_moves(bob, olga):
    with pytest.raises(ProfileInvalid) as refused:
        set_customer_group(customer=bob, group="vip", actor=olga, reason="  ")
    assert list(refused.value.details["errors"]) == ["reason"]
    bob.refresh_from_db()
    assert bob.group == "standard"


def test_the_console_moves_several_at_once_and_shows_a_refusal(bob, mallory, olga):
    console = browser_for(olga, verified=True)
    url = reverse("admin:kyc_user_changelist")
    chosen = {"action": "change_group", "_selected_action": [bob.pk, mallory.pk], "index": "0"}
    asked = console.post(url, chosen).content.decode()
    assert "what decides an order, are the same for everybody" in asked
    refused = console.post(url, {**chosen, "_reasoned": "1", "group": "Ärger", "reason": "try"}, follow=True)
    assert "small letters" in refused.content.decode()
    done = console.post(url, {**chosen, "_reasoned": "1", "group": "vip", "reason": "campaign"}, follow=True)
    assert "bob@example.com is in the group vip." in done.content.decode()
    assert list(User.objects.order_by("pk").values_list("group", flat=True)).count("vip") == 2
    assert changes().count() == 2
    page = console.get(reverse("admin:kyc_user_change", args=[bob.pk])).content.decode()
    assert "vip" in page
