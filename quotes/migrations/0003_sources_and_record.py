import django.db.models.deletion
from django.db import migrations, models

from config.core.rights import append_only

APPEND_ONLY = ["quotes_markup", "quotes_recordpart", "quotes_candlecheck", "quotes_simulationrun"]


class Migration(migrations.Migration):
    dependencies = [
        ("quotes", "0002_guards"),
    ]

    operations = [
        migrations.CreateModel(
            name="Source",
            fields=[
                ("code", models.SlugField(max_length=20, primary_key=True, serialize=False)),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("simulated", "Simulated"),
                            ("replay", "Recording"),
                            ("binance", "Binance"),
                            ("kraken", "Kraken"),
                            ("oanda", "OANDA"),
                            ("json", "JSON over WebSocket"),
                            ("fix", "FIX 4.4 market data"),
                        ],
                        max_length=12,
                    ),
                ),
                ("name", models.CharField(max_length=80)),
                (
                    "url",
                    models.CharField(
                        blank=True,
                        help_text="wss://…, https://…, or host:port for FIX (tcps://host:port with TLS).",
                        max_length=300,
                    ),
                ),
                (
                    "secret_ref",
                    models.CharField(
                        blank=True,
                        help_text="The name of its key among the platform's secrets; the key itself is never kept here.",
                        max_length=60,
                    ),
                ),
                (
                    "options",
                    models.JSONField(
                        blank=True, default=dict, help_text="What this kind needs besides; see the documents."
                    ),
                ),
                ("is_enabled", models.BooleanField(default=True)),
                ("changed_at", models.DateTimeField()),
            ],
            options={
                "ordering": ["code"],
            },
        ),
        migrations.CreateModel(
            name="RecordDay",
            fields=[
                ("day", models.DateField(primary_key=True, serialize=False)),
                ("root", models.BinaryField(max_length=32)),
                (
                    "is_backfilled",
                    models.BooleanField(
                        default=False, help_text="From a file, before the platform's own time."
                    ),
                ),
                ("sealed_at", models.DateTimeField()),
                (
                    "dropped_at",
                    models.DateTimeField(help_text="When its ticks left the database.", null=True),
                ),
            ],
            options={
                "ordering": ["-day"],
            },
        ),
        migrations.CreateModel(
            name="SourceState",
            fields=[
                ("source", models.SlugField(max_length=20, primary_key=True, serialize=False)),
                ("state", models.CharField(max_length=12)),
                ("quotes_per_second", models.FloatField(default=0)),
                ("lag_ms", models.IntegerField(null=True)),
                ("offset_ms", models.IntegerField(null=True)),
                ("silent_ms", models.BigIntegerField(null=True)),
                ("connects", models.BigIntegerField(default=0)),
                ("failures", models.BigIntegerField(default=0)),
                ("last_error", models.CharField(blank=True, max_length=300)),
                ("last_error_at", models.DateTimeField(null=True)),
                ("quotes", models.JSONField(default=dict)),
                ("updated_at", models.DateTimeField()),
            ],
        ),
        migrations.AddField(
            model_name="watermark",
            name="last_ask",
            field=models.DecimalField(decimal_places=8, max_digits=20, null=True),
        ),
        migrations.AddField(
            model_name="watermark",
            name="last_bid",
            field=models.DecimalField(decimal_places=8, max_digits=20, null=True),
        ),
        migrations.AddField(
            model_name="instrument",
            name="aggregation",
            field=models.CharField(
                choices=[
                    ("primary", "The first source that delivers"),
                    ("best", "The best bid and ask of all"),
                    ("median", "The median of at least three"),
                ],
                default="primary",
                max_length=10,
            ),
        ),
        migrations.AddField(
            model_name="instrument",
            name="fail_back_after_ms",
            field=models.PositiveIntegerField(
                default=30000,
                help_text="Primary: how long a better source must deliver before it makes it again.",
            ),
        ),
        migrations.AddField(
            model_name="instrument",
            name="fail_over_after_ms",
            field=models.PositiveIntegerField(
                default=3000, help_text="Primary: silence after which the next source makes the price."
            ),
        ),
        migrations.AddField(
            model_name="instrument",
            name="max_source_age_ms",
            field=models.PositiveIntegerField(
                default=5000, help_text="How long a source's last quote counts among those of the others."
            ),
        ),
        migrations.AlterField(
            model_name="instrument",
            name="source",
            field=models.SlugField(db_index=False, default="simulated", max_length=20),
        ),
        migrations.CreateModel(
            name="CandleCheck",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("day", models.DateField()),
                ("candles", models.PositiveIntegerField()),
                (
                    "repaired",
                    models.JSONField(default=list, help_text="Interval, start, and what was stored."),
                ),
                ("checked_at", models.DateTimeField()),
                (
                    "instrument",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="candle_checks",
                        to="quotes.instrument",
                    ),
                ),
            ],
            options={
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="FixSession",
            fields=[
                (
                    "source",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="fix_session",
                        serialize=False,
                        to="quotes.source",
                    ),
                ),
                ("next_in", models.BigIntegerField(default=1)),
                ("next_out", models.BigIntegerField(default=1)),
                ("changed_at", models.DateTimeField()),
            ],
        ),
        migrations.CreateModel(
            name="FixReject",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("at", models.DateTimeField()),
                (
                    "kind",
                    models.CharField(
                        help_text="reject, business_reject or market_data_reject", max_length=30
                    ),
                ),
                ("ref_seq", models.BigIntegerField(null=True)),
                ("text", models.CharField(max_length=300)),
                (
                    "source",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="fix_rejects",
                        to="quotes.source",
                    ),
                ),
            ],
            options={
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="SimulationHour",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("hour", models.DateTimeField()),
                (
                    "commitment",
                    models.CharField(help_text="SHA-256 of the seed, hexadecimal.", max_length=64),
                ),
                ("sealed_seed", models.BinaryField(max_length=80)),
                (
                    "seed",
                    models.CharField(
                        blank=True, default="", help_text="Hexadecimal, once the hour is over.", max_length=64
                    ),
                ),
                ("committed_at", models.DateTimeField()),
                ("revealed_at", models.DateTimeField(null=True)),
                (
                    "instrument",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="simulation_hours",
                        to="quotes.instrument",
                    ),
                ),
            ],
            options={
                "ordering": ["-hour"],
            },
        ),
        migrations.CreateModel(
            name="SimulationRun",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("number", models.PositiveIntegerField()),
                ("started_at", models.DateTimeField()),
                ("start_price", models.DecimalField(decimal_places=8, max_digits=20)),
                ("volatility", models.DecimalField(decimal_places=4, max_digits=6)),
                ("interval_ms", models.PositiveIntegerField()),
                ("price_decimals", models.PositiveSmallIntegerField()),
                (
                    "hour",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="runs",
                        to="quotes.simulationhour",
                    ),
                ),
            ],
            options={
                "ordering": ["hour", "number"],
            },
        ),
        migrations.CreateModel(
            name="FixMessage",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("seq", models.BigIntegerField()),
                ("raw", models.BinaryField()),
                ("sent_at", models.DateTimeField()),
                (
                    "source",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="fix_messages",
                        to="quotes.source",
                    ),
                ),
            ],
            options={
                "ordering": ["source", "seq"],
                "constraints": [models.UniqueConstraint(fields=("source", "seq"), name="fix_message_once")],
            },
        ),
        migrations.CreateModel(
            name="MarkUp",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "group",
                    models.SlugField(
                        db_index=False, help_text="The customer group, e.g. standard.", max_length=20
                    ),
                ),
                ("version", models.PositiveIntegerField()),
                ("amount", models.DecimalField(decimal_places=8, max_digits=20)),
                ("min_spread", models.DecimalField(decimal_places=8, max_digits=20)),
                ("created_at", models.DateTimeField()),
                ("created_by_id", models.BigIntegerField(null=True)),
                ("reason", models.TextField()),
                (
                    "instrument",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="mark_ups",
                        to="quotes.instrument",
                    ),
                ),
            ],
            options={
                "ordering": ["instrument", "group", "-version"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("instrument", "group", "version"), name="mark_up_version_once"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("amount__gte", 0), ("min_spread__gte", 0)),
                        name="mark_up_not_negative",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Quotation",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("rank", models.PositiveSmallIntegerField()),
                ("source", models.SlugField(db_index=False, max_length=20)),
                ("source_symbol", models.CharField(max_length=80)),
                (
                    "instrument",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="quotations",
                        to="quotes.instrument",
                    ),
                ),
            ],
            options={
                "ordering": ["instrument", "rank"],
                "constraints": [
                    models.UniqueConstraint(fields=("instrument", "rank"), name="quotation_rank_once"),
                    models.UniqueConstraint(fields=("instrument", "source"), name="quotation_source_once"),
                    models.CheckConstraint(condition=models.Q(("rank__gte", 1)), name="quotation_further"),
                ],
            },
        ),
        migrations.CreateModel(
            name="RecordPart",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("ticks", models.BigIntegerField()),
                ("first_seq", models.BigIntegerField()),
                ("last_seq", models.BigIntegerField()),
                ("first_at", models.DateTimeField()),
                ("last_at", models.DateTimeField()),
                ("head", models.BinaryField(max_length=32)),
                ("file", models.CharField(help_text="Its name in the archive's storage.", max_length=200)),
                ("file_bytes", models.BigIntegerField()),
                ("file_sha256", models.BinaryField(max_length=32)),
                (
                    "day",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="parts",
                        to="quotes.recordday",
                    ),
                ),
                (
                    "instrument",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="record_parts",
                        to="quotes.instrument",
                    ),
                ),
            ],
            options={
                "ordering": ["day", "instrument"],
                "constraints": [
                    models.UniqueConstraint(fields=("day", "instrument"), name="record_part_once")
                ],
            },
        ),
        migrations.AddConstraint(
            model_name="simulationhour",
            constraint=models.UniqueConstraint(fields=("instrument", "hour"), name="simulation_hour_once"),
        ),
        migrations.AddConstraint(
            model_name="simulationhour",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("revealed_at", None), ("seed", "")),
                    models.Q(models.Q(("seed", ""), _negated=True), ("revealed_at__isnull", False)),
                    _connector="OR",
                ),
                name="simulation_seed_revealed",
            ),
        ),
        migrations.AddConstraint(
            model_name="simulationrun",
            constraint=models.UniqueConstraint(fields=("hour", "number"), name="simulation_run_once"),
        ),
        *(
            migrations.RunSQL(append_only(table), f"DROP TRIGGER {table}_append_only ON {table}")
            for table in APPEND_ONLY
        ),
    ]
