"""One instrument on its way in: what its sources quote, filtered, merged, conflated and stamped in order."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from config.core import clock
from quotes.rules import (
    BEGINNING,
    LEAST_FOR_MEDIAN,
    Quote,
    QuoteFilter,
    best_of,
    median_of,
    mid_price,
)

INSTANT = timedelta(microseconds=1)
MILLISECOND = timedelta(milliseconds=1)
# What is held while the database is away; beyond it the stretch is given up and becomes a gap.
MOST_HELD = 200_000


@dataclass(frozen=True, slots=True)
class Subscription:
    """What a feed needs to know of an instrument; the same settings compare equal.

    `source` and `source_symbol` name its first source, `further` the others in the order of their rank.
    """

    instrument_id: int
    symbol: str
    price_decimals: int
    source: str
    source_symbol: str
    tick_interval_ms: int
    max_quote_age_ms: int
    max_spread: Decimal
    max_jump: Decimal
    simulated_price: Decimal | None
    simulated_volatility: Decimal | None
    simulated_interval_ms: int
    aggregation: str = "primary"
    further: tuple[tuple[str, str], ...] = ()
    max_source_age_ms: int = 5_000
    fail_over_after_ms: int = 3_000
    fail_back_after_ms: int = 30_000

    def by_source(self) -> "Iterator[Subscription]":
        """Return it once for each of its sources, as that source is to deliver it."""
        yield self
        for source, symbol in self.further:
            yield replace(self, source=source, source_symbol=symbol)


# Whoever configures a source decides where its secret is sent: no other secret of the platform is his.
SECRETS_BEGIN = "source-"


@dataclass(frozen=True, slots=True)
class Connection:
    """A source as operators configured it; `config.core.secrets` knows what `secret_ref` names."""

    code: str
    kind: str
    url: str = ""
    secret_ref: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash((self.code, self.kind, self.url, self.secret_ref))


class Link:
    """One connection of a source; `sign` is the last instant at which it was known to deliver everything.

    When no sign comes for longer than `silence`, what lies between is not known to be complete. A pinged
    connection then delivers nothing until it has answered a ping asked later: what it brings first may have
    waited in a buffer, and its age is not known.
    """

    __slots__ = ("asked_at", "is_pinged", "lag_ms", "sign", "silence", "source", "stalled_at")

    def __init__(
        self, silence: timedelta, lag_ms: int | None = None, source: str = "", is_pinged: bool = False
    ) -> None:
        self.sign = clock.now()
        self.silence = silence
        self.is_pinged = is_pinged
        # Of the ping that waits for its answer.
        self.asked_at: datetime | None = None
        self.stalled_at: datetime | None = None
        # Whose it is: an instrument that has gone to another source takes nothing of it any more.
        self.source = source
        self.lag_ms = lag_ms

    def lag(self, now: datetime) -> int | None:
        """Return the milliseconds of the last round trip, or of the one under way if that takes longer."""
        if self.asked_at is None:
            return self.lag_ms
        return max(self.lag_ms or 0, round((now - self.asked_at) / MILLISECOND))

    def is_silent(self, now: datetime) -> bool:
        """Tell whether nothing was heard, or a ping not answered, for longer than the limit."""
        return now - min(self.sign, self.asked_at or self.sign) > self.silence


class Quoter:
    """What one source says of the instrument."""

    __slots__ = ("at", "filter", "link", "quote", "rank", "source", "stalled", "up_since")

    def __init__(self, source: str, rank: int, subscription: Subscription) -> None:
        self.source, self.rank = source, rank
        self.link: Link | None = None
        self.quote: Quote | None = None
        self.at = self.up_since = BEGINNING
        # Quotes of unknown age, dropped.
        self.stalled = 0
        self.filter = QuoteFilter(subscription.max_spread, subscription.max_jump)

    def lose(self) -> None:
        """Forget what it said: its line is cut, or it has taken its price back."""
        self.link = self.quote = None


class Lane:
    """Merges what the sources of one instrument quote into ticks, by the instrument's policy.

    `primary`: the first source by rank that delivers; `best`: best bid and ask of all that are fresh;
    `median`: of at least three that are fresh. `makers` made the last price; `label` names whose prices the
    ticks are: the source, or with several together the policy.
    """

    __slots__ = (
        "_age",
        "_fail_back",
        "_fail_over",
        "_needed",
        "_unit",
        "began_at",
        "held",
        "held_until",
        "is_live",
        "label",
        "last_price",
        "makers",
        "must_part",
        "passed_over",
        "quote",
        "quoters",
        "resumes_at",
        "stamped",
        "subscription",
        "ticks",
    )

    def __init__(self, subscription: Subscription) -> None:
        self.subscription = subscription
        self.ticks: list[tuple[datetime, Decimal]] = []
        self.stamped = self.held_until = BEGINNING
        self.quoters: dict[str, Quoter] = {}
        self.makers: list[Quoter] = []
        self.began_at: datetime | None = None
        # Whether prices up to now are known; while it is not, the watermark stands.
        self.is_live = False
        # What follows does not compare with what was recorded before.
        self.must_part = False
        self.label = ""
        self.resumes_at: datetime | None = None
        self.held: tuple[Decimal, Quote] | None = None
        # Of the newest tick.
        self.quote: Quote | None = None
        self.last_price: Decimal | None = None
        # Quotes that counted and made no tick, because another source made the price.
        self.passed_over = 0
        self.follow(subscription)

    def follow(self, subscription: Subscription) -> None:
        """Take over changed settings; with other sources or another policy begin anew."""
        before = self.subscription
        feeds = {each.source: each.source_symbol for each in subscription.by_source()}
        known = {each.source: each.source_symbol for each in before.by_source()}
        if any(feeds[source] != known[source] for source in feeds.keys() & known.keys()):
            self.part()  # one of its sources now quotes something else
        if list(feeds) != list(known) or subscription.aggregation != before.aggregation:
            self._begin_anew()
        if not self.quoters or list(feeds.items()) != list(known.items()):
            self.quoters = {source: Quoter(source, rank, subscription) for rank, source in enumerate(feeds)}
        for quoter in self.quoters.values():
            quoter.filter.limit(subscription.max_spread, subscription.max_jump)
        if subscription.tick_interval_ms != before.tick_interval_ms:
            self.held = None
        self.subscription = subscription
        self._unit = Decimal(1).scaleb(-subscription.price_decimals)
        self._needed = LEAST_FOR_MEDIAN if subscription.aggregation == "median" else 1
        self._age = timedelta(milliseconds=subscription.max_source_age_ms)
        self._fail_over = timedelta(milliseconds=subscription.fail_over_after_ms)
        self._fail_back = timedelta(milliseconds=subscription.fail_back_after_ms)

    def part(self) -> None:
        """Record that what follows does not compare with what was before: nothing is decided across it.

        What waits to be written goes with it; the gap that is recorded covers it.
        """
        self._begin_anew()
        self.must_part, self.ticks = True, []
        for quoter in self.quoters.values():
            quoter.lose()
            quoter.filter.forget()

    def _begin_anew(self) -> None:
        # What waits to be written stays, under its label: it was here before the change.
        self.makers, self.held, self.quote, self.began_at = [], None, None, None
        self.is_live = False

    # --- what sources say -----------------------------------------------------------------------------

    def take(
        self, bid: Decimal, ask: Decimal, at: datetime, link: Link, *, is_made_here: bool = False
    ) -> bool:
        """Take a quote in; return whether it makes a tick. What is made here passes as it is."""
        quoter = self._quoter(link)
        if quoter is None:
            return False
        if link.stalled_at is not None:
            quoter.stalled += 1
            return False
        quote = Quote(bid, ask)
        if is_made_here:
            quoter.filter.accepted += 1
        elif not quoter.filter.accepts(quote, at, self._others(quoter, at)):
            return False
        if quoter.link is None:
            quoter.up_since = at
        quoter.link, quoter.quote, quoter.at = link, quote, at
        merged = self._merged(quoter, at)
        if merged is None:
            self.passed_over += 1
            return False
        price = mid_price(merged, self._unit)
        if price <= 0:
            quoter.filter.dropped["non_positive"] += 1
            return False
        if not self.is_live:
            self.is_live, self.resumes_at = True, at
        self.last_price = price
        self._make_tick(price, merged, at)
        return True

    def _quoter(self, link: Link) -> Quoter | None:
        if not link.source:
            return next(iter(self.quoters.values()))
        return self.quoters.get(link.source)

    def _others(self, quoter: Quoter, at: datetime) -> Iterator[Decimal]:
        return (each.quote.mid for each in self._fresh(at) if each is not quoter and each.quote is not None)

    def _fresh(self, at: datetime) -> Iterator[Quoter]:
        return (
            each
            for each in self.quoters.values()
            if each.link is not None and each.quote is not None and at - each.at <= self._age
        )

    def _merged(self, quoter: Quoter, at: datetime) -> Quote | None:
        """Return the instrument's quote after this one of a source, None when it does not change it."""
        policy = self.subscription.aggregation
        if policy == "primary":
            return quoter.quote if self._makes_price(quoter, at) else None
        makers = list(self._fresh(at))
        if len(makers) < self._needed:
            # The market has moved, and too few say where to: from here on no price is known.
            self._stop()
            return None
        if not self._is_free_for(policy):
            return None
        self.makers, self.label = makers, policy
        quotes = [each.quote for each in makers if each.quote is not None]
        return best_of(quotes, self._unit) if policy == "best" else median_of(quotes, self._unit)

    def _is_free_for(self, label: str) -> bool:
        """Tell whether ticks of this label may follow: a batch to be written has one."""
        return not self.ticks or self.label == label

    def _makes_price(self, quoter: Quoter, at: datetime) -> bool:
        """Tell whether this source makes the price, and let it take over where its turn has come.

        Where ticks of the other wait to be written, it takes over with its next quote.
        """
        active = self.makers[0] if self.makers else None
        if active is quoter:
            return True
        self.began_at = self.began_at or at
        if active is None:
            may = quoter.rank == 0 or at - self.began_at > self._fail_over
        else:
            may = self._may_follow(quoter, active, at)
        if not may or not self._is_free_for(quoter.source):
            return False
        self.makers, self.label = [quoter], quoter.source
        if active is not None:
            # What is held is of the other, which has said nothing since.
            self.held, self.resumes_at, self.is_live = None, at, True
        return True

    def _may_follow(self, quoter: Quoter, active: Quoter, at: datetime) -> bool:
        if active.link is None or active.quote is None or quoter.quote is None:
            return True
        # A source that beats rarely is not silent between its beats.
        is_silent = at - active.link.sign > max(self._fail_over, active.link.silence)
        is_better = quoter.rank < active.rank and at - quoter.up_since >= self._fail_back
        # Its line stands, but it has long not quoted this instrument, and the market is elsewhere.
        apart = quoter.quote.bid > active.quote.ask or quoter.quote.ask < active.quote.bid
        return is_silent or is_better or (apart and at - active.at > self._fail_back)

    # --- what is known --------------------------------------------------------------------------------

    def sign(self) -> datetime | None:
        """Return the instant up to which the prices are all here, None when that is not known.

        Those who made the last price count: of `primary` and `best` one is enough, of `median` three.
        """
        signs = sorted((each.link.sign for each in self.makers if each.link is not None), reverse=True)
        return signs[self._needed - 1] if len(signs) >= self._needed else None

    def lag(self, now: datetime) -> int | None:
        """Return the largest lag among those who made the last price; None where none is known."""
        lags = [each.link.lag(now) for each in self.makers if each.link is not None]
        return max((lag for lag in lags if lag is not None), default=None)

    def cut(self, link: Link) -> None:
        """Forget a connection; without enough others nothing is known from here on."""
        for quoter in self.quoters.values():
            if quoter.link is link:
                quoter.lose()
        self._check()

    def withdraw(self, link: Link) -> None:
        """Forget the quote of a source that has taken it back."""
        if (quoter := self._quoter(link)) is not None:
            quoter.lose()
        self._check()

    def _check(self) -> None:
        if self.sign() is None:
            self._stop()

    def _stop(self) -> None:
        # What is held would move the watermark of a line that says nothing any more.
        self.is_live, self.held = False, None

    def move(self, old: Link, new: Link) -> None:
        """Let a connection go on where another ends that it overlaps."""
        for quoter in self.quoters.values():
            if quoter.link is old:
                quoter.link = new

    # --- ticks ----------------------------------------------------------------------------------------

    def _make_tick(self, price: Decimal, quote: Quote, at: datetime) -> None:
        """Make a tick of a price, or hold it until its interval ends."""
        interval_ms = self.subscription.tick_interval_ms
        if not interval_ms:
            self._stamp(price, quote, at)
            return
        self.release(at)
        if self.held is None:
            interval = timedelta(milliseconds=interval_ms)
            self.held_until = at - (at - BEGINNING) % interval + interval
        self.held = price, quote

    def is_due(self, at: datetime) -> bool:
        """Tell whether the interval of the price held had ended at an instant."""
        return self.held is not None and at >= self.held_until

    def release(self, at: datetime) -> None:
        """Make a tick of the last price of an interval that has ended."""
        if self.held is not None and self.is_due(at):
            self._stamp(*self.held, at)
            self.held = None

    def _stamp(self, price: Decimal, quote: Quote, at: datetime) -> None:
        if len(self.ticks) >= MOST_HELD:
            self.ticks.clear()
            self.resumes_at = at
        if at <= self.stamped:
            at = self.stamped + INSTANT
        self.stamped, self.quote = at, quote
        self.ticks.append((at, price))
