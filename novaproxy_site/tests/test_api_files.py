"""Originals through the REST API, as an integrator with curl meets them."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from urllib.parse import quote

import pytest
from django.contrib.auth import get_user_model
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import OperationalError
from django.utils.timezone import now

from media_files.models import DiscardedFile, MediaFile
from media_files.storage import LocalStorage
from media_files.tests.fixtures import files_in
from media_files.tests.pictures import (
    HTML,
    PDF,
    SVG,
    archive,
    corrupt_jpeg,
    encoded,
    jpeg,
    mp4,
    turned_jpeg,
)
from novaproxy_site.tests.api_client import EVERY_PERMISSION, Api, api_with
from proxies.models import BatchItem, Proxy, Quarantine
from proxies.services import ImageProxyService

pytestmark = pytest.mark.django_db

SMALL = jpeg(300, 200)


@pytest.fixture
def api(folders):
    return api_with(*EVERY_PERMISSION)


# -- Who may do what ---------------------------------------------------------------------------

ACTIONS = {
    "list": ("GET", "/api/files", "media_files.view_mediafile"),
    "retrieve": ("GET", "/api/files/{id}", "media_files.view_mediafile"),
    "content": ("GET", "/api/files/{id}/content", "media_files.view_mediafile"),
    "upload": ("POST", "/api/files", "media_files.add_mediafile"),
    "delete": ("DELETE", "/api/files/{id}", "media_files.delete_mediafile"),
    "create-image-proxy": ("POST", "/api/files/{id}/create-image-proxy", "proxies.add_proxy"),
}


@pytest.fixture
def ask(add):
    def send(client, action, slash=""):
        method, path, _ = ACTIONS[action]
        address = path.format(id=add(seed=1).pk) + slash
        if action == "upload":
            return client.post(address, {"file": SimpleUploadedFile("a.jpg", SMALL)}, "multipart").status_code
        return client.generic(method, address).status_code

    return send


GOOD = {"list": 200, "retrieve": 200, "content": 200, "upload": 201, "delete": 204, "create-image-proxy": 201}


@pytest.mark.parametrize("action", ACTIONS)
class TestPermission:
    def test_without_credentials_401(self, ask, action):
        assert ask(Api(), action) == 401

    def test_with_every_other_permission_403(self, ask, action):
        others = [permission for permission in EVERY_PERMISSION if permission != ACTIONS[action][2]]
        assert ask(api_with(*others), action) == 403

    @pytest.mark.parametrize("slash", ["", "/"], ids=["no slash", "slash"])
    def test_with_the_permission(self, ask, action, slash):
        assert ask(api_with(ACTIONS[action][2]), action, slash) == GOOD[action]


def test_a_missing_login_is_told_which_scheme_to_use():
    assert Api().get("/api/files").headers["WWW-Authenticate"] == "Token"


def test_a_wrong_token_is_401():
    assert Api().get("/api/files", headers={"Authorization": "Token nonsense"}).status_code == 401


def test_a_user_who_was_deactivated_is_401(api):
    get_user_model().objects.update(is_active=False)
    assert api.get("/api/files").status_code == 401


def test_a_browser_session_must_show_its_csrf_token(folders):
    client = Api(enforce_csrf_checks=True)
    client.force_login(get_user_model().objects.create_superuser("root"))
    assert client.get("/api/files").status_code == 200
    assert client.upload(SMALL).status_code == 403


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/api/files"),
        ("DELETE", "/api/files"),
        ("PATCH", "/api/files/{id}"),
        ("POST", "/api/files/{id}"),
        ("GET", "/api/files/{id}/create-image-proxy"),
        ("POST", "/api/files/{id}/content"),
    ],
)
def test_a_method_that_is_not_there_is_405(api, add, method, path):
    assert api.generic(method, path.format(id=add().pk)).status_code == 405


@pytest.mark.parametrize(
    "path",
    ["/api/files/999999", "/api/files/0", "/api/files/abc", "/api/files/99999999999999999999999",
     "/api/files/999999/content", "/api/nothing"],
)  # fmt: skip
def test_what_is_not_there_is_404(api, path):
    assert api.get(path).status_code == 404


def test_the_proxy_of_a_file_that_is_not_there_is_404(api):
    assert api.send("/api/files/999999/create-image-proxy").status_code == 404


@pytest.mark.parametrize("path", ["/api", "/api/"])
def test_the_root_leads_to_the_lists(api, path):
    assert {"files", "proxies", "batch"} <= set(api.get(path).json())


# -- Upload ------------------------------------------------------------------------------------


def test_an_upload_answers_with_the_row_and_where_it_is(api):
    response = api.upload(jpeg(), "Küste.jpg")
    row = MediaFile.objects.get()
    assert response.status_code == 201
    assert response.headers["Location"] == f"http://testserver/api/files/{row.pk}"
    told = response.json()
    assert told["id"] == row.pk
    assert told["original_name"] == "Küste.jpg"
    assert (told["format"], told["width"], told["height"]) == ("JPEG", 1000, 900)
    assert told["bytes"] == len(jpeg())
    assert told["uploader"] == get_user_model().objects.get().pk
    assert api.get(told["content_url"]).getvalue() == jpeg()


def test_the_same_bytes_again_answer_200_with_the_row_that_is_there(api, folders):
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
def test_an_upload_is_refused_by_its_content(api, settings, folders, case):
    settings.NOVAPROXY_MAX_PIXELS = 80_000
    settings.NOVAPROXY_MAX_UPLOAD = 50_000
    data, status, code = REFUSED[case]
    response = api.upload(data, "photo.jpg")
    assert (response.status_code, response.json()["error"]) == (status, code)
    assert len(response.json()["message"]) > 30
    assert not MediaFile.objects.exists()
    assert files_in(folders["originals"]) == []


def test_a_body_announced_as_too_long_is_refused_before_it_is_read(api, settings):
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


def test_a_body_announced_as_too_long_is_refused_before_a_session_reads_it(settings, folders):
    settings.NOVAPROXY_MAX_UPLOAD = 1000
    client = Api(enforce_csrf_checks=True)
    client.force_login(get_user_model().objects.create_superuser("root"))
    assert client.upload(bytes(100_000)).status_code == 413


def test_a_video_is_kept(api):
    told = api.upload(mp4(), "clip.mp4").json()
    assert (told["file_type"], told["content_type"], told["width"]) == ("video", "video/mp4", None)
    assert "video" in told["proxy_status"]["message"]


NOT_UPLOADS = {
    "no part named file": ({"picture": SimpleUploadedFile("a.jpg", SMALL)}, "file"),
    "a text in place of a file": ({"file": "a.jpg"}, "file"),
    "nothing": ({}, "file"),
}


@pytest.mark.parametrize("case", NOT_UPLOADS)
def test_a_form_without_its_file_is_400_with_the_field(api, case):
    body, field = NOT_UPLOADS[case]
    response = api.post("/api/files", body, format="multipart")
    assert response.status_code == 400
    assert field in response.json()


@pytest.mark.parametrize(
    "content_type", ["image/jpeg", "application/json", "application/x-www-form-urlencoded"]
)
def test_an_upload_that_is_no_multipart_form_is_415(api, content_type):
    assert api.send_as(content_type, "/api/files", SMALL).status_code == 415


@pytest.mark.parametrize(
    ("content_type", "body"),
    [("multipart/form-data", b"--x\r\n"), ("multipart/form-data; boundary=x", b"no such boundary")],
    ids=["no boundary named", "not in the body"],
)
def test_a_multipart_form_without_its_boundary_is_400(api, content_type, body):
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
    """What an upload's answer says of the proxy, in each mode."""

    def upload(self, api, capture, data):
        with capture(execute=True):
            response = api.upload(data)
        assert response.status_code == 201
        return api.get(response.json()["url"]).json(), response.json()

    def test_queue_it_is_on_its_way(self, api, django_capture_on_commit_callbacks):
        _, told = self.upload(api, django_capture_on_commit_callbacks, jpeg())
        assert told["proxy_state"] == "missing"
        assert told["proxy_status"] == {"state": "missing", "message": "On its way. Ask again shortly."}
        assert BatchItem.objects.get().file_id == told["id"]

    @pytest.mark.parametrize("mode", ["queue", "inline", "off"])
    def test_none_is_needed(self, api, settings, django_capture_on_commit_callbacks, mode):
        settings.NOVAPROXY_ON_SAVE = mode
        _, told = self.upload(api, django_capture_on_commit_callbacks, SMALL)
        assert told["proxy_status"] == {
            "state": "not_needed",
            "message": "A model can read this original as it is.",
        }
        assert not BatchItem.objects.exists()

    def test_inline_it_stands(self, api, inline, django_capture_on_commit_callbacks):
        later, _ = self.upload(api, django_capture_on_commit_callbacks, jpeg())
        proxy = Proxy.objects.get()
        size = {"bytes": proxy.bytes, "width": proxy.width, "height": 896}
        assert later["proxy_status"] == {"state": "current", "id": proxy.pk} | size
        assert later["proxies"][0]["id"] == proxy.pk

    def test_inline_one_that_fails_fails_no_upload(self, api, inline, django_capture_on_commit_callbacks):
        later, _ = self.upload(api, django_capture_on_commit_callbacks, corrupt_jpeg())
        assert later["proxy_state"] == "failed"
        assert "damaged" in later["proxy_status"]["message"]

    def test_off_it_is_made_when_asked_for(self, api, off, django_capture_on_commit_callbacks):
        _, told = self.upload(api, django_capture_on_commit_callbacks, jpeg())
        assert "create-image-proxy" in told["proxy_status"]["message"]
        assert not BatchItem.objects.exists()

    def test_the_ledger_says_why_there_is_none(self, api, add):
        row = add(corrupt_jpeg())
        BatchItem.objects.update(state="done", outcome="failed", error="corrupt", message="It is damaged.")
        told = api.get(f"/api/files/{row.pk}").json()["proxy_status"]
        assert told == {"state": "missing", "error": "corrupt", "message": "It is damaged."}


