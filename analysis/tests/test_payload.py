"""What is sent, from where, and how many S3 requests it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from analysis.errors import AccessDenied, NoBucket, WrongRegion
from analysis.models import SentCopy
from analysis.payload import get_image_s3_key_for_analysis, get_image_s3_location_for_analysis
from analysis.services import AnalysisService
from analysis.tests.wire import Service
from media_files.models import MediaFile
from media_files.services import register_in_place
from media_files.storage.base import SourceChanged
from media_files.tests.pictures import jpeg
from novaproxy_site.tests.relay import Relay
from novaproxy_site.tests.servers import S3Bucket
from proxies.models import Proxy, proxies_storage
from proxies.services import ImageProxyService

pytestmark = pytest.mark.s3

Add = Callable[..., MediaFile]


def storage(bucket: S3Bucket, prefix: str = "") -> dict[str, Any]:
    return {"BACKEND": "media_files.storage.s3.BucketStorage", "OPTIONS": bucket.amazon_options(prefix)}


@pytest.fixture
def in_s3(settings: Any, folders: Any, relayed_bucket: S3Bucket) -> S3Bucket:
    """Originals and proxies are stored in a bucket."""
    settings.STORAGES = settings.STORAGES | {
        "originals": storage(relayed_bucket, "library"),
        "proxies": storage(relayed_bucket, "small"),
    }
    return relayed_bucket


@pytest.fixture
def analysis_bucket(settings: Any, folders: Any, relayed_bucket: S3Bucket) -> S3Bucket:
    """Files are stored in folders, and there is an analysis bucket for copies."""
    settings.STORAGES = settings.STORAGES | {"analysis": storage(relayed_bucket, "sent")}
    settings.NOVAPROXY_ANALYSIS_REGION = "us-east-1"
    return relayed_bucket


@pytest.fixture
def reading(nova: Service, bucket: S3Bucket) -> Iterator[Service]:
    """A fake Converse API that reads from the S3 server."""
    nova.s3 = bucket.server
    yield nova
    nova.s3 = None


def test_a_missing_proxy_is_created_first_and_its_key_returned(
    in_s3: S3Bucket, keep: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    file = keep()
    key = get_image_s3_key_for_analysis(file)
    proxy = Proxy.objects.get()
    assert key == f"small/{proxy.image.name}"
    assert in_s3.keys("small/") == [key]


def test_an_outdated_proxy_is_created_again_first(in_s3: S3Bucket, keep: Add) -> None:
    file = keep()
    get_image_s3_key_for_analysis(file)
    Proxy.objects.update(recipe="old")
    get_image_s3_key_for_analysis(file)
    assert Proxy.objects.get().is_current(file, ImageProxyService().profile)


def test_an_original_that_needs_no_proxy_is_located_itself(in_s3: S3Bucket, keep: Add) -> None:
    file = keep(jpeg(300, 200))
    location = get_image_s3_location_for_analysis(file)
    assert (location.bucket, location.key) == (in_s3.name, f"library/{file.file.name}")


def test_another_profile_has_another_key(in_s3: S3Bucket, keep: Add) -> None:
    file = keep(jpeg(5000, 1000))
    assert get_image_s3_key_for_analysis(file).endswith("_nova.jpg")
    assert get_image_s3_key_for_analysis(file, profile="rekognition").endswith("_rekognition.jpg")


def test_a_local_file_is_copied_once(analysis_bucket: S3Bucket, keep: Add, relay: Relay) -> None:
    file = keep()
    first = get_image_s3_location_for_analysis(file)
    proxy = Proxy.objects.get()
    assert first.key == f"sent/sha256/{proxy.sha256[:2]}/{proxy.sha256}.jpg"
    assert relay.methods == ["PUT"]
    assert get_image_s3_location_for_analysis(file) == first
    assert relay.methods == ["PUT", "HEAD"]


def test_without_any_bucket_the_error_names_the_missing_setting(folders: Any, keep: Add) -> None:
    with pytest.raises(NoBucket, match="NOVAPROXY_ANALYSIS_BUCKET") as error:
        get_image_s3_key_for_analysis(keep())
    assert error.value.code == "no_bucket"


def test_a_bucket_in_another_region_is_an_error_that_names_both(
    in_s3: S3Bucket, keep: Add, settings: Any
) -> None:
    settings.NOVAPROXY_ANALYSIS_REGION = "eu-west-1"
    with pytest.raises(WrongRegion, match=r"us-east-1.*eu-west-1"):
        get_image_s3_key_for_analysis(keep())


def test_sending_from_s3_takes_one_head_request(
    in_s3: S3Bucket, reading: Service, keep: Add, relay: Relay
) -> None:
    """Creating the proxy takes one read and one write; the service reads the proxy from S3."""
    file = keep()
    relay.requests.clear()
    assert AnalysisService().analyze(file).error is None
    assert relay.methods == ["GET", "PUT", "HEAD"]
    assert reading.paid[0].by_s3
    assert reading.paid[0].content == bytes_of(Proxy.objects.get())
    relay.requests.clear()
    assert AnalysisService(force=True).analyze(file).error is None
    assert relay.methods == ["HEAD"]
    assert len(reading.paid) == 2


def test_an_overwritten_external_original_is_not_sent(
    in_s3: S3Bucket, reading: Service, keep: Add, relay: Relay
) -> None:
    name = "theirs/tower.jpg"
    client = in_s3.client()
    client.put_object(Bucket=in_s3.name, Key=f"library/{name}", Body=jpeg(300, 200))
    file = register_in_place("originals", name)
    assert AnalysisService().analyze(file).error is None
    relay.requests.clear()
    assert AnalysisService(force=True).analyze(file.pk).error is None
    assert relay.methods == ["HEAD"]
    client.put_object(Bucket=in_s3.name, Key=f"library/{name}", Body=jpeg(301, 200))
    result = AnalysisService(force=True).analyze(file.pk)
    assert isinstance(result.error, SourceChanged)
    assert len(reading.paid) == 2


def test_sending_from_a_folder_takes_one_upload_and_one_head_request(
    analysis_bucket: S3Bucket, reading: Service, keep: Add, relay: Relay
) -> None:
    file = keep()
    AnalysisService().analyze(file)
    AnalysisService(force=True).analyze(file)
    assert relay.methods == ["PUT", "HEAD"]
    assert [asked.by_s3 for asked in reading.paid] == [True, True]


def test_bytes_are_embedded_if_the_setting_says_so(
    in_s3: S3Bucket, reading: Service, keep: Add, settings: Any
) -> None:
    settings.NOVAPROXY_ANALYSIS_SEND = "bytes"
    AnalysisService().analyze(keep())
    assert not reading.paid[0].by_s3


@pytest.mark.parametrize("rubbish", [None, b"rubbish"])
def test_a_missing_or_damaged_copy_is_uploaded_again(
    analysis_bucket: S3Bucket, reading: Service, keep: Add, rubbish: bytes | None
) -> None:
    file = keep()
    place = get_image_s3_location_for_analysis(file)
    if rubbish is None:
        analysis_bucket.client().delete_object(Bucket=place.bucket, Key=place.key)
    else:
        analysis_bucket.client().put_object(Bucket=place.bucket, Key=place.key, Body=rubbish)
    assert AnalysisService().analyze(file).error is None
    assert [asked.content for asked in reading.paid] == [bytes_of(Proxy.objects.get())]
    assert SentCopy.objects.get().is_there


def test_rekognition_reads_from_s3_too(
    in_s3: S3Bucket, rekognition: Service, keep: Add, bucket: S3Bucket
) -> None:
    rekognition.s3 = bucket.server
    assert AnalysisService("rekognition").analyze(keep()).error is None
    assert all(asked.by_s3 for asked in rekognition.paid)


def test_a_service_in_another_region_cannot_read_the_bucket(
    in_s3: S3Bucket, reading: Service, keep: Add
) -> None:
    """If no setting names the bucket's region, the service's own error is shown; it affects every file."""
    reading.s3 = replace(in_s3.server, region="eu-west-1")
    error = AnalysisService().analyze(keep()).error
    assert type(error) is AccessDenied
    assert error.stops_batch
    assert "region" in str(error)


def test_rekognition_without_read_permission_stops_a_batch(
    in_s3: S3Bucket, rekognition: Service, keep: Add
) -> None:
    rekognition.s3 = None
    error = AnalysisService("rekognition").analyze(keep()).error
    assert type(error) is AccessDenied
    assert "InvalidS3ObjectException" in str(error)
    assert rekognition.requests == 1


def bytes_of(proxy: Proxy) -> bytes:
    with proxies_storage().fetch(str(proxy.image.name)) as stream:
        return bytes(stream.read())


def foreign(bucket: S3Bucket, prefix: str = "") -> dict[str, Any]:
    return {"BACKEND": "media_files.storage.s3.BucketStorage", "OPTIONS": bucket.options(prefix)}


@pytest.fixture(params=["originals proxies", "proxies", "originals", "analysis"])
def elsewhere(request: pytest.FixtureRequest, settings: Any, folders: Any, bucket: S3Bucket) -> None:
    """Some storages use a bucket on a server other than Amazon's."""
    aliases = request.param.split()
    settings.STORAGES = settings.STORAGES | {alias: foreign(bucket, alias) for alias in aliases}


