"""Uploads in the REST API, as made by an integrator with curl."""

from __future__ import annotations

import pytest
from django.contrib.auth import get_user_model
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils.http import parse_header_parameters

from media_files.models import MediaFile
from media_files.tests.fixtures import files_in
from media_files.tests.pictures import (
    HTML,
    PDF,
    SVG,
    archive,
    corrupt_jpeg,
    jpeg,
    mp4,
)
from novaproxy_site.tests.api_client import Api
from proxies.models import BatchItem, Proxy

pytestmark = pytest.mark.django_db

SMALL = jpeg(300, 200)


def test_an_upload_returns_the_file_and_its_location(api):
    response = api.upload(jpeg(), "Küste.jpg")
    row = MediaFile.objects.get()
    assert response.status_code == 201
    assert response.headers["Location"] == f"http://testserver/api/files/{row.pk}"
    reported = response.json()
    assert reported["id"] == row.pk
    assert reported["original_name"] == "Küste.jpg"
    assert (reported["format"], reported["width"], reported["height"]) == ("JPEG", 1000, 900)
    assert reported["bytes"] == len(jpeg())
    assert reported["uploader"] == get_user_model().objects.get().pk
    assert api.get(reported["content_url"]).getvalue() == jpeg()


def test_uploading_the_same_bytes_is_200_with_the_existing_file(api, folders):
    first = api.upload(SMALL, "a.jpg").json()
    before = files_in(folders["originals"])
    response = api.upload(SMALL, "b.jpg")
    assert response.status_code == 200
    assert (response.json()["id"], response.json()["original_name"]) == (first["id"], "a.jpg")
    assert files_in(folders["originals"]) == before


