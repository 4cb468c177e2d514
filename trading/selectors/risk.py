"""What holds trading back, and what the house may have to pay."""

from datetime import datetime, timedelta
from decimal import Decimal

from django.db import connection
from django.db.models import Max, Q, QuerySet

from config.core import clock, money
from payments.ledger.models import Book
from quotes.models import Instrument
from trading.models import Curb

DAY = timedelta(days=1)


def curbs_in_force(at: datetime) -> QuerySet[Curb]:
    """Return the curbs that hold at an instant, newest first."""
    return Curb.objects.filter(starts_at__lte=at).filter(Q(ends_at=None) | Q(ends_at__gt=at))


def curbs_of_the_day(at: datetime) -> QuerySet[Curb]:
    """Return the curbs that hold at an instant or begin within a day of it, newest first."""
    return Curb.objects.filter(starts_at__lte=at + DAY).filter(Q(ends_at=None) | Q(ends_at__gt=at))


def curbs_over(instrument_id: int, at: datetime) -> QuerySet[Curb]:
    """Return the curbs that hold at an instant over an instrument, whatever their book, contract and side."""
    instrument = Instrument.objects.only("instrument_class").get(pk=instrument_id)
    return curbs_in_force(at).filter(
        Q(instrument=None) | Q(instrument=instrument_id),
        instrument_class__in=("", instrument.instrument_class),
    )


def payout_cut(instrument: Instrument) -> Decimal:
    """Return what the rise/fall rate of an instrument is lowered by now: the largest cut in force, or 0.

    There is one rate for everybody, made for real money: what is limited elsewhere does not lower it.
    """
    over = curbs_over(instrument.pk, clock.now()).filter(
        Q(book=None) | Q(book__kind="real"),
        effect=Curb.Effect.LOWER_PAYOUTS,
        contract__in=("", "rise_fall"),
    )
    return over.aggregate(Max("cut"))["cut__max"] or money.ZERO


def covered_instruments(curb: Curb) -> list[Instrument]:
    """Return the listed instruments a curb holds over, ascending."""
    if curb.instrument is not None:
        return [curb.instrument]
    listed = Instrument.objects.filter(is_listed=True).order_by("pk")
    return list(listed.filter(instrument_class=curb.instrument_class) if curb.instrument_class else listed)


def curb_scope(curb: Curb) -> dict[str, str]:
    """Write what a curb names; what is empty is any."""
    return {
        "book": curb.book.code if curb.book else "",
        "symbol": curb.instrument.symbol if curb.instrument else "",
        "instrument_class": curb.instrument_class,
        "contract": curb.contract,
        "side": curb.side,
    }


# Up and down at one strike and one end cannot both win; everything else can. Equal prices pay neither.
_WORST = """
SELECT coalesce(sum(CASE WHEN is_netted THEN greatest(up - down_stakes, down - up_stakes, 0)
                         ELSE up + down END), 0)
FROM (
    SELECT coalesce(sum(profit) FILTER (WHERE side <> 'down'), 0) AS up,
           coalesce(sum(profit) FILTER (WHERE side = 'down'), 0) AS down,
           coalesce(sum(stake) FILTER (WHERE side <> 'down'), 0) AS up_stakes,
           coalesce(sum(stake) FILTER (WHERE side = 'down'), 0) AS down_stakes,
           contract IN ('rise_fall', 'higher_lower') AND strike IS NOT NULL AS is_netted
    FROM (
        SELECT o.instrument_id, o.contract, o.side, o.stake, o.expires_at, o.due_seq,
               trunc(o.stake * o.payout_rate, %(scale)s) AS profit,
               CASE WHEN o.contract = 'rise_fall' THEN o.entry_price
                    WHEN o.is_relative THEN o.entry_price + o.barrier ELSE o.barrier END AS strike
        FROM trading_order o JOIN ledger_account a ON a.id = o.account_id
        WHERE o.status = 'open' AND a.book_id = %(book)s
    ) stands
    GROUP BY instrument_id, contract, strike, expires_at, due_seq
) ends
"""


def worst_case(book: Book) -> Decimal:
    """Return the most that the house may have to pay beyond the open stakes of a book, in its currency.

    The sum over all sides, for up and down bought at different prices can both be won; only where strike and
    end are the same does one side pay for the other. A pending entry has no strike and is not netted.
    """
    with connection.cursor() as cursor:
        cursor.execute(_WORST, {"book": book.pk, "scale": book.scale})
        worst: Decimal = cursor.fetchone()[0]
    return worst
