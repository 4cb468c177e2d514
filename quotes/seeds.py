"""The seeds of simulated prices: how a seed makes every price of its hour, and what everybody sees of it."""

import hashlib
import hmac
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from itertools import pairwise
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

from config.core import clock
from quotes import selectors
from quotes.models import Gap, Instrument, SimulationHour, SimulationRun, Tick

MILLISECONDS_PER_YEAR = 365 * 24 * 3600 * 1000
HOUR = timedelta(hours=1)
INSTANT = timedelta(microseconds=1)
# A price made at the end of an hour may be stamped at the beginning of the next.
LATEST_STAMP = timedelta(seconds=1)
PAGE = 100
_RANGE = 1 << 63
_SQUARE = Decimal(_RANGE * _RANGE)


class NotVerifiable(Exception):
    """The prices of that hour cannot be made again; says why."""


# --- How a seed makes prices --------------------------------------------------------------------------


def commitment_of(seed: bytes) -> str:
    """Return what is published of a seed before its hour: its SHA-256, hexadecimal."""
    return hashlib.sha256(seed).hexdigest()


def run_key(seed: bytes, number: int) -> bytes:
    """Return the key of a run's keystream: HMAC-SHA256 of `run <number>` under the hour's seed."""
    return hmac.digest(seed, f"run {number}".encode(), "sha256")


class Keystream:
    """Random numbers from the ChaCha20 stream of a 32-byte key: what was tells nothing of what comes."""

    def __init__(self, key: bytes) -> None:
        self._stream = Cipher(ChaCha20(key, bytes(16)), mode=None).encryptor()
        self._spare: Decimal | None = None

    def integer(self) -> int:
        """Return the next eight bytes, big-endian, as a number in [-2⁶³, 2⁶³)."""
        return int.from_bytes(self._stream.update(bytes(8)), "big", signed=True)

    def normal(self) -> Decimal:
        """Return a standard normal number (Marsaglia's polar method), in the Decimal context in force."""
        if self._spare is not None:
            drawn, self._spare = self._spare, None
            return drawn
        while True:
            a, b = self.integer(), self.integer()
            square = a * a + b * b
            if 0 < square < _RANGE * _RANGE:
                break
        s = Decimal(square)
        factor = (-2 * (s / _SQUARE).ln() / s).sqrt()
        self._spare = b * factor
        return a * factor


class Simulation:
    """A price that moves by geometric Brownian motion without drift, on the grid of its decimals.

    S(t + dt) = S(t) · exp(σ √dt Z − σ² dt / 2), Z standard normal (Hull, Options, Futures, and Other
    Derivatives, "The behavior of stock prices"); `volatility` σ per year, `interval_ms` dt, `seed` the key of
    the keystream. Where a step is several units of the last decimal wide, each digit is equally likely
    whatever was seen before. All of it in decimal arithmetic of 28 digits, whose every operation is rounded
    as its standard says: any machine makes the same prices, now and in years.
    """

    def __init__(
        self, *, price: Decimal, volatility: Decimal, interval_ms: int, price_decimals: int, seed: bytes
    ) -> None:
        self._context = Context(prec=28, rounding=ROUND_HALF_EVEN)
        with localcontext(self._context):
            self._unit = Decimal(1).scaleb(-price_decimals)
            # Kept in units of the grid, with their fraction: a step smaller than a unit is not lost.
            self._units = price / self._unit
            years = Decimal(interval_ms) / MILLISECONDS_PER_YEAR
            self._deviation = volatility * years.sqrt()
            self._drift = -(volatility * volatility * years) / 2
        self._random = Keystream(seed)

    def next(self) -> Decimal:
        """Return the next price, never below one unit of the grid."""
        with localcontext(self._context):
            step = self._deviation * self._random.normal() + self._drift
            self._units = max(Decimal(1), self._units * step.exp())
            return self._units.to_integral_value() * self._unit


def simulation_of(seed: bytes, run: SimulationRun) -> Simulation:
    """Return the generator of a run, as it stood at its start."""
    return Simulation(
        price=run.start_price,
        volatility=run.volatility,
        interval_ms=run.interval_ms,
        price_decimals=run.price_decimals,
        seed=run_key(seed, run.number),
    )


# --- What everybody sees ------------------------------------------------------------------------------


def hour_of(at: datetime) -> datetime:
    """Return the UTC hour that holds an instant."""
    return at.replace(minute=0, second=0, microsecond=0)


def seed_rows(
    instrument: Instrument, before: datetime | None = None, limit: int = PAGE
) -> list[dict[str, Any]]:
    """Return the newest hours before `before` (None: all), newest first; the last's `hour` ends the page.

    The seed of an hour is None until it is revealed; its commitment and runs are there from its start.
    """
    found = SimulationHour.objects.filter(instrument=instrument).prefetch_related("runs")
    if before is not None:
        found = found.filter(hour__lt=before)
    return [
        {
            "hour": clock.iso(each.hour),
            "commitment": each.commitment,
            "committed_at": clock.iso(each.committed_at),
            "seed": each.seed or None,
            "revealed_at": clock.iso(each.revealed_at) if each.revealed_at else None,
            "runs": [_run_row(run) for run in each.runs.all()],
        }
        for each in found.defer("sealed_seed").order_by("-hour")[:limit]
    ]


def _run_row(run: SimulationRun) -> dict[str, Any]:
    return {
        "number": run.number,
        "started_at": clock.iso(run.started_at),
        "start_price": f"{run.start_price:.{run.price_decimals}f}",
        "volatility": f"{run.volatility:f}",
        "interval_ms": run.interval_ms,
        "price_decimals": run.price_decimals,
    }


