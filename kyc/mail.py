"""Letters to people. A template's first line is the subject."""

from typing import Any

from django.core.mail import send_mail
from django.template.loader import render_to_string
from django.utils import translation

from kyc.models import User


def send(user: User, template: str, context: dict[str, Any]) -> None:
    """Send `templates/kyc/mail/<template>.txt` in the person's language; raises what the mail server says."""
    with translation.override(user.language):
        text = render_to_string(f"kyc/mail/{template}.txt", {"user": user, **context})
    subject, _, body = text.partition("\n")
    send_mail(subject.strip(), body.strip() + "\n", None, [user.email])
