"""After any failure while a file is stored, replaced or removed, one sweep makes rows and files agree."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.utils.timezone import now
from PIL import Image
from rest_framework.test import APIClient

from media_files.models import MediaFile
from media_files.services import add_file
from novaproxy_site.tests.agreement import age_notes, disagreements, empty_library
from novaproxy_site.tests.api_client import api_with
from novaproxy_site.tests.faults import FAULTS, fail_everywhere
from proxies.batches.sweeper import sweep
from proxies.models import ProxyLease
from proxies.services import ImageProxyService, create_proxy_file
from proxies.tests.crashing import scan

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("folders")]


def stored(seed: int) -> MediaFile:
    return add_file(io.BytesIO(scan(seed)), f"{seed}.tif")[0]


def transparent(seed: int) -> bytes:
    stream = io.BytesIO()
    picture = Image.new("RGBA", (40, 30), (seed % 256, seed // 256, 0, 128))
    picture.save(stream, "TIFF")
    return stream.getvalue()


def png(seed: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (30, 20), (seed % 256, seed // 256, 7)).save(stream, "PNG")
    return stream.getvalue()


def with_proxy(seed: int) -> MediaFile:
    row = stored(seed)
    ImageProxyService().create_proxy(row)
    return row


def with_other_proxy(seed: int) -> MediaFile:
    """Add a row whose proxy must be made again under another name, as a JPEG instead of a PNG."""
    row = add_file(io.BytesIO(transparent(seed)), f"{seed}.tif")[0]
    ImageProxyService().create_proxy(row)
    replace(row)
    return row


def with_given(seed: int) -> MediaFile:
    row = stored(seed)
    create_proxy_file(row, b"older video")
    return row


def without_file(seed: int) -> MediaFile:
    row = stored(seed)
    Path(row.file.path).unlink()
    return row


def save(seed: int) -> None:
    MediaFile(file=ContentFile(scan(seed), name="a.tif")).save()


def replace(row: MediaFile) -> None:
    row.file = ContentFile(scan(row.pk + 500_000), name="b.tif")
    row.save()


def save_field(row: MediaFile) -> None:
    row.file.save("b.tif", ContentFile(scan(row.pk + 500_000)))


def delete(row: MediaFile) -> None:
    row.delete()


def bring_back(row: MediaFile) -> None:
    add_file(io.BytesIO(scan(int(row.original_name.removesuffix(".tif")))), "again.tif")


def make(row: MediaFile) -> None:
    ImageProxyService().create_proxy(row)


def make_again(row: MediaFile) -> None:
    ImageProxyService().create_proxy(row, force=True)


def give(row: MediaFile) -> None:
    create_proxy_file(row, b"a video")


def give_other_name(row: MediaFile) -> None:
    create_proxy_file(row, b"a video", extension="webm")


def give_image(row: MediaFile) -> None:
    create_proxy_file(row, png(row.pk), file_type="image")


def number(seed: int) -> int:
    return seed


Door = tuple[Callable[[int], Any], Callable[[Any], object]]

DOORS: dict[str, Door] = {
    "save": (number, save),
    "replace": (stored, replace),
    "file.save": (stored, save_field),
    "delete": (with_proxy, delete),
    "the same bytes for a lost file": (without_file, bring_back),
    "proxy made": (stored, make),
    "proxy made again": (with_proxy, make_again),
    "proxy made under another name": (with_other_proxy, make),
    "proxy given": (stored, give),
    "proxy given again": (with_given, give),
    "proxy given under another name": (with_given, give_other_name),
    "image given over a made one": (with_proxy, give_image),
}


def assert_all_agree(where: str) -> None:
    """Sweep once and assert that rows and files agree; then empty the library to keep rounds equally fast."""
    age_notes()
    ProxyLease.objects.update(until=now() - timedelta(seconds=1))
    sweep()
    assert list(disagreements()) == [], where
    empty_library()


@pytest.mark.usefixtures("off")
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("door", DOORS)
def test_rows_and_files_agree_after_a_fault_anywhere(door: str, fault: str) -> None:
    prepare, act = DOORS[door]
    passed = 0
    for where, prepared in fail_everywhere(act, prepare, fault):
        if isinstance(prepared, MediaFile) and door.startswith("the same bytes"):
            act(prepared)  # the file stays missing until this has succeeded
        assert_all_agree(f"{door}, {fault} {where}")
        passed += 1
    assert passed


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("mode", ["queue", "inline"])
@pytest.mark.parametrize("door", ["import", "upload"])
def test_the_same_call_succeeds_after_a_fault(
    door: str, mode: str, fault: str, settings: Any, tmp_path: Path
) -> None:
    settings.NOVAPROXY_ON_SAVE = mode
    act = uploader() if door == "upload" else partial(import_one, tmp_path)
    passed = 0
    for where, seed in fail_everywhere(act, number, fault):
        act(seed)
        assert MediaFile.objects.count() == 1, where
        assert_all_agree(f"{door}, {mode}, {fault} {where}")
        passed += 1
    assert passed


def import_one(folder: Path, seed: int) -> None:
    path = folder / f"{seed}.tif"
    path.write_bytes(scan(seed))
    call_command("import_media", str(path), stdout=io.StringIO())


def uploader() -> Callable[[int], None]:
    api_with("media_files.add_mediafile", name="uploader")
    client = APIClient()
    client.force_authenticate(get_user_model().objects.get(username="uploader"))

    def upload(seed: int) -> None:
        part = SimpleUploadedFile(f"{seed}.tif", scan(seed))
        response = client.post("/api/files", {"file": part}, format="multipart")
        assert response.status_code in (200, 201), response.content

    return upload
