"""Run a drill: a fault on purpose, and what must hold all the same."""

import importlib
import json
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from config.bench.stage import own_database

# By number and by name; the full dose of each.
DRILLS = {
    1: ("kill-settlers", 100),
    2: ("kill-database", 30),
    3: ("kill-web", 100),
    4: ("connection-storm", 600),
    6: ("feed-faults", 10_000),
    7: ("overspend", 1_000),
    10: ("model", 10_000),
}
BY_NAME = {name: (name, dose) for name, dose in DRILLS.values()}


class Command(BaseCommand):
    help = "Run a drill on a database of its own; prints JSON, and exits with 1 when something did not hold."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the drill, its seed and dose, and whether to sabotage it."""
        parser.add_argument("name", help="A number or a name: " + ", ".join(BY_NAME))
        parser.add_argument("--seed", type=int, default=1)
        parser.add_argument("--dose", type=int, help="How much of it; without, the full dose.")
        parser.add_argument(
            "--sabotage", action="store_true", help="Break what it proves: it must then fail."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Run it."""
        if settings.PRODUCTION:
            raise CommandError("Drills break things on purpose; they do not run in production.")
        asked = options["name"]
        found = DRILLS.get(int(asked)) if asked.isdigit() else BY_NAME.get(asked)
        if found is None:
            raise CommandError(f"There is no drill {asked}; there are {', '.join(BY_NAME)}.")
        name, dose = found
        drill = importlib.import_module(f"config.drills.{name.replace('-', '_')}")
        with own_database():
            seen = drill.run(options["seed"], options["dose"] or dose, options["sabotage"])
        self.stdout.write(json.dumps(seen, indent=2))
        if seen["broken"]:
            raise SystemExit(1)
