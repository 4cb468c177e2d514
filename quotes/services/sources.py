"""Sources: who delivers quotes, as operators configure them. A key is named here and kept elsewhere."""

import json
import re
from collections import defaultdict
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlsplit

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from config.core import audit, clock
from quotes import rules, selectors
from quotes.errors import InvalidSource, ReasonMissing
from quotes.lanes import SECRETS_BEGIN, Connection
from quotes.models import Instrument, Source

CHANGEABLE = ("name", "url", "secret_ref", "options")
# There without anybody configuring them.
BUILT_IN = (rules.SIMULATED, rules.REPLAY, "binance")
# A tick's source names these when several make it.
POLICIES = frozenset(Instrument.Aggregation.values)
SCHEMES = {
    Source.Kind.BINANCE: ("wss", "ws"),
    Source.Kind.KRAKEN: ("wss", "ws"),
    Source.Kind.JSON: ("wss", "ws"),
    Source.Kind.OANDA: ("https", "http"),
    Source.Kind.FIX: ("", "tcps"),
}
# Their adapters know where they are.
WITH_ADDRESS = frozenset({Source.Kind.KRAKEN, Source.Kind.OANDA})
PLAIN = frozenset({"ws", "http"})
HERE = frozenset({"127.0.0.1", "localhost", "::1"})
MOST_OPTIONS = 20_000
SECRET_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,59}")
SECRET_WORDS = re.compile(r"(pass(word|phrase)?|secret|token|api[_-]?key|key|authorization)", re.IGNORECASE)
PLACEHOLDER = re.compile(r"\{[^{}]+\}")
# Names of secrets have few digits and short words; keys do not.
KEY_DIGITS = 8
KEY_WORD = re.compile(r"(?=[a-z]*\d)[a-z0-9]{20,}")


@transaction.atomic
def create_source(
    *,
    code: str,
    kind: str,
    name: str,
    url: str,
    actor: AbstractBaseUser,
    reason: str,
    secret_ref: str = "",
    options: dict[str, Any] | None = None,
    is_enabled: bool = True,
) -> Source:
    """Configure a connection; the feed opens it within a second or two once an instrument asks for it.

    Its code and kind are for good: instruments and recorded ticks name them. Raises InvalidSource with the
    messages by field, ReasonMissing.
    """
    _check_reason(reason)
    source = Source(
        code=code,
        kind=kind,
        name=name,
        url=url,
        secret_ref=secret_ref,
        options={} if options is None else options,
        is_enabled=is_enabled,
        changed_at=clock.now(),
    )
    check_source(source)
    try:
        with transaction.atomic():
            source.save(force_insert=True)
    except IntegrityError:
        raise InvalidSource(errors={"code": ["This code is taken."]}) from None
    audit.record(actor=actor, action="source.created", target=source, after=_view(source), reason=reason)
    return source


@transaction.atomic
def change_source(*, source: Source, actor: AbstractBaseUser, reason: str, **changes: Any) -> Source:
    """Change where and how a source is reached; the feed opens it anew within a second or two.

    Raises InvalidSource for a value that cannot be or a field that may not change, ReasonMissing.
    """
    if forbidden := changes.keys() - set(CHANGEABLE):
        raise InvalidSource(f"These cannot be changed: {', '.join(sorted(forbidden))}.")
    return _change(source, actor, "source.changed", reason, changes)


@transaction.atomic
def enable_source(*, source: Source, actor: AbstractBaseUser, reason: str) -> Source:
    """Let a source deliver again."""
    return _change(source, actor, "source.enabled", reason, {"is_enabled": True})


@transaction.atomic
def disable_source(*, source: Source, actor: AbstractBaseUser, reason: str) -> Source:
    """Take a source away; instruments that nobody else quotes take no orders until it is back."""
    return _change(source, actor, "source.disabled", reason, {"is_enabled": False})


def note_dry_run(*, source: Source, actor: AbstractBaseUser, outcome: dict[str, Any]) -> None:
    """Keep that somebody tried a source, and what came of it."""
    audit.record(actor=actor, action="source.tried", target=source, after=outcome)


def connection_of(source: Source) -> Connection:
    """Return a source as its adapter takes it, enabled or not."""
    return Connection(source.code, source.kind, source.url, source.secret_ref, source.options)


def known_sources() -> dict[str, str]:
    """Return the kind of every source an instrument may name, by code: built in, and configured."""
    return {code: code for code in BUILT_IN} | dict(
        Source.objects.order_by("code").values_list("code", "kind")
    )


def instruments_of(code: str) -> list[Instrument]:
    """Return the listed instruments that a source quotes here, by symbol."""
    return instruments_by_source().get(code, [])


def instruments_by_source() -> dict[str, list[Instrument]]:
    """Return the listed instruments that each source quotes here, by symbol."""
    found: defaultdict[str, list[Instrument]] = defaultdict(list)
    rows = Instrument.objects.filter(is_listed=True).prefetch_related("quotations").order_by("symbol")
    for row in rows:
        # An enabled exchange replaces the simulation it serves: what is stored is not all.
        for code in {selectors.source_of(row), *(each.source for each in row.quotations.all())}:
            found[code].append(row)
    return dict(found)


