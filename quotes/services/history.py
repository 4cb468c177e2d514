"""The past of an instrument: who may not change it while it decides, and how a gap in it is recorded."""

from collections.abc import Collection
from datetime import datetime, timedelta

from django.db import connection, transaction

from config.core import clock, health
from config.core.errors import Broken
from quotes.errors import Deposed
from quotes.models import Gap, Watermark

HISTORY_LOCK_CLASS = 0x71756F74


def history_lock(instrument_ids: Collection[int], *, exclusive: bool = False) -> None:
    """Hold the past of the instruments until the transaction ends, taken ascending.

    Who decides on the past shares it; who changes it (gaps, sessions) holds it alone. The feed's ordinary
    appends do not take it. Raises Broken outside a transaction.
    """
    if not connection.in_atomic_block:
        raise Broken("the history lock lasts as long as a transaction")
    function = "pg_advisory_xact_lock" if exclusive else "pg_advisory_xact_lock_shared"
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {function}(%s, id) FROM unnest(%s::int[]) AS id",  # noqa: S608
            [HISTORY_LOCK_CLASS, sorted(set(instrument_ids))],
        )


@transaction.atomic
def record_gap(
    *, instrument_id: int, ends_at: datetime, reason: Gap.Reason | str, epoch: int | None = None
) -> Gap | None:
    """Record that the prices since the watermark up to `ends_at` cannot be proved, and move it there.

    Nothing is decided meanwhile, and a tick that comes later with `at <= ends_at` is late. None when the
    watermark has already passed `ends_at`. With an `epoch` raises Deposed unless it is still in force. Raises
    Broken for an end that has not come by the database's clock: no price could be written until then.
    """
    _refuse_the_future(ends_at)
    history_lock([instrument_id], exclusive=True)
    watermark = Watermark.objects.select_for_update(no_key=True).get(instrument_id=instrument_id)
    if epoch is not None and watermark.epoch != epoch:
        raise Deposed(f"epoch {epoch} of instrument {instrument_id} ended")
    if ends_at <= watermark.at:
        return None
    gap = Gap.objects.create(
        instrument_id=instrument_id,
        starts_at=watermark.at,
        ends_at=ends_at,
        reason=reason,
        recorded_at=clock.now(),
    )
    watermark.at = ends_at
    watermark.save(update_fields=["at"])
    return gap


def _refuse_the_future(ends_at: datetime) -> None:
    if clock.is_replaced():
        return
    tolerance = timedelta(seconds=health.LARGEST_CLOCK_OFFSET_SECONDS)
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s <= clock_timestamp()", [ends_at - tolerance])
        if not cursor.fetchone()[0]:
            raise Broken(f"a gap up to {clock.iso(ends_at)} ends in the future")
