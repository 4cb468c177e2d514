"""Import a market's holidays and short days from a file."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.core.errors import DomainError
from quotes.models import Calendar
from quotes.services.calendars import import_calendar_exceptions, planned_exceptions, read_calendar_csv


class Command(BaseCommand):
    """Record the exceptions of a calendar that a CSV file names, all of them or none."""

    help = (
        "Import exceptions of trading hours: CSV with the columns date,open,close,note, in the market's time."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the calendar and the file."""
        parser.add_argument("code", help="The calendar's code.")
        parser.add_argument("file", type=Path)
        parser.add_argument(
            "--dry-run", action="store_true", help="Say what would be recorded; record nothing."
        )

    def handle(self, *args: Any, code: str, file: Path, dry_run: bool, **options: Any) -> None:
        """Say of each row what becomes of it."""
        try:
            calendar = Calendar.objects.get(pk=code)
            rows = read_calendar_csv(file.read_text("utf-8-sig"), calendar.time_zone)
            planned = planned_exceptions(calendar=calendar, rows=rows)
            if not dry_run:
                import_calendar_exceptions(
                    calendar=calendar, rows=rows, actor=None, reason=f"import_calendar {file.name}"
                )
        except Calendar.DoesNotExist as error:
            raise CommandError(f"There is no calendar {code}.") from error
        except (OSError, UnicodeDecodeError, DomainError) as error:
            raise CommandError(str(error)) from error
        for row, overrides in planned:
            state = f"{len(overrides)} exceptions" if overrides else "holds already"
            self.stdout.write(f"{row.day} {row.summary}: {state}")
        count = sum(len(overrides) for _, overrides in planned)
        self.stdout.write(f"{len(rows)} rows, {count} exceptions {'to record' if dry_run else 'recorded'}")
