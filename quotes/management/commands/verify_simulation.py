"""Prove a simulated hour: every price made again from its revealed seed."""

from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.core import clock
from config.core.errors import DomainError
from quotes import selectors
from quotes.seeds import NotVerifiable, verify_hour


class Command(BaseCommand):
    """Compare the stored ticks of an hour with those its seed makes; end with 1 at the first difference."""

    help = "Make every price of a simulated hour again from its revealed seed and compare."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the instrument and the hour."""
        parser.add_argument("symbol")
        parser.add_argument("hour", help="UTC, for example 2030-03-05T12.")

    def handle(self, *args: Any, symbol: str, hour: str, **options: Any) -> None:
        """Say what was compared."""
        try:
            at = datetime.fromisoformat(hour)
            at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
            instrument = selectors.instrument_by_symbol(symbol).instrument
            verified = verify_hour(instrument, at)
        except (ValueError, OverflowError, DomainError, NotVerifiable) as error:
            raise CommandError(str(error)) from error
        if verified.difference:
            raise CommandError(f"{symbol} {clock.iso(at)}: {verified.difference}")
        self.stdout.write(
            f"{symbol} {clock.iso(at)}: {verified.ticks} ticks of {verified.runs} runs are those of the seed"
        )
