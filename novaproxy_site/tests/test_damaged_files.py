"""Every entry point replaces a proxy whose file is missing or damaged; such originals are not served."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.utils.timezone import now

from analysis.options import parameters_of
from analysis.payload import get_image_s3_key_for_analysis
from analysis.services import AnalysisService
from analysis.tests.conftest import aws_environment, nova  # noqa: F401
from analysis.tests.wire import Service
from media_files.errors import DamagedFile, SourceMissing, StorageError
from media_files.models import MediaFile
from media_files.storage.base import MediaStorage, media_storage
from media_files.tests.literal_s3 import literal_s3
from media_files.tests.pictures import jpeg
from novaproxy_site.tests.relay import Relay
from novaproxy_site.tests.servers import S3Bucket
from proxies.batches import lifecycle
from proxies.batches.claim import Claim
from proxies.batches.runner import perform
from proxies.batches.selection import Selection
from proxies.external import create_proxy_file
from proxies.models import Batch, Proxy, proxies_storage
from proxies.outcomes import Outcome
from proxies.services import ImageProxyService

pytestmark = pytest.mark.django_db(transaction=True)

RUBBISH = b"rubbish"


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.s3)])
def place(request: pytest.FixtureRequest, settings: Any, folders: Any) -> str:
    """Put both storages in folders, or in a bucket that passes for one on Amazon S3."""
    if request.param == "bucket":
        in_bucket(settings, request.getfixturevalue("relayed_bucket"))
    return str(request.param)


def in_bucket(settings: Any, bucket: S3Bucket) -> None:
    backend = "media_files.storage.s3.BucketStorage"
    settings.STORAGES = settings.STORAGES | {
        alias: {"BACKEND": backend, "OPTIONS": bucket.amazon_options(alias)}
        for alias in ("originals", "proxies")
    }


@pytest.fixture
def file(place: str, add: Callable[..., MediaFile], off: None) -> MediaFile:
    """Add an original with an up-to-date proxy."""
    file = add(jpeg())
    ImageProxyService().create_proxy(file)
    return file


def delete(storage: MediaStorage, name: str) -> None:
    storage.delete(name)


def truncate(storage: MediaStorage, name: str) -> None:
    storage.put(name, stored(storage, name)[:-1000])


def overwrite(storage: MediaStorage, name: str) -> None:
    storage.put(name, RUBBISH)


def flip_a_bit(storage: MediaStorage, name: str) -> None:
    content = bytearray(stored(storage, name))
    content[len(content) // 2] ^= 1
    storage.put(name, bytes(content))


def stored(storage: MediaStorage, name: str) -> bytes:
    with storage.fetch(name) as stream:
        return stream.read()


SEEN_BY_SIZE = [delete, truncate, overwrite]
SEEN_BY_HASH = [*SEEN_BY_SIZE, flip_a_bit]


@pytest.fixture(params=SEEN_BY_SIZE)
def damage(request: pytest.FixtureRequest, file: MediaFile) -> None:
    """Damage the proxy's file in a way that its size shows."""
    request.param(proxies_storage(), str(Proxy.objects.get().image.name))


@pytest.fixture(params=SEEN_BY_HASH)
def hidden_damage(request: pytest.FixtureRequest, file: MediaFile) -> None:
    """Damage the proxy's file in a way that its size may not show."""
    request.param(proxies_storage(), str(Proxy.objects.get().image.name))


def proxy_is_right() -> bool:
    proxy = Proxy.objects.get()
    content = stored(proxies_storage(), str(proxy.image.name))
    return (
        hashlib.sha256(content).hexdigest() == proxy.sha256
        and proxy.is_current(proxy.source, ImageProxyService().profile)
        and content.startswith(b"\xff\xd8")
    )


@pytest.mark.usefixtures("damage")
def test_create_proxy_replaces_a_damaged_proxy(file: MediaFile) -> None:
    assert ImageProxyService().create_proxy(file).outcome == Outcome.REPLACED
    assert proxy_is_right()
    assert ImageProxyService().create_proxy(file).outcome == Outcome.REUSED


