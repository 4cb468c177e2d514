"""Archiving, now rather than at the hour."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from quotes import selectors, tasks
from quotes.models import RecordDay


class Command(BaseCommand):
    """Do what beat does every hour: open days, seal those that are over, drop what is past its time."""

    help = "Open the tick days ahead, archive and seal those that are over, drop those past retention."

    def handle(self, *args: Any, **options: Any) -> None:
        """Run once; raise CommandError for days that failed: the log says why, and they are tried again."""
        failed = tasks.maintain_ticks()
        if failed is None:
            raise CommandError("Days are being archived right now; try again in a minute.")
        sealed = RecordDay.objects.count()
        self.stdout.write(f"{sealed} days are sealed, {len(selectors.tick_days())} are in the database.")
        if failed:
            raise CommandError(f"Not archived, or not dropped: {', '.join(failed)}; the log says why.")
