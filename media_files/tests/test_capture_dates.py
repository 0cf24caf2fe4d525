"""Capture dates: any date that a camera wrote leaves the row and every list that shows it intact."""

from __future__ import annotations

import importlib
import io
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest
from django.apps import apps
from django.db import connection
from django.utils.timezone import localtime
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from media_files.models import MediaFile, _aware
from media_files.services import add_file
from media_files.tests.craft import exif, saved

pytestmark = pytest.mark.usefixtures("folders", "off")

FIRST = datetime(1, 1, 1)  # noqa: DTZ001 - cameras write it without a zone
LAST = datetime(9999, 12, 31, 23, 59, 59, 999999)  # noqa: DTZ001
CASES = Path(__file__).parent / "cases"
ZONES = ["UTC", "Europe/Berlin", "Pacific/Kiritimati", "Etc/GMT+12"]
OFFSETS = ["", "Z", "+14:00", "-12:00", "+23:59", "-23:59", "+99:99", "nonsense"]
EXTREMES = ["0001:01:01 00:00:00", "0001:01:02 12:00:00", "9999:12:31 23:59:59", "9999:12:30 11:00:00"]


@pytest.mark.django_db
@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("name", ["date-year1-plus14.jpg", "date-year9999-Z.jpg"])
def test_a_file_with_an_impossible_date_is_stored_without_it(name, zone, settings, admin_client):
    settings.TIME_ZONE = zone
    row, is_new = add_file(io.BytesIO((CASES / name).read_bytes()), name)
    assert is_new
    assert MediaFile.objects.get(pk=row.pk).captured_at is None
    assert admin_client.get("/api/files").json()["results"][0]["captured_at"] is None
    assert admin_client.get("/admin/media_files/mediafile/").status_code == 200
    assert admin_client.get(f"/admin/media_files/mediafile/{row.pk}/change/").status_code == 200


@pytest.mark.django_db
@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("taken", EXTREMES)
def test_every_stored_date_can_be_read_back(taken, offset, settings, admin_client):
    settings.TIME_ZONE = "Pacific/Kiritimati"
    row, _ = add_file(io.BytesIO(saved(exif=exif(taken=taken, offset=offset))), "a.jpg")
    stored = MediaFile.objects.get(pk=row.pk).captured_at
    assert stored is None or stored == row.captured_at
    assert admin_client.get("/api/files").status_code == 200


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.datetimes(),
    st.none() | st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)
@example(FIRST, None)
@example(LAST, None)
@example(FIRST, timezone(timedelta(hours=14)))
def test_every_accepted_date_can_be_shown_in_every_time_zone(moment, zone):
    kept = _aware(moment.replace(tzinfo=zone))
    if kept is None:
        assert moment - FIRST < timedelta(days=3) or LAST - moment < timedelta(days=3)
        return
    for name in ZONES:
        localtime(kept, ZoneInfo(name))


@pytest.mark.django_db
@pytest.mark.parametrize("moment", [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, tzinfo=UTC)])
def test_the_migration_repairs_old_rows(moment, settings, admin_client):
    settings.TIME_ZONE = "Europe/Berlin" if moment.year > 1 else "Etc/GMT+12"
    row, _ = add_file(io.BytesIO(saved()), "a.jpg")
    MediaFile.objects.update(captured_at=moment)
    migration = importlib.import_module("media_files.migrations.0002_drop_impossible_dates")
    migration.drop_impossible_dates(apps, SimpleNamespace(connection=connection))
    assert MediaFile.objects.get(pk=row.pk).captured_at is None
    assert admin_client.get("/api/files").status_code == 200
