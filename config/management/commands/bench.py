"""Measure the platform against R, the pgbench figure of the same PostgreSQL in the same run."""

import importlib
import json
import time
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from config.bench import stage

ROWS = (
    "orders-http",
    "orders-service",
    "settle-burst",
    "settle-lag",
    "ticks-ingest",
    "ticks-to-socket",
    "fact-to-socket",
    "candles-history",
    "growth",
    "feed-memory",
)


class Command(BaseCommand):
    help = "Measure the platform; every figure is a ratio to R, taken in the same run."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the row to measure; all without one."""
        parser.add_argument("name", nargs="?", choices=ROWS)
        parser.add_argument("--times", type=int, default=1, help="How often each row is measured.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Measure, print a table and one JSON line per row, and keep the history."""
        if settings.PRODUCTION:
            raise CommandError("Measures load the machine; they do not run in production.")
        names = [options["name"]] if options["name"] else list(ROWS)
        rows = []
        for name in names:
            for _ in range(options["times"]):
                rows.append(self._measure(name))
        self.stdout.write(
            f"\n{'name':<16}{'value':>12} {'unit':<10}{'R':>8}{'ratio':>8}{'p50 ms':>9}{'p99 ms':>9}"
        )
        for row in rows:
            p50, p99 = (
                f"{value:>9.1f}" if value is not None else f"{'–':>9}" for value in (row.p50_ms, row.p99_ms)
            )
            self.stdout.write(
                f"{row.name:<16}{row.value:>12.0f} {row.unit:<10}{row.R:>8.0f}{row.ratio:>8.3f}{p50}{p99}"
            )

    def _measure(self, name: str) -> stage.Row:
        stage.say(f"{name}: R")
        r = stage.measure_r()
        stage.say(f"{name}: R is {r:.0f}; preparing")
        measure = importlib.import_module(f"config.bench.{name.replace('-', '_')}")
        with stage.own_database():
            row: stage.Row = measure.run()
        row.R, row.ratio = round(r, 1), round(row.value / r, 4)
        line = json.dumps(asdict(row))
        self.stdout.write(line)
        history = settings.BASE_DIR / "bench" / "history.jsonl"
        history.parent.mkdir(exist_ok=True)
        with history.open("a") as file:
            file.write(json.dumps({**asdict(row), "at": int(time.time())}) + "\n")
        return row
