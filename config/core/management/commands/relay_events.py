"""The relay role."""

from typing import Any

from django.core.management.base import CommandParser

from config.core import outbox
from config.core.models import Fact
from config.core.relay import Relay, count_parked
from config.core.workers import WorkerCommand


class Command(WorkerCommand):
    """Deliver facts to sockets and handlers until SIGTERM; one instance does, the others stand by."""

    help = __doc__
    leader_name = "relay"

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--retry-parked", metavar="REASON", help="let every parked fact go on, and exit")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["retry_parked"]:
            for fact in Fact.objects.filter(parked_at__isnull=False).order_by("pk"):
                outbox.retry(fact, actor=None, reason=options["retry_parked"])
                self.stdout.write(f"{fact} goes on")
            return
        self.relay = Relay()
        super().handle(*args, **options)

    def step(self) -> bool:
        return self.relay.step()

    def elected(self) -> None:
        count_parked()
