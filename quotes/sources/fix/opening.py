"""How a FIX session is opened: what is configured of it, its address, who speaks, and the connection."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Literal
from urllib.parse import urlsplit

from django.db import DatabaseError
from msgspec import Meta

from config.core.secrets import SecretMissing
from quotes.errors import InvalidSource
from quotes.lanes import Connection
from quotes.services import fix
from quotes.sources.connection import SourceError, Timing
from quotes.sources.fix.messages import Field, Unsendable, encode
from quotes.sources.fix.session import Parties
from quotes.sources.options import Options, check_url, read_options
from quotes.sources.streams import HIDDEN, LONGEST_WORDS, read_secret

# What ends a session, to be followed by another.
FAILURES = (OSError, TimeoutError, SourceError, DatabaseError, fix.NumberTaken)
LONGEST_HOST = 253
PASSWORD = 554

CompId = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[!-<>-~]+$")]


class FixOptions(Options, frozen=True):
    """What a FIX session needs besides its address and its password.

    `depth` 1 asks for the best prices alone, 0 for the whole book; `update_type` 0 for whole snapshots, 1 for
    changes. `test_request_seconds` is how often the peer is asked for an answer, which measures its lag: a
    quiet market is known to be quiet once it has answered. `allow_plaintext` lets a name or a password go to
    another machine in the clear.
    """

    sender: CompId
    target: CompId
    username: Annotated[str, Meta(max_length=64, pattern=r"^[ -~]*$")] = ""
    heartbeat_seconds: Annotated[int, Meta(ge=1, le=300)] = 30
    reset_on_logon: bool = True
    depth: Annotated[int, Meta(ge=0, le=100)] = 1
    symbols_per_request: Annotated[int, Meta(ge=1, le=500)] = 1
    update_type: Literal[0, 1] = 1
    ca_file: str = ""
    test_request_seconds: Annotated[float, Meta(ge=1, le=60)] = 2.0
    allow_plaintext: bool = False


def check(connection: Connection) -> FixOptions:
    """Return the connection's options; raise InvalidSource for those, or an address, that cannot be."""
    read_address(connection.url)
    options = read_options(connection, FixOptions)
    if (connection.secret_ref or options.username) and not options.allow_plaintext:
        check_privacy(connection.url)
    return options


def read_address(url: str) -> tuple[str, int, bool]:
    """Return host, port and whether TLS is spoken. Raises InvalidSource."""
    try:
        parts = urlsplit(url if "://" in url else f"tcp://{url}")
        host, port = (parts.hostname or "").encode("idna").decode(), parts.port or 0
    except ValueError:
        host, port = "", 0
    rest = parts.path.rstrip("/") + parts.query + parts.fragment if host else ""
    if not host or not port or rest or len(host) > LONGEST_HOST or parts.scheme not in ("tcp", "tcps"):
        raise InvalidSource("url: an address of FIX is host:port, or tcps://host:port with TLS")
    if "@" in parts.netloc:
        raise InvalidSource("url: no name or password stands in an address")
    return host, port, parts.scheme == "tcps"


def check_privacy(url: str) -> None:
    """Refuse an address to which a name or a password would go in the clear. Raises InvalidSource."""
    try:
        check_url(url if "://" in url else f"tcp://{url}", "tcps", "tcp")
    except InvalidSource as error:
        said = "a name or a password goes to another machine with tcps:// only, or with `allow_plaintext`"
        raise InvalidSource(f"url: {said}") from error


def parties_of(connection: Connection, options: FixOptions) -> Parties:
    """Return who speaks, with the secret as it is now. Raises SourceError; reads a file, perhaps."""
    credentials: list[Field] = [(553, options.username)] if options.username else []
    if connection.secret_ref:
        try:
            secret = read_secret(connection.secret_ref)
            encode("A", [(PASSWORD, secret)])
        except SecretMissing as error:
            raise SourceError(str(error)) from None
        except (Unsendable, ValueError):
            raise SourceError("the secret cannot be sent: it is empty or not plain text") from None
        credentials.append((PASSWORD, secret))
    return Parties(
        connection.code,
        options.sender,
        options.target,
        options.heartbeat_seconds,
        options.reset_on_logon,
        options.test_request_seconds,
        tuple(credentials),
    )


def secrets_of(parties: Parties) -> set[str]:
    """Return what must not be told of a session: its password, as it is and as it is written in Python."""
    secrets = [value for tag, value in parties.credentials if tag == PASSWORD]
    return {written for secret in secrets for written in (secret, repr(secret)[1:-1])}


def hidden(words: str, secrets: Collection[str]) -> str:
    """Return words of the peer, or of a library, cut short and without the secrets in them."""
    for secret in secrets:
        words = words.replace(secret, HIDDEN)
    return words[:LONGEST_WORDS]


@asynccontextmanager
async def connected(
    address: tuple[str, int, bool], ca_file: str, timing: Timing
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open a connection, and close it at the end. Raises OSError, TimeoutError."""
    host, port, is_tls = address
    context = await asyncio.to_thread(ssl.create_default_context, cafile=ca_file or None) if is_tls else None
    async with asyncio.timeout(timing.connect):
        reader, writer = await asyncio.open_connection(host, port, ssl=context)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(1):
                await writer.wait_closed()
