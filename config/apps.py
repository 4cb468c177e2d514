from django.apps import AppConfig


class ConfigConfig(AppConfig):
    name = "config"
    label = "config"
    verbose_name = "Tickhouse"

    def ready(self) -> None:
        # Tasks sent from the web role must know the broker.
        from config.celery import app  # noqa: F401
