"""Bring the database up to date before the roles start: migrations as the owner, then the seeds."""

import io
import os
import sys

import django
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command


def main() -> int:
    """Return 0 when the platform may start; print one sentence and return 1 when it may not."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    try:
        django.setup()
        call_command("check", stdout=io.StringIO())
        call_command("migrate", database="owner", interactive=False, verbosity=0)
        call_command("seed_platform")
    except (ImproperlyConfigured, CommandError) as refusal:
        print(refusal, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