@pytest.mark.django_db(transaction=True)
def test_the_answer_of_an_inline_upload_carries_the_proxy(api, inline):
    told = api.upload(jpeg()).json()
    assert told["proxy_status"]["id"] == Proxy.objects.get().pk


# -- Lists -------------------------------------------------------------------------------------


@pytest.fixture
def library(add, off):
    """One file of each kind."""
    rows = {
        "large.jpg": add(jpeg(), "large.jpg"),
        "small.png": add(encoded("PNG", 200, 100), "small.png"),
        "turned.jpg": add(turned_jpeg(), "turned.jpg"),
        "clip.mp4": add(mp4(), "clip.mp4"),
        "stale.jpg": add(jpeg(seed=2), "stale.jpg"),
    }
    ImageProxyService().create_proxy(rows["turned.jpg"])
    ImageProxyService().create_proxy(rows["stale.jpg"])
    Proxy.objects.filter(source=rows["stale.jpg"]).update(recipe="of an older version")
    MediaFile.objects.filter(pk=rows["small.png"].pk).update(updated_at=now() - timedelta(days=2))
    return rows


FILTERS = {
    "none": ("", ["clip.mp4", "large.jpg", "small.png", "stale.jpg", "turned.jpg"]),
    "type image": ("type=image", ["large.jpg", "small.png", "stale.jpg", "turned.jpg"]),
    "type video": ("type=video", ["clip.mp4"]),
    "part of a name, any case": ("name=LAR", ["large.jpg"]),
    "format": ("format=PNG", ["small.png"]),
    "format, any case": ("format=jpeg", ["large.jpg", "stale.jpg", "turned.jpg"]),
    "an unknown format": ("format=XYZ", []),
    "current": ("proxy_state=current", ["turned.jpg"]),
    "stale": ("proxy_state=stale", ["stale.jpg"]),
    "missing": ("proxy_state=missing", ["large.jpg"]),
    "not needed": ("proxy_state=not_needed", ["clip.mp4", "small.png"]),
    "several at once": ("type=image&name=.jpg&proxy_state=missing", ["large.jpg"]),
    "since tomorrow": ("updated_since={tomorrow}", []),
    "since yesterday": ("updated_since={yesterday}", ["clip.mp4", "large.jpg", "stale.jpg", "turned.jpg"]),
    "since a date": (
        "updated_since=2020-01-01", ["clip.mp4", "large.jpg", "small.png", "stale.jpg", "turned.jpg"]),
    "since before time": (
        "updated_since=0001-01-01T00:00:00%2B14:00",
        ["clip.mp4", "large.jpg", "small.png", "stale.jpg", "turned.jpg"],
    ),
    "since after time": ("updated_since=9999-12-31T23:59:59-14:00", []),
}  # fmt: skip


