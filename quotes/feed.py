"""The feed: sources on their own event loop, one writer that makes their quotes the record."""

import time
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Protocol

import structlog
from django.db import DatabaseError, OperationalError
from prometheus_client import Counter, Gauge, Histogram

from config.core import clock
from config.core.faults import faultpoint
from quotes import selectors, services
from quotes.errors import Deposed, PartitionMissing
from quotes.intake import INSTANT, Collected, Counts, Intake, Subscription, subscription_of
from quotes.lanes import Connection
from quotes.live import LivePrices
from quotes.models import Gap, Instrument, Watermark
from quotes.rules import LIVE_FRAMES
from quotes.services import Appended, Stretch
from quotes.sources.thread import SourceThread

log = structlog.get_logger(__name__)

# A quiet market's watermark moves this often; ticks do not wait for it.
HEARTBEAT_SECONDS = 0.1
MANY_TICKS = 1_000
RELOAD_SECONDS = 1.0
PARTITIONS_SECONDS = 60.0
RETRY_PARTITION_SECONDS = 1.0
# A pause of the feed or of its source that is longer than a few batches leaves prices unknown: a gap.
PAUSE_WITHOUT_GAP = timedelta(seconds=1)

TICKS = Counter("quotes_ticks", "Ticks written", ["symbol"])
LATE = Counter("quotes_late_ticks", "Ticks that came after their watermark", ["symbol"])
DROPPED = Gauge(
    "quotes_dropped_quotes",
    "Quotes that made no tick, since the lane's start",
    ["symbol", "source", "reason"],
)
AGE = Gauge("quotes_watermark_age_seconds", "How far the watermark is behind the clock", ["symbol"])
UP = Gauge("quotes_source_up", "1 while the instrument's source is connected", ["symbol", "source"])
OFFSET = Gauge("quotes_source_offset_seconds", "A source's clock less ours, median", ["source"])
GAPS = Counter("quotes_gaps", "Gaps recorded by the feed", ["symbol", "reason"])
BATCH = Histogram(
    "quotes_batch_seconds",
    "One batch: from collecting to committed",
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5),
)
PARTITION_ALARM = Gauge("quotes_partition_missing", "1 while ticks cannot be written for want of their day")


class Sources(Protocol):
    """Who has the sources deliver: a thread, or a drill that quotes itself."""

    def watch(self, subscriptions: Iterable[Subscription], connections: Iterable[Connection]) -> None:
        """Have these sources deliver exactly these."""

    def stop(self) -> None:
        """End every source."""


def _changed(before: Iterable[Connection], now: Iterable[Connection]) -> set[str]:
    """Name the sources that were configured before and are configured differently now."""
    known = {each.code: each for each in before}
    return {each.code for each in now if each.code in known and each != known[each.code]}


