"""The check that nothing but the stored market decided."""

from datetime import date
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from trading.services.resettle import resettle


class Command(BaseCommand):
    """Decide a day's orders again; exit with 1 and name those that would end otherwise."""

    help = "Decide every closed order accepted on a day (UTC) again from the stored market; writes nothing."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the day. Only the dry run exists: a wrong outcome is corrected by compensation, never anew."""
        parser.add_argument("day", type=date.fromisoformat, help="The day, e.g. 2030-01-31.")
        parser.add_argument("--dry-run", action="store_true", required=True, help="Compare, write nothing.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Compare and report; raise CommandError when an order would end otherwise."""
        report = resettle(options["day"])
        for found in report.differences:
            self.stdout.write(f"{found.order}: settled {found.settled}; decided again {found.decided}")
        ends = ", ".join(f"{count} {end}" for end, count in sorted(report.outcomes.items())) or "none"
        self.stdout.write(
            f"{report.day}: {report.orders} orders decided again ({ends}), {report.sold} sold left out, "
            f"{len(report.differences)} differences."
        )
        if report.differences:
            raise CommandError(f"{len(report.differences)} orders would end otherwise.")
