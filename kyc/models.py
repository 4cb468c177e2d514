"""People: who signs in, from where, with what, and what they may not do."""

from typing import Any, ClassVar

from django.contrib.auth.base_user import BaseUserManager
from django.contrib.auth.models import AbstractBaseUser, PermissionsMixin
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils.crypto import salted_hmac

from kyc.rules import normalised_email


class UserManager(BaseUserManager["User"]):
    """Finds people by e-mail address, whatever its case."""

    def get_by_natural_key(self, username: str | None) -> "User":
        """Return whose address this is; stored ones have one spelling, so that the index finds them."""
        return self.get(email=normalised_email(username or ""))


class User(AbstractBaseUser, PermissionsMixin):
    """A person with an e-mail address: customer or staff."""

    email = models.EmailField(unique=True)
    country = models.CharField(max_length=2, blank=True, help_text="ISO 3166-1 alpha-2.")
    born_on = models.DateField(null=True, blank=True)
    terms_accepted_at = models.DateTimeField(null=True, blank=True)
    email_verified_at = models.DateTimeField(null=True, blank=True)
    language = models.CharField(max_length=10, default="en")
    time_zone = models.CharField(max_length=64, default="UTC")
    group = models.SlugField(
        max_length=20,
        default="standard",
        db_default="standard",
        db_index=False,
        help_text="The customer group: whose mark-up is shown.",
    )
    is_active = models.BooleanField(default=True)
    is_staff = models.BooleanField(default=False)
    registered_at = models.DateTimeField()
    sign_outs = models.PositiveIntegerField(default=0, help_text="How often every sign-in was ended.")
    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []
    objects = UserManager()

    class Meta:
        verbose_name = "customer"
        constraints: ClassVar = [models.UniqueConstraint(Lower("email"), name="user_email_any_case")]

    def __str__(self) -> str:
        return self.email

    def _get_session_auth_hash(self, secret: Any = None) -> str:
        # With the count in it, every page session of before ends when it moves, and stays ended.
        value = f"{self.password}:{self.sign_outs}"
        return salted_hmac("kyc.session", value, secret=secret, algorithm="sha256").hexdigest()


class Jurisdiction(models.Model):
    """What the law of a country allows: absent means demo only."""

    country = models.CharField(max_length=2, primary_key=True, help_text="ISO 3166-1 alpha-2.")
    is_sanctioned = models.BooleanField(default=False)
    allows_real = models.BooleanField(default=False)
    licence_reference = models.CharField(max_length=120, blank=True)

    class Meta:
        ordering = ["country"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(allows_real=False) | (Q(is_sanctioned=False) & ~Q(licence_reference="")),
                name="jurisdiction_real_needs_licence",
            )
        ]

    def __str__(self) -> str:
        return self.country


class Restriction(models.Model):
    """What an operator forbids a customer, with a reason and an end."""

    class Scope(models.TextChoices):
        SIGN_IN = "sign_in", "sign-in"
        TRADING = "trading"

    customer = models.ForeignKey(User, models.PROTECT, related_name="restrictions")
    scope = models.CharField(max_length=20, choices=Scope)
    reason = models.TextField()
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField(null=True, blank=True)
    made_by = models.ForeignKey(User, models.PROTECT, related_name="+")
    lifted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        indexes: ClassVar = [
            models.Index(fields=["customer", "scope"], name="restriction_live", condition=Q(lifted_at=None))
        ]

    def __str__(self) -> str:
        return f"{self.scope} of {self.customer_id}"


class Switch(models.Model):
    """Something the house offers everybody, and whether it does now."""

    class Code(models.TextChoices):
        SIGN_UPS = "sign_ups", "sign-ups"

    code = models.CharField(max_length=20, primary_key=True, choices=Code)
    is_on = models.BooleanField(default=True)
    changed_at = models.DateTimeField(null=True)
    changed_by = models.ForeignKey(User, models.PROTECT, null=True, related_name="+")
    reason = models.TextField(blank=True)

    class Meta:
        verbose_name_plural = "switches"
        ordering = ["code"]

    def __str__(self) -> str:
        return self.get_code_display()


class RefreshFamily(models.Model):
    """One sign-in of a mobile client: every refresh token descends from it and dies with it."""

    id = models.UUIDField(primary_key=True)
    user = models.ForeignKey(User, models.CASCADE, related_name="refresh_families")
    created_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)
    revoked_because = models.CharField(max_length=40, blank=True)
    ip = models.GenericIPAddressField(null=True, blank=True)
    agent = models.CharField(max_length=300, blank=True)

    class Meta:
        verbose_name_plural = "refresh families"

    def __str__(self) -> str:
        return str(self.id)


class RefreshToken(models.Model):
    """One refresh token; it can be used once."""

    id = models.UUIDField(primary_key=True)
    family = models.ForeignKey(RefreshFamily, models.CASCADE, related_name="tokens")
    issued_at = models.DateTimeField()
    expires_at = models.DateTimeField(db_index=True)
    used_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return str(self.id)


class Invitation(models.Model):
    """A one-time link with which a staff member enrols the second factor."""

    user = models.ForeignKey(User, models.CASCADE, related_name="invitations")
    token_sha256 = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"invitation of {self.user_id}"


class RecoveryCode(models.Model):
    """A one-time code for a lost second factor, stored hashed."""

    user = models.ForeignKey(User, models.CASCADE, related_name="recovery_codes")
    code_hash = models.CharField(max_length=128)
    used_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"recovery code of {self.user_id}"
