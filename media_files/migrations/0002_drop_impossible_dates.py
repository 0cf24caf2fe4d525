"""Forget dates of capture that no time zone can show: a list that held such a row could not be read."""

from datetime import UTC, datetime, timedelta

from django.db import migrations
from django.db.models import Q

_MARGIN = timedelta(days=2)


def drop_impossible_dates(apps, schema_editor):
    earliest = datetime.min.replace(tzinfo=UTC) + _MARGIN
    latest = datetime.max.replace(tzinfo=UTC) - _MARGIN
    rows = apps.get_model("media_files", "MediaFile").objects.using(schema_editor.connection.alias)
    rows.filter(Q(captured_at__lt=earliest) | Q(captured_at__gt=latest)).update(captured_at=None)


class Migration(migrations.Migration):

    dependencies = [("media_files", "0001_initial")]

    operations = [migrations.RunPython(drop_impossible_dates, migrations.RunPython.noop, elidable=True)]
