"""What operators configure of a source, read strictly."""

import ipaddress
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec

from quotes.errors import InvalidSource
from quotes.lanes import Connection

LONGEST_URL = 300


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The options of a kind that has none; those of the others extend it."""


Kind = TypeVar("Kind", bound=Options)


def read_options(connection: Connection, kind: type[Kind]) -> Kind:
    """Return the options in their form; raise InvalidSource, which names the field."""
    try:
        return msgspec.convert(connection.options, kind)
    except msgspec.ValidationError as error:
        # msgspec calls the whole `$`.
        raise InvalidSource(f"options: {str(error).replace('$.', '').replace(' - at `$`', '')}") from None


def check_url(url: str, scheme: str, plain_scheme: str) -> None:
    """Refuse an address that nothing can be opened at, or that would send keys and prices in the clear.

    The plain scheme is for this machine alone. Raises InvalidSource.
    """
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").encode("idna").decode()
        is_possible = bool(host) and parts.port != 0
    except ValueError:
        is_possible = False
    if not is_possible or len(url) > LONGEST_URL or not url.isascii() or not url.isprintable() or " " in url:
        raise InvalidSource(f"url: an address begins with {scheme}://host")
    if "@" in parts.netloc or "{" in parts.netloc:
        raise InvalidSource("url: no key stands in the name of a host")
    if parts.scheme != scheme and not (parts.scheme == plain_scheme and _is_here(host)):
        raise InvalidSource(f"url: {scheme}:// is needed, {plain_scheme}:// reaches this machine only")


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
