from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.core.errors import Conflict
from payments.ledger.checks import check_ledger


class Command(BaseCommand):
    help = "Verify the ledger and name every difference; ends with 1 when there is one."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--changed", action="store_true", help="Only what changed since the last clean check."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            check = check_ledger(whole=not options["changed"])
        except Conflict as running:
            raise CommandError(running.detail) from None
        for difference in check.differences:
            self.stdout.write(
                "{what}: book {book}, account {account}: expected {expected}, found {found}".format(
                    **difference
                )
            )
        seconds = (check.finished_at - check.started_at).total_seconds()
        scope = "everything" if check.is_whole else "what changed"
        if check.differences:
            raise CommandError(f"{len(check.differences)} differences in {scope}, {seconds:.1f} s.")
        self.stdout.write(f"No difference in {scope}, {seconds:.1f} s.")
