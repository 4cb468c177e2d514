"""Market data messages read, and the books they make: whole snapshots, and changes to single entries."""

from collections import Counter
from collections.abc import Collection
from decimal import Decimal
from typing import NamedTuple

from quotes.sources.fix.messages import Field, Message, Unreadable, read_price

BID, OFFER, EMPTY_BOOK = "0", "1", "J"
NEW, CHANGE, DELETE = "0", "1", "2"
# MDEntryType of what makes a price; trades, volumes and the like are passed over.
SIDES = frozenset({BID, OFFER})
CLOSED = "B"
MOST_ENTRIES = 10_000


class Entry(NamedTuple):
    """One entry of a snapshot or of an incremental refresh; what it leaves out is ""; a price None."""

    action: str
    side: str
    id: str
    replaces: str
    symbol: str
    price: Decimal | None
    is_closed: bool


def read_entries(message: Message) -> list[Entry]:
    """Return the entries of a snapshot (W) or an incremental refresh (X). Raises Unreadable."""
    return [_entry(dict(reversed(group)), message.type == "W") for group in message.group(268)]


def _entry(fields: dict[int, str], is_snapshot: bool) -> Entry:
    action, side = NEW if is_snapshot else fields.get(279, ""), fields.get(269, "")
    if action not in (NEW, CHANGE, DELETE):
        raise Unreadable("field 279 is no update action", 279)
    price = fields.get(270, "")
    return Entry(
        action,
        side,
        fields.get(278, ""),
        fields.get(280, ""),
        fields.get(55, ""),
        # A trade's price, or the level of an index, may be anything.
        read_price(price) if price and side in (*SIDES, "") else None,
        CLOSED in fields.get(276, "").split(" "),
    )


Key = tuple[str, str | Decimal]
Quoted = tuple[str, Decimal | None]


class Book:
    """The bids and offers of one symbol, in whatever order they come.

    Entries are known by their id, or by side and price. Where only the top was asked for and the peer gives
    no ids, each side has one entry, which the next one replaces; a snapshot with several tells otherwise.
    """

    def __init__(self, depth: int) -> None:
        self._is_top = self._asked_top = depth == 1
        self._entries: dict[Key, Quoted] = {}

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()

    def replace(self, entries: Collection[Entry]) -> None:
        """Take a snapshot over."""
        sides = Counter(entry.side for entry in entries)
        self._is_top = self._asked_top and max(sides[BID], sides[OFFER]) <= 1
        self.clear()
        for entry in entries:
            self.apply(entry)

    def apply(self, entry: Entry) -> None:
        """Take a change over. Raises Unreadable for one that says too little, or for a book without end."""
        if entry.side == EMPTY_BOOK:
            self.clear()
            return
        known = self._entries.get(("id", entry.id)) if entry.id else None
        side = entry.side or (known[0] if known else "")
        if entry.action == DELETE:
            self._delete(entry, side)
            return
        if side not in SIDES:
            if not side:
                raise Unreadable("an entry has no side", 269, 1)
            return
        price = entry.price if entry.price is not None or known is None else known[1]
        if price is None:
            raise Unreadable("an entry has no price", 270, 1)
        self._entries.pop(("id", entry.replaces), None)
        if self._is_top:
            # A snapshot without ids and changes with them, or the other way round, speak of the same entry.
            self._forget(side, with_ids=not entry.id)
        self._entries[self._key(entry, side, price)] = (side, None if entry.is_closed else price)
        if len(self._entries) > MOST_ENTRIES:
            raise Unreadable("a book has too many entries", 268)

    def _key(self, entry: Entry, side: str, price: Decimal) -> Key:
        if entry.id:
            return "id", entry.id
        return (side, "") if self._is_top else (side, price)

    def _forget(self, side: str, *, with_ids: bool) -> None:
        for key in [key for key, (kept, _) in self._entries.items() if kept == side]:
            if (key[0] == "id") == with_ids:
                del self._entries[key]

    def _delete(self, entry: Entry, side: str) -> None:
        if self.knows(entry.id):
            del self._entries["id", entry.id]
            return
        if not self._is_top:
            if entry.price is not None:
                self._entries.pop((side, entry.price), None)
            return
        # The entry may have been replaced before the one before it is deleted.
        top = self._entries.get((side, ""))
        if top is not None and entry.price in (None, top[1]):
            del self._entries[(side, "")]

    def top(self) -> tuple[Decimal, Decimal] | None:
        """Return the highest bid and the lowest offer, None while one of them is missing."""
        sides: dict[str, list[Decimal]] = {BID: [], OFFER: []}
        for side, price in self._entries.values():
            if price is not None:
                sides[side].append(price)
        return (max(sides[BID]), min(sides[OFFER])) if sides[BID] and sides[OFFER] else None

    def knows(self, entry_id: str) -> bool:
        """Tell whether an entry of that id is in it."""
        return bool(entry_id) and ("id", entry_id) in self._entries


