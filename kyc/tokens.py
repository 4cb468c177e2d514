"""Signed tokens: what they say, and that nobody else said it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from django.conf import settings
from rest_framework_simplejwt.backends import TokenBackend
from rest_framework_simplejwt.exceptions import TokenBackendError

from kyc.errors import TokenInvalid

Kind = Literal["access", "refresh"]
_backend = TokenBackend(algorithm="HS256", signing_key=settings.SECRET_KEY)


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says: whose it is, and from which sign-in it descends."""

    user_id: int
    family: UUID
    token: UUID
    kind: Kind


def encode(claims: Claims, *, issued_at: datetime, expires_at: datetime) -> str:
    """Sign a token."""
    return _backend.encode(
        {
            "sub": str(claims.user_id),
            "fam": claims.family.hex,
            "jti": claims.token.hex,
            "typ": claims.kind,
            "iat": int(issued_at.timestamp()),
            "exp": int(expires_at.timestamp()),
        }
    )


def decode(raw: str, kind: Kind) -> Claims:
    """Return what a token says; raise TokenInvalid when it is forged, expired or of another kind."""
    try:
        payload = _backend.decode(raw)  # type: ignore[arg-type]
        if payload["typ"] != kind or "exp" not in payload:
            raise TokenInvalid
        return Claims(int(payload["sub"]), UUID(payload["fam"]), UUID(payload["jti"]), kind)
    except (TokenBackendError, KeyError, ValueError, TypeError, AttributeError):
        raise TokenInvalid from None
