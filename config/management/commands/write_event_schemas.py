"""The JSON Schemas of facts, for those who listen."""

import json
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.utils.module_loading import autodiscover_modules

from config.core import facts


def documents() -> dict[str, str]:
    """Return the text of each schema by its file's name."""
    autodiscover_modules("facts")
    return {
        f"{name}.json": json.dumps(facts.schema(cls), indent=2, ensure_ascii=False) + "\n"
        for name, cls in facts.registered().items()
    }


class Command(BaseCommand):
    """Write docs/events/<name>.json for every declared fact, and remove what is no fact any more."""

    help = __doc__

    def handle(self, *args: Any, **options: Any) -> None:
        folder = settings.BASE_DIR / "docs" / "events"
        folder.mkdir(parents=True, exist_ok=True)
        wanted = documents()
        for path in folder.glob("*.json"):
            if path.name not in wanted:
                path.unlink()
        for name, text in wanted.items():
            (folder / name).write_text(text)
        self.stdout.write(f"{len(wanted)} schemas in {folder}")
