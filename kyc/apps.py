from django.apps import AppConfig


class KycConfig(AppConfig):
    name = "kyc"
    label = "kyc"
    verbose_name = "Customers"

    def ready(self) -> None:
        from kyc import handlers  # noqa: F401
