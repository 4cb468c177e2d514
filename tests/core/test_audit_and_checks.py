"""Deeds are recorded and stay; what must not run is named before it runs; logs keep secrets."""

import logging
import sys

import psycopg
import pytest
from django.db import DatabaseError, connection, transaction
from structlog.contextvars import bound_contextvars
from structlog.stdlib import ProcessorFormatter

from config.core import audit, checks, clock
from config.core.logs import logging_config, redact
from config.core.models import AuditEntry
from kyc.models import User


@pytest.fixture
def olga(db):
    return User.objects.create(email="olga@example.com", is_staff=True, registered_at=clock.now())


def test_an_entry_says_who_did_what_to_whom_from_where(olga):
    with bound_contextvars(ip="192.0.2.7", agent="Firefox", request_id="r-1"):
        audit.record(
            actor=olga,
            action="customer.restricted",
            target=olga,
            before={"at": clock.now()},
            after={"scope": "trading"},
            reason="asked for it",
        )
    entry = AuditEntry.objects.get()
    assert (entry.actor_id, entry.actor_name, entry.actor_role) == (olga.pk, "olga@example.com", "staff")
    assert (entry.action, entry.object_type, entry.object_id) == ("customer.restricted", "user", str(olga.pk))
    assert (entry.ip, entry.agent, entry.request_id) == ("192.0.2.7", "Firefox", "r-1")
    assert (entry.after, entry.reason, entry.outcome) == ({"scope": "trading"}, "asked for it", "done")
    assert entry.before["at"].endswith("Z")


@pytest.mark.django_db
def test_without_an_actor_it_was_the_system():
    entry = audit.record(action="order.swept", target=("order", "abc"))
    assert (entry.actor_id, entry.actor_name, entry.actor_role, entry.ip) == (None, "system", "system", None)
    assert (entry.object_type, entry.object_id, entry.before) == ("order", "abc", None)


def test_the_request_being_served_is_named(client, olga, settings):
    seen = {}

    def look(*_args, **_kwargs):
        from structlog.contextvars import get_contextvars

        seen.update(get_contextvars())
        raise RuntimeError

    import config.core.health as health

    original, health.answer = health.answer, look
    try:
        with pytest.raises(RuntimeError):
            client.get(
                "/healthz", REMOTE_ADDR="192.0.2.9", HTTP_USER_AGENT="curl", HTTP_X_FORWARDED_FOR="1.1.1.1"
            )
    finally:
        health.answer = original
    assert (seen["ip"], seen["agent"]) == ("192.0.2.9", "curl")
    assert len(seen["request_id"]) == 36


@pytest.mark.django_db
@pytest.mark.parametrize(
    "statement", ["UPDATE core_auditentry SET reason = 'x'", "DELETE FROM core_auditentry"]
)
def test_an_entry_cannot_be_changed_or_removed(statement, django_db_blocker):
    audit.record(action="test.done")
    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
    assert AuditEntry.objects.filter(action="test.done", reason="").count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "statement", ["UPDATE core_auditentry SET reason = 'x'", "DELETE FROM core_auditentry"]
)
def test_not_even_by_the_owner(statement, settings):
    import os

    audit.record(action="test.done")
    with (
        psycopg.connect(os.environ["DATABASE_OWNER_URL"]) as owner,
        pytest.raises(psycopg.errors.RestrictViolation),
    ):
        owner.execute(statement)


# --- System checks ------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_the_application_role_passes():
    assert checks.check_role(databases=["default"]) == []
    assert checks.check_role(databases=None) == []


def ids(found):
    return [message.id for message in found]


@pytest.mark.django_db
def test_a_role_that_owns_or_rules_is_refused(monkeypatch):
    monkeypatch.setattr(checks, "_ROLE", "SELECT 'root', true, 7")
    assert ids(checks.check_role(databases=["default"])) == ["tickhouse.E001", "tickhouse.E002"]


@pytest.mark.django_db
def test_one_role_for_everything_is_refused(settings, monkeypatch):
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user")
        (name,) = cursor.fetchone()
    monkeypatch.setitem(settings.DATABASES["owner"], "USER", name)
    assert ids(checks.check_role(databases=["default"])) == ["tickhouse.E003"]


def test_production_refuses_what_is_convenient_elsewhere(settings):
    assert checks.check_production() == []
    settings.ENVIRONMENT = "production"
    settings.DEBUG, settings.SECRET_KEY, settings.ALLOWED_HOSTS = True, "short", ["*"]
    settings.SECURE_SSL_REDIRECT, settings.SOCKET_ORIGINS, settings.TRUSTED_PROXIES = False, ["*"], 0
    numbers = ["E004", "E005", "E006", "E007", "E008", "W001"]
    assert ids(checks.check_production()) == [f"tickhouse.{number}" for number in numbers]
    settings.DEBUG, settings.SECRET_KEY, settings.ALLOWED_HOSTS = False, "x" * 50, ["example.org"]
    settings.SECURE_SSL_REDIRECT, settings.SOCKET_ORIGINS, settings.TRUSTED_PROXIES = True, ["https://x"], 1
    assert checks.check_production() == []


# --- Logs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("password", "hunter2", "[redacted]"),
        ("event", "GET /ws/v1/?ticket=abc.def&x=1", "GET /ws/v1/?ticket=[redacted]&x=1"),
        ("event", "Authorization: Bearer abc.def-x", "Authorization: Bearer [redacted]"),
        ("url", "postgres://app:hunter2@db/x", "postgres://app:[redacted]@db/x"),
        ("event", "GET /admin/enrol/aB-_9/ 200", "GET /admin/enrol/[redacted]/ 200"),
        ("path", "/password-reset/MQ/c1x-9f/", "/password-reset/MQ/[redacted]/"),
        ("event", "GET /password-reset/sent/ 200", "GET /password-reset/sent/ 200"),
        (
            "given",
            {"password": "x", "urls": ["/?code=1", 7]},
            {"password": "[redacted]", "urls": ["/?code=[redacted]", 7]},
        ),
        ("event", "nothing to hide", "nothing to hide"),
    ],
)
def test_secrets_do_not_reach_the_log(key, value, expected):
    assert redact(None, "info", {key: value}) == {key: expected}


@pytest.mark.parametrize("style", ["json", "console"])
def test_tracebacks_are_written_out_before_they_are_redacted(style, settings):
    config = logging_config(level=settings.LOG_LEVEL, style=style, role=settings.ROLE)
    given = {k: v for k, v in config["formatters"]["structured"].items() if k != "()"}
    try:
        raise ValueError("no such page: /admin/enrol/aB-_9/")
    except ValueError:
        record = logging.LogRecord("test", logging.ERROR, "", 1, "%s", ("failed",), sys.exc_info())
    line = ProcessorFormatter(**given).format(record)
    assert "ValueError: no such page: /admin/enrol/[redacted]/" in line
    assert "aB-_9" not in line
