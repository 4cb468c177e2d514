"""How failed sign-ins are forgotten."""

from typing import Any

from axes.attempts import get_cool_off_threshold
from axes.handlers.database import AxesDatabaseHandler
from axes.models import AccessAttempt

from kyc.rules import LONGEST_COOL_OFF


class Attempts(AxesDatabaseHandler):
    """Axes' counting, with locks of different lengths.

    Axes forgets everybody's failures by the cool-off of whoever asks, so that a stranger's failure would open
    a door locked for longer; here each name and address is forgotten by its own.
    """

    def clean_expired_user_attempts(
        self, request: Any = None, credentials: dict[str, Any] | None = None
    ) -> int:
        """Forget the failures of this name and address that are over, and everybody's of long ago."""
        threshold = get_cool_off_threshold(request)
        own = self.filter_user_attempts(request, credentials)
        forgotten = sum(attempts.filter(attempt_time__lt=threshold).delete()[0] for attempts in own)
        long_ago = request.axes_attempt_time - LONGEST_COOL_OFF
        return forgotten + AccessAttempt.objects.filter(attempt_time__lt=long_ago).delete()[0]