@pytest.mark.usefixtures("damage")
def test_the_api_replaces_a_damaged_proxy(api: Any, file: MediaFile) -> None:
    answer = api.send(f"/api/files/{file.pk}/create-image-proxy", {})
    assert (answer.status_code, answer.json()["outcome"]) == (201, "replaced")
    assert proxy_is_right()


@pytest.mark.usefixtures("hidden_damage")
def test_a_download_replaces_a_damaged_proxy_first(api: Any, file: MediaFile) -> None:
    proxy = Proxy.objects.get()
    answer = api.get(f"/api/proxies/{proxy.pk}/content")
    assert answer.status_code == 200
    content = b"".join(answer.streaming_content)
    assert hashlib.sha256(content).hexdigest() == Proxy.objects.get().sha256
    assert proxy_is_right()


@pytest.mark.usefixtures("hidden_damage")
def test_an_analysis_replaces_a_damaged_proxy_first(file: MediaFile, settings: Any, nova: Service) -> None:  # noqa: F811
    settings.NOVAPROXY_ANALYSIS_SEND = "bytes"
    result = AnalysisService().analyze(file)
    assert result.error is None
    assert [hashlib.sha256(sent.content).hexdigest() for sent in nova.paid] == [Proxy.objects.get().sha256]
    assert [row.status for row in result.analyses] == ["done"]
    assert file.analyses.count() == 1
    assert proxy_is_right()


@pytest.mark.usefixtures("hidden_damage")
def test_a_batch_of_analyses_replaces_a_damaged_proxy(file: MediaFile, settings: Any, nova: Service) -> None:  # noqa: F811
    settings.NOVAPROXY_ANALYSIS_SEND = "bytes"
    batch = lifecycle.start(
        "analyze-nova", Selection(MediaFile.objects.all()), parameters_of(), executor=Batch.Executor.LOCAL
    )
    for _ in range(2):
        perform(Claim(batch, lambda: False))
        batch.items.update(available_at=now())  # the delay before the retry is over
    assert [item.outcome for item in batch.items.all()] == ["created"]
    assert [hashlib.sha256(sent.content).hexdigest() for sent in nova.paid] == [Proxy.objects.get().sha256]


@pytest.mark.usefixtures("file")
def test_a_batch_replaces_a_damaged_proxy() -> None:
    """The plan relies on rows; in the meantime the proxy was made elsewhere, and then damaged."""
    Proxy.objects.update(recipe="of an older version")
    batch = lifecycle.start(
        "image-proxy", Selection(MediaFile.objects.all()), {}, executor=Batch.Executor.LOCAL
    )
    Proxy.objects.update(recipe=ImageProxyService().profile.recipe)
    overwrite(proxies_storage(), str(Proxy.objects.get().image.name))
    perform(Claim(batch, lambda: False))
    assert [item.outcome for item in batch.items.all()] == ["replaced"]
    assert proxy_is_right()


@pytest.fixture
def reading(nova: Service, bucket: S3Bucket) -> Iterator[Service]:  # noqa: F811
    """Let Converse read from the S3 server itself."""
    nova.s3 = bucket.server
    yield nova
    nova.s3 = None


@pytest.fixture
def in_amazon(
    settings: Any, relayed_bucket: S3Bucket, add: Callable[..., MediaFile], off: None, relay: Relay
) -> MediaFile:
    """Add an original with an up-to-date proxy, in a bucket that passes for one on Amazon S3."""
    in_bucket(settings, relayed_bucket)
    file = add(jpeg())
    ImageProxyService().create_proxy(file)
    relay.requests.clear()
    return file


@pytest.mark.s3
@pytest.mark.parametrize("happen", SEEN_BY_HASH)
def test_a_damaged_proxy_is_replaced_before_a_service_reads_it_from_s3(
    happen: Any, in_amazon: MediaFile, reading: Service
) -> None:
    happen(proxies_storage(), str(Proxy.objects.get().image.name))
    assert AnalysisService().analyze(in_amazon).error is None
    assert [sent.by_s3 for sent in reading.paid] == [True]
    assert hashlib.sha256(reading.paid[0].content).hexdigest() == Proxy.objects.get().sha256
    assert proxy_is_right()


