"""What a socket is told of the market before the feed speaks."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import AnonymousUser

from config.core.errors import DomainError, Invalid
from config.core.sockets import find
from config.core.wire import plain
from tests.trading.conftest import Desk

STRANGER = AnonymousUser()


def test_the_channels_are_open_to_strangers() -> None:
    for name in ("quotes:VOL100", "candles:VOL100:60"):
        assert find(name, STRANGER).is_public


def test_a_quote_channel_begins_with_the_last_tick(desk: Desk) -> None:
    seq = desk.market.tick("101.00", desk.clock.at + timedelta(seconds=1))
    told = plain(find("quotes:VOL100", STRANGER).open())
    assert told["last"] == {"at": "2030-01-15T12:00:01.000000Z", "seq": seq, "price": "101.00"}
    assert told["is_open"] is True


def test_a_candle_channel_begins_with_the_forming_candle(desk: Desk) -> None:
    desk.market.append([(desk.clock.at + timedelta(seconds=1), Decimal("99.50"))], until=desk.clock.at)
    told = plain(find("candles:VOL100:60", STRANGER).open())
    assert told["candle"] == {
        "start": "2030-01-15T12:00:00.000000Z",
        "open": "100.00",
        "high": "100.00",
        "low": "99.50",
        "close": "99.50",
        "ticks": 2,
        "is_forming": True,
        "last_seq": desk.market.seq,
    }


def test_frames_that_are_not_live_and_unknown_instruments_are_refused(desk: Desk) -> None:
    with pytest.raises(Invalid):
        find("candles:VOL100:300", STRANGER).open()
    with pytest.raises(DomainError):
        find("quotes:NOTHING", STRANGER).open()
