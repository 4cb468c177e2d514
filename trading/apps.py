from django.apps import AppConfig


class TradingConfig(AppConfig):
    name = "trading"
    label = "trading"
    verbose_name = "Orders"

    def ready(self) -> None:
        from trading import checks, consumers, evidence
        from trading.receipts import checks as _receipts  # noqa: F401 - registered by importing it

        consumers.register()
        checks.register()
        evidence.register()