@pytest.mark.s3
def test_the_s3_object_is_checked_once(in_amazon: MediaFile, reading: Service, relay: Relay) -> None:
    assert AnalysisService().analyze(in_amazon).error is None
    assert relay.methods == ["HEAD"]


@pytest.mark.s3
@pytest.mark.parametrize("happen", SEEN_BY_HASH)
def test_a_damaged_proxy_is_replaced_before_its_s3_key_is_returned(happen: Any, in_amazon: MediaFile) -> None:
    happen(proxies_storage(), str(Proxy.objects.get().image.name))
    get_image_s3_key_for_analysis(in_amazon)
    assert proxy_is_right()


@pytest.mark.s3
def test_an_object_copied_with_another_etag_is_read_and_reused(in_amazon: MediaFile) -> None:
    Proxy.objects.update(etag="before-the-bucket-was-moved-2")
    assert ImageProxyService().create_proxy(in_amazon).outcome == Outcome.REUSED


@pytest.mark.parametrize("happen", SEEN_BY_SIZE)
def test_a_damaged_video_proxy_is_not_served(happen: Any, api: Any, file: MediaFile) -> None:
    proxy = create_proxy_file(file, b"a film", extension="mp4")
    happen(proxies_storage(), str(proxy.image.name))
    answer = api.get(f"/api/proxies/{proxy.pk}/content")
    assert (answer.status_code, answer.json()["error"]) == (422, "source_missing")


@pytest.mark.parametrize("happen", SEEN_BY_HASH)
def test_a_damaged_original_is_not_served(happen: Any, api: Any, file: MediaFile) -> None:
    happen(media_storage("originals"), str(file.file.name))
    answer = api.get(f"/api/files/{file.pk}/content")
    assert (answer.status_code, answer.json()["error"]) == (422, "source_missing")


@pytest.fixture
def small(place: str, add: Callable[..., MediaFile], off: None) -> MediaFile:
    """Add an original that needs no proxy."""
    return add(jpeg(300, 200))


@pytest.mark.parametrize("happen", SEEN_BY_HASH)
def test_a_damaged_original_that_needs_no_proxy_is_not_sent(
    happen: Any,
    small: MediaFile,
    nova: Service,  # noqa: F811
    settings: Any,
) -> None:
    settings.NOVAPROXY_ANALYSIS_SEND = "bytes"
    happen(media_storage("originals"), str(small.file.name))
    with pytest.raises(SourceMissing):
        AnalysisService().analyze(small)
    assert not nova.paid


@pytest.mark.parametrize("happen", SEEN_BY_SIZE)
def test_a_damaged_original_is_not_recorded_as_a_proxy_failure(happen: Any, file: MediaFile) -> None:
    happen(media_storage("originals"), str(file.file.name))
    with pytest.raises(SourceMissing) as raised:
        ImageProxyService().create_proxy(file, force=True)
    assert isinstance(raised.value, DamagedFile) or happen is delete
    assert not file.proxy_failures.exists()
    media_storage("originals").put(str(file.file.name), io.BytesIO(jpeg()))
    assert ImageProxyService().create_proxy(file, force=True).outcome == Outcome.REPLACED


def test_no_row_is_left_if_the_storage_alters_the_proxy(
    small: MediaFile, settings: Any, add: Any, tmp_path: Path
) -> None:
    with literal_s3(tmp_path) as literal:
        literal.store = lambda body: b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        backend = {"BACKEND": "media_files.storage.s3.BucketStorage", "OPTIONS": literal.options("small")}
        settings.STORAGES = settings.STORAGES | {"proxies": backend}
        with pytest.raises(StorageError, match="NOVAPROXY_PROXIES_ENDPOINT"):
            ImageProxyService().create_proxy(add(jpeg()))
        assert not Proxy.objects.exists()
        assert not literal.objects
