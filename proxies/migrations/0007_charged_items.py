from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("proxies", "0006_tell_processes_apart")]

    operations = [
        migrations.AddField(
            model_name="batchitem",
            name="is_charged",
            field=models.BooleanField(db_default=False, default=False, editable=False),
        )
    ]
