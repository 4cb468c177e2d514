import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

# Column rights let the application decide a request; here a second decision ends, and whatever the owner
# would change of what was asked.
DECIDED_ONCE = """
CREATE TRIGGER trading_correction_decided_once BEFORE UPDATE ON trading_correction FOR EACH ROW WHEN (
    OLD.state <> 'requested'
    OR (OLD.id, OLD.order_id, OLD.payout, OLD.amount, OLD.reason, OLD.requested_by_id, OLD.requested_at)
    IS DISTINCT FROM
       (NEW.id, NEW.order_id, NEW.payout, NEW.amount, NEW.reason, NEW.requested_by_id, NEW.requested_at))
EXECUTE FUNCTION core_refuse_change();
CREATE TRIGGER trading_correction_kept BEFORE DELETE ON trading_correction
FOR EACH ROW EXECUTE FUNCTION core_refuse_change();
"""
UNDECIDED = """
DROP TRIGGER trading_correction_decided_once ON trading_correction;
DROP TRIGGER trading_correction_kept ON trading_correction;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("trading", "0011_order_rules"),
        ("core", "0002_append_only"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Correction",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "payout",
                    models.DecimalField(
                        decimal_places=8, help_text="What the order pays in all, corrected.", max_digits=28
                    ),
                ),
                (
                    "amount",
                    models.DecimalField(
                        decimal_places=8,
                        help_text="What moves: to the customer, below zero back from him.",
                        max_digits=28,
                    ),
                ),
                ("reason", models.TextField(help_text="The customer reads it, in the receipt.")),
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
                ("decided_at", models.DateTimeField(null=True)),
                (
                    "number",
                    models.PositiveSmallIntegerField(
                        help_text="Among the order's, once it is approved.", null=True
                    ),
                ),
                (
                    "decided_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "order",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="corrections",
                        to="trading.order",
                    ),
                ),
                (
                    "requested_by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "ordering": ["-id"],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("state", "requested")),
                        fields=("order",),
                        name="correction_requested_once",
                    ),
                    models.UniqueConstraint(fields=("order", "number"), name="correction_number_once"),
                    models.CheckConstraint(condition=models.Q(("payout__gte", 0)), name="correction_pays"),
                    models.CheckConstraint(
                        condition=models.Q(("amount", 0), _negated=True), name="correction_moves_money"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("decided_at", None),
                                ("decided_by", None),
                                ("number", None),
                                ("state", "requested"),
                            ),
                            models.Q(
                                ("decided_at__isnull", False),
                                ("decided_by__isnull", False),
                                ("state", "approved"),
                                ("number__gt", 0),
                                ("number__isnull", False),
                                models.Q(("decided_by", models.F("requested_by")), _negated=True),
                            ),
                            models.Q(
                                ("decided_at__isnull", False),
                                ("decided_by__isnull", False),
                                ("number", None),
                                ("state", "declined"),
                            ),
                            _connector="OR",
                        ),
                        name="correction_by_two_people",
                    ),
                ],
            },
        ),
        migrations.RunSQL(DECIDED_ONCE, UNDECIDED),
    ]
