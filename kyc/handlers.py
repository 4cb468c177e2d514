"""Letters that follow from facts."""

from config.core.models import Fact
from config.core.outbox import handler
from kyc import tasks
from kyc.services.sessions import REUSED


@handler("customer.signed_out")
def warn_of_copied_token(fact: Fact) -> None:
    """Write to a customer whose refresh token was used twice."""
    if fact.payload["reason"] == REUSED:
        tasks.send_session_revoked.apply_async(
            args=[fact.payload["customer"]], task_id=f"session-revoked-{fact.pk}"
        )
