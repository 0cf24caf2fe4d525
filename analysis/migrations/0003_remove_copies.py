from pathlib import PurePosixPath

from django.db import migrations, models


def take_bytes_from_keys(apps, schema_editor):
    """Copies that were recorded before were recorded after they were put; their keys tell their bytes."""
    copies = apps.get_model("analysis", "SentCopy").objects
    for copy in copies.all().iterator():
        copies.filter(pk=copy.pk).update(sha256=PurePosixPath(copy.key).stem, is_there=True)


class Migration(migrations.Migration):
    dependencies = [("analysis", "0002_search_and_vacuum"), ("proxies", "0004_pause_codes_and_bytes")]
    operations = [
        migrations.AddField(
            model_name="sentcopy", name="is_doubtful", field=models.BooleanField(default=False)
        ),
        migrations.AddField(
            model_name="sentcopy",
            name="is_there",
            field=models.BooleanField(
                default=False, help_text="It has been put, and not been missed since."
            ),
        ),
        migrations.AddField(
            model_name="sentcopy",
            name="sha256",
            field=models.CharField(db_index=True, default="", max_length=64),
            preserve_default=False,
        ),
        migrations.RunPython(take_bytes_from_keys, migrations.RunPython.noop),
        migrations.AddIndex(
            model_name="sentcopy",
            index=models.Index(condition=models.Q(("is_doubtful", True)), fields=["id"], name="copy_doubtful"),
        ),
    ]
