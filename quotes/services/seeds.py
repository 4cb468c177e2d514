"""The secrets of simulated prices: drawn at the start of an hour, sealed, and revealed once it is over."""

import secrets
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.db import transaction
from django.utils.encoding import force_bytes

from config.core import clock
from quotes.models import SimulationHour, SimulationRun, Watermark
from quotes.seeds import HOUR, INSTANT, LATEST_STAMP, Simulation, commitment_of, hour_of, simulation_of

log = structlog.get_logger(__name__)
SEED_BYTES = 32
NONCE_BYTES = 12
SEALING = b"tickhouse: seeds of simulated prices"
# No clock of the platform may still stand in the hour.
REVEAL_AFTER = LATEST_STAMP * 2
MOST_AT_ONCE = 1_000


class SeedUnreadable(Exception):
    """The sealed seed of an hour cannot be opened: it was sealed by another SECRET_KEY."""


class HourRevealed(Exception):
    """The seed of this hour is public already; nothing may be made by it."""


@dataclass(frozen=True, slots=True)
class BegunRun:
    """A run that may make prices in [started_at, ends_at), its commitment durable."""

    started_at: datetime
    ends_at: datetime
    number: int
    simulation: Simulation = field(repr=False)


@transaction.atomic
def start_run(
    *,
    instrument_id: int,
    start_price: Decimal,
    volatility: Decimal,
    interval_ms: int,
    price_decimals: int,
) -> BegunRun:
    """Begin an uninterrupted stretch of simulated prices; the first of an hour draws and commits its seed.

    Whoever takes an hour over goes on with its seed, in a run of its own. `started_at` lies past the
    watermark and past every earlier run. Raises SeedUnreadable, and HourRevealed.
    """
    hour = hour_of(clock.now())
    SimulationHour.objects.get_or_create(
        instrument_id=instrument_id, hour=hour, defaults=_drawn(instrument_id, hour)
    )
    # Runs of an hour are numbered under this lock.
    record = SimulationHour.objects.select_for_update(no_key=True).get(instrument_id=instrument_id, hour=hour)
    if record.seed:
        raise HourRevealed(f"the hour {clock.iso(hour)} is over")
    seed = _unseal(record)
    last = record.runs.order_by("number").last()
    mark = Watermark.objects.values_list("at", flat=True).get(instrument_id=instrument_id)
    run = SimulationRun.objects.create(
        hour=record,
        number=last.number + 1 if last else 1,
        started_at=max(clock.now(), mark + INSTANT, last.started_at + INSTANT if last else hour),
        start_price=start_price,
        volatility=volatility,
        interval_ms=interval_ms,
        price_decimals=price_decimals,
    )
    return BegunRun(run.started_at, hour + HOUR, run.number, simulation_of(seed, run))


@transaction.atomic
def reveal_seeds() -> int:
    """Publish the seeds of the hours that are over; return how many. An unreadable one stops no other."""
    now = clock.now()
    over = SimulationHour.objects.filter(revealed_at=None, hour__lte=now - HOUR - REVEAL_AFTER)
    revealed = 0
    for record in over.order_by("hour", "instrument_id")[:MOST_AT_ONCE]:
        try:
            seed = _unseal(record)
        except SeedUnreadable as error:
            log.error("a seed cannot be revealed", error=str(error))
            continue
        revealed += SimulationHour.objects.filter(pk=record.pk, revealed_at=None).update(
            seed=seed.hex(), revealed_at=now
        )
    return revealed


# --- Sealing ------------------------------------------------------------------------------------------


def _drawn(instrument_id: int, hour: datetime) -> dict[str, object]:
    seed = secrets.token_bytes(SEED_BYTES)
    return {
        "commitment": commitment_of(seed),
        "sealed_seed": _seal(seed, instrument_id, hour),
        "committed_at": clock.now(),
    }


def _seal(seed: bytes, instrument_id: int, hour: datetime) -> bytes:
    """Encrypt a seed for its place: AES-256-GCM, the nonce in front."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    sealed = AESGCM(_key(settings.SECRET_KEY)).encrypt(nonce, seed, _place(instrument_id, hour))
    return nonce + sealed


def _unseal(record: SimulationHour) -> bytes:
    sealed = bytes(record.sealed_seed)
    place = _place(record.instrument_id, record.hour)
    for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
        try:
            seed = AESGCM(_key(secret)).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], place)
        except (InvalidTag, ValueError):
            continue
        if commitment_of(seed) == record.commitment:
            return seed
    raise SeedUnreadable(f"instrument {record.instrument_id}, hour {clock.iso(record.hour)}")


def _key(secret: str | bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=SEALING).derive(force_bytes(secret))


def _place(instrument_id: int, hour: datetime) -> bytes:
    return f"{instrument_id} {clock.iso(hour)}".encode()
