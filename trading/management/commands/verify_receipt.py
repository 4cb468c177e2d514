"""The check anybody can make of a receipt, against the platform's own record too."""

import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.core.errors import DomainError
from trading.receipts.form import LARGEST, NotAReceipt
from trading.receipts.judging import judge


class Command(BaseCommand):
    """Check a receipt line by line; end with 1 when something speaks against it."""

    help = "Check a receipt: its signature, its outcome by its own ticks, and its ticks by the record."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the file."""
        parser.add_argument("file", help="The receipt; - reads it from standard input.")

    def handle(self, *args: Any, file: str, **options: Any) -> None:
        """Say what was checked; raise CommandError when something speaks against it."""
        try:
            judged = judge(_given(file))
        except OSError as error:
            raise CommandError(f"{file} cannot be read: {error.strerror}.") from None
        except NotAReceipt as error:
            raise CommandError(f"{file} is not a receipt. {error}") from None
        except DomainError as error:
            raise CommandError(error.detail) from None
        if judged.receipt is not None:
            self.stdout.write(judged.receipt.sentence)
        for check in judged.checks:
            self.stdout.write(f"{check.result:8}{check.name}: {check.words}")
        if not judged.is_good:
            raise CommandError("This receipt is not to be believed.")


def _given(file: str) -> bytes:
    if file == "-":
        return sys.stdin.buffer.read(LARGEST + 1)
    with Path(file).open("rb") as source:
        return source.read(LARGEST + 1)
