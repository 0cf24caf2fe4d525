"""Only bytes known to be free of metadata are sent: check every byte that reaches the services."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analysis import payload
from analysis.services import AnalysisService
from analysis.tests.wire import Service
from media_files.errors import CorruptImage, UnsupportedFormat
from media_files.imaging.inspection import inspect
from media_files.models import MediaFile
from media_files.services import register_in_place
from media_files.tests import planting
from media_files.tests.craft import jpeg_with
from media_files.tests.pictures import encoded, jpeg
from novaproxy_site.tests.servers import S3Bucket
from proxies.models import Proxy, proxies_storage
from proxies.services import ImageProxyService, create_proxy_file

pytestmark = pytest.mark.django_db

Add = Callable[..., MediaFile]
NAMES_OF_PLACES = ("GPS", "City", "Sub-location")


@pytest.fixture
def services(nova: Service, rekognition: Service) -> dict[str, Service]:
    return {"nova": nova, "rekognition": rekognition}


@pytest.mark.parametrize("provider", ["nova", "rekognition"])
def test_no_metadata_of_any_family_or_format_is_sent(
    services: dict[str, Service], provider: str, keep: Add, tmp_path: Path
) -> None:
    files, sent = tmp_path / "files", tmp_path / "sent"
    files.mkdir()
    sent.mkdir()
    service = services[provider]
    for (format_name, family), path in planting.planted(files).items():
        row = keep(path.read_bytes(), path.name)
        before = len(service.paid)
        result = AnalysisService(provider, profile=provider, force=True).analyze(row)
        assert result.error is None, (format_name, family, result.error)
        for number, asked in enumerate(service.paid[before:]):
            (sent / f"{path.stem} {number}.{asked.format.lower()}").write_bytes(asked.content)
            facts = inspect(io.BytesIO(asked.content))
            assert (facts.has_metadata, facts.has_location) == (False, False), (format_name, family)
    everything = b"".join(path.read_bytes() for path in sent.iterdir())
    assert planting.WORD.encode() not in everything
    assert planting.WORD.encode("utf-16-be") not in everything
    said = planting.read_back(sent)
    assert said.count("========") >= len(list(sent.iterdir())) > 70
    facts_of_files = [line for line in said.splitlines() if not line.startswith(("========", "[System]"))]
    assert not [line for line in facts_of_files if planting.WORD in line]
    assert not [line for line in facts_of_files if any(name in line for name in NAMES_OF_PLACES)]
    assert not [
        line for line in facts_of_files if line.startswith(("[IFD", "[ExifIFD", "[XMP", "[IPTC", "[ICC"))
    ]


def test_gps_data_in_the_xmp_of_a_gif_is_not_sent(nova: Service, keep: Add) -> None:
    case = Path(__file__).parents[2] / "media_files/tests/cases/gps-in-xmp.gif"
    assert AnalysisService().analyze(keep(case.read_bytes(), "a.gif")).error is None
    assert b"GPS" not in nova.paid[0].content
    assert nova.paid[0].format == "JPEG"


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "GIF", "WEBP"])
def test_a_picture_without_metadata_is_sent_unchanged(nova: Service, keep: Add, format_name: str) -> None:
    data = encoded(format_name, *planting.SIZE)
    assert AnalysisService().analyze(keep(data)).error is None
    assert nova.paid[0].content == data
    assert not Proxy.objects.exists()


def test_an_original_with_undetected_metadata_gets_a_proxy(nova: Service, keep: Add) -> None:
    file = keep(jpeg_with((0xFE, b"Zwiebelturm"), data=jpeg(300, 200)))
    MediaFile.objects.update(has_metadata=False)
    with pytest.raises(payload.NotHarmless) as caught:
        payload.read(payload.choose_picture(file, "nova"))
    assert caught.value.transient
    assert AnalysisService().analyze(file).error is None
    assert len(nova.paid) == 1
    assert b"Zwiebelturm" not in nova.paid[0].content
    assert MediaFile.objects.get().has_metadata is True


def test_a_proxy_with_metadata_is_created_again_before_sending(nova: Service, keep: Add) -> None:
    file = keep()
    proxy = ImageProxyService().create_proxy(file).proxy
    assert proxy is not None
    content = jpeg_with((0xFE, b"Zwiebelturm"), data=jpeg(300, 200))
    proxies_storage().put(str(proxy.image.name), content, content_type="image/jpeg")
    Proxy.objects.update(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    assert AnalysisService().analyze(file).error is None
    assert len(nova.paid) == 1
    assert b"Zwiebelturm" not in nova.paid[0].content


def test_rows_without_metadata_facts_are_inspected_before_sending(nova: Service, keep: Add) -> None:
    plain = keep(jpeg(300, 200))
    planted = keep(jpeg_with((0xFE, b"Zwiebelturm"), data=jpeg(301, 200)))
    MediaFile.objects.update(has_metadata=None, has_location=None)
    for file in (plain, planted):
        assert AnalysisService().analyze(file).error is None
    assert nova.paid[0].content == jpeg(300, 200)
    assert b"Zwiebelturm" not in nova.paid[1].content
    found = dict(MediaFile.objects.values_list("pk", "has_metadata"))
    assert found == {plain.pk: False, planted.pk: True}


@pytest.mark.s3
class TestByReference:
    """Services that read from S3 get no locations of other objects either."""

    @pytest.fixture
    def in_s3(self, settings: Any, folders: Any, relayed_bucket: S3Bucket) -> S3Bucket:
        def storage(prefix: str) -> dict[str, Any]:
            backend = "media_files.storage.s3.BucketStorage"
            return {"BACKEND": backend, "OPTIONS": relayed_bucket.amazon_options(prefix)}

        settings.STORAGES = settings.STORAGES | {
            "originals": storage("library"), "proxies": storage("small")
        }  # fmt: skip
        return relayed_bucket

    def test_the_location_of_an_original_with_metadata_is_not_sent(
        self, in_s3: S3Bucket, nova: Service, bucket: S3Bucket, keep: Add
    ) -> None:
        nova.s3 = bucket.server
        planted = jpeg_with((0xFE, b"Zwiebelturm"), data=jpeg(300, 200))
        in_s3.client().put_object(Bucket=in_s3.name, Key="library/theirs/a.jpg", Body=planted)
        for file in (keep(planted), register_in_place("originals", "theirs/a.jpg")):
            assert AnalysisService(force=True).analyze(file).error is None
        assert [asked.by_s3 for asked in nova.paid] == [True, True]
        assert not [asked for asked in nova.paid if b"Zwiebelturm" in asked.content]


def test_an_external_proxy_with_metadata_is_rejected(keep: Add) -> None:
    planted = jpeg_with((0xFE, b"Zwiebelturm"), data=jpeg(300, 200))
    with pytest.raises(UnsupportedFormat, match="metadata"):
        create_proxy_file(keep(), planted, file_type="image")


CUT = Path(__file__).parents[2] / "media_files" / "tests" / "cases" / "small-cut-in-half.jpg"


@pytest.mark.parametrize("provider", ["nova", "rekognition"])
def test_a_damaged_original_is_named_before_anything_is_paid(
    services: dict[str, Service], provider: str, keep: Add
) -> None:
    row = keep(CUT.read_bytes(), "cut.jpg")
    for _ in range(2):
        with pytest.raises(CorruptImage):
            AnalysisService(provider, profile=provider).analyze(row)
    assert services[provider].paid == []
