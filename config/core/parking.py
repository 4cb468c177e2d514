"""Parked facts: those that failed ten times and wait, with their topic, for an operator."""

from typing import Any

from django.db import transaction

from config.core import audit
from config.core.models import Fact


@transaction.atomic
def retry(fact: Fact, *, actor: Any, reason: str) -> bool:
    """Let the relay deliver a parked fact again, from the first attempt; return whether it was parked."""
    parked = Fact.objects.filter(pk=fact.pk, parked_at__isnull=False, published_at=None)
    if not parked.update(parked_at=None, attempts=0):
        return False
    audit.record(action="fact.retried", actor=actor, target=fact, before={"error": fact.error}, reason=reason)
    return True
