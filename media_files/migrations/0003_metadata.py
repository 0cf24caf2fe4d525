"""What a file holds beside its pixels. Nothing is known of that in rows from before."""

from django.db import migrations, models


def forget(apps, schema_editor):
    """Only EXIF and XMP were searched for a place: that none was found says nothing."""
    apps.get_model("media_files", "MediaFile").objects.filter(has_location=False).update(has_location=None)


def say_none(apps, schema_editor):
    apps.get_model("media_files", "MediaFile").objects.filter(has_location=None).update(has_location=False)


class Migration(migrations.Migration):
    dependencies = [("media_files", "0002_drop_impossible_dates")]

    operations = [
        migrations.AddField(
            model_name="mediafile",
            name="has_metadata",
            field=models.BooleanField(
                null=True,
                help_text="Anything beside pixels and colour. Empty: not looked at to the last byte.",
            ),
        ),
        migrations.AlterField(
            model_name="mediafile",
            name="has_location",
            field=models.BooleanField(null=True, help_text="Empty: something in it could not be read."),
        ),
        migrations.RunPython(forget, say_none),
    ]
