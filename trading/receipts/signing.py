"""The signature of a receipt: Ed25519 over its canonical bytes; purely."""

from base64 import b64decode, b64encode
from binascii import Error
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from trading.receipts.form import canonical

ALGORITHM = "Ed25519"
SEED_BYTES = 32


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key by which receipts are verified, known by the beginning of its SHA-256."""

    raw: bytes
    valid_from: date | None = None

    @property
    def id(self) -> str:
        """What a receipt calls it."""
        return sha256(self.raw).hexdigest()[:16]

    @property
    def text(self) -> str:
        """The key in base64."""
        return b64encode(self.raw).decode()


class SigningKey:
    """The key that signs; made of a seed of 32 bytes."""

    def __init__(self, seed: bytes, valid_from: date | None = None) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = PublicKey(self._key.public_key().public_bytes_raw(), valid_from)

    def sign(self, said: dict[str, Any]) -> dict[str, Any]:
        """Return what is said with its signature."""
        signature = b64encode(self._key.sign(canonical(said))).decode()
        return {**said, "signature": {"algorithm": ALGORITHM, "key": self.public.id, "signature": signature}}


class NotSigned(ValueError):
    """A document does not bear a good signature; says why."""


def signer_of(document: dict[str, Any], keys: Collection[PublicKey]) -> PublicKey:
    """Return which of the keys signed a document; raise NotSigned when none did."""
    block = document.get("signature")
    if not isinstance(block, dict) or block.keys() != {"algorithm", "key", "signature"}:
        raise NotSigned("It has no signature of the known form.")
    if block["algorithm"] != ALGORITHM:
        raise NotSigned(f"Its signature is not of the algorithm {ALGORITHM}.")
    key = next((each for each in keys if each.id == block["key"]), None)
    if key is None:
        raise NotSigned("It was signed by a key that is not one of this platform.")
    said = {name: value for name, value in document.items() if name != "signature"}
    try:
        raw = b64decode(block["signature"], validate=True)
        if b64encode(raw).decode() != block["signature"]:
            raise NotSigned("Its signature is not written as it should be.")
        Ed25519PublicKey.from_public_bytes(key.raw).verify(raw, canonical(said))
    except InvalidSignature:
        raise NotSigned(
            "The signature does not fit: something in it was changed after it was signed."
        ) from None
    except (Error, TypeError, UnicodeError):
        raise NotSigned("Its signature cannot be read.") from None
    return key
