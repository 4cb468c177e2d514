"""Registration, profile and password."""

from datetime import date
from zoneinfo import available_timezones

from django.conf import settings
from django.contrib.auth import password_validation
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from config.core import audit, clock, outbox
from kyc import rules, selectors
from kyc.errors import (
    CountryNotServed,
    EmailTaken,
    PasswordWeak,
    ProfileInvalid,
    RegistrationInvalid,
    SignUpsClosed,
    TooYoung,
)
from kyc.facts import CustomerRegistered
from kyc.models import Switch, User
from kyc.services.sessions import sign_out_everywhere


@transaction.atomic
def register_customer(
    *,
    email: str,
    password: str,
    country: str,
    born_on: date,
    accepts_terms: bool,
    language: str = "en",
    time_zone: str = "UTC",
) -> User:
    """Create a customer and publish `customer.registered`, which opens his accounts in this transaction.

    Raises SignUpsClosed, RegistrationInvalid with the messages by field, TooYoung, CountryNotServed or
    EmailTaken.
    """
    if Switch.objects.filter(pk=Switch.Code.SIGN_UPS, is_on=False).exists():
        raise SignUpsClosed(_("New accounts are not opened at the moment. Those that exist work as before."))
    user = User(
        email=rules.normalised_email(email),
        country=country.strip().upper(),
        born_on=born_on,
        language=language,
        time_zone=time_zone,
        registered_at=clock.now(),
        terms_accepted_at=clock.now(),
    )
    errors = _registration_errors(user, password, accepts_terms=accepts_terms)
    if errors:
        raise RegistrationInvalid(errors=errors)
    if not rules.is_adult(born_on, clock.now().date()):
        raise TooYoung(min_age_years=rules.ADULT_YEARS)
    law = selectors.allowance(user.country)
    if not law.is_served:
        raise CountryNotServed(law.reason, country=user.country)
    user.set_password(password)
    try:
        with transaction.atomic():
            user.save(force_insert=True)
    except IntegrityError:
        raise EmailTaken from None
    outbox.publish(
        outbox.customer_topic(user.pk),
        CustomerRegistered(customer=user.pk, country=user.country, real_allowed=law.real_allowed),
    )
    return user


def _registration_errors(user: User, password: str, *, accepts_terms: bool) -> dict[str, list[str]]:
    errors = _profile_errors(user)
    try:
        validate_email(user.email)
    except ValidationError as refused:
        errors["email"] = list(refused.messages)
    if user.country not in rules.countries():
        errors["country"] = [_("Choose a country by its two letters.")]
    today = clock.now().date()
    if user.born_on is None or not 0 <= rules.age_years(user.born_on, today) <= rules.OLDEST_YEARS:
        errors["born_on"] = [_("Enter your date of birth.")]
    try:
        password_validation.validate_password(password, user)
    except ValidationError as refused:
        errors["password"] = list(refused.messages)
    if not accepts_terms:
        errors["accepts_terms"] = [_("You must accept the terms.")]
    return errors


def _profile_errors(user: User) -> dict[str, list[str]]:
    errors: dict[str, list[str]] = {}
    if user.language not in dict(settings.LANGUAGES):
        errors["language"] = [_("This language is not offered.")]
    if user.time_zone not in available_timezones():
        errors["time_zone"] = [_("Write a time zone by its IANA name, for example Europe/Madrid.")]
    return errors


@transaction.atomic
def change_profile(*, user: User, language: str | None = None, time_zone: str | None = None) -> User:
    """Change what a customer may change about himself; raise ProfileInvalid with the messages by field."""
    person = User.objects.select_for_update().get(pk=user.pk)
    person.language = language if language is not None else person.language
    person.time_zone = time_zone if time_zone is not None else person.time_zone
    if errors := _profile_errors(person):
        raise ProfileInvalid(errors=errors)
    person.save(update_fields=["language", "time_zone"])
    return person


@transaction.atomic
def reset_password(*, user: User, password: str) -> None:
    """Set a new password and end every session and token; raise PasswordWeak with the messages by field."""
    try:
        password_validation.validate_password(password, user)
    except ValidationError as refused:
        raise PasswordWeak(errors={"password": list(refused.messages)}) from None
    person = User.objects.select_for_update().get(pk=user.pk)
    person.set_password(password)
    person.save(update_fields=["password"])
    sign_out_everywhere(user=person, reason="password reset")
    audit.record(actor=person, action="password.reset", target=person)