@pytest.mark.parametrize("case", FILTERS)
def test_the_list_is_filtered(api, library, case):
    query, names = FILTERS[case]
    day = timedelta(days=1)
    moments = {"tomorrow": now() + day, "yesterday": now() - day}
    query = query.format(**{name: quote(moment.isoformat()) for name, moment in moments.items()})
    response = api.get(f"/api/files?{query}")
    assert response.status_code == 200, response.content
    assert sorted(row["original_name"] for row in response.json()["results"]) == names


BAD_FILTERS = {
    "an unknown type": ("type=audio", "type"),
    "an unknown state": ("proxy_state=old", "proxy_state"),
    "no date": ("updated_since=yesterday", "updated_since"),
    "a day that is none": ("updated_since=2026-02-30", "updated_since"),
    "a plus sign that became a space": ("updated_since=2026-01-01T00:00:00+00:00", "updated_since"),
    "NUL": ("name=%00", "name"),
    "a misspelt one": ("updated_snce=2026-01-01", "updated_snce"),
}


@pytest.mark.parametrize("case", BAD_FILTERS)
def test_a_filter_that_means_nothing_is_400_with_its_name(api, library, case):
    query, name = BAD_FILTERS[case]
    response = api.get(f"/api/files?{query}")
    assert response.status_code == 400
    assert list(response.json()) == [name]


