"""External proxies, uploaded rather than created here."""

from __future__ import annotations

import hashlib
import importlib
import io

import pytest
from django.apps import apps
from django.core.files.base import ContentFile

from media_files.errors import EmptyFile, NotAnImage, SourceMissing, StorageError, UnsupportedFormat
from media_files.models import MediaFile
from media_files.storage.local import LocalStorage
from media_files.tests.fixtures import files_in
from media_files.tests.pictures import PDF, encoded, jpeg, mp4, turned_jpeg
from proxies.models import BatchItem, DiscardedProxy, Proxy, ProxyLease
from proxies.outcomes import Outcome
from proxies.processes import leases
from proxies.services import ImageProxyService, create_proxy_file

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("off")]


@pytest.fixture
def video(add):
    return add(mp4(), "Küste.mov")


CONTENTS = {
    "bytes": lambda data: data,
    "stream": io.BytesIO,
    "stream read halfway": lambda data: _at(io.BytesIO(data), 3),
    "Django's file": ContentFile,
}


def _at(stream, position):
    stream.seek(position)
    return stream


@pytest.mark.parametrize("kind", CONTENTS)
def test_a_video_is_the_default(video, folders, kind):
    proxy = create_proxy_file(video, CONTENTS[kind](b"a smaller video"), width=640, height=360)
    assert (proxy.file_type, proxy.profile, proxy.format) == ("video", "video", "MP4")
    assert proxy.image.name == f"proxy_video/Küste_{video.pk}_proxy.mp4"
    assert (folders["proxies"] / proxy.image.name).read_bytes() == b"a smaller video"
    assert (proxy.bytes, proxy.sha256) == (15, hashlib.sha256(b"a smaller video").hexdigest())
    assert (proxy.width, proxy.height) == (640, 360)
    assert proxy.source_fingerprint == video.fingerprint
    assert not ProxyLease.objects.exists()


@pytest.mark.parametrize(
    ("extension", "name"),
    [("webm", "webm"), (".mov", "mov"), ("../../x", "x")],
    ids=["webm", "a dot", "a path"],
)
def test_the_extension_is_sanitized(video, extension, name):
    proxy = create_proxy_file(video, b"video", extension=extension)
    assert str(proxy.image.name).endswith(f"_proxy.{name}")


def test_a_second_upload_replaces_the_first(video, folders, django_capture_on_commit_callbacks):
    first = create_proxy_file(video, b"first")
    with django_capture_on_commit_callbacks(execute=True):
        second = create_proxy_file(video, b"second", extension="webm")
    assert second.pk == first.pk
    assert Proxy.objects.get().format == "WEBM"
    assert files_in(folders["proxies"]) == [second.image.name]


def test_an_image_is_measured_and_used_for_the_models(add, folders):
    source = add(jpeg(), "a.tif")
    proxy = create_proxy_file(source, encoded("PNG", 320, 200), file_type="image")
    assert (proxy.file_type, proxy.profile, proxy.format) == ("image", "nova", "PNG")
    assert (proxy.width, proxy.height) == (320, 200)
    assert proxy.image.name == f"proxy_image/a_{source.pk}_nova.png"
    assert ImageProxyService().create_proxy(source).outcome == Outcome.REUSED


def test_an_external_image_replaces_the_created_one(add, folders, django_capture_on_commit_callbacks):
    source = add()
    made = ImageProxyService().create_proxy(source).proxy
    with django_capture_on_commit_callbacks(execute=True):
        given = create_proxy_file(source, encoded("PNG", 320, 200), file_type="image")
    assert made is not None
    assert given.pk == made.pk
    assert files_in(folders["proxies"]) == [given.image.name]


def test_it_is_outdated_once_its_source_is_replaced(add):
    source = add()
    create_proxy_file(source, encoded("PNG", 320, 200), file_type="image")
    source.file = ContentFile(jpeg(seed=5), name="b.jpg")
    source.save()
    assert ImageProxyService().create_proxy(source).outcome == Outcome.REPLACED


