from django.db import migrations, models


class Migration(migrations.Migration):
    """The model has a new name; the table keeps its old one, so workers of both versions run side by side."""

    dependencies = [("proxies", "0013_failures_alike")]

    operations = [
        migrations.AlterModelTable(name="lane", table="proxies_lane"),
        migrations.RenameModel(old_name="Lane", new_name="WorkerSlot"),
        migrations.AlterField(
            model_name="workerslot",
            name="state",
            field=models.CharField(
                choices=[("idle", "Idle"), ("rung", "Notified"), ("running", "Running")], default="idle", max_length=8
            ),
        ),
    ]