def test_pages_lead_through_all_files_once_while_new_ones_come_in(api, library, add):
    seen = []
    address = "/api/files?page_size=2"
    while address:
        page = api.get(address).json()
        seen += [row["original_name"] for row in page["results"]]
        address = page["next"]
        if len(seen) == 2:
            add(jpeg(seed=9), "came-in-meanwhile.jpg")
    assert seen == ["stale.jpg", "clip.mp4", "turned.jpg", "small.png", "large.jpg"]
    assert page["previous"]


def _cursor(text: str):
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "cursor", ["nonsense", _cursor("p=abc"), _cursor("p=" + "9" * 40), _cursor("o=x"), _cursor("p=1;drop")]
)
def test_a_cursor_that_is_none_of_ours_is_404(api, library, cursor):
    assert api.get(f"/api/files?cursor={cursor}").status_code == 404


@pytest.mark.parametrize("many", [2, 12])
def test_a_list_costs_the_same_queries_however_long(api, add, inline, many, django_assert_num_queries):
    for seed in range(many):
        add(jpeg(300, 200, seed=seed))
    api.get("/api/files")
    with django_assert_num_queries(5):  # the token, the permissions (two), the files, their proxies
        assert len(api.get("/api/files").json()["results"]) == many


# -- One file ----------------------------------------------------------------------------------


def test_a_row_tells_its_facts_and_its_proxies(api, add, off):
    row = add(turned_jpeg(), "phone.jpg")
    proxy = ImageProxyService().create_proxy(row).proxy
    told = api.get(f"/api/files/{row.pk}").json()
    assert (told["width"], told["height"], told["orientation"]) == (200, 300, 6)
    (shown,) = told["proxies"]
    assert proxy
    assert shown["id"] == proxy.pk
    assert shown["path"] == f"proxy_image/phone_{row.pk}_nova.jpg"
    assert api.get(shown["content_url"]).getvalue()[:2] == b"\xff\xd8"
    assert api.get(shown["url"]).json() == shown


