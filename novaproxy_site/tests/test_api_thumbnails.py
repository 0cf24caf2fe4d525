"""Thumbnails in the REST API."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from media_files.tests.pictures import jpeg
from novaproxy_site.tests.api_client import EVERY_PERMISSION, Api, api_with
from proxies.services import ImageProxyService

pytestmark = pytest.mark.django_db


@pytest.fixture
def row(add, off):
    row = add(jpeg(1000, 900), "large.jpg")
    ImageProxyService().create_proxy(row)
    return row


def test_it_is_a_small_jpeg_that_is_cached(api, row):
    answer = api.get(f"/api/files/{row.pk}/thumbnail")
    assert (answer.status_code, answer["Content-Type"]) == (200, "image/jpeg")
    assert Image.open(io.BytesIO(answer.content)).size == (256, 230)
    assert "sandbox" in answer["Content-Security-Policy"]
    again = api.get(f"/api/files/{row.pk}/thumbnail", headers={"If-None-Match": answer["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_before_a_file_is_decoded_there_is_none(api, add, off):
    row = add(jpeg(30, 20), "small.jpg")
    answer = api.get(f"/api/files/{row.pk}/thumbnail")
    assert answer.status_code == 404


def test_of_a_file_that_does_not_exist(api, db):
    assert api.get("/api/files/9/thumbnail").status_code == 404


NEEDED = "media_files.view_mediafile"


@pytest.mark.parametrize(
    ("permissions", "status"),
    [([NEEDED], 200), ([each for each in EVERY_PERMISSION if each != NEEDED], 403), (None, 401)],
    ids=["with it", "with every other", "without credentials"],
)
def test_it_needs_the_permission_to_view_files(row, permissions, status):
    client = Api() if permissions is None else api_with(*permissions)
    assert client.get(f"/api/files/{row.pk}/thumbnail").status_code == status
