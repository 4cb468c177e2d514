from django.db import migrations

from config.core.rights import APPEND_ONLY_TRIGGER, append_only


class Migration(migrations.Migration):
    dependencies = [("core", "0001_initial")]

    operations = [
        migrations.RunSQL(APPEND_ONLY_TRIGGER, "DROP FUNCTION core_refuse_change()"),
        migrations.RunSQL(
            append_only("core_auditentry"), "DROP TRIGGER core_auditentry_append_only ON core_auditentry"
        ),
        # Delivery marks come and go; autovacuum must keep the partial index of unpublished facts small.
        migrations.RunSQL(
            "ALTER TABLE core_fact SET (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02)",
            "ALTER TABLE core_fact RESET (fillfactor, autovacuum_vacuum_scale_factor)",
        ),
    ]
