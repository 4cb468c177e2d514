from django.db import migrations

# The function keeps the plan of its first call, which may have seen a nearly empty table.
INDEXES_ONLY = """
ALTER FUNCTION ledger_post(uuid[], bigint[], bigint[], numeric[], text[], text[], timestamptz)
    SET enable_seqscan = off
"""


class Migration(migrations.Migration):
    dependencies = [("ledger", "0002_guards")]

    operations = [migrations.RunSQL(INDEXES_ONLY, migrations.RunSQL.noop)]
