"""The platform's own keys: which signs, and which verify what was signed before."""

import binascii
import hmac
from base64 import b64decode
from datetime import date

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from config.core.errors import Unavailable
from config.core.secrets import SecretMissing, get_secret
from trading.receipts.signing import SEED_BYTES, PublicKey, SigningKey

SECRET = "receipt-signing-key"  # noqa: S105 - its name


def signing_key() -> SigningKey:
    """Return the key that signs; raise Unavailable while production has none that can be used.

    Elsewhere, without the secret, it is derived from SECRET_KEY.
    """
    try:
        key = SigningKey(_seed())
    except (SecretMissing, ImproperlyConfigured) as error:
        raise Unavailable("Receipts cannot be signed right now.") from error
    listed = (each.valid_from for each in configured_keys() if each.id == key.public.id)
    return SigningKey(_seed(), next(listed, None))


def public_keys() -> list[PublicKey]:
    """Return every key by which a receipt of this platform may be verified, the one in use first."""
    own = signing_key().public
    return [own, *(each for each in configured_keys() if each.id != own.id)]


def configured_keys() -> list[PublicKey]:
    """Read RECEIPT_PUBLIC_KEYS; raise ImproperlyConfigured naming what is no day and key."""
    return [_public_key(text) for text in settings.RECEIPT_PUBLIC_KEYS]


def _public_key(text: str) -> PublicKey:
    since, _, key = text.partition(":")
    try:
        return PublicKey(_thirty_two(key), date.fromisoformat(since))
    except ValueError:
        wanted = "write 2030-01-31:<32 bytes in base64>"
        raise ImproperlyConfigured(f"RECEIPT_PUBLIC_KEYS has {text[:60]!r}; {wanted}.") from None


def _seed() -> bytes:
    try:
        text = get_secret(SECRET)
    except SecretMissing:
        if settings.ENVIRONMENT == "production":
            raise
        return hmac.digest(settings.SECRET_KEY.encode(), SECRET.encode(), "sha256")
    try:
        return _thirty_two(text)
    except ValueError:
        raise ImproperlyConfigured(f"The secret {SECRET} is not 32 bytes in base64.") from None


def _thirty_two(text: str) -> bytes:
    try:
        raw = b64decode(text, validate=True)
    except binascii.Error:
        raw = b""
    if len(raw) != SEED_BYTES:
        raise ValueError("not 32 bytes in base64")
    return raw


def what_is_wrong() -> list[str]:
    """Say what stands against signing and verifying with what is configured; nothing when all is well."""
    found = []
    for look in (_seed, configured_keys):
        try:
            look()
        except (SecretMissing, ImproperlyConfigured) as error:
            found.append(str(error))
    return found
