from django.apps import AppConfig
from django.contrib.admin import apps as admin


class ConsoleConfig(admin.AdminConfig):
    """Django's admin with our site, so that `@admin.register` finds the operator console."""

    default = False
    default_site = "config.site.Console"


class ConfigConfig(AppConfig):
    default = True
    name = "config"
    label = "config"
    verbose_name = "Tickhouse"

    def ready(self) -> None:
        # Tasks sent from the web role must know the broker.
        from config.celery import app  # noqa: F401
