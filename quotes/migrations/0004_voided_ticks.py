import django.db.models.deletion
from django.db import migrations, models

# Column rights let the application decide a request; here a second decision ends, and whatever the owner
# would change of what was asked.
DECIDED_ONCE = """
CREATE TRIGGER quotes_voidedtick_decided_once BEFORE UPDATE ON quotes_voidedtick FOR EACH ROW WHEN (
    OLD.state <> 'requested'
    OR (OLD.id, OLD.instrument_id, OLD.at, OLD.seq, OLD.price, OLD.independent_prices, OLD.deviation,
        OLD."limit", OLD.reason, OLD.requested_by_id, OLD.requested_at)
    IS DISTINCT FROM
       (NEW.id, NEW.instrument_id, NEW.at, NEW.seq, NEW.price, NEW.independent_prices, NEW.deviation,
        NEW."limit", NEW.reason, NEW.requested_by_id, NEW.requested_at))
EXECUTE FUNCTION core_refuse_change();
CREATE TRIGGER quotes_voidedtick_kept BEFORE DELETE ON quotes_voidedtick
FOR EACH ROW EXECUTE FUNCTION core_refuse_change();
"""
UNDECIDED = """
DROP TRIGGER quotes_voidedtick_decided_once ON quotes_voidedtick;
DROP TRIGGER quotes_voidedtick_kept ON quotes_voidedtick;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("quotes", "0003_sources_and_record"),
        ("core", "0002_append_only"),
    ]

    operations = [
        migrations.CreateModel(
            name="VoidedTick",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("at", models.DateTimeField()),
                ("seq", models.BigIntegerField()),
                ("price", models.DecimalField(decimal_places=8, max_digits=20)),
                (
                    "independent_prices",
                    models.JSONField(help_text="Of each other source: its name and its price."),
                ),
                (
                    "deviation",
                    models.DecimalField(
                        decimal_places=8,
                        help_text="|price - median| / median, to eight decimals.",
                        max_digits=30,
                    ),
                ),
                (
                    "limit",
                    models.DecimalField(
                        decimal_places=8,
                        help_text="What the deviation had to exceed when it was requested.",
                        max_digits=9,
                    ),
                ),
                ("reason", models.TextField(help_text="Public, once the tick is voided.")),
                ("requested_by_id", models.BigIntegerField()),
                ("requested_at", models.DateTimeField()),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("requested", "Requested"),
                            ("approved", "Approved"),
                            ("declined", "Declined"),
                        ],
                        default="requested",
                        max_length=10,
                    ),
                ),
                ("decided_by_id", models.BigIntegerField(null=True)),
                ("decided_at", models.DateTimeField(null=True)),
                (
                    "instrument",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="voided_ticks",
                        to="quotes.instrument",
                    ),
                ),
            ],
            options={
                "ordering": ["-id"],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("state__in", ["requested", "approved"])),
                        fields=("instrument", "seq"),
                        name="voided_tick_once",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("state", "approved")),
                        fields=("decided_at",),
                        name="voided_tick_approved_at",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("decided_at", None), ("decided_by_id", None), ("state", "requested")),
                            models.Q(
                                ("decided_at__isnull", False),
                                ("state__in", ["approved", "declined"]),
                                ("decided_by_id__isnull", False),
                                models.Q(("decided_by_id", models.F("requested_by_id")), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="voided_tick_by_two_people",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("deviation__gt", models.F("limit"))),
                        name="voided_tick_beyond_limit",
                    ),
                ],
            },
        ),
        migrations.RunSQL(DECIDED_ONCE, UNDECIDED),
    ]