class TestContent:
    def test_it_is_data_and_nothing_else(self, api, add):
        response = api.get(f"/api/files/{add().pk}/content")
        assert response.getvalue() == jpeg()
        assert response.headers["Content-Type"] == "image/jpeg"
        assert response.headers["Content-Length"] == str(len(jpeg()))
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "sandbox" in response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        assert "private" in response.headers["Cache-Control"]

    @pytest.mark.parametrize(
        ("name", "shown"),
        [("a.jpg", 'inline; filename="a.jpg"'),
         ('a "quoted".jpg', r'inline; filename="a \"quoted\".jpg"'),
         ("Küste.jpg", "inline; filename*=utf-8''K%C3%BCste.jpg"),
         ("line\r\nbreak: x.jpg", "inline; filename*=utf-8''line%0D%0Abreak%3A%20x.jpg")],
        ids=["plain", "quotes", "unicode", "line break"],
    )  # fmt: skip
    def test_it_has_the_name_it_came_with(self, api, add, name, shown):
        response = api.get(f"/api/files/{add(name=name).pk}/content")
        assert response.headers["Content-Disposition"] == shown

    def test_who_has_it_is_told_so(self, api, add):
        address = f"/api/files/{add().pk}/content"
        etag = api.get(address).headers["ETag"]
        for known in (etag, f'"other", {etag}', f"W/{etag}", "*"):
            response = api.get(address, headers={"If-None-Match": known})
            assert (response.status_code, response.content) == (304, b"")
            assert response.headers["ETag"] == etag
        assert api.get(address, headers={"If-None-Match": '"other"'}).status_code == 200

    def test_who_may_not_see_it_learns_nothing_by_an_etag(self, api, add):
        address = f"/api/files/{add().pk}/content"
        etag = api.get(address).headers["ETag"]
        assert api_with(name="other").get(address, headers={"If-None-Match": etag}).status_code == 403

    def test_the_type_is_never_guessed_by_the_name(self, api, add):
        row = add(name="page.html")
        MediaFile.objects.filter(pk=row.pk).update(content_type="")
        response = api.get(f"/api/files/{row.pk}/content")
        assert response.headers["Content-Type"] == "application/octet-stream"

    def test_head_tells_the_same_without_the_bytes(self, api, add):
        response = api.head(f"/api/files/{add().pk}/content")
        assert response.headers["Content-Length"] == str(len(jpeg()))

    def test_a_file_that_has_vanished_is_422(self, api, add, folders):
        row = add()
        (folders["originals"] / row.file.name).unlink()
        response = api.get(f"/api/files/{row.pk}/content")
        assert (response.status_code, response.json()["error"]) == (422, "source_missing")

    def test_a_storage_that_does_not_answer_is_503(self, api, add, folders):
        row = add()
        path = folders["originals"] / row.file.name
        path.unlink()
        path.symlink_to(path)
        response = api.get(f"/api/files/{row.pk}/content")
        assert (response.status_code, response.json()["error"]) == (503, "storage")
        assert int(response.headers["Retry-After"]) > 0


def test_a_database_that_does_not_answer_is_503(api, monkeypatch):
    def locked(*args, **kwargs):
        raise OperationalError("database is locked")

    monkeypatch.setattr(LocalStorage, "put", locked)
    response = api.upload(SMALL)
    assert (response.status_code, response.json()["error"]) == (503, "storage")
    assert response.headers["Retry-After"] == "5"
    assert "locked" not in response.json()["message"]


