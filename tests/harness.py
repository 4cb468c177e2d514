"""What a test run stands on: servers, a database per worker cloned from a migrated template, a Redis prefix.

`DATABASE_URL` set in the environment means servers outside (their owner must be allowed to create databases);
otherwise embedded ones are started once, by the first process, and its workers inherit their addresses.
"""

import atexit
import hashlib
import os
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import redis
from django.contrib.auth.hashers import Argon2PasswordHasher
from psycopg import sql

from config.embedded import environment as env
from config.embedded.exec import environment_with_servers

DATABASE_PREFIX, TEMPLATE_PREFIX = "tickhouse_test_", "tickhouse_template_"
# Serialises the making of the template among workers and among runs on one server.
TEMPLATE_LOCK = 7_431_001
# Filled by `migrate` itself, and the same for every test.
KEPT_TABLES = frozenset({"django_migrations", "django_content_type", "auth_permission"})

_servers = ExitStack()


class QuickArgon2(Argon2PasswordHasher):
    """The platform's hash at the least cost; its hashes are good for the real roles too."""

    time_cost, memory_cost, parallelism = 1, 8, 1


def worker() -> str:
    """Return the name of this process among the workers of the run."""
    return os.environ.get("PYTEST_XDIST_WORKER", "main")


def enter() -> None:
    """Start servers if the run has none; point the environment at this worker's database and prefix."""
    if "TEST_RUN" not in os.environ:
        os.environ.update(_servers.enter_context(environment_with_servers(env.load(), throwaway=True)))
        os.environ["TEST_RUN"] = str(os.getpid())
        atexit.register(_servers.close)
    name = f"{os.environ['TEST_RUN']}_{worker()}"
    direct = os.environ.get("DATABASE_DIRECT_URL") or os.environ["DATABASE_URL"]
    owner = os.environ.get("DATABASE_OWNER_URL") or os.environ["DATABASE_URL"]
    os.environ.update(
        DATABASE_URL=renamed(os.environ["DATABASE_URL"], f"{DATABASE_PREFIX}{name}"),
        DATABASE_OWNER_URL=renamed(owner, f"{DATABASE_PREFIX}{name}"),
        DATABASE_DIRECT_URL=renamed(direct, f"{DATABASE_PREFIX}{name}"),
        REDIS_PREFIX=f"test_{name}:",
        DATA_DIR=str(Path(tempfile.gettempdir()) / f"tickhouse-test-{name}"),
        ENVIRONMENT="embedded",
    )


def leave() -> None:
    """Remove this worker's folder, and stop the servers where this process started them."""
    shutil.rmtree(os.environ["DATA_DIR"], ignore_errors=True)
    _servers.close()


def renamed(url: str, database: str) -> str:
    """Return the address of another database on the same server, for the same role."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))


def maintenance() -> "psycopg.Connection[tuple[object, ...]]":
    """Connect as the owner to the server's own database."""
    return psycopg.connect(renamed(os.environ["DATABASE_OWNER_URL"], "postgres"), autocommit=True)


def own_database() -> str:
    """Return the name of this worker's database; it is never one that was there before the run."""
    name = urlsplit(os.environ["DATABASE_URL"]).path[1:]
    if not name.startswith(DATABASE_PREFIX):
        raise RuntimeError(f"{name} is no test database; run pytest with --ds=tests.settings.")
    return name


def schema_hash() -> str:
    """Return what the template's tables depend on: migrations, models' rights, installed packages."""
    digest = hashlib.sha256()
    files = [
        *env.ROOT.glob("*/migrations/*.py"),
        *env.ROOT.glob("*/*/migrations/*.py"),
        *env.ROOT.glob("*/models.py"),
        *env.ROOT.glob("*/*/models.py"),
        *(env.ROOT / "config" / "core").glob("*.py"),
        env.ROOT / "requirements.txt",
    ]
    for path in sorted(files):
        digest.update(bytes(path.relative_to(env.ROOT)) + path.read_bytes())
    return digest.hexdigest()[:12]


def create_database() -> None:
    """Clone this worker's database from the template, making the template first if the schema is new."""
    template, name = f"{TEMPLATE_PREFIX}{schema_hash()}", own_database()
    with maintenance() as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [TEMPLATE_LOCK])
        if not _exists(connection, template):
            _make_template(connection, template)
        _drop(connection, name)
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        )


def drop_database() -> None:
    """Remove this worker's database, whoever is still connected."""
    with maintenance() as connection:
        _drop(connection, own_database())


def _exists(connection: "psycopg.Connection[tuple[object, ...]]", name: str) -> bool:
    return connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone() is not None


def _drop(connection: "psycopg.Connection[tuple[object, ...]]", name: str) -> None:
    connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _make_template(connection: "psycopg.Connection[tuple[object, ...]]", template: str) -> None:
    from django.core.management import call_command
    from django.db import connections

    making = f"{template}_making"
    _drop(connection, making)
    connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(making)))
    owner = connections["owner"]
    owner.close()
    own_name, owner.settings_dict["NAME"] = owner.settings_dict["NAME"], making
    try:
        call_command("migrate", database="owner", interactive=False, verbosity=0)
    finally:
        owner.close()
        owner.settings_dict["NAME"] = own_name
    connection.execute(
        sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(making), sql.Identifier(template))
    )


def flush_database() -> None:
    """Empty every table a test has written to; as the owner, for the application may not."""
    with psycopg.connect(os.environ["DATABASE_OWNER_URL"], autocommit=True) as connection:
        connection.execute("SET lock_timeout = '10s'")
        tables = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace "
            "AND relkind IN ('r', 'p') AND NOT relispartition"
        ).fetchall()
        names = [str(name) for (name,) in tables if name not in KEPT_TABLES]
        is_used = sql.SQL("SELECT {} WHERE EXISTS (SELECT FROM {})")
        questions = [is_used.format(sql.Literal(name), sql.Identifier(name)) for name in names]
        used = connection.execute(sql.SQL(" UNION ALL ").join(questions)).fetchall()
        if used:
            listed = sql.SQL(", ").join(sql.Identifier(str(name)) for (name,) in used)
            connection.execute(sql.SQL("TRUNCATE {} RESTART IDENTITY CASCADE").format(listed))


def flush_redis() -> None:
    """Remove every key of this worker."""
    with redis.Redis.from_url(os.environ["REDIS_URL"]) as client:
        keys = list(client.scan_iter(match=f"{os.environ['REDIS_PREFIX']}*", count=1000))
        if keys:
            client.delete(*keys)
