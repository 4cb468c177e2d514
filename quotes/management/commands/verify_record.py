"""The check anybody can make of the public record, against the database too."""

from datetime import date
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from quotes.models import RecordDay
from quotes.verification import verify_day


class Command(BaseCommand):
    """Recompute sealed days from the archive; exit with 1 and name what differs first."""

    help = "Recompute sealed days from the archive and compare them with what was published and is stored."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take a day or all."""
        parser.add_argument("day", nargs="?", help="The day, e.g. 2030-01-31.")
        parser.add_argument("--all", action="store_true", help="Every sealed day.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Check the days; raise CommandError when one of them differs."""
        failed = [day for day in _days(options["day"], options["all"]) if not self._check(day)]
        if failed:
            raise CommandError(f"The record differs on {', '.join(map(str, failed))}.")

    def _check(self, day: date) -> bool:
        differences = verify_day(day)
        for sentence in differences:
            self.stdout.write(f"{day}: {sentence}")
        if not differences:
            sealed = RecordDay.objects.get(pk=day)
            self.stdout.write(f"{day}: whole, root {bytes(sealed.root).hex()}")
        return not differences


def _days(text: str | None, every: bool) -> list[date]:
    if (text is None) is not every:
        raise CommandError("Give a day or --all.")
    if text is None:
        return list(RecordDay.objects.order_by("day").values_list("day", flat=True))
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise CommandError(f"{text} is not a day like 2030-01-31.") from None
    if not RecordDay.objects.filter(pk=day).exists():
        raise CommandError(f"{day} is not sealed.")
    return [day]
