from django.db import migrations

# An order is written once and closed once; closing moves it out of the partial indexes.
STORAGE = """
ALTER TABLE trading_order SET (
    fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
"""

CLOSED = """
CREATE FUNCTION trading_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'order % is closed', OLD.id USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER trading_order_closed_once BEFORE UPDATE ON trading_order
    FOR EACH ROW WHEN (OLD.status <> 'open') EXECUTE FUNCTION trading_refuse_change();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("trading", "0001_initial"),
        ("ledger", "0002_guards"),
        ("quotes", "0001_initial"),
        ("kyc", "0001_initial"),
        ("core", "0002_append_only"),
    ]

    operations = [
        migrations.RunSQL(STORAGE, migrations.RunSQL.noop),
        migrations.RunSQL(
            CLOSED,
            "DROP TRIGGER trading_order_closed_once ON trading_order; DROP FUNCTION trading_refuse_change()",
        ),
    ]
