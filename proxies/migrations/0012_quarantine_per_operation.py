import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("media_files", "0001_initial"), ("proxies", "0011_removal_notes")]

    operations = [
        # Files quarantined before were so by the making of their proxies.
        migrations.AddField(
            model_name="quarantine",
            name="operation",
            field=models.CharField(db_default="image-proxy", default="image-proxy", max_length=32),
        ),
        migrations.AlterField(
            model_name="quarantine",
            name="source",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="quarantines",
                to="media_files.mediafile",
            ),
        ),
        migrations.AddConstraint(
            model_name="quarantine",
            constraint=models.UniqueConstraint(
                fields=("source", "operation"), name="one_quarantine_per_operation"
            ),
        ),
    ]
