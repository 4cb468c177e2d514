from django.apps import AppConfig


class QuotesConfig(AppConfig):
    name = "quotes"
    label = "quotes"
    verbose_name = "Market"

    def ready(self) -> None:
        from quotes import consumers

        consumers.register()
