from django.apps import AppConfig


class TradingConfig(AppConfig):
    name = "trading"
    label = "trading"
    verbose_name = "Orders"

    def ready(self) -> None:
        from trading import checks, consumers, evidence

        consumers.register()
        checks.register()
        evidence.register()