class Feed:
    """Writes what the sources deliver; one at a time, by the epoch it starts."""

    def __init__(self, sources: Sources | None = None) -> None:
        self.intake = Intake()
        self._live = LivePrices()
        self._sources: Sources = sources or SourceThread(self.intake)
        self._epoch = 0
        self._subscriptions: dict[str, Subscription] = {}
        self._connections: list[Connection] = []
        self._symbols: dict[int, str] = {}
        self._marks: dict[int, datetime] = {}
        # Whose prices the record of each ends with.
        self._recorded: dict[int, str] = {}
        self._unwritten: dict[int, Collected] = {}
        # Whose first price of this reign has come: a later pause is the source's, not ours.
        self._begun: set[int] = set()
        self._days: set[date] = set()
        self._heartbeat_at = self._reload_at = self._partitions_at = self._measured_at = 0.0
        # Quotes of each source at the last look.
        self._heard: dict[str, int] = {}

    # --- reigns ---------------------------------------------------------------------------------------

    def take_over(self) -> None:
        """Begin a reign: end every earlier epoch, look at each watermark, start the sources.

        When nobody has reigned in between (the database was away), what was received meanwhile is kept.
        """
        epoch = services.take_over(list(Instrument.objects.values_list("pk", flat=True)))
        if epoch != self._epoch + 1:
            self._sources.watch([], [])
            self.intake.follow([], {})
            self._subscriptions, self._connections, self._unwritten = {}, [], {}
            self._begun.clear()
        self._epoch = epoch
        self.open_days()
        self.reload()
        log.info("feed took over", epoch=epoch, instruments=sorted(self._subscriptions))

    def stop(self) -> None:
        """Stop the sources and write what they have delivered, unless another feed already reigns."""
        self._sources.stop()
        if not self._epoch:
            return
        try:
            self.flush()
        except (Deposed, OperationalError) as error:
            log.warning("the last batch was not written", error=str(error))

    def reload(self) -> None:
        """Follow the instruments as they are stored: new ones, and changed settings."""
        rows = list(Instrument.objects.select_related("watermark").prefetch_related("quotations"))
        subscriptions = {row.symbol: subscription_of(row) for row in rows}
        self._live.mark_up(selectors.mark_ups())
        connections = selectors.connections()
        if subscriptions == self._subscriptions and connections == self._connections:
            return
        added = [row for row in rows if row.symbol not in self._subscriptions]
        if added:
            services.take_over([row.pk for row in added], epoch=self._epoch)
        for row in added:
            self._marks[row.pk] = row.watermark.at
            self._recorded[row.pk] = row.watermark.source
            self._symbols[row.pk] = row.symbol
            for frame in LIVE_FRAMES:
                if bar := selectors.newest_candle(row.pk, frame):
                    self._live.know(row.symbol, frame, bar)
        # What was received under the settings of before is written under them.
        self.flush()
        self.intake.part(_changed(self._connections, connections))
        self._subscriptions = subscriptions
        self.intake.follow(subscriptions.values(), {row.symbol: row.watermark.last_price for row in added})
        self._connections = connections
        self._sources.watch(subscriptions.values(), connections)

    # --- the loop -------------------------------------------------------------------------------------

    def step(self) -> bool:
        """Write one batch if there is something to say; return whether more is surely waiting."""
        now = time.monotonic()
        if now - self._reload_at >= RELOAD_SECONDS:
            self._reload_at = now
            self.reload()
            self._measure()
        if now - self._partitions_at >= PARTITIONS_SECONDS:
            self.open_days()
        is_beat = now - self._heartbeat_at >= HEARTBEAT_SECONDS
        if not (is_beat or self._unwritten or self.intake.has_ticks()):
            return False
        self._heartbeat_at = now
        return self.flush()

    def flush(self) -> bool:
        """Write what has come, whatever the time; return whether more is surely waiting."""
        # What could not be written comes first, and alone.
        self._unwritten = self._unwritten or self.intake.collect()
        if not self._unwritten:
            return False
        faultpoint("feed.before_append")
        with BATCH.time():
            appended = self._write()
        # Until here a failure leaves the batch to the next step: no tick is lost while the database is away.
        self._unwritten = {}
        faultpoint("feed.after_append")
        self._note(appended)
        return sum(len(each.rows) for each in appended.values()) >= MANY_TICKS

    def _write(self) -> dict[int, Appended]:
        for instrument_id, each in self._unwritten.items():
            recorded = self._recorded[instrument_id]
            is_other = each.must_part or recorded not in ("", each.stretch.source)
            if each.stretch.ticks and recorded and is_other:
                self._part_sources(instrument_id, each.stretch.ticks[0][0])
            elif each.resumes_at is not None:
                self._record_pause(instrument_id, each.resumes_at)
        stretches = {instrument_id: each.stretch for instrument_id, each in self._unwritten.items()}
        appended = self._append(stretches)
        self._recorded |= {key: stretches[key].source for key, each in appended.items() if each.rows}
        return appended

    def _append(self, stretches: dict[int, Stretch]) -> dict[int, Appended]:
        try:
            return services.append_ticks(epoch=self._epoch, stretches=stretches)
        except PartitionMissing as error:
            PARTITION_ALARM.set(1)
            log.error("a day of ticks has no partition, opening it", error=str(error))
            self._open_missing(at.date() for each in stretches.values() for at, _ in each.ticks)
        return services.append_ticks(epoch=self._epoch, stretches=stretches)

    def _open_missing(self, days: Iterable[date]) -> None:
        try:
            services.open_days(set(days))
        except DatabaseError as error:
            log.critical("a day of ticks cannot be opened; ticks are held until it can", error=str(error))
            time.sleep(RETRY_PARTITION_SECONDS)
            raise OperationalError("a day of ticks cannot be opened") from error
        PARTITION_ALARM.set(0)

    def _record_pause(self, instrument_id: int, resumes_at: datetime) -> None:
        """Record that nothing is known of the pause before `resumes_at`, if that matters."""
        if resumes_at - self._marks[instrument_id] > PAUSE_WITHOUT_GAP:
            begun = instrument_id in self._begun
            reason = Gap.Reason.SOURCE_SILENT if begun else Gap.Reason.FEED_DOWN
            self._record_gap(instrument_id, resumes_at - INSTANT, reason)

    def _part_sources(self, instrument_id: int, first_at: datetime) -> None:
        """Record that another source's prices follow: nothing is decided from one's to the other's."""
        # A gap has a length: a first tick right behind the watermark falls into it.
        ends_at = max(first_at - INSTANT, self._marks[instrument_id] + INSTANT)
        if not self._record_gap(instrument_id, ends_at, Gap.Reason.SOURCE_CHANGED):
            # A settler has given the stretch up already; behind that the change is recorded all the same.
            stands_at = Watermark.objects.values_list("at", flat=True).get(instrument_id=instrument_id)
            self._record_gap(instrument_id, stands_at + INSTANT, Gap.Reason.SOURCE_CHANGED)

    def _record_gap(self, instrument_id: int, ends_at: datetime, reason: Gap.Reason) -> bool:
        gap = services.record_gap(
            instrument_id=instrument_id, ends_at=ends_at, reason=reason, epoch=self._epoch
        )
        if gap is not None:
            symbol, seconds = self._symbols[instrument_id], (gap.ends_at - gap.starts_at).total_seconds()
            GAPS.labels(symbol, reason).inc()
            log.warning("gap recorded", symbol=symbol, reason=reason, seconds=seconds)
        return gap is not None

    # --- around it ------------------------------------------------------------------------------------

    def _note(self, appended: dict[int, Appended]) -> None:
        """Remember the watermarks, count, and tell everybody."""
        told = {}
        for instrument_id, each in appended.items():
            symbol = self._symbols[instrument_id]
            self._marks[instrument_id] = each.at
            if each.rows:
                self._begun.add(instrument_id)
                TICKS.labels(symbol).inc(len(each.rows))
            if each.late:
                LATE.labels(symbol).inc(each.late)
            told[symbol] = (self._subscriptions[symbol].price_decimals, each)
        self._live.publish(told)

    def open_days(self) -> None:
        """Make sure that today and tomorrow have a partition; what cannot be opened is tried again."""
        self._partitions_at = time.monotonic()
        today = clock.now().date()
        days = {today, today + timedelta(days=1)} - self._days
        if not days:
            return
        try:
            services.open_days(days)
        except DatabaseError as error:
            PARTITION_ALARM.set(1)
            log.error("the next days of ticks cannot be opened", error=str(error))
        else:
            PARTITION_ALARM.set(0)
            self._days |= days

    def _measure(self) -> None:
        now = clock.now()
        for instrument_id, at in self._marks.items():
            symbol = self._symbols[instrument_id]
            AGE.labels(symbol).set((now - at).total_seconds())
            UP.labels(symbol, self._subscriptions[symbol].source).set(self.intake.is_up(symbol))
        counts = self.intake.counts()
        self._keep_states(counts)
        for source, symbols in counts.items():
            for symbol, counted in symbols.items():
                for reason, count in counted["dropped"].items():
                    DROPPED.labels(symbol, source, reason).set(count)

    def _keep_states(self, counts: Counts) -> None:
        """Write down how each source fares, for operators."""
        now, moment = clock.now(), time.monotonic()
        seconds = moment - self._measured_at if self._measured_at else RELOAD_SECONDS
        self._measured_at = moment
        states = []
        for health in self.intake.healths():
            state = health.state_at(now, counts.get(health.code, {}))
            state.quotes_per_second = (health.quotes - self._heard.get(health.code, 0)) / seconds
            self._heard[health.code] = health.quotes
            states.append(state)
            if state.offset_ms is not None:
                OFFSET.labels(health.code).set(state.offset_ms / 1000)
        if states:
            services.save_source_states(states)

    def complaint(self) -> str:
        """Say which listed instruments have no fresh prices; "" when all have."""
        stale = [state.symbol for state in selectors.feed_health() if not state.is_fresh]
        return f"no fresh prices: {', '.join(stale)}" if stale else ""
