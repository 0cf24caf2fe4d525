"""Copies in the analysis bucket are deleted with the last file with their bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction

from analysis.models import SentCopy
from analysis.payload import get_image_s3_key_for_analysis
from analysis.services import AnalysisService
from analysis.tests.wire import Service
from media_files.errors import SourceMissing
from media_files.models import MediaFile
from media_files.tests.pictures import jpeg
from novaproxy_site.tests.relay import Relay
from novaproxy_site.tests.servers import S3Bucket
from proxies.batches.sweeper import sweep
from proxies.models import Proxy

pytestmark = [pytest.mark.s3, pytest.mark.django_db(transaction=True)]

Keep = Callable[..., MediaFile]


@pytest.fixture
def copies(settings: Any, folders: Any, relayed_bucket: S3Bucket) -> S3Bucket:
    """Files are stored in folders, and there is an analysis bucket for copies."""
    backend = "media_files.storage.s3.BucketStorage"
    storage = {"BACKEND": backend, "OPTIONS": relayed_bucket.amazon_options("sent")}
    settings.STORAGES = settings.STORAGES | {"analysis": storage}
    settings.NOVAPROXY_ANALYSIS_REGION = "us-east-1"
    return relayed_bucket


def twin_of(file: MediaFile) -> MediaFile:
    """Return another row with the same bytes, like that of an original that is also stored elsewhere."""
    twin = MediaFile.objects.get(pk=file.pk)
    twin.pk, twin.content_key, twin.managed = None, None, False
    twin.save()
    return twin


@pytest.mark.parametrize("data", [jpeg(300, 200), jpeg(1800, 1000)], ids=["original", "proxy"])
def test_a_copy_is_deleted_with_its_file(copies: S3Bucket, keep: Keep, data: bytes) -> None:
    file = keep(data)
    key = get_image_s3_key_for_analysis(file)
    assert copies.keys("sent/") == [key]
    file.delete()
    assert copies.keys("sent/") == []
    assert not SentCopy.objects.exists()


def test_a_copy_is_kept_while_another_file_has_its_bytes(copies: S3Bucket, keep: Keep) -> None:
    file = keep(jpeg(300, 200))
    key = get_image_s3_key_for_analysis(file)
    twin = twin_of(file)
    file.delete()
    assert copies.keys("sent/") == [key]
    assert not SentCopy.objects.get().is_doubtful
    twin.delete()
    assert copies.keys("sent/") == []


def test_a_copy_of_a_replaced_proxy_is_deleted(copies: S3Bucket, keep: Keep, settings: Any) -> None:
    file = keep()
    first = get_image_s3_key_for_analysis(file)
    settings.NOVAPROXY_QUALITY = 40
    second = get_image_s3_key_for_analysis(file)
    assert first != second
    assert copies.keys("sent/") == [second]
    Proxy.objects.get().delete()
    assert copies.keys("sent/") == []


def test_a_rolled_back_deletion_keeps_the_copy(copies: S3Bucket, keep: Keep) -> None:
    file = keep(jpeg(300, 200))
    key = get_image_s3_key_for_analysis(file)
    with transaction.atomic():
        MediaFile.objects.get(pk=file.pk).delete()
        transaction.set_rollback(True)
    assert copies.keys("sent/") == [key]
    assert not SentCopy.objects.get().is_doubtful


def test_the_sweeper_deletes_copies_that_could_not_be_deleted_at_once(
    copies: S3Bucket, keep: Keep, relay: Relay, caplog: pytest.LogCaptureFixture
) -> None:
    file = keep(jpeg(300, 200))
    key = get_image_s3_key_for_analysis(file)
    relay.fault = lambda request: relay.answer(403) if request.method == "DELETE" else None
    file.delete()
    assert "the sweeper tries again" in caplog.text
    relay.fault = None
    assert copies.keys("sent/") == [key]
    assert sweep().others == 1
    assert copies.keys("sent/") == []
    assert sweep().others == 0


def test_a_copy_that_cannot_be_deleted_does_not_block_the_others(
    copies: S3Bucket, keep: Keep, relay: Relay
) -> None:
    files = [keep(jpeg(300, 200, seed=seed)) for seed in range(3)]
    refused, *others = [get_image_s3_key_for_analysis(file) for file in files]
    relay.fault = lambda request: relay.answer(403) if request.method == "DELETE" else None
    for file in files:
        file.delete()
    assert sorted(copies.keys("sent/")) == sorted([refused, *others])
    relay.fault = lambda request: (
        relay.answer(403) if request.method == "DELETE" and refused in request.path else None
    )
    for _ in range(2):
        sweep()
    assert copies.keys("sent/") == [refused]


def test_a_copy_uploaded_after_its_file_was_deleted_is_deleted_too(
    copies: S3Bucket, nova: Service, keep: Keep
) -> None:
    nova.s3 = copies.server
    service = AnalysisService()
    job = service.begin(keep(jpeg(300, 200)))
    assert not SentCopy.objects.get().is_there
    replies = service.carry_out(job)
    (key,) = copies.keys("sent/")
    MediaFile.objects.all().delete()
    copies.client().put_object(Bucket=copies.name, Key=key, Body=b"came late")
    with pytest.raises(SourceMissing):
        service.finish(job, replies)
    sweep()
    assert copies.keys("sent/") == []
    assert not SentCopy.objects.exists()


def test_a_copy_uploaded_by_a_dead_process_is_recorded(copies: S3Bucket, nova: Service, keep: Keep) -> None:
    """Its row is written before the upload, so it is deleted with its file."""
    nova.s3 = copies.server
    file = keep(jpeg(300, 200))
    service = AnalysisService()
    service.carry_out(service.begin(file))  # then the process dies
    assert len(copies.keys("sent/")) == 1
    file.delete()
    assert copies.keys("sent/") == []


@pytest.mark.parametrize("place", [{"bucket": "another"}, {"key": "elsewhere/sha256/it.jpg"}], ids=list)
def test_copies_outside_the_configured_location_are_left_alone(
    copies: S3Bucket, keep: Keep, place: dict[str, str]
) -> None:
    file = keep(jpeg(300, 200))
    get_image_s3_key_for_analysis(file)
    SentCopy.objects.update(**place)
    file.delete()
    assert len(copies.keys("sent/")) == 1
    assert sweep().others == 0
