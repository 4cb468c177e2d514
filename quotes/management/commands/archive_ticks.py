"""Archiving, now rather than at the hour."""

from typing import Any

from django.core.management.base import BaseCommand

from quotes import selectors, tasks
from quotes.models import RecordDay


class Command(BaseCommand):
    """Do what beat does every hour: open days, seal those that are over, drop what is past its time."""

    help = "Open the tick days ahead, archive and seal those that are over, drop those past retention."

    def handle(self, *args: Any, **options: Any) -> None:
        """Run once; what cannot be done is in the log, and stays for the next time."""
        tasks.maintain_ticks()
        sealed = RecordDay.objects.count()
        self.stdout.write(f"{sealed} days are sealed, {len(selectors.tick_days())} are in the database.")
