"""Image proxies that were given by hand are made again: they were not checked for metadata."""

from django.db import migrations


def outdate(apps, schema_editor):
    given = apps.get_model("proxies", "Proxy").objects.filter(file_type="image", provenance__given=True)
    given.update(recipe="")


class Migration(migrations.Migration):
    dependencies = [("proxies", "0009_items_carry_their_recipe"), ("media_files", "0003_metadata")]

    operations = [migrations.RunPython(outdate, migrations.RunPython.noop)]
