"""The payout policy, tried on a recorded day before it is put in force."""

import json
from argparse import ArgumentTypeError
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.core import clock
from quotes.models import Instrument
from quotes.recordings import InvalidRecording, read_recording
from quotes.rules import QuoteFilter
from quotes.services.backfill import numbered, ticks_of_quotes
from trading.models import Terms
from trading.rules import Policy, Price
from trading.simulation import Customers, Day, Minute, Offer, Ticks, draw, simulate

CUSTOMERS = Customers()
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
# What the terms call it, by what the policy calls it; the rates have no default there.
TERMS = {
    "fixed_rate": "fixed_rate",
    "min_rate": "min_rate",
    "max_rate": "max_rate",
    "margin": "payout_margin",
    "max_step": "payout_max_step",
    "min_orders": "payout_min_orders",
    "skew": "payout_skew",
}
RATES = {"fixed_rate": Decimal("0.85"), "min_rate": Decimal("0.50"), "max_rate": Decimal("0.95")}
HEADS = ("Hour", "Ended", "Rate", "Won", "Fuller side", "House, policy", "House, fixed")
ROW = "{:<6}{:>8}{:>11}{:>9}{:>13}{:>15}{:>14}"


class Command(BaseCommand):
    """Simulate a day of orders along recorded prices, and what the payout policy makes of them."""

    help = "Try the payout policy on a recorded day with simulated customers; the database is not touched."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the recording, the customers, and the terms under the names they have in the console."""
        parser.add_argument(
            "recording", type=Path, help="CSV (also .gz) or Parquet with ts_ms or recv_ns, bid and ask."
        )
        parser.add_argument("--day", type=date.fromisoformat, help="UTC; by default the recording's first.")
        parser.add_argument("--seed", type=int, default=1, help="The same seed gives the same day.")
        parser.add_argument("--customers", type=_whole, default=CUSTOMERS.count)
        parser.add_argument(
            "--orders-per-minute",
            type=_whole,
            default=CUSTOMERS.orders_per_minute,
            help="In the busiest hours.",
        )
        parser.add_argument(
            "--lead-ms",
            type=_whole,
            default=CUSTOMERS.lead // timedelta(milliseconds=1),
            help="How far ahead of the feed the quick customers see.",
        )
        parser.add_argument("--entry-delay-ms", type=_whole, default=0, help="0: entry at the latest tick.")
        parser.add_argument("--price-decimals", type=_whole, default=6)
        parser.add_argument("--payout-window-minutes", type=_whole, default=_default("payout_window_minutes"))
        for name in TERMS.values():
            default = RATES.get(name) or _default(name)
            kind = _whole if isinstance(default, int) else _part
            parser.add_argument(f"--{name.replace('_', '-')}", type=kind, default=default)
        parser.add_argument("--svg", type=Path, help="Draw the day into this file.")
        parser.add_argument("--json", action="store_true", help="Print every minute instead of the table.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the day and draw it; raise CommandError where there is no such recording, day or policy."""
        policy = Policy(**{name: options[term] for name, term in TERMS.items()})
        if not 0 < policy.min_rate <= policy.fixed_rate <= policy.max_rate < 1:
            raise CommandError("The rates must be: 0 < min <= fixed <= max < 1.")
        if options["customers"] < 1:
            raise CommandError("There must be a customer.")
        offer = Offer(
            policy=policy,
            window=MINUTE * options["payout_window_minutes"],
            price_decimals=options["price_decimals"],
            entry_delay=timedelta(milliseconds=options["entry_delay_ms"]),
        )
        customers = Customers(
            count=options["customers"],
            orders_per_minute=options["orders_per_minute"],
            lead=timedelta(milliseconds=options["lead_ms"]),
        )
        try:
            ticks = _ticks(options["recording"], options["day"], offer.price_decimals)
        except InvalidRecording as error:
            raise CommandError(str(error)) from error
        start, end = _whole_minutes(ticks)
        day = simulate(ticks, customers, offer, start=start, end=end, seed=options["seed"])
        name = f"{options['recording'].name}, {start:%Y-%m-%d}, seed {options['seed']}"
        if options["svg"]:
            options["svg"].write_text(draw(day, customers, name), encoding="utf-8")
        self.stdout.write(_as_json(day, name) if options["json"] else _as_table(day, name))


def _default(term: str) -> Any:
    return Terms._meta.get_field(term).default  # type: ignore[union-attr]


