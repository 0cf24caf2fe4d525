"""Originals that need no proxy are decoded once; every decoded file has a thumbnail."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from PIL import Image

from media_files.errors import CorruptImage
from media_files.models import MediaFile
from media_files.tests import pictures
from proxies.batches.claim import Claim
from proxies.batches.runner import perform
from proxies.conf import conf
from proxies.models import Batch, ProxyFailure, Thumbnail
from proxies.outcomes import Outcome
from proxies.queries import proxy_state_of, with_outcome
from proxies.services import ImageProxyService

pytestmark = pytest.mark.django_db

Add = Callable[..., MediaFile]
CUT = Path(__file__).parents[2] / "media_files" / "tests" / "cases" / "small-cut-in-half.jpg"


@pytest.fixture
def queue(settings: Any) -> None:
    settings.NOVAPROXY_ON_SAVE = "queue"


def work() -> None:
    perform(Claim(Batch.objects.get(standing=Batch.UPLOADS), lambda: False))


def state_of(row: MediaFile) -> str:
    files = MediaFile.objects.filter(pk=row.pk).annotate(state=proxy_state_of(conf().nova))
    return str(files.values_list("state", flat=True).get())


def planned(row: MediaFile) -> str:
    files = MediaFile.objects.filter(pk=row.pk)
    return str(with_outcome(files, conf().nova).get().outcome)


@pytest.mark.usefixtures("queue")
class TestUploads:
    def test_a_small_sound_picture_is_decoded_and_needs_no_proxy(self, add: Add) -> None:
        row = add(pictures.jpeg(300, 200), "small.jpg")
        work()
        assert state_of(row) == "not_needed"
        thumbnail = Thumbnail.objects.get(source=row)
        shown = Image.open(io.BytesIO(bytes(thumbnail.image)))
        assert (shown.format, shown.size) == ("JPEG", (256, 171))
        assert (thumbnail.width, thumbnail.height) == shown.size

    def test_a_small_damaged_picture_is_a_failure(self, add: Add) -> None:
        row = add(CUT.read_bytes(), "cut.jpg")
        work()
        assert (state_of(row), planned(row)) == ("failed", Outcome.FAILED)
        assert ProxyFailure.objects.get(source=row).error == "corrupt"
        assert not Thumbnail.objects.exists()

    def test_it_is_decoded_once(self, add: Add) -> None:
        row = add(pictures.jpeg(300, 200), "small.jpg")
        work()
        row.save()
        assert Batch.objects.get(standing=Batch.UPLOADS).items.count() == 1


@pytest.mark.usefixtures("off")
class TestService:
    def test_a_proxy_comes_with_a_thumbnail(self, add: Add) -> None:
        row = add(pictures.jpeg(1200, 1800), "large.jpg")
        ImageProxyService().create_proxy(row)
        thumbnail = Thumbnail.objects.get(source=row)
        assert (thumbnail.width, thumbnail.height) == (171, 256)
        assert thumbnail.source_fingerprint == row.fingerprint

    def test_a_damaged_original_that_needs_no_proxy_raises(self, add: Add) -> None:
        row = add(CUT.read_bytes(), "cut.jpg")
        with pytest.raises(CorruptImage):
            ImageProxyService().create_proxy(row)
        assert planned(row) == Outcome.FAILED

    def test_new_bytes_are_decoded_again(self, add: Add) -> None:
        row = add(pictures.jpeg(300, 200, seed=1), "small.jpg")
        assert ImageProxyService().create_proxy(row).outcome == Outcome.SKIPPED
        row.file.save("other.jpg", ContentFile(pictures.jpeg(100, 50, seed=2)))
        assert ImageProxyService().create_proxy(row.pk).outcome == Outcome.SKIPPED
        thumbnail = Thumbnail.objects.get(source=row)
        assert (thumbnail.width, thumbnail.height) == (100, 50)

    def test_what_is_transparent_is_white(self, add: Add) -> None:
        written = io.BytesIO()
        Image.new("RGBA", (40, 40), (255, 0, 0, 0)).save(written, "PNG")
        ImageProxyService().create_proxy(add(written.getvalue(), "clear.png"))
        shown = Image.open(io.BytesIO(bytes(Thumbnail.objects.get().image)))
        assert shown.getpixel((20, 20)) == (255, 255, 255)


@pytest.mark.usefixtures("off")
def test_thumbnails_of_a_page_take_less_than_600_kb(add: Add) -> None:
    rows = [add(pictures.jpeg(1000, 1000, seed=seed), f"{seed}.jpg") for seed in range(5)]
    for row in rows:
        ImageProxyService().create_proxy(row)
    assert sum(len(bytes(each.image)) for each in Thumbnail.objects.all()) * 10 < 600_000
