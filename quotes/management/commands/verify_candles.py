"""Compare the stored candles of a day with its ticks."""

from datetime import date, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.core import clock
from quotes.services.candles import DayNotKept, verify_candles


class Command(BaseCommand):
    """Verify and repair the candles of a UTC day that is over."""

    help = "Compare the stored candles of a UTC day with its ticks, and repair those that differ."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the day."""
        parser.add_argument("day", nargs="?", help="For example 2030-03-05; yesterday by default.")

    def handle(self, *args: Any, day: str | None, **options: Any) -> None:
        """Say of each instrument how many candles it has and which were repaired."""
        today = clock.now().date()
        try:
            wanted = date.fromisoformat(day) if day else today - timedelta(days=1)
            if wanted >= today:
                raise CommandError(f"{wanted} is not over yet.")
            checks = verify_candles(day=wanted)
        except (ValueError, DayNotKept) as error:
            raise CommandError(str(error)) from error
        for check in checks:
            symbol, count = check.instrument.symbol, len(check.repaired)
            self.stdout.write(f"{symbol} {wanted}: {check.candles} candles, {count} repaired")
            for each in check.repaired:
                self.stdout.write(f"  {each['interval']} s at {each['start']}")
