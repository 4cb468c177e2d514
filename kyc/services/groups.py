"""Customer groups: who sees which mark-up."""

from django.db import transaction
from django.utils.translation import gettext as _

from config.core import audit
from kyc import rules
from kyc.errors import ProfileInvalid
from kyc.models import User


@transaction.atomic
def set_customer_group(*, customer: User, group: str, actor: User, reason: str) -> User:
    """Put a customer into a group; sockets opened from now on show its bid and ask.

    Raises ProfileInvalid, with the messages by field, for a word that cannot name a group, or no reason.
    """
    errors: dict[str, list[str]] = {}
    if not rules.is_group(group):
        errors["group"] = [_("A group is a short word of small letters, digits, - and _.")]
    if not reason.strip():
        errors["reason"] = [_("Say why.")]
    if errors:
        raise ProfileInvalid(" ".join(said for each in errors.values() for said in each), errors=errors)
    person = User.objects.select_for_update(no_key=True).get(pk=customer.pk)
    before = person.group
    if before == group:
        return person
    person.group = group
    person.save(update_fields=["group"])
    audit.record(
        actor=actor,
        action="customer.group_changed",
        target=person,
        before={"group": before},
        after={"group": group},
        reason=reason,
    )
    return person
