"""Every interface gives the same reasons why a file needs a proxy, regardless of the outcome."""

from __future__ import annotations

import pytest

from media_files.models import MediaFile
from media_files.tests.commands import run_command
from media_files.tests.pictures import corrupt_jpeg, encoded, jpeg, mp4
from novaproxy_site.tests.api_fixtures import START, work_off
from proxies.models import BatchItem, Proxy, Quarantine
from proxies.services import ImageProxyService

pytestmark = pytest.mark.django_db

# By file name: the outcomes of the first and of the second run, and the reasons, which are the same in both.
FILES = {
    "new.jpg": ("created", "reused", ["shorter_side"]),
    "current.jpg": ("reused", "reused", ["shorter_side"]),
    "stale.jpg": ("replaced", "reused", ["shorter_side"]),
    "scan.tif": ("created", "reused", ["shorter_side", "format"]),
    "small.png": ("skipped", "skipped", ["not_needed"]),
    "damaged.jpg": ("failed", "failed", ["shorter_side"]),
    "killer.jpg": ("quarantined", "quarantined", ["shorter_side"]),
    "clip.mp4": ("failed", "failed", []),
}


@pytest.fixture
def files(add, off):
    rows = {
        "new.jpg": add(jpeg(), "new.jpg"),
        "current.jpg": add(jpeg(seed=1), "current.jpg"),
        "stale.jpg": add(jpeg(seed=2), "stale.jpg"),
        "scan.tif": add(encoded("TIFF", 1000, 900), "scan.tif"),
        "small.png": add(encoded("PNG", 200, 100), "small.png"),
        "damaged.jpg": add(corrupt_jpeg(), "damaged.jpg"),
        "killer.jpg": add(jpeg(seed=3), "killer.jpg"),
        "clip.mp4": add(mp4(), "clip.mp4"),
    }
    for name in ("current.jpg", "stale.jpg"):
        ImageProxyService().create_proxy(rows[name])
    Proxy.objects.filter(source=rows["stale.jpg"]).update(recipe="older")
    held = rows["killer.jpg"]
    Quarantine.objects.create(source=held, fingerprint=held.fingerprint, message="It ended three.")
    assert set(rows) == set(FILES)
    return rows


def told_by_batch(api):
    """Run a batch over all files; return (outcome, reasons) by name."""
    job = api.send(START, {"filter": {}}).json()["job_id"]
    work_off()
    names = dict(MediaFile.objects.values_list("pk", "original_name"))
    items = api.get(f"/api/batch/{job}/items").json()["results"]
    return {names[item["file_id"]]: (item["outcome"], item["reasons"]) for item in items}


def told_by_command(*options):
    *lines, _ = run_command("create_image_proxies", "--json", *options).lines
    return {line["original_name"]: (line["outcome"], line["reasons"]) for line in lines}


def expected(run):
    return {name: (reported[run], reported[2]) for name, reported in FILES.items()}


def images(reported):
    return {name: each for name, each in reported.items() if name != "clip.mp4"}


def test_batch_items_have_the_expected_reasons(api, files):
    assert told_by_batch(api) == expected(0)
    assert told_by_batch(api) == expected(1)


def test_the_commands_plan_has_the_same_reasons(api, files):
    planned = told_by_command()
    # A damaged picture is discovered only by an attempt.
    assert planned.pop("damaged.jpg") == ("created", ["shorter_side"])
    assert planned == {
        name: reported for name, reported in images(expected(0)).items() if name != "damaged.jpg"
    }
    told_by_batch(api)
    assert told_by_command() == images(expected(1))


def test_the_response_for_one_file_has_the_same_reasons(api, files):
    for name in ("new.jpg", "current.jpg", "scan.tif", "small.png"):
        reported = api.send(f"/api/files/{files[name].pk}/create-image-proxy").json()
        assert reported["reasons"] == FILES[name][2], name


@pytest.mark.parametrize("mode", ["queue", "inline"])
def test_a_failed_upload_has_the_same_reasons(
    add, settings, folders, mode, django_capture_on_commit_callbacks
):
    settings.NOVAPROXY_ON_SAVE = mode
    with django_capture_on_commit_callbacks(execute=True):
        add(corrupt_jpeg(), "damaged.jpg")
    work_off()
    item = BatchItem.objects.get()
    assert (item.outcome, item.error, item.reasons) == ("failed", "corrupt", ["shorter_side"])