def _whole(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 7:
        raise ArgumentTypeError(f"{text} is not a whole number up to 9999999")
    return int(text)


def _part(text: str) -> Decimal:
    try:
        part = Decimal(text)
    except InvalidOperation:
        raise ArgumentTypeError(f"{text} is not a number") from None
    if not 0 <= part < 1:
        raise ArgumentTypeError(f"{text} is not a part of one, such as 0.85")
    return part


# --- the recording ------------------------------------------------------------------------------------


def _ticks(path: Path, day: date | None, price_decimals: int) -> Ticks:
    """Make the ticks of one day from a recording, as the feed would have."""
    if not path.is_file():
        raise CommandError(f"There is no file {path}.")
    instrument = Instrument(symbol=path.stem, price_decimals=price_decimals)
    accepted = QuoteFilter(instrument.max_spread, instrument.max_jump)
    stamped = numbered(ticks_of_quotes(instrument, read_recording(path), accepted))
    ticks = Ticks(_of_day(((at, seq, price) for at, seq, price, _ in stamped), day))
    if len(ticks) == 0 or ticks.last_at - ticks.first_at < 2 * MINUTE:
        raise CommandError(f"{path.name} has no two minutes of prices" + (f" on {day}." if day else "."))
    return ticks


def _of_day(stamped: Iterator[tuple[datetime, int, Decimal]], day: date | None) -> Iterator[Price]:
    for at, seq, price in stamped:
        day = day or at.date()
        if at.date() > day:
            return
        if at.date() == day:
            yield Price(at, seq, price)


def _whole_minutes(ticks: Ticks) -> tuple[datetime, datetime]:
    """Return the first and the last whole minute within the ticks."""
    first, last = ticks.first_at, ticks.last_at
    start = first.replace(second=0, microsecond=0)
    start += MINUTE if start < first else timedelta(0)
    return start, last.replace(second=0, microsecond=0)


# --- what is printed ----------------------------------------------------------------------------------


def _as_table(day: Day, name: str) -> str:
    lines = [name, "", ROW.format(*HEADS)]
    first = day.minutes[0]
    begun = first
    for at, minutes in _hours(day.minutes):
        lines.append(_line(at, minutes, begun))
        begun = minutes[-1]
    fixed = day.offer.policy.fixed_rate
    lines += [
        "",
        f"{len(day.placed):,} orders accepted: "
        + ", ".join(f"{count:,} {status}" for status, count in sorted(day.outcomes.items()))
        + f", {len(day.placed) - day.outcomes.total():,} still open; "
        + f"{day.refused:,} refused for want of a fresh price.",
        f"Stakes of won and lost orders: {day.turnover:,.2f}.",
        f"The house: {day.house:+,.2f} with the policy ({_percent(day.house, day.turnover)}), "
        f"{day.house_fixed:+,.2f} at {fixed:.2f} ({_percent(day.house_fixed, day.turnover)}).",
    ]
    return "\n".join(lines)


def _hours(minutes: Sequence[Minute]) -> Iterator[tuple[datetime, list[Minute]]]:
    """Group the minutes by the hour that ends with or within them: 13:00 closes the hour from 12:00."""
    held: list[Minute] = []
    for each in minutes:
        held.append(each)
        if each.at.minute == 0 or each is minutes[-1]:
            yield (each.at - timedelta(microseconds=1)).replace(minute=0, second=0, microsecond=0), held
            held = []


def _line(hour: datetime, minutes: list[Minute], begun: Minute) -> str:
    last = minutes[-1]
    rates = [each.rate for each in minutes]
    known = [each.probability for each in minutes if each.probability is not None]
    shares = [share for each in minutes if (share := each.fuller_share) is not None]
    return ROW.format(
        f"{hour:%H:%M}",
        f"{last.ended - begun.ended:,}",
        f"{min(rates) * 100:.0f}-{max(rates) * 100:.0f} %",
        f"{_mean(known):.1f} %" if known else "-",
        f"{_mean(shares):.0f} %" if shares else "-",
        f"{last.house - begun.house:+,.2f}",
        f"{last.house_fixed - begun.house_fixed:+,.2f}",
    )


def _mean(parts: Sequence[Decimal]) -> Decimal:
    return sum(parts, Decimal(0)) / len(parts) * 100


def _percent(result: Decimal, turnover: Decimal) -> str:
    return f"{result / turnover * 100:+.2f} %" if turnover else "no turnover"


def _as_json(day: Day, name: str) -> str:
    told = {
        "name": name,
        "policy": asdict(day.offer.policy),
        "window_minutes": day.offer.window // MINUTE,
        "orders": len(day.placed),
        "outcomes": day.outcomes,
        "refused": day.refused,
        "turnover": day.turnover,
        "house": day.house,
        "house_fixed": day.house_fixed,
        "minutes": [asdict(minute) for minute in day.minutes],
    }
    return json.dumps(told, default=_plain)


def _plain(value: Decimal | datetime) -> str:
    return clock.iso(value) if isinstance(value, datetime) else f"{value:f}"