REFUSED = {
    "SVG": (SVG, 422, "unsupported_format"),
    "HTML": (HTML, 422, "unsupported_format"),
    "ZIP": (archive(), 422, "unsupported_format"),
    "PDF": (PDF, 422, "unsupported_format"),
    "text": (b"hello", 422, "unsupported_format"),
    "empty": (b"", 422, "empty"),
    "JPEG cut in its header": (jpeg()[:100], 422, "corrupt"),
    "too many pixels": (jpeg(300, 300), 422, "too_large"),
    "too many bytes": (jpeg(200, 200) + bytes(60_000), 413, "file_too_large"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_upload_is_rejected_by_its_content(api, settings, folders, case):
    settings.NOVAPROXY_MAX_PIXELS = 80_000
    settings.NOVAPROXY_MAX_UPLOAD = 50_000
    data, status, code = REFUSED[case]
    response = api.upload(data, "photo.jpg")
    assert (response.status_code, response.json()["error"]) == (status, code)
    assert len(response.json()["message"]) > 30
    assert not MediaFile.objects.exists()
    assert files_in(folders["originals"]) == []


def test_a_body_with_an_excessive_length_is_rejected_before_it_is_read(api, settings):
    settings.NOVAPROXY_MAX_UPLOAD = 1000

    class Unreadable:
        def read(self, *args):
            raise AssertionError("the body was read")

        readline = read

    response = api.generic(
        "POST", "/api/files", b"", "multipart/form-data; boundary=x",
        CONTENT_LENGTH="100000", **{"wsgi.input": Unreadable()},
    )  # fmt: skip
    assert (response.status_code, response.json()["error"]) == (413, "file_too_large")


def test_a_body_with_an_excessive_length_is_rejected_before_a_session_reads_it(settings, folders):
    settings.NOVAPROXY_MAX_UPLOAD = 1000
    client = Api(enforce_csrf_checks=True)
    client.force_login(get_user_model().objects.create_superuser("root"))
    assert client.upload(bytes(100_000)).status_code == 413


def test_a_video_is_stored(api):
    reported = api.upload(mp4(), "clip.mp4").json()
    assert (reported["file_type"], reported["content_type"], reported["width"]) == (
        "video",
        "video/mp4",
        None,
    )
    assert "video" in reported["proxy_status"]["message"]


NOT_UPLOADS = {
    "no part named file": ({"picture": SimpleUploadedFile("a.jpg", SMALL)}, "file"),
    "a text in place of a file": ({"file": "a.jpg"}, "file"),
    "nothing": ({}, "file"),
}


@pytest.mark.parametrize("case", NOT_UPLOADS)
def test_a_form_without_a_file_is_400_with_the_field(api, case):
    body, field = NOT_UPLOADS[case]
    response = api.post("/api/files", body, format="multipart")
    assert response.status_code == 400
    assert field in response.json()


@pytest.mark.parametrize(
    "content_type", ["image/jpeg", "application/json", "application/x-www-form-urlencoded"]
)
def test_an_upload_that_is_not_multipart_is_415(api, content_type):
    assert api.send_as(content_type, "/api/files", SMALL).status_code == 415


@pytest.mark.parametrize(
    ("content_type", "body"),
    [("multipart/form-data", b"--x\r\n"), ("multipart/form-data; boundary=x", b"no such boundary")],
    ids=["no boundary named", "not in the body"],
)
def test_a_multipart_form_without_a_boundary_is_400(api, content_type, body):
    assert api.send_as(content_type, "/api/files", body).status_code == 400


RIGHT_TO_LEFT = "photo\u202egpj.exe"
NAMES = {
    "unicode": ("Übung 日本語 🏔.jpg", "Übung 日本語 🏔.jpg"),
    "right-to-left mark": (RIGHT_TO_LEFT, RIGHT_TO_LEFT),
    "leading dots": ("..hidden.jpg", "..hidden.jpg"),
    "255 bytes": ("é" * 125 + "x.jpg", "é" * 125 + "x.jpg"),
    "400 characters": ("n" * 396 + ".jpg", "n" * 251 + ".jpg"),
    "path parts": ("../../etc/passwd.jpg", "passwd.jpg"),
    "Windows path": ("C:\\Users\\me\\a.jpg", "a.jpg"),
    "entity": ("Tom &amp; Jerry.jpg", "Tom &amp; Jerry.jpg"),
    "no extension": ("scan", "scan"),
    "NUL": ("a\0b.jpg", "ab.jpg"),
    "markup": ("<img src=x onerror=alert(1)>.jpg", "<img src=x onerror=alert(1)>.jpg"),
}


ESCAPED = {
    "as curl sends a quote": ('filename="script>%22%00.jpg"', "script>%22%00.jpg"),
    "RFC 5987": ("filename*=UTF-8''script%3E%22%00.jpg", 'script>".jpg'),
    "RFC 5987, another alphabet": ("filename*=UTF-8''%E2%82%AC%20rates.jpg", "€ rates.jpg"),
    "a path in escapes": ("filename*=UTF-8''..%2F..%2Fetc%2Fpasswd.jpg", "passwd.jpg"),
}


@pytest.mark.parametrize("case", ESCAPED)
def test_a_percent_encoded_name_is_stored_safely_and_returned(api, folders, case):
    sent, kept = ESCAPED[case]
    head = f'--b\r\nContent-Disposition: form-data; name="file"; {sent}\r\n\r\n'.encode()
    response = api.send_as("multipart/form-data; boundary=b", "/api/files", head + SMALL + b"\r\n--b--\r\n")
    assert response.status_code == 201, response.content
    assert response.json()["original_name"] == kept
    (stored,) = files_in(folders["originals"])
    assert not set(stored) & set('\\<>:"|?*%\0')
    header = api.get(response.json()["content_url"]).headers["Content-Disposition"]
    assert parse_header_parameters(header)[1]["filename"] == kept


@pytest.mark.parametrize("case", NAMES)
def test_any_name_is_kept_and_stored_safely(api, folders, case):
    sent, kept = NAMES[case]
    head = f'--b\r\nContent-Disposition: form-data; name="file"; filename="{sent}"\r\n\r\n'
    escaped = head.replace("\\", "\\\\").encode()
    response = api.send_as(
        "multipart/form-data; boundary=b", "/api/files", escaped + SMALL + b"\r\n--b--\r\n"
    )
    assert response.status_code == 201, response.content
    assert response.json()["original_name"] == kept
    (stored,) = files_in(folders["originals"])
    last = stored.rpartition("/")[2]
    assert stored.startswith("original/")
    assert len(last.encode()) <= 255
    assert not last.startswith(".")
    assert not set(last) & set('\\<>:"|?*\0\u202e')
    shown = api.get(response.json()["content_url"])
    assert shown.headers["Content-Disposition"].startswith("inline; filename")


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_a_file_without_a_name_is_400(api, name):
    head = f'--b\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode()
    response = api.send_as("multipart/form-data; boundary=b", "/api/files", head + SMALL + b"\r\n--b--\r\n")
    assert response.status_code == 400
    assert "file" in response.json()


class TestProxyOfAnUpload:
    """What an upload's response says about the proxy, in each mode."""

    def upload(self, api, capture, data):
        with capture(execute=True):
            response = api.upload(data)
        assert response.status_code == 201
        return api.get(response.json()["url"]).json(), response.json()

    def test_queue_mode_reports_a_pending_proxy(self, api, django_capture_on_commit_callbacks):
        _, reported = self.upload(api, django_capture_on_commit_callbacks, jpeg())
        assert reported["proxy_state"] == "missing"
        assert reported["proxy_status"] == {"state": "missing", "message": "On its way. Ask again shortly."}
        assert BatchItem.objects.get().file_id == reported["id"]

    @pytest.mark.parametrize("mode", ["queue", "inline", "off"])
    def test_no_proxy_is_needed_in_any_mode(self, api, settings, django_capture_on_commit_callbacks, mode):
        settings.NOVAPROXY_ON_SAVE = mode
        _, reported = self.upload(api, django_capture_on_commit_callbacks, SMALL)
        assert reported["proxy_status"] == {
            "state": "not_needed",
            "message": "A model can read this original as it is.",
        }
        # It is decoded once, which shows that it can be read.
        assert BatchItem.objects.count() == (mode == "queue")

    def test_inline_mode_makes_the_proxy(self, api, inline, django_capture_on_commit_callbacks):
        later, _ = self.upload(api, django_capture_on_commit_callbacks, jpeg())
        proxy = Proxy.objects.get()
        size = {"bytes": proxy.bytes, "width": proxy.width, "height": 896}
        assert later["proxy_status"] == {"state": "current", "id": proxy.pk} | size
        assert later["proxies"][0]["id"] == proxy.pk

    def test_inline_mode_accepts_an_upload_whose_proxy_fails(
        self, api, inline, django_capture_on_commit_callbacks
    ):
        later, _ = self.upload(api, django_capture_on_commit_callbacks, corrupt_jpeg())
        assert later["proxy_state"] == "failed"
        assert "damaged" in later["proxy_status"]["message"]

    def test_off_mode_makes_a_proxy_only_on_request(self, api, off, django_capture_on_commit_callbacks):
        _, reported = self.upload(api, django_capture_on_commit_callbacks, jpeg())
        assert "create-image-proxy" in reported["proxy_status"]["message"]
        assert not BatchItem.objects.exists()

    def test_the_status_shows_why_there_is_no_proxy(self, api, add):
        row = add(corrupt_jpeg())
        BatchItem.objects.update(state="done", outcome="failed", error="corrupt", message="It is damaged.")
        reported = api.get(f"/api/files/{row.pk}").json()["proxy_status"]
        assert reported == {"state": "missing", "error": "corrupt", "message": "It is damaged."}


@pytest.mark.django_db(transaction=True)
def test_the_response_to_an_inline_upload_contains_the_proxy(api, inline):
    reported = api.upload(jpeg()).json()
    assert reported["proxy_status"]["id"] == Proxy.objects.get().pk
