"""History from files."""

from datetime import date
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.core.errors import DomainError
from quotes.archive import ArchiveFailed
from quotes.models import Instrument
from quotes.recordings import InvalidRecording, read_recording
from quotes.selectors import instrument_by_symbol
from quotes.services.backfill import backfill


class Command(BaseCommand):
    """Fill in days from before an instrument's live record; a day is sealed whole or not at all."""

    help = "Seal recorded days from before the live record of instruments, with their candles."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take instruments, a file for each, and the days."""
        parser.add_argument("symbols", nargs="+", metavar="SYMBOL")
        parser.add_argument(
            "--file",
            action="append",
            type=Path,
            metavar="FILE",
            help="CSV (also .gz) or Parquet with ts_ms or recv_ns, bid and ask; one for each symbol.",
        )
        parser.add_argument("--from", dest="since", type=_day, metavar="DAY", help="The first day.")
        parser.add_argument("--until", type=_day, metavar="DAY", help="The last day.")
        parser.add_argument("--source", help="No source offers history yet.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Seal day by day and say so; raise CommandError at the first that cannot be."""
        if options["source"]:
            raise CommandError(f"{options['source']}: no source offers history yet; give a --file.")
        recordings = _recordings(options["symbols"], options["file"] or [])
        sealed = 0
        try:
            for each in backfill(
                recordings=recordings,
                since=options["since"],
                until=options["until"],
                told=self.stdout.write,
            ):
                sealed += each.is_new
                ticks = ", ".join(f"{symbol} {count:,} ticks" for symbol, count in each.ticks.items())
                state = "sealed" if each.is_new else "is there already"
                self.stdout.write(f"{each.day} {state}: {ticks}, root {each.root.hex()}")
                self.stdout.flush()
        except (DomainError, InvalidRecording, ArchiveFailed) as error:
            raise CommandError(f"{error} ({sealed} days were sealed before.)") from error
        self.stdout.write(f"{sealed} days sealed.")


def _recordings(symbols: list[str], files: list[Path]) -> dict[Instrument, Any]:
    if len(set(symbols)) != len(symbols) or len(files) != len(symbols):
        raise CommandError("Give each symbol once, and a --file for each.")
    found: dict[Instrument, Any] = {}
    for symbol, file in zip(symbols, files, strict=True):
        if not file.is_file():
            raise CommandError(f"There is no file {file}.")
        try:
            found[instrument_by_symbol(symbol).instrument] = read_recording(file)
        except DomainError as error:
            raise CommandError(str(error)) from error
    return found


def _day(text: str) -> date:
    return date.fromisoformat(text)
