"""What `trading_place` records itself passes by the reactions inside the transaction: there may be none."""

import re

import pytest
from django.db import connection

from config.core.outbox import handlers


@pytest.mark.django_db
def test_nobody_reacts_within_the_transaction_to_what_placing_records() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT prosrc FROM pg_proc WHERE proname = 'trading_place'")
        ((source,),) = cursor.fetchall()
    written = set(re.findall(r"\(topic, '([a-z.]+)'", source))
    assert written == {"order.opened", "account.changed"}
    for name in written:
        assert not handlers(name, in_transaction=True), (
            f"{name} is written by SQL: its reactions would never run"
        )
