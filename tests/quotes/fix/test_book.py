"""Books: snapshots and changes, with ids and without, in whatever order."""

from collections import Counter
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotes.sources.fix.book import MOST_ENTRIES, Book, Books, read_entries, request
from quotes.sources.fix.messages import Message, Unreadable

Pairs = list[tuple[int, str]]


def entry(spec: str, *, is_change: bool) -> Pairs:
    """Read `new bid 1.1 #A @EURUSD >B closed`: action, side, price, id, symbol, replaced id."""
    fields: Pairs = []
    words = spec.split()
    if is_change:
        fields.append((279, {"new": "0", "change": "1", "delete": "2", "thru": "3"}[words.pop(0)]))
    for word in words:
        if word in ("bid", "ask", "trade", "empty"):
            fields.append((269, {"bid": "0", "ask": "1", "trade": "2", "empty": "J"}[word]))
        elif word[0] in "#@>":
            fields.append(({"#": 278, "@": 55, ">": 280}[word[0]], word[1:]))
        elif word == "closed":
            fields.append((276, "A B"))
        else:
            fields.append((270, word))
    return fields


def w(*specs: str, symbol: str = "EURUSD", head: Pairs = []) -> Message:  # noqa: B006
    fields = [pair for spec in specs for pair in entry(spec, is_change=False)]
    named = [(55, symbol)] if symbol else []
    return Message("FIX.4.4", "W", (*head, *named, (268, str(len(specs))), *fields))


def x(*specs: str) -> Message:
    fields = [pair for spec in specs for pair in entry(spec, is_change=True)]
    return Message("FIX.4.4", "X", ((268, str(len(specs))), *fields))


def books(depth: int = 1, *symbols: str) -> Books:
    made = Books(depth, Counter())
    made.follow(symbols or ("EURUSD",))
    return made


def tops(depth: int, *messages: Message) -> list[str]:
    """Return `bid/ask` of EURUSD after each message, "-" where a side is missing."""
    made, said = books(depth), []
    for message in messages:
        made.take(message, ("EURUSD",))
        top = made.top("EURUSD")
        said.append(f"{top[0]}/{top[1]}" if top else "-")
    return said


@pytest.mark.parametrize(
    ("depth", "messages", "expected"),
    [
        pytest.param(1, [w("bid 1.1", "ask 1.2")], ["1.1/1.2"], id="a snapshot"),
        pytest.param(0, [w("ask 1.3", "bid 1.0", "ask 1.2", "bid 1.1", "ask 1.4")], ["1.1/1.2"],
                     id="an unsorted snapshot"),
        pytest.param(1, [w("bid 1.1", "ask 1.2"), w("bid 1.1")], ["1.1/1.2", "-"], id="a side has gone"),
        pytest.param(1, [w("bid 1.1", "ask 1.2"), w()], ["1.1/1.2", "-"], id="an empty snapshot"),
        pytest.param(1, [w("bid 1.1", "ask 1.2"), w("empty")], ["1.1/1.2", "-"], id="the book is empty"),
        pytest.param(1, [w("bid 1.1 closed", "ask 1.2")], ["-"], id="not tradeable"),
        pytest.param(1, [w("bid 1.1", "ask 1.2", "trade 9.9")], ["1.1/1.2"], id="trades are passed over"),
        pytest.param(
            1,
            [w("bid 1.1 #A", "ask 1.2 #B"), x("change bid 1.15 #A"), x("change #B 1.3"), x("delete #A"),
             x("new bid 1.05 #C")],
            ["1.1/1.2", "1.15/1.2", "1.15/1.3", "-", "1.05/1.3"], id="by id",
        ),
        pytest.param(1, [w("bid 1.1 #A", "ask 1.2 #B"), x("change #A"), x("change bid 1.0 #A2 >A")],
                     ["1.1/1.2", "1.1/1.2", "1.0/1.2"], id="a change that replaces an id, or only a size"),
        pytest.param(0, [w("bid 1.1 #A", "bid 1.0 #B", "ask 1.2 #C"), x("delete bid #A"), x("delete bid #Z")],
                     ["1.1/1.2", "1.0/1.2", "1.0/1.2"], id="the next level, and an unknown id"),
        pytest.param(
            0,
            [w("bid 1.1", "bid 1.0", "ask 1.2"), x("new bid 1.15"), x("delete bid 1.15"),
             x("change bid 1.1"), x("delete bid 1.10", "new ask 1.05")],
            ["1.1/1.2", "1.15/1.2", "1.1/1.2", "1.1/1.2", "1.0/1.05"], id="by side and price",
        ),
        pytest.param(
            1,
            [w("bid 1.1", "ask 1.2"), x("new bid 1.0"), x("change bid 1.05"), x("delete bid 1.0"),
             x("delete bid 1.05"), x("new bid 1.1", "delete bid 1.05"), x("delete bid")],
            ["1.1/1.2", "1.0/1.2", "1.05/1.2", "1.05/1.2", "-", "1.1/1.2", "-"],
            id="only the top, without ids",
        ),
        pytest.param(1, [w("bid 1.1", "ask 1.2"), x("new bid 1.0 #A"), x("new bid 0.9")],
                     ["1.1/1.2", "1.0/1.2", "0.9/1.2"], id="ids begin, and end, with a change"),
        pytest.param(1, [w("bid 1.1", "bid 1.0", "ask 1.2"), x("new bid 1.05"), x("delete bid 1.1")],
                     ["1.1/1.2", "1.1/1.2", "1.05/1.2"], id="the top was asked for, the whole book came"),
        pytest.param(1, [x("new bid 1.1 #A"), x("new ask 1.2 #B")], ["-", "1.1/1.2"],
                     id="no snapshot at all"),
    ],
)  # fmt: skip
def test_a_book_comes_to(depth: int, messages: list[Message], expected: list[str]) -> None:
    assert tops(depth, *messages) == expected


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (w("bid x"), "no price"),
        (w("bid 1e5"), "no price"),
        (w("bid"), "has no price"),
        (w("1.1"), "has no side"),
        (x("thru bid 1.1"), "no update action"),
        (x("new bid"), "has no price"),
        (x("change #Z"), "has no side"),
        (Message("FIX.4.4", "X", ((268, "1"), (269, "0"), (270, "1"))), "no update action"),
        (Message("FIX.4.4", "X", ()), "no field 268"),
        (Message("FIX.4.4", "W", ((55, "EURUSD"), (268, "2"), (269, "0"), (270, "1"))), "counts wrongly"),
    ],
)
def test_what_cannot_be_read_is_refused(message: Message, says: str) -> None:
    with pytest.raises(Unreadable, match=says):
        books().take(message, ("EURUSD",))