# --- An hour made again -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Verified:
    """What making an hour's prices again has shown; `difference` names the first, "" when there is none."""

    runs: int
    ticks: int
    difference: str = ""


def verify_hour(instrument: Instrument, hour: datetime) -> Verified:
    """Make every price of a revealed hour again and compare it with the stored ticks; raise NotVerifiable.

    The ticks of a run lie at or after its start and before the next one's, late ones among them. They must be
    its first prices, one by one, and a run must start from the price before it.
    """
    record = _revealed(instrument, hour)
    seed, runs = bytes.fromhex(record.seed), list(record.runs.order_by("number"))
    if commitment_of(seed) != record.commitment:
        return Verified(len(runs), 0, "the seed is not the one that was committed")
    if stray := _stray(instrument, hour, runs):
        return Verified(len(runs), 0, stray)
    compared, active = 0, None
    for run, until in _stretches(instrument, hour, runs):
        made = simulation_of(seed, run)
        for index, (at, seq, price) in enumerate(_ticks(instrument, run.started_at, until)):
            expected, difference = made.next(), ""
            if not index and price != expected and active is not None and price == active.next():
                # A feed already replaced began this run and left no tick: the one before goes on.
                made = active
            elif price != expected:
                named = f"tick {seq} at {clock.iso(at)} of run {run.number}"
                difference = f"{named}, {price:f}; made again: {expected:f}"
            elif not index:
                difference = _odd_start(instrument, run, at)
            if difference:
                return Verified(len(runs), compared, difference)
            active, compared = made, compared + 1
    return Verified(len(runs), compared)


def _revealed(instrument: Instrument, hour: datetime) -> SimulationHour:
    if hour != hour_of(hour):
        raise NotVerifiable("Name a whole hour, UTC.")
    if instrument.tick_interval_ms or instrument.quotations.exists():
        raise NotVerifiable(f"Not every simulated price of {instrument} makes a tick.")
    record = SimulationHour.objects.filter(instrument=instrument, hour=hour).first()
    if record is None:
        raise NotVerifiable(f"There is no seed of {instrument} for that hour.")
    if not record.seed:
        raise NotVerifiable("The seed of that hour is not revealed yet.")
    if hour.date() not in selectors.tick_days():
        raise NotVerifiable("The ticks of that hour are no longer in the database.")
    return record


def _stretches(
    instrument: Instrument, hour: datetime, runs: list[SimulationRun]
) -> Iterator[tuple[SimulationRun, datetime]]:
    """Give each run with the instant before which its ticks lie."""
    following = SimulationRun.objects.filter(hour__instrument=instrument, hour__hour=hour + HOUR)
    next_hour = following.order_by("number").values_list("started_at", flat=True).first()
    latest = hour + HOUR + LATEST_STAMP
    ends = [run.started_at for run in runs] + [min(latest, next_hour or latest)]
    for run, (starts_at, until) in zip(runs, pairwise(ends), strict=True):
        yield run, _until_other_source(instrument, starts_at, until)


def _until_other_source(instrument: Instrument, starts_at: datetime, until: datetime) -> datetime:
    """Return the instant before which ticks are the simulation's: another source may have followed it."""
    first = next(_ticks(instrument, starts_at, until), None)
    if first is None:
        return until
    gaps = Gap.objects.filter(
        instrument=instrument,
        reason=Gap.Reason.SOURCE_CHANGED,
        starts_at__gte=first[0],
        starts_at__lt=until,
    )
    parted_at = gaps.order_by("starts_at").values_list("starts_at", flat=True).first()
    return until if parted_at is None else parted_at + INSTANT


def _stray(instrument: Instrument, hour: datetime, runs: list[SimulationRun]) -> str:
    """Name the first tick of the hour that lies before all runs, unless another source was at work then."""
    begins_at = runs[0].started_at if runs else hour + HOUR
    stray = next(_ticks(instrument, hour + LATEST_STAMP, begins_at), None)
    if stray is None or _is_parted(instrument, stray[0], begins_at):
        return ""
    at, seq, price = stray
    return f"tick {seq} at {clock.iso(at)}, {price:f}: made by no run"


def _odd_start(instrument: Instrument, run: SimulationRun, first_at: datetime) -> str:
    """Say so when a run with ticks does not start from the price before it."""
    before = Tick.objects.filter(instrument=instrument, at__lt=run.started_at).order_by("-at")
    last = before.values_list("at", "price").first()
    if last is None or _is_parted(instrument, last[0], first_at):
        return ""
    # A feed that takes over knows the last price of the record; one that goes on, its own last.
    on_record = before.filter(is_late=False).values_list("price", flat=True).first()
    if run.start_price in (last[1], on_record):
        return ""
    return f"run {run.number} starts from {run.start_price:f}; the tick before it was {last[1]:f}"


def _is_parted(instrument: Instrument, after: datetime, until: datetime) -> bool:
    return Gap.objects.filter(
        instrument=instrument, reason=Gap.Reason.SOURCE_CHANGED, ends_at__gte=after, starts_at__lte=until
    ).exists()


def _ticks(
    instrument: Instrument, starts_at: datetime, until: datetime
) -> Iterator[tuple[datetime, int, Decimal]]:
    """Read the ticks of [starts_at, until) in the order they were made, late ones too."""
    found = Tick.objects.filter(instrument=instrument, at__gte=starts_at, at__lt=until).order_by("at")
    return found.values_list("at", "seq", "price").iterator(chunk_size=5_000)