def check_source(source: Source) -> None:
    """Raise InvalidSource, with the messages by field, unless the source could be connected as it is."""
    errors: dict[str, list[str]] = {}
    try:
        source.full_clean()
    except ValidationError as error:
        errors = error.message_dict
    for field, check in (
        ("kind", _kind_error),
        ("code", _code_error),
        ("url", _url_error),
        ("secret_ref", _secret_error),
        ("options", _options_error),
    ):
        if field not in errors and (said := check(source)):
            errors[field] = [said]
    if errors:
        raise InvalidSource(" ".join(each for said in errors.values() for each in said), errors=errors)
    _check_options(source)


def _kind_error(source: Source) -> str:
    return "" if source.kind in SCHEMES else "Simulations and recordings are built in; choose another kind."


def _code_error(source: Source) -> str:
    if source.code in rules.MADE_HERE or (source.code in BUILT_IN and source.code != source.kind):
        return "This code is that of a source built in."
    return "A tick is marked with this word when several sources make it." if source.code in POLICIES else ""


def _url_error(source: Source) -> str:
    if source.kind not in SCHEMES or (not source.url and source.kind in WITH_ADDRESS):
        return ""
    url, schemes = source.url, SCHEMES[Source.Kind(source.kind)]
    parts = _split(url, is_bare="" in schemes)
    if parts is None or parts.scheme not in schemes or not parts.hostname:
        ways = " or ".join(f"{scheme}://" if scheme else "host:port" for scheme in schemes)
        return f"Write the address of this kind as {ways}."
    if source.kind == Source.Kind.FIX and not parts.port:
        return "A FIX address has a port: host:port or tcps://host:port."
    if parts.username is not None or parts.password is not None:
        return "An address never holds a password; name a secret instead."
    query = parse_qsl(parts.query)
    if any(SECRET_WORDS.fullmatch(key) and not PLACEHOLDER.search(value) for key, value in query):
        return "An address never holds a key; name a secret instead."
    if parts.scheme in PLAIN and parts.hostname not in HERE and settings.ENVIRONMENT != "embedded":
        return f"Without encryption ({parts.scheme}://) only this machine can be reached."
    return ""


def _split(url: str, *, is_bare: bool) -> SplitResult | None:
    if not url or re.search(r"[\s\x00-\x1f\x7f]", url):
        return None
    try:
        parts = urlsplit(f"//{url}" if is_bare and "://" not in url else url)
        _ = parts.port
    except ValueError:
        return None
    return parts


def _secret_error(source: Source) -> str:
    name = source.secret_ref
    if not name:
        return ""
    if not SECRET_NAME.fullmatch(name):
        return "The name of a secret is lower-case letters, digits and _ . - only; never the key itself."
    words = re.split(r"[_.-]", name)
    if sum(map(str.isdigit, name)) >= KEY_DIGITS or any(map(KEY_WORD.fullmatch, words)):
        return "This looks like a key. Keep it with the platform's secrets and write its name here."
    if not name.removeprefix(SECRETS_BEGIN) or not name.startswith(SECRETS_BEGIN):
        return f"Sources use only secrets whose names begin with {SECRETS_BEGIN}, e.g. {SECRETS_BEGIN}kraken."
    return ""


def _options_error(source: Source) -> str:
    if not isinstance(source.options, dict):
        return 'Options are names and values: {"name": value}.'
    if len(json.dumps(source.options)) > MOST_OPTIONS:
        return f"Options are at most {MOST_OPTIONS:,} characters."
    if _holds_key(source.options):
        return "Options never hold a key: write {secret} where it belongs, and name the secret."
    return ""


def _holds_key(value: Any, name: str = "") -> bool:
    """Tell whether a text stands under a name that keys have, without a place for the secret in it."""
    if isinstance(value, dict):
        return any(_holds_key(each, str(key)) for key, each in value.items())
    if isinstance(value, list):
        return any(_holds_key(each, name) for each in value)
    return isinstance(value, str) and bool(SECRET_WORDS.fullmatch(name)) and not PLACEHOLDER.search(value)


def _check_options(source: Source) -> None:
    """Let the adapters say what their kind needs."""
    # Adapters stand on the services: they are asked when it is time.
    from quotes.sources.probe import check_options

    try:
        check_options(connection_of(source))
    except InvalidSource as refusal:
        field, _, said = refusal.detail.partition(": ")
        errors = {field: [said]} if field in CHANGEABLE else {}
        raise InvalidSource(refusal.detail, errors=errors) from refusal


def _change(
    source: Source, actor: AbstractBaseUser, action: str, reason: str, changes: dict[str, Any]
) -> Source:
    _check_reason(reason)
    locked = Source.objects.select_for_update(no_key=True).get(pk=source.pk)
    before = _view(locked)
    for field, value in changes.items():
        setattr(locked, field, value)
    after = _view(locked)
    changed = sorted(field for field in after if after[field] != before[field])
    if not changed:
        return locked
    # What is switched off need not be able to connect.
    if locked.is_enabled or changed != ["is_enabled"]:
        check_source(locked)
    locked.changed_at = clock.now()
    locked.save(update_fields=[*changes, "changed_at"])
    losing = [] if locked.is_enabled else [each.symbol for each in instruments_of(locked.code)]
    audit.record(
        actor=actor,
        action=action,
        target=locked,
        before={field: before[field] for field in changed},
        after={field: after[field] for field in changed} | ({"instruments": losing} if losing else {}),
        reason=reason,
    )
    return locked


def _check_reason(reason: str) -> None:
    if not reason.strip():
        raise ReasonMissing()


def _view(source: Source) -> dict[str, Any]:
    return {field: getattr(source, field) for field in ("kind", *CHANGEABLE, "is_enabled")}
