from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("proxies", "0012_quarantine_per_operation")]

    operations = [
        migrations.AddField(
            model_name="batch",
            name="alike",
            field=models.PositiveSmallIntegerField(db_default=0, default=0, editable=False),
        ),
        migrations.AddField(
            model_name="batch",
            name="alike_code",
            field=models.CharField(blank=True, db_default="", default="", editable=False, max_length=32),
        ),
    ]
