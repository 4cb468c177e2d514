"""The system check of receipts."""

from typing import Any

from django.core.checks import CheckMessage, Error, Tags, register

from trading.receipts.keys import what_is_wrong


@register(Tags.security)
def check_receipt_keys(**_: Any) -> list[CheckMessage]:
    """No platform starts that could not sign its receipts."""
    return [Error(sentence, id="tickhouse.E009") for sentence in what_is_wrong()]
