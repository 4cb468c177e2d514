"""Kill switches of what is offered to everybody before he trades."""

from django.db import transaction

from config.core import audit, clock
from kyc.models import Switch, User


@transaction.atomic
def turn_switch(*, code: str, is_on: bool, actor: User, reason: str) -> bool:
    """Offer something again, or offer it no more, from now on; return whether that changes anything."""
    Switch.objects.get_or_create(pk=code)
    turned = Switch.objects.filter(pk=code, is_on=not is_on).update(
        is_on=is_on, changed_at=clock.now(), changed_by=actor, reason=reason
    )
    if turned:
        audit.record(
            actor=actor,
            action="switch.turned",
            target=("switch", code),
            before={"is_on": not is_on},
            after={"is_on": is_on},
            reason=reason,
        )
    return bool(turned)
