"""What `trading_place` records itself passes by the reactions inside the transaction: there may be none."""

import re
from importlib import import_module

from config.core.outbox import handlers

# The SQL of the function, as the migration installs it.
PLACE = import_module("trading.migrations.0002_placement").PLACE


def test_nobody_reacts_within_the_transaction_to_what_placing_records() -> None:
    written = set(re.findall(r"\(topic, '([a-z.]+)'", PLACE))
    assert written == {"order.opened", "account.changed"}
    for name in written:
        assert handlers(name).within == (), f"{name} is written by SQL: its reactions would never run"