class Books:
    """The books of the symbols asked for; `ignored` counts messages for others."""

    def __init__(self, depth: int, ignored: Counter[str]) -> None:
        self._depth, self._ignored = depth, ignored
        self._books: dict[str, Book] = {}

    def follow(self, symbols: Collection[str]) -> None:
        """Have exactly these; a new one is empty."""
        self._books = {symbol: self._books.get(symbol) or Book(self._depth) for symbol in symbols}

    def tops(self) -> dict[str, tuple[Decimal, Decimal]]:
        """Return the best bid and offer of every book that has both."""
        tops = {symbol: book.top() for symbol, book in self._books.items()}
        return {symbol: top for symbol, top in tops.items() if top is not None}

    def top(self, symbol: str) -> tuple[Decimal, Decimal] | None:
        """Return the best bid and offer of a symbol, None while one of them is missing."""
        return self._books[symbol].top()

    def without_top(self) -> list[str]:
        """Return the symbols that have no bid or no offer."""
        return [symbol for symbol, book in self._books.items() if book.top() is None]

    def take(self, message: Message, requested: Collection[str]) -> list[str]:
        """Take a snapshot or an incremental refresh over; return the symbols it spoke of.

        `requested` are those of the request it answers, by which it is known if it names none. Raises
        Unreadable; the book of a snapshot that cannot be read is empty then.
        """
        if message.type == "W":
            return self._take_snapshot(message, requested)
        return self._take_changes(message, requested)

    def _take_snapshot(self, message: Message, requested: Collection[str]) -> list[str]:
        symbol = message.get(55) or _only(requested)
        book = self._books.get(symbol)
        if book is None:
            self._ignored[symbol or "no symbol"] += 1
            return []
        try:
            book.replace(read_entries(message))
        except Unreadable:
            book.clear()
            raise
        return [symbol]

    def _take_changes(self, message: Message, requested: Collection[str]) -> list[str]:
        touched: dict[str, None] = {}
        symbol = ""
        for entry in read_entries(message):
            # An entry that names none speaks of the one the entry before it spoke of.
            symbol = entry.symbol or symbol or _only(requested) or self._owner(entry)
            book = self._books.get(symbol)
            if book is None:
                self._ignored[symbol or "no symbol"] += 1
                continue
            book.apply(entry)
            touched[symbol] = None
        return list(touched)

    def _owner(self, entry: Entry) -> str:
        for symbol, book in self._books.items():
            if book.knows(entry.id) or book.knows(entry.replaces):
                return symbol
        return ""


def _only(symbols: Collection[str]) -> str:
    return next(iter(symbols)) if len(symbols) == 1 else ""


def request(
    request_id: str, symbols: Collection[str], depth: int, update_type: int, *, ends: bool
) -> list[Field]:
    """Return the body of a MarketDataRequest (V) for bids and offers, which begins or ends a subscription."""
    return [
        (262, request_id),
        (263, "2" if ends else "1"),
        (264, str(depth)),
        (265, str(update_type)),
        (267, "2"),
        (269, BID),
        (269, OFFER),
        (146, str(len(symbols))),
        *((55, symbol) for symbol in symbols),
    ]