@pytest.mark.parametrize(
    ("data", "file_type", "error"),
    [
        (b"", "video", EmptyFile),
        (b"", "image", EmptyFile),
        (PDF, "image", UnsupportedFormat),
        (mp4(), "image", NotAnImage),
        (encoded("WEBP", 20, 20), "image", UnsupportedFormat),
        (encoded("TIFF", 20, 20), "image", UnsupportedFormat),
        (turned_jpeg(), "image", UnsupportedFormat),
    ],
    ids=["empty video", "empty image", "no image", "a video", "WebP", "TIFF", "one that must be turned"],
)
def test_unsuitable_files_are_refused(add, folders, data, file_type, error):
    source = add()
    with pytest.raises(error):
        create_proxy_file(source, data, file_type=file_type)
    assert not Proxy.objects.exists()
    assert files_in(folders["proxies"]) == []
    assert not ProxyLease.objects.exists()


def test_the_caller_waits_while_another_process_writes_the_proxy(video):
    token = leases.acquire(video.pk, "video")
    assert token
    with pytest.raises(StorageError, match="Ask again shortly"):
        create_proxy_file(video, b"video")
    leases.release(video.pk, "video", token)
    create_proxy_file(video, b"video")


def test_deleting_it_removes_its_file(video, folders, django_capture_on_commit_callbacks):
    proxy = create_proxy_file(video, b"video")
    with django_capture_on_commit_callbacks(execute=True):
        proxy.delete()
    assert files_in(folders["proxies"]) == []


def test_external_proxies_from_before_the_metadata_check_are_made_again(add):
    row = add()
    create_proxy_file(row, jpeg(300, 200), file_type="image")
    migration = importlib.import_module("proxies.migrations.0010_check_given_proxies")
    migration.outdate(apps, None)
    result = ImageProxyService().create_proxy(row)
    assert result.outcome == Outcome.REPLACED
    assert "given" not in Proxy.objects.get().provenance


def test_it_is_kept_if_the_source_needs_no_proxy(add, folders):
    source = add(jpeg(60, 50), "small.jpg")
    given = create_proxy_file(source, encoded("PNG", 30, 20), file_type="image")
    assert ImageProxyService().create_proxy(source).outcome == Outcome.SKIPPED
    assert ImageProxyService().create_proxy(source, force=True).outcome == Outcome.SKIPPED
    source.save()
    assert Proxy.objects.get().pk == given.pk
    assert files_in(folders["proxies"]) == [given.image.name]


def test_it_is_deleted_if_it_is_outdated_and_the_source_needs_no_proxy(add):
    source = add()
    create_proxy_file(source, encoded("PNG", 30, 20), file_type="image")
    source.file = ContentFile(jpeg(60, 50), name="small.jpg")
    source.save()
    assert ImageProxyService().create_proxy(source).outcome == Outcome.SKIPPED
    assert not Proxy.objects.exists()


def test_a_source_deleted_during_the_upload_leaves_no_file(video, folders, monkeypatch):
    put = LocalStorage.put

    def put_and_delete(self, name, content, **options):
        stored = put(self, name, content, **options)
        MediaFile.objects.filter(pk=video.pk).delete()
        return stored

    monkeypatch.setattr(LocalStorage, "put", put_and_delete)
    with pytest.raises(SourceMissing):
        create_proxy_file(video, b"video")
    assert files_in(folders["proxies"]) == []
    assert not DiscardedProxy.objects.exists()


def test_a_failed_write_keeps_the_existing_proxy(video, folders, monkeypatch):
    first = create_proxy_file(video, b"first")

    def fail(*args, **options):
        raise StorageError("away")

    with monkeypatch.context() as away:
        away.setattr(LocalStorage, "put", fail)
        with pytest.raises(StorageError):
            create_proxy_file(video, b"second")
    assert Proxy.objects.get().sha256 == first.sha256
    assert (folders["proxies"] / first.image.name).read_bytes() == b"first"
    assert not DiscardedProxy.objects.exists()


def test_an_interrupted_upload_over_a_generated_proxy_gets_it_made_again(add, monkeypatch):
    source = add(jpeg(1300, 1000))
    generated = ImageProxyService().create_proxy(source).proxy
    assert generated is not None
    put = LocalStorage.put

    def put_and_interrupt(self, name, content, **options):
        put(self, name, content, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as interrupted:
        interrupted.setattr(LocalStorage, "put", put_and_interrupt)
        with pytest.raises(KeyboardInterrupt):
            create_proxy_file(source, encoded("JPEG", 1200, 900), file_type="image")
    assert not Proxy.objects.filter(sha256=generated.sha256).exists()
    assert list(BatchItem.objects.values_list("file", "state")) == [(source.pk, "queued")]
