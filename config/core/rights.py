"""What the application role may do to each table, granted by the owner after every migration."""

from typing import Any

from django.apps import apps
from django.conf import settings
from django.db import connections, transaction

APPEND_ONLY_TRIGGER = """
CREATE OR REPLACE FUNCTION core_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;
"""


def append_only(table: str) -> str:
    """Return the SQL that makes a table refuse UPDATE and DELETE, whoever asks."""
    return (
        f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
        f"FOR EACH ROW EXECUTE FUNCTION core_refuse_change();"
    )


def grant(**_: Any) -> None:
    """Grant the application role its rights on every table; a model narrows them by `application_rights`."""
    role = settings.DATABASES["default"]["USER"]
    # At once: a role at work would else find its rights taken for a moment, or half given after a failure.
    with transaction.atomic(using="owner"), connections["owner"].cursor() as cursor:
        cursor.execute("SELECT current_user")
        if cursor.fetchone()[0] == role:  # one role for all: checked at start-up, nothing to grant
            return
        cursor.execute(f'GRANT USAGE ON SCHEMA public TO "{role}"')
        cursor.execute(f'GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO "{role}"')
        cursor.execute(f'GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO "{role}"')
        cursor.execute(f'GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO "{role}"')
        # Partitions are reached through their parent, whose rights then count.
        cursor.execute("SELECT oid::regclass::text FROM pg_class WHERE relispartition AND relkind = 'r'")
        for (partition,) in cursor.fetchall():
            cursor.execute(f'REVOKE ALL ON {partition} FROM "{role}"')
        existing = set(connections["owner"].introspection.table_names(cursor))
        for model in apps.get_models(include_auto_created=True):
            rights = getattr(model, "application_rights", None)
            if rights is not None and model._meta.db_table in existing:
                cursor.execute(f'REVOKE ALL ON "{model._meta.db_table}" FROM "{role}"')
                cursor.execute(f'GRANT {rights} ON "{model._meta.db_table}" TO "{role}"')
