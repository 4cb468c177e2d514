from decimal import Decimal

from django.db import migrations, models

from config.core.rights import append_only

# What an outcome was decided on is never edited.
RECORDS = [
    "quotes_tick",
    "quotes_evidencetick",
    "quotes_gap",
    "quotes_calendarweek",
    "quotes_calendarexception",
]


class Migration(migrations.Migration):
    dependencies = [("quotes", "0001_initial"), ("core", "0002_append_only")]

    operations = [
        migrations.AddField(
            model_name="instrument",
            name="max_jump",
            field=models.DecimalField(
                decimal_places=5,
                default=Decimal("0.002"),
                help_text="Part of the last mid: a farther quote waits until the next one confirms it.",
                max_digits=6,
            ),
        ),
        migrations.AddField(
            model_name="instrument",
            name="max_spread",
            field=models.DecimalField(
                decimal_places=5,
                default=Decimal("0.01"),
                help_text="Part of the mid: a wider quote is dropped.",
                max_digits=6,
            ),
        ),
        migrations.AddField(
            model_name="watermark",
            name="late_ticks",
            field=models.BigIntegerField(default=0),
        ),
        *(
            migrations.RunSQL(append_only(table), f"DROP TRIGGER {table}_append_only ON {table}")
            for table in RECORDS
        ),
    ]
