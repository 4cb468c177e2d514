from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class CoreConfig(AppConfig):
    name = "config.core"
    label = "core"
    verbose_name = "Platform"

    def ready(self) -> None:
        from config.core import checks  # noqa: F401

        post_migrate.connect(_grant, sender=self)


def _grant(using: str, **_: Any) -> None:
    # Sent once per app and migration run; the kernel's own turn is enough.
    if using == "owner":
        from config.core.rights import grant

        grant()
