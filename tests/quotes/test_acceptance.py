"""Which quotes make a tick."""

from datetime import timedelta
from decimal import Decimal

import pytest

from quotes.rules import REASONS, Quote, QuoteFilter, mid_price
from tests.quotes.market import at, recording, rows_of


def quote_filter(spread: str = "0.01", jump: str = "0.002") -> QuoteFilter:
    return QuoteFilter(Decimal(spread), Decimal(jump))


def accepts(checked: QuoteFilter, bid: Decimal, ask: Decimal, seconds: float, *others: str) -> bool:
    return checked.accepts(Quote(bid, ask), at(seconds), [Decimal(other) for other in others])


@pytest.mark.parametrize(
    ("bid", "ask", "decimals", "price"),
    [
        ("1.10000", "1.10002", 5, "1.10001"),
        ("1.10000", "1.10001", 5, "1.10000"),  # the half goes to the even digit
        ("1.10001", "1.10002", 5, "1.10002"),
        ("1.10002", "1.10003", 5, "1.10002"),
        ("61685.99", "61686.00", 2, "61686.00"),
        ("150.5", "150.5", 0, "150"),
    ],
)
def test_the_price_is_the_mid_rounded_half_even(bid: str, ask: str, decimals: int, price: str) -> None:
    assert str(mid_price(Quote(Decimal(bid), Decimal(ask)), Decimal(1).scaleb(-decimals))) == price


@pytest.mark.parametrize(
    ("bid", "ask", "reason"),
    [
        ("0", "1.1", "non_positive"),
        ("-1", "1.1", "non_positive"),
        ("1.1", "0", "non_positive"),
        ("1.10002", "1.10001", "crossed"),
        ("1.0", "1.02", "spread"),
        ("100000000000", "100000000000.1", "out_of_range"),
        ("NaN", "1.1", "out_of_range"),
        ("1.1", "Infinity", "out_of_range"),
    ],
)
def test_what_cannot_be_is_dropped_and_counted(bid: str, ask: str, reason: str) -> None:
    checked = quote_filter()
    assert not accepts(checked, Decimal(bid), Decimal(ask), 0)
    assert checked.accepted == 0
    assert checked.dropped == {**dict.fromkeys(REASONS, 0), reason: 1}


def taken(checked: QuoteFilter, price: str, seconds: float) -> bool:
    return accepts(checked, Decimal(price), Decimal(price), seconds)


def test_a_jump_waits_for_the_next_quote_to_confirm_it() -> None:
    checked = quote_filter()
    assert taken(checked, "1.10000", 0)
    assert not taken(checked, "1.20000", 1)  # a spike
    assert taken(checked, "1.10001", 2)
    assert not taken(checked, "1.20000", 3)
    assert taken(checked, "1.20010", 4)  # confirmed within two seconds
    assert taken(checked, "1.20020", 5)
    assert checked.dropped["jump"] == 2


def test_a_jump_confirmed_too_late_is_not_confirmed_and_after_a_minute_nothing_is_compared() -> None:
    checked = quote_filter()
    assert taken(checked, "1.10000", 0)
    assert not taken(checked, "1.20000", 1)
    assert not taken(checked, "1.20000", 3.1)
    assert taken(checked, "1.20000", 61)


def test_a_jump_that_another_source_has_made_too_is_none() -> None:
    checked = quote_filter()
    price = Decimal("1.20000")
    assert taken(checked, "1.10000", 0)
    assert not accepts(checked, price, price, 1, "1.10000", "1.19000")
    assert accepts(checked, price, price, 5, "1.10000", "1.20100")


def test_after_a_reconnect_nothing_is_compared() -> None:
    checked = quote_filter()
    assert taken(checked, "1.10000", 0)
    checked.forget()
    assert taken(checked, "1.20000", 1)


def test_the_bank_feed_loses_exactly_its_crossed_quotes() -> None:
    checked = quote_filter()
    rows = list(rows_of(recording("fxcm_eurusd_20140501-02.csv.gz")))
    crossed = sum(bid > ask for _, bid, ask in rows)
    made = sum(
        checked.accepts(Quote(bid, ask), at(0) + timedelta(milliseconds=ms - rows[0][0]))
        for ms, bid, ask in rows
    )
    assert len(rows) == 147_459
    assert 0.09 < crossed / len(rows) < 0.11
    assert checked.dropped["crossed"] == crossed
    assert made == len(rows) - sum(checked.dropped.values())
    assert checked.dropped["jump"] + checked.dropped["spread"] < 5


def test_the_payrolls_drop_is_not_taken_for_a_spike() -> None:
    checked = quote_filter()
    rows = list(rows_of(recording("oanda_eurusd_20140501-02.csv.gz")))
    for ms, bid, ask in rows:
        checked.accepts(Quote(bid, ask), at(0) + timedelta(milliseconds=ms - rows[0][0]))
    assert sum(checked.dropped.values()) == 0