def test_a_snapshot_that_cannot_be_read_leaves_no_book() -> None:
    made = books()
    made.take(w("bid 1.1", "ask 1.2"), ())
    with pytest.raises(Unreadable):
        made.take(w("bid 1.1", "ask 1.2", "bid x"), ())
    assert made.top("EURUSD") is None


def test_a_book_has_an_end() -> None:
    book = Book(0)
    book.replace(read_entries(w(*(f"bid {number}" for number in range(1, MOST_ENTRIES + 1)))))
    with pytest.raises(Unreadable, match="too many entries"):
        book.apply(read_entries(x("new bid 0.5"))[0])


def test_the_symbol_is_told_by_the_message_or_else_by_the_request_or_the_entries() -> None:
    made = books(1, "EURUSD", "GBPUSD")
    assert made.take(w("bid 1.1 #A", "ask 1.2 #B"), ()) == ["EURUSD"]
    # Without 55, by the only symbol of its request.
    assert made.take(w("bid 1.3 #C", "ask 1.4 #D", symbol=""), ("GBPUSD",)) == ["GBPUSD"]
    assert made.take(w("bid 9", symbol=""), ("EURUSD", "GBPUSD")) == []
    # An entry says it for those after it.
    changed = x("change bid 1.35 #C @GBPUSD", "change ask 1.45 #D", "change bid 1.15 #A @EURUSD")
    assert made.take(changed, ()) == ["GBPUSD", "EURUSD"]
    # Or its id does.
    assert made.take(x("change bid 1.36 #C"), ("EURUSD", "GBPUSD")) == ["GBPUSD"]
    assert made.take(x("new bid 1.37 #E >C"), ()) == ["GBPUSD"]
    assert made.tops() == {
        "EURUSD": (Decimal("1.15"), Decimal("1.2")),
        "GBPUSD": (Decimal("1.37"), Decimal("1.45")),
    }


def test_what_nobody_asked_for_is_counted() -> None:
    ignored: Counter[str] = Counter()
    made = Books(1, ignored)
    made.follow(["EURUSD"])
    assert made.take(w("bid 1", symbol="USDJPY"), ()) == []
    assert made.take(x("new bid 1 @USDJPY", "new bid 1 @EURUSD"), ()) == ["EURUSD"]
    assert made.take(x("delete #Q"), ()) == []
    assert ignored == {"USDJPY": 2, "no symbol": 1}


def test_a_symbol_that_is_not_followed_any_more_is_forgotten() -> None:
    made = books()
    made.take(w("bid 1.1", "ask 1.2"), ())
    made.follow(["GBPUSD"])
    made.follow(["EURUSD", "GBPUSD"])
    assert made.top("EURUSD") is None


PRICES = st.integers(1, 9).map(lambda each: Decimal(each) / 10)
CHANGES = st.lists(
    st.tuples(st.sampled_from(["new", "change", "delete"]), st.sampled_from(["bid", "ask"]), PRICES,
              st.integers(0, 5)),
    max_size=40,
)  # fmt: skip


@given(CHANGES)
def test_a_book_by_ids_is_what_a_simple_computation_says(
    changes: list[tuple[str, str, Decimal, int]],
) -> None:
    made, kept = books(0), dict[int, tuple[str, Decimal]]()
    for action, side, price, number in changes:
        made.take(x(f"{action} {side} {price} #{number}"), ("EURUSD",))
        if action == "delete":
            kept.pop(number, None)
        else:
            kept[number] = (side, price)
    bids = [price for side, price in kept.values() if side == "bid"]
    asks = [price for side, price in kept.values() if side == "ask"]
    assert made.top("EURUSD") == ((max(bids), min(asks)) if bids and asks else None)


def test_a_request_is_these_fields() -> None:
    assert request("R1", ["EURUSD", "GBPUSD"], 1, 1, ends=False) == [
        (262, "R1"), (263, "1"), (264, "1"), (265, "1"), (267, "2"), (269, "0"), (269, "1"), (146, "2"),
        (55, "EURUSD"), (55, "GBPUSD"),
    ]  # fmt: skip
    assert request("R1", ["EURUSD"], 0, 0, ends=True)[1:4] == [(263, "2"), (264, "0"), (265, "0")]
