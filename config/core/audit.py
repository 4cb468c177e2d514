"""Who did what to what, and why: append-only, in the transaction of the deed."""

from typing import Any

from django.db.models import Model
from structlog.contextvars import get_contextvars

from config.core import clock
from config.core.models import AuditEntry
from config.core.wire import plain


def record(
    *,
    action: str,
    actor: Any = None,
    target: Model | tuple[str, str] | None = None,
    before: Any = None,
    after: Any = None,
    reason: str = "",
    outcome: str = AuditEntry.Outcome.DONE,
) -> AuditEntry:
    """Record a deed (`noun.past_verb`) of a user, or of the system when `actor` is None; return the entry.

    `target` is a row or (type, id). Address, agent and request id are those of the request being served.
    """
    if isinstance(target, Model):
        target = (target._meta.model_name or "", str(target.pk))
    kind, identifier = target or ("", "")
    request = get_contextvars()
    return AuditEntry.objects.create(
        at=clock.now(),
        actor_id=getattr(actor, "pk", None),
        actor_name=str(actor) if actor is not None else "system",
        actor_role=_role(actor),
        ip=request.get("ip"),
        agent=request.get("agent", ""),
        action=action,
        object_type=kind,
        object_id=identifier,
        before=plain(before),
        after=plain(after),
        reason=reason,
        request_id=request.get("request_id", ""),
        outcome=outcome,
    )


def _role(actor: Any) -> str:
    if actor is None:
        return "system"
    if actor.is_superuser:
        return "superuser"
    return "staff" if actor.is_staff else "customer"
