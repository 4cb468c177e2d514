"""The forms of people: they ask, services decide."""

from typing import Any

from django import forms
from django.contrib.auth.forms import SetPasswordForm
from django.core.validators import MaxLengthValidator
from django.utils.translation import gettext_lazy as _

from config.core.errors import DomainError
from kyc import rules, services
from kyc.models import User

PASSWORD_LENGTH = 1024


def show(form: forms.Form, refusal: DomainError) -> None:
    """Put a refusal where it belongs on a form: at its fields, else above all."""
    by_field: dict[str, Any] = refusal.details.get("errors", {})
    for field, words in by_field.items():
        form.add_error(field if field in form.fields else None, words)
    if not by_field:
        form.add_error(None, refusal.detail)


class SignInForm(forms.Form):
    email = forms.CharField(
        label=_("E-mail"),
        max_length=254,
        widget=forms.EmailInput(attrs={"autocomplete": "username", "autofocus": ""}),
    )
    password = forms.CharField(
        label=_("Password"),
        max_length=PASSWORD_LENGTH,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )


class CodeForm(forms.Form):
    code = forms.CharField(
        label=_("Code"),
        max_length=32,
        help_text=_("Six digits of your authenticator app, or a recovery code."),
        widget=forms.TextInput(
            attrs={
                "autocomplete": "one-time-code",
                "inputmode": "text",
                "autofocus": "",
                "spellcheck": "false",
            }
        ),
    )


def _country_choices() -> list[tuple[str, str]]:
    named = sorted(rules.countries().items(), key=lambda item: item[1])
    return [("", _("Choose …")), *named]  # type: ignore[list-item]


class SignUpForm(forms.Form):
    email = forms.EmailField(
        label=_("E-mail"), widget=forms.EmailInput(attrs={"autocomplete": "username", "autofocus": ""})
    )
    password = forms.CharField(
        label=_("Password"),
        max_length=PASSWORD_LENGTH,
        strip=False,
        help_text=_("At least 10 characters."),
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )
    country = forms.ChoiceField(label=_("Country of residence"), choices=_country_choices)
    born_on = forms.DateField(
        label=_("Date of birth"), widget=forms.DateInput(attrs={"type": "date", "autocomplete": "bday"})
    )
    accepts_terms = forms.BooleanField(
        label=_("I am at least 18, I accept the terms, and I know that I can lose every stake.")
    )


class PasswordResetForm(forms.Form):
    email = forms.EmailField(
        label=_("E-mail"), widget=forms.EmailInput(attrs={"autocomplete": "username", "autofocus": ""})
    )


class NewPasswordForm(SetPasswordForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            field.validators.append(MaxLengthValidator(PASSWORD_LENGTH))

    def save(self, commit: bool = True) -> User:
        services.reset_password(user=self.user, password=self.cleaned_data["new_password1"])
        return self.user
