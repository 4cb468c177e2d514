"""Make somebody staff and print his invitation."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from django.urls import reverse

from kyc import services


class Command(BaseCommand):
    help = "Make somebody staff and print the one-time link with which he sets up his second factor."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the e-mail address."""
        parser.add_argument("email")

    def handle(self, *args: Any, email: str, **options: Any) -> None:
        """Invite."""
        user, token = services.invite_operator(email=email)
        link = settings.PUBLIC_URL + reverse("admin:enrol", args=[token])
        self.stdout.write(f"{user} sets up access once, within three days, at\n{link}")