def test_a_delete_removes_the_files_after_the_commit_and_only_then(
    api, add, off, folders, django_capture_on_commit_callbacks
):
    row = add()
    ImageProxyService().create_proxy(row)
    with django_capture_on_commit_callbacks() as callbacks:
        assert api.delete(f"/api/files/{row.pk}").status_code == 204
    assert not MediaFile.objects.exists()
    assert len(files_in(folders["originals"]) + files_in(folders["proxies"])) == 2
    for callback in callbacks:
        callback()
    assert files_in(folders["originals"]) + files_in(folders["proxies"]) == []
    assert not DiscardedFile.objects.exists()
    assert api.get(f"/api/files/{row.pk}").status_code == 404


# -- Making a proxy ----------------------------------------------------------------------------

KEYS = {
    "proxy_id", "source_id", "original_size_bytes", "proxy_size_bytes", "savings_percent",
    "original_dimensions", "proxy_dimensions", "outcome", "reasons", "url",
}  # fmt: skip


class TestCreateImageProxy:
    @pytest.fixture
    def row(self, add, off):
        return add(jpeg(quality=95), "coast.jpg")

    def test_made_it_is_201_with_the_callers_keys(self, api, row):
        response = api.send(f"/api/files/{row.pk}/create-image-proxy")
        proxy = Proxy.objects.get()
        assert response.status_code == 201
        told = response.json()
        assert set(told) == KEYS
        assert told == {
            "proxy_id": proxy.pk,
            "source_id": row.pk,
            "original_size_bytes": row.bytes,
            "proxy_size_bytes": proxy.bytes,
            "savings_percent": round(100 * (1 - proxy.bytes / row.bytes), 1),
            "original_dimensions": [1000, 900],
            "proxy_dimensions": [996, 896],
            "outcome": "created",
            "reasons": ["shorter_side"],
            "url": f"http://testserver/api/proxies/{proxy.pk}/content",
        }

    def test_one_that_stands_is_200_with_the_same_keys(self, api, row):
        first = api.send(f"/api/files/{row.pk}/create-image-proxy").json()
        again = api.send(f"/api/files/{row.pk}/create-image-proxy")
        assert again.status_code == 200
        assert again.json() == first | {"outcome": "reused"}

    def test_one_that_is_not_needed_is_200(self, api, add, off):
        told = api.send(f"/api/files/{add(SMALL).pk}/create-image-proxy")
        assert told.status_code == 200
        assert set(told.json()) == KEYS
        assert (told.json()["outcome"], told.json()["reasons"]) == ("skipped", ["not_needed"])
        assert (told.json()["proxy_id"], told.json()["savings_percent"]) == (None, 0.0)

    BODIES = {
        "nothing": ("", "", 200),
        "curl without -d, as a form": ("application/x-www-form-urlencoded", "", 200),
        "curl -d '{}'": ("application/x-www-form-urlencoded", "{}", 200),
        "curl -d, JSON": ("application/x-www-form-urlencoded", '{"force": true}', 201),
        "curl -d, JSON with white space": ("application/x-www-form-urlencoded", ' \n{"force": true}\n', 201),
        "curl -d, JSON, not forced": ("application/x-www-form-urlencoded", '{"force": false}', 200),
        "a form": ("application/x-www-form-urlencoded", "force=true", 201),
        "a form, not forced": ("application/x-www-form-urlencoded", "force=false", 200),
        "JSON": ("application/json", '{"force": true}', 201),
        "JSON with a charset": ("application/json; charset=utf-8", '{"force": true}', 201),
        "empty JSON": ("application/json", "", 200),
        "profile": ("application/json", '{"profile": "nova", "force": true}', 201),
    }

    @pytest.mark.parametrize("case", BODIES)
    def test_bodies_that_are_understood(self, api, row, case):
        content_type, body, status = self.BODIES[case]
        ImageProxyService().create_proxy(row)
        response = api.send_as(content_type, f"/api/files/{row.pk}/create-image-proxy", body)
        assert response.status_code == status, response.content
        assert response.json()["outcome"] == ("replaced" if status == 201 else "reused")

    BAD_BODIES = {
        "neither JSON nor a form": ("application/x-www-form-urlencoded", "force", "detail"),
        "a quote missing": ("application/x-www-form-urlencoded", '{"force: true}', "detail"),
        "a list": ("application/x-www-form-urlencoded", "[true]", "detail"),
        "a list as JSON": ("application/json", "[true]", "detail"),
        "a text as JSON": ("application/json", '"force"', "detail"),
        "no JSON": ("application/json", "force=true", "detail"),
        "not UTF-8": ("application/json", b'{"force": "\xff"}', "detail"),
        "NaN": ("application/json", '{"force": NaN}', "detail"),
        "ten thousand brackets": ("application/json", "[" * 10_000, "detail"),
        "a word for a truth": ("application/json", '{"force": "perhaps"}', "force"),
        "a list for a truth": ("application/json", '{"force": [1]}', "force"),
        "a number for a truth": ("application/json", '{"force": 7}', "force"),
        "null for a truth": ("application/json", '{"force": null}', "force"),
        "an unknown key": ("application/json", '{"Force": true}', "Force"),
        "an unknown key in a form": ("application/x-www-form-urlencoded", "forced=1", "forced"),
        "an unknown profile": ("application/json", '{"profile": "moon"}', "profile"),
    }

    @pytest.mark.parametrize("case", BAD_BODIES)
    def test_bodies_that_are_refused_with_the_field(self, api, row, case):
        content_type, body, field = self.BAD_BODIES[case]
        response = api.send_as(content_type, f"/api/files/{row.pk}/create-image-proxy", body)
        assert response.status_code == 400
        assert list(response.json()) == [field]
        assert not Proxy.objects.exists()

    @pytest.mark.parametrize("content_type", ["text/plain", "application/xml", "image/jpeg"])
    def test_other_content_types_are_415(self, api, row, content_type):
        response = api.send_as(content_type, f"/api/files/{row.pk}/create-image-proxy", '{"force": true}')
        assert response.status_code == 415

    def test_a_body_beyond_all_measure_is_413(self, api, row):
        body = json.dumps({"force": True, "padding": "x" * 5_000_000})
        response = api.send_as("application/json", f"/api/files/{row.pk}/create-image-proxy", body)
        assert (response.status_code, response.json()["error"]) == (413, "file_too_large")

    def test_a_damaged_file_is_422(self, api, add, off):
        response = api.send(f"/api/files/{add(corrupt_jpeg()).pk}/create-image-proxy")
        assert (response.status_code, response.json()["error"]) == (422, "corrupt")

    def test_a_video_is_422(self, api, add):
        response = api.send(f"/api/files/{add(mp4()).pk}/create-image-proxy")
        assert (response.status_code, response.json()["error"]) == (422, "not_an_image")

    def test_an_original_that_has_vanished_is_422(self, api, row, folders):
        (folders["originals"] / row.file.name).unlink()
        response = api.send(f"/api/files/{row.pk}/create-image-proxy")
        assert (response.status_code, response.json()["error"]) == (422, "source_missing")

    def test_more_pixels_than_allowed_today_are_422(self, api, row, settings):
        settings.NOVAPROXY_MAX_PIXELS = 1000
        response = api.send(f"/api/files/{row.pk}/create-image-proxy")
        assert (response.status_code, response.json()["error"]) == (422, "too_large")

    def test_a_file_in_quarantine_is_422_and_not_decoded(self, api, row, folders):
        Quarantine.objects.create(source=row, fingerprint=row.fingerprint, message="It ended its process.")
        (folders["originals"] / row.file.name).unlink()
        response = api.send(f"/api/files/{row.pk}/create-image-proxy")
        assert (response.status_code, response.json()["error"]) == (422, "quarantined")

    def test_a_storage_that_takes_nothing_is_503_and_leaves_nothing(self, api, row, folders):
        folders["proxies"].mkdir(parents=True)
        (folders["proxies"] / "proxy_image").write_text("in the way")
        response = api.send(f"/api/files/{row.pk}/create-image-proxy")
        assert (response.status_code, response.json()["error"]) == (503, "storage")
        assert response.headers["Retry-After"] == "5"
        assert not Proxy.objects.exists()