@pytest.mark.parametrize("size", [(1200, 1000), (300, 200)], ids=["proxy", "original"])
def test_a_bucket_outside_amazon_is_never_sent_to_its_services(
    elsewhere: None, nova: Service, keep: Add, size: tuple[int, int]
) -> None:
    assert AnalysisService().analyze(keep(jpeg(*size))).error is None
    assert [asked.by_s3 for asked in nova.paid] == [False]


def test_a_key_outside_amazon_is_not_returned_to_callers(
    folders: Any, keep: Add, settings: Any, bucket: S3Bucket
) -> None:
    settings.STORAGES = settings.STORAGES | {"proxies": foreign(bucket), "originals": foreign(bucket)}
    with pytest.raises(NoBucket, match="not stored in Amazon S3"):
        get_image_s3_key_for_analysis(keep())


def test_a_file_outside_amazon_is_copied_to_the_analysis_bucket(
    analysis_bucket: S3Bucket, reading: Service, keep: Add, settings: Any, bucket: S3Bucket
) -> None:
    settings.STORAGES = settings.STORAGES | {
        "proxies": foreign(bucket, "p"),
        "originals": foreign(bucket, "o"),
    }
    assert AnalysisService().analyze(keep()).error is None
    assert [asked.by_s3 for asked in reading.paid] == [True]
