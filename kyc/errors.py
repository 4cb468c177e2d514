"""What may be refused to people who sign up, sign in or ask for a token."""

from django.utils.translation import gettext_lazy

from config.core.errors import Conflict, Forbidden, Invalid, Refused, TooMany, Unauthenticated


def _(text: str) -> str:
    # Lazy, in the language of whoever is refused; the kernel writes it with str().
    return gettext_lazy(text)  # type: ignore[return-value]


class RegistrationInvalid(Invalid):
    code = "registration_invalid"
    title = _("Please correct what is marked")


class PasswordWeak(Invalid):
    code = "password_weak"
    title = _("Choose a better password")


class ProfileInvalid(Invalid):
    code = "profile_invalid"
    title = _("Please correct what is marked")


class EmailTaken(Conflict):
    code = "email_taken"
    title = _("This e-mail address has an account already")


class TooYoung(Refused):
    code = "too_young"
    title = _("You must be at least 18 years old")


class SignUpsClosed(Refused):
    code = "sign_ups_closed"
    title = _("New accounts are not opened at the moment")


class CountryNotServed(Refused):
    code = "country_not_served"
    title = _("We may not serve this country")


class WrongCredentials(Unauthenticated):
    code = "wrong_credentials"
    title = _("The e-mail address or the password is wrong")


class OtpRequired(Unauthenticated):
    code = "otp_required"
    title = _("Enter the code of your authenticator app")


class WrongOtp(Unauthenticated):
    code = "wrong_otp"
    title = _("The code is wrong or was used before")


class OtpUnknown(Refused):
    code = "otp_not_enrolled"
    title = _("There is no authenticator app to confirm")


class OtpCompulsory(Refused):
    code = "otp_compulsory"
    title = _("Staff cannot do without a second factor")


class TooManyAttempts(TooMany):
    code = "too_many_attempts"
    title = _("Too many attempts; wait before you try again")


class SignInRestricted(Forbidden):
    code = "sign_in_restricted"
    title = _("You cannot sign in; write to support")


class TokenInvalid(Unauthenticated):
    code = "token_invalid"
    title = _("The token is not valid or has expired")


class TokenReused(Unauthenticated):
    code = "token_reused"
    title = _("This refresh token was used before")


class InvitationInvalid(Refused):
    code = "invitation_invalid"
    title = _("This invitation was used or has expired")


class CountryUnknown(Invalid):
    code = "country_unknown"
    title = _("There is no country with these two letters")


class RestrictionInvalid(Invalid):
    code = "restriction_invalid"
    title = _("The restriction needs a reason and an end in the future")


class RestrictionLifted(Conflict):
    code = "restriction_already_lifted"
    title = _("The restriction was lifted before")
