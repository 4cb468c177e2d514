"""The chain over a day: written out once by hand, and sensitive to everything."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotes.rules.chain import ArchivedTick, Chain, ChainBroken, Head, Survey, day_root, price_text
from tests.quotes.market import NOON, at

DAY = NOON.date()


def chain_of(*ticks: tuple[datetime, int, str], decimals: int = 5) -> Chain:
    chain = Chain("EURUSD", DAY, decimals)
    for when, seq, price in ticks:
        chain.add(when, seq, Decimal(price))
    return chain


def test_a_chain_written_out() -> None:
    start = sha256(b"tickhouse:ticks:1\nEURUSD\n2030-03-05\n").digest()
    first = sha256(start + b"1898942400000000|7|1.10000\n").digest()
    second = sha256(first + b"1898942400000001|8|0.00001\n").digest()
    chain = chain_of((at(0), 7, "1.1"), (at(0.000001), 8, "0.00001"))
    assert Chain("EURUSD", DAY, 5).head == start
    assert chain.head == second
    assert (chain.ticks, chain.first, chain.last) == (2, (at(0), 7), (at(0.000001), 8))


def test_a_root_written_out_is_by_symbol() -> None:
    heads = [Head("USDJPY", 2, b"\x01" * 32), Head("EURUSD", 1, b"\xab" * 32)]
    expected = sha256(
        b"tickhouse:day:1\n2030-03-05\nEURUSD|1|" + b"ab" * 32 + b"\nUSDJPY|2|" + b"01" * 32 + b"\n"
    )
    assert day_root(DAY, heads) == day_root(DAY, heads[::-1]) == expected.digest()
    assert day_root(date(2030, 3, 6), heads) != expected.digest()


@pytest.mark.parametrize(
    ("price", "decimals", "text"),
    [
        ("1.1", 5, "1.10000"),
        ("1.10000000", 5, "1.10000"),
        ("61837.635", 3, "61837.635"),
        ("150", 0, "150"),
        ("0.00000001", 8, "0.00000001"),
    ],
)
def test_a_price_has_exactly_its_decimals(price: str, decimals: int, text: str) -> None:
    assert price_text(Decimal(price), decimals) == text


def test_a_price_is_never_rounded_into_the_chain() -> None:
    with pytest.raises(ChainBroken, match=r"tick 1: 1\.100001 has more than 5 decimals"):
        chain_of((at(0), 1, "1.100001"))
    with pytest.raises(ValueError):
        price_text(Decimal("150.5"), 0)


@pytest.mark.parametrize(
    "tick",
    [
        (at(2), 3, "1.2"),
        (at(2), 2, "1.2"),
        (at(1), 4, "1.2"),
        (at(0), 4, "1.2"),
        (NOON + timedelta(hours=12), 4, "1.2"),
    ],
)
def test_what_cannot_stand_there_is_named(tick: tuple[datetime, int, str]) -> None:
    with pytest.raises(ChainBroken, match=f"EURUSD: tick {tick[1]} "):
        chain_of((at(1), 3, "1.1"), tick)


def test_late_ticks_are_counted_and_take_no_part() -> None:
    rows: list[ArchivedTick] = [
        (at(1), -1, Decimal(9), True),
        (at(1), 1, Decimal("1.1"), False),
        (at(2), -2, Decimal(9), True),
    ]
    survey = Survey("EURUSD", DAY, 5)
    assert list(survey.through(rows)) == rows
    assert survey.sums() == (1, (at(1), 1), (at(1), 1), chain_of((at(1), 1, "1.1")).head, 2)


@given(st.lists(st.integers(1, 10**6), min_size=2, max_size=20), st.data())
def test_every_change_of_the_ticks_is_a_change_of_the_head(prices: list[int], data: st.DataObject) -> None:
    ticks = [(at(n), n + 1, str(Decimal(price).scaleb(-5))) for n, price in enumerate(prices)]
    head = chain_of(*ticks).head
    index = data.draw(st.integers(0, len(ticks) - 1))
    when, seq, price = ticks[index]
    others = [
        [*ticks[:index], *ticks[index + 1 :]],
        [*ticks[:index], (when, seq, str(Decimal(price) + Decimal("0.00001"))), *ticks[index + 1 :]],
        [*ticks[:index], (when + timedelta(microseconds=1), seq, price), *ticks[index + 1 :]],
    ]
    assert all(chain_of(*changed).head != head for changed in others)
