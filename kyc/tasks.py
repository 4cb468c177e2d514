"""Work about people that nobody waits for."""

from typing import Any

from celery import shared_task
from django.conf import settings
from django.contrib.auth.tokens import default_token_generator
from django.urls import reverse
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from kyc import mail, rules, selectors, services
from kyc.models import User

MAIL_RETRIES: dict[str, Any] = {"autoretry_for": (OSError,), "retry_backoff": 30, "max_retries": 8}


@shared_task(name="kyc.trim_refresh_tokens")
def trim_refresh_tokens() -> None:
    """Forget tokens that expired a week ago."""
    services.trim_refresh_tokens()


@shared_task(name="kyc.trim_sessions")
def trim_sessions() -> None:
    """Forget page sessions and invitations that have ended."""
    services.trim_sessions()


@shared_task(name="kyc.send_password_reset", **MAIL_RETRIES)
def send_password_reset(email: str) -> None:
    """Send the link if the address has an account; looked up here, so that the page always takes as long."""
    user = selectors.people_who_may_sign_in().filter(email=rules.normalised_email(email)).first()
    if user is None:
        return
    path = reverse(
        "kyc:password-reset-confirm",
        args=[urlsafe_base64_encode(force_bytes(user.pk)), default_token_generator.make_token(user)],
    )
    mail.send(user, "password_reset", {"url": settings.PUBLIC_URL + path})


@shared_task(name="kyc.send_session_revoked", **MAIL_RETRIES)
def send_session_revoked(customer: int) -> None:
    """Tell a customer that a copied sign-in was ended."""
    user = User.objects.get(pk=customer)
    mail.send(user, "session_revoked", {"url": settings.PUBLIC_URL + reverse("kyc:password-reset")})
