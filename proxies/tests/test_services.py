"""The service that creates, reuses, replaces and removes proxies, and how it handles interference."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.core.files.base import ContentFile
from django.db import connection, transaction
from django.utils.timezone import now
from PIL import Image

from media_files.errors import CorruptImage, NotAnImage, Quarantined, SourceMissing, StorageError
from media_files.models import MediaFile
from media_files.services import register_in_place
from media_files.storage.local import LocalStorage
from proxies import signals
from proxies.models import DiscardedProxy, Proxy, ProxyLease, Quarantine, proxies_storage
from proxies.outcomes import Outcome
from proxies.processes import leases
from proxies.services import ImageProxyService, ProxyBusy, create_image_proxy_internal
from proxies.tests.crashing import file_problems, photo

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _library_of_its_own(settings, tmp_path):
    settings.NOVAPROXY_ON_SAVE = "off"
    folder = {
        "BACKEND": "media_files.storage.local.LocalStorage",
        "OPTIONS": {"location": str(tmp_path / "media")},
    }
    settings.STORAGES = settings.STORAGES | {"originals": folder, "proxies": folder}


@pytest.fixture
def source() -> MediaFile:
    return add("photo.jpg", photo(1))


def add(name: str, data: bytes) -> MediaFile:
    return MediaFile.objects.create(file=ContentFile(data, name))


def make(source: MediaFile, **options) -> Outcome:
    return ImageProxyService().create_proxy(source, **options).outcome


def proxy_name() -> str:
    return str(Proxy.objects.get().image.name)


def stored(name: str) -> bool:
    return proxies_storage().exists(name)


def small_picture() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (300, 200), "red").save(stream, "JPEG")
    return stream.getvalue()


@pytest.fixture
def while_storing(monkeypatch) -> Callable[[Callable[[], None]], None]:
    """Make something happen once, after the proxy is put and before it is recorded."""

    def arrange(happening: Callable[[], None]) -> None:
        put, waiting = LocalStorage.put, [happening]

        def put_and_then(self, name, content, **options):
            result = put(self, name, content, **options)
            if name.startswith("proxy_image/") and waiting:
                waiting.pop()()
            return result

        monkeypatch.setattr(LocalStorage, "put", put_and_then)

    return arrange


def test_a_proxy_is_made_once_and_again_only_by_force(source):
    assert [make(source), make(source), make(source, force=True)] == ["created", "reused", "replaced"]
    proxy = Proxy.objects.get()
    assert (proxy.width, proxy.height, proxy.format, proxy.profile) == (974, 896, "JPEG", "nova")
    assert proxy.image.name == f"proxy_image/photo_{source.pk}_nova.jpg"
    assert proxy.source_fingerprint == source.sha256 == hashlib.sha256(photo(1)).hexdigest()
    assert list(file_problems()) == []
    assert not ProxyLease.objects.exists()


def test_an_original_that_needs_no_proxy_gets_none():
    result = ImageProxyService().create_proxy(add("small.jpg", small_picture()))
    assert (result.outcome, result.reasons, result.proxy) == ("skipped", [], None)
    assert not Proxy.objects.exists()


def test_the_service_answers_questions_about_sizes_and_formats():
    service = ImageProxyService(target_dimension=400, jpeg_quality=70)
    assert [service.needs_proxy(401, 500), service.needs_proxy(400, 5000)] == [True, False]
    assert service.calculate_target_dimensions(4000, 3000) == (533, 400)
    assert service.get_optimal_format(Image.new("RGBA", (4, 4), (1, 2, 3, 255))) == "JPEG"
    assert service.get_optimal_format(Image.new("RGBA", (4, 4), (1, 2, 3, 254))) == "PNG"
    assert service.get_optimal_format(add("logo.png", photo(2, transparent=True))) == "PNG"


def test_another_recipe_makes_a_proxy_outdated(source, settings):
    make(source)
    settings.NOVAPROXY_TARGET = 500
    assert make(source) == "replaced"
    assert (Proxy.objects.get().width, Proxy.objects.get().height) == (543, 500)


def test_a_proxy_that_changes_its_format_leaves_no_old_file(source):
    file = add("logo.png", photo(2, transparent=True))
    make(file)
    before = proxy_name()
    assert before.endswith("_nova.png")
    file.file = ContentFile(photo(3), "logo.jpg")
    file.save()
    assert make(file) == "replaced"
    assert proxy_name().endswith("_nova.jpg")
    assert not stored(before)
    assert not DiscardedProxy.objects.exists()


def test_an_original_that_no_longer_needs_a_proxy_loses_it(source):
    make(source)
    name = proxy_name()
    source.file = ContentFile(small_picture(), "small.jpg")
    source.save()
    assert make(source) == "skipped"
    assert not Proxy.objects.exists()
    assert not stored(name)


def test_deleting_an_original_removes_both_files_after_the_commit(source):
    make(source)
    original, proxy = source.file.path, proxy_name()
    with transaction.atomic():
        source.delete()
        transaction.set_rollback(True)
    assert stored(proxy)
    assert LocalStorage(location="/").exists(original)
    MediaFile.objects.get().delete()
    assert not stored(proxy)
    assert not LocalStorage(location="/").exists(original)


def test_a_source_replaced_during_rendering_gets_the_proxy_of_the_new_file(source, while_storing):
    def replace() -> None:
        row = MediaFile.objects.get(pk=source.pk)
        row.file = ContentFile(photo(50), "other.jpg")
        row.save()

    while_storing(replace)
    assert make(source) == "created"
    proxy = Proxy.objects.get()
    assert proxy.source_fingerprint == hashlib.sha256(photo(50)).hexdigest()
    assert list(file_problems()) == []


def test_a_source_deleted_during_rendering_leaves_nothing(source, while_storing):
    while_storing(lambda: MediaFile.objects.get(pk=source.pk).delete())
    with pytest.raises(SourceMissing, match="deleted while"):
        make(source)
    assert list(file_problems()) == []
    assert not ProxyLease.objects.exists()
    assert not DiscardedProxy.objects.exists()


def test_a_lost_lease_is_noticed_and_the_proxy_made_again(source, while_storing):
    make(source)
    while_storing(lambda: ProxyLease.objects.all().delete())
    assert make(source, force=True) in ("created", "replaced")
    assert list(file_problems()) == []


def test_a_storage_failure_keeps_the_existing_proxy(source, monkeypatch):
    make(source)

    def fail(*args, **options):
        raise StorageError("away")

    with monkeypatch.context() as away:
        away.setattr(LocalStorage, "put", fail)
        with pytest.raises(StorageError):
            make(source, force=True)
    assert list(file_problems()) == []
    assert not ProxyLease.objects.exists()
    assert make(source) == "reused", "the stored bytes must still match the row"


def test_a_broken_file_raises_a_named_error_and_keeps_the_existing_proxy(source):
    make(source)
    broken = photo(60)[: len(photo(60)) // 2]
    source.file = ContentFile(broken, "broken.jpg")
    source.save()
    heard = []
    signals.proxy_failed.connect(listener := lambda **said: heard.append(said["error"]), weak=False)
    with pytest.raises(CorruptImage):
        make(source)
    signals.proxy_failed.disconnect(listener)
    assert [type(error) for error in heard] == [CorruptImage]
    assert list(file_problems()) == []


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda source: source.delete(), SourceMissing),
        (lambda source: LocalStorage(location="/").delete(source.file.path), SourceMissing),
        (lambda source: MediaFile.objects.update(file_type="video"), NotAnImage),
        (
            lambda source: Quarantine.objects.create(
                source=source, fingerprint=source.fingerprint, message="thrice"
            ),
            Quarantined,
        ),
    ],
    ids=["row gone", "file gone", "video", "quarantined"],
)
def test_the_error_tells_why_no_proxy_is_made(source, change, error):
    source_id = source.pk
    change(source)
    with pytest.raises(error):
        create_image_proxy_internal(source_id)
    assert not Proxy.objects.exists()
    assert not ProxyLease.objects.exists()


def test_quarantine_applies_only_to_the_same_bytes(source):
    Quarantine.objects.create(source=source, fingerprint="of an older file", message="thrice")
    assert make(source) == "created"


def test_an_original_registered_in_place_is_read_once_and_never_changed(tmp_path, settings):
    place = tmp_path / "theirs"
    place.mkdir()
    (place / "their photo.jpg").write_bytes(photo(7))
    settings.STORAGES = settings.STORAGES | {
        "theirs": {"BACKEND": "media_files.storage.local.LocalStorage", "OPTIONS": {"location": str(place)}}
    }
    row = register_in_place("theirs", "their photo.jpg")
    assert (row.managed, row.sha256, row.width) == (False, "", None)
    assert make(row) == "created"
    row.refresh_from_db()
    assert (row.sha256, row.width, row.height) == (hashlib.sha256(photo(7)).hexdigest(), 1000, 920)
    assert make(row) == "reused"
    assert register_in_place("theirs", "their photo.jpg").pk == row.pk
    assert make(row) == "reused"
    row.delete()
    assert (place / "their photo.jpg").read_bytes() == photo(7)


def test_of_simultaneous_requests_one_creates_and_the_others_reuse(source):
    outcomes: list[str] = []

    def ask() -> None:
        try:
            outcomes.append(make(MediaFile.objects.get(pk=source.pk)))
        finally:
            connection.close()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["created", "reused", "reused", "reused"]


def test_a_living_holder_keeps_its_lease_and_a_dead_or_late_one_loses_it(source, monkeypatch):
    monkeypatch.setattr(ImageProxyService, "PATIENCE", 0.2)
    token = leases.acquire(source.pk, "nova")
    assert token is not None
    with pytest.raises(ProxyBusy):
        make(source)
    ProxyLease.objects.update(holder=ProxyLease.objects.get().holder.rsplit(":", 2)[0] + ":999999:1.00")
    assert make(source) == "created"
    leases.acquire(source.pk, "nova")
    ProxyLease.objects.update(until=now() - timedelta(seconds=1))
    assert make(source, force=True) == "replaced"


def test_signal_receivers_run_after_the_commit(source):
    heard = []

    def listener(proxy, outcome, **said):
        heard.append((outcome, connection.in_atomic_block, Proxy.objects.filter(pk=proxy.pk).exists()))

    signals.proxy_ready.connect(listener)
    make(source)
    make(source)
    signals.proxy_ready.disconnect(listener)
    assert heard == [("created", False, True)]
