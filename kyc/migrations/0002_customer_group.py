from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("kyc", "0001_initial"),
    ]

    operations = [
        migrations.AddField(
            model_name="user",
            name="group",
            field=models.SlugField(
                db_default="standard",
                db_index=False,
                default="standard",
                help_text="The customer group: whose mark-up is shown.",
                max_length=20,
            ),
        ),
    ]
