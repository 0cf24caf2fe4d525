"""Originals in the REST API, as seen by an integrator with curl."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import quote

import pytest
from django.contrib.auth import get_user_model
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import OperationalError
from django.test import RequestFactory
from django.utils.timezone import now

from media_files.models import DiscardedFile, MediaFile
from media_files.serving import file_response
from media_files.storage.base import media_storage
from media_files.storage.local import LocalStorage
from media_files.tests.fixtures import files_in
from media_files.tests.pictures import (
    encoded,
    jpeg,
    mp4,
    turned_jpeg,
)
from novaproxy_site.tests.api_client import EVERY_PERMISSION, Api, api_with
from proxies.models import Proxy
from proxies.services import ImageProxyService

pytestmark = pytest.mark.django_db

SMALL = jpeg(300, 200)


# -- Permissions ------------------------------------------------------------------------------

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


def test_a_401_names_the_authentication_scheme():
    assert Api().get("/api/files").headers["WWW-Authenticate"] == "Token"


def test_a_wrong_token_is_401():
    assert Api().get("/api/files", headers={"Authorization": "Token nonsense"}).status_code == 401


def test_a_deactivated_user_is_401(api):
    get_user_model().objects.update(is_active=False)
    assert api.get("/api/files").status_code == 401


def test_a_browser_session_needs_a_csrf_token(folders):
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
def test_an_unsupported_method_is_405(api, add, method, path):
    assert api.generic(method, path.format(id=add().pk)).status_code == 405


@pytest.mark.parametrize(
    "path",
    ["/api/files/999999", "/api/files/0", "/api/files/abc", "/api/files/99999999999999999999999",
     "/api/files/999999/content", "/api/nothing"],
)  # fmt: skip
def test_an_unknown_address_is_404(api, path):
    assert api.get(path).status_code == 404


def test_creating_a_proxy_of_an_unknown_file_is_404(api):
    assert api.send("/api/files/999999/create-image-proxy").status_code == 404


@pytest.mark.parametrize("path", ["/api", "/api/"])
def test_the_root_links_to_the_lists(api, path):
    assert {"files", "proxies", "batch"} <= set(api.get(path).json())


# -- Lists ------------------------------------------------------------------------------------


@pytest.fixture
def library(add, off):
    """Add one file of each kind."""
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
def test_the_list_can_be_filtered(api, library, case):
    query, names = FILTERS[case]
    day = timedelta(days=1)
    moments = {"tomorrow": now() + day, "yesterday": now() - day}
    query = query.format(**{name: quote(moment.isoformat()) for name, moment in moments.items()})
    response = api.get(f"/api/files?{query}")
    assert response.status_code == 200, response.content
    assert sorted(row["original_name"] for row in response.json()["results"]) == names


BAD_FILTERS = {
    "a filter given twice": ("type=image&type=video", "type"),
    "an unknown type": ("type=audio", "type"),
    "an unknown state": ("proxy_state=old", "proxy_state"),
    "no date": ("updated_since=yesterday", "updated_since"),
    "a day that is none": ("updated_since=2026-02-30", "updated_since"),
    "a plus sign that became a space": ("updated_since=2026-01-01T00:00:00+00:00", "updated_since"),
    "NUL": ("name=%00", "name"),
    "a misspelt one": ("updated_snce=2026-01-01", "updated_snce"),
}


@pytest.mark.parametrize("case", BAD_FILTERS)
def test_an_invalid_filter_is_400_with_its_name(api, library, case):
    query, name = BAD_FILTERS[case]
    response = api.get(f"/api/files?{query}")
    assert response.status_code == 400
    assert list(response.json()) == [name]


def test_paging_lists_each_file_once_while_files_are_added(api, library, add):
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


@pytest.mark.parametrize("many", [2, 12])
def test_the_list_takes_the_same_queries_for_any_length(api, add, inline, many, django_assert_num_queries):
    for seed in range(many):
        add(jpeg(300, 200, seed=seed))
    api.get("/api/files")
    with django_assert_num_queries(5):  # the token, the permissions (two), the files, their proxies
        assert len(api.get("/api/files").json()["results"]) == many


# -- One file ---------------------------------------------------------------------------------


def test_a_file_shows_its_facts_and_its_proxies(api, add, off):
    row = add(turned_jpeg(), "phone.jpg")
    proxy = ImageProxyService().create_proxy(row).proxy
    reported = api.get(f"/api/files/{row.pk}").json()
    assert (reported["width"], reported["height"], reported["orientation"]) == (200, 300, 6)
    (shown,) = reported["proxies"]
    assert proxy
    assert shown["id"] == proxy.pk
    assert shown["path"] == f"proxy_image/phone_{row.pk}_nova.jpg"
    assert api.get(shown["content_url"]).getvalue()[:2] == b"\xff\xd8"
    assert api.get(shown["url"]).json() == shown


class TestContent:
    def test_content_is_served_as_inert_data(self, api, add):
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
         ("it's 100.jpg", 'inline; filename="it\'s 100.jpg"'),
         ('a "quoted".jpg', "inline; filename=\"a _quoted_.jpg\"; filename*=UTF-8''a%20%22quoted%22.jpg"),
         ("back\\slash.jpg", 'inline; filename="slash.jpg"'),
         ("Küste.jpg", "inline; filename=\"K_ste.jpg\"; filename*=UTF-8''K%C3%BCste.jpg"),
         # Browsers decode percent escapes inside quotes, although the standard does not allow it.
         ("script>%22%00.jpg",
          "inline; filename=\"script>_22_00.jpg\"; filename*=UTF-8''script%3E%2522%2500.jpg"),
         ("line\r\nbreak: x.jpg",
          "inline; filename=\"line__break: x.jpg\"; filename*=UTF-8''line%0D%0Abreak%3A%20x.jpg"),
         ("x" * 300 + ".jpg", f'inline; filename="{"x" * 251}.jpg"')],
        ids=["plain", "apostrophe", "quotes", "backslash", "unicode", "escapes", "line break", "long"],
    )  # fmt: skip
    def test_it_keeps_its_original_name(self, api, add, name, shown):
        response = api.get(f"/api/files/{add(name=name).pk}/content")
        assert response.headers["Content-Disposition"] == shown

    def test_a_matching_etag_is_304(self, api, add):
        address = f"/api/files/{add().pk}/content"
        etag = api.get(address).headers["ETag"]
        for known in (etag, f'"other", {etag}', f"W/{etag}", "*"):
            response = api.get(address, headers={"If-None-Match": known})
            assert (response.status_code, response.content) == (304, b"")
            assert response.headers["ETag"] == etag
        assert api.get(address, headers={"If-None-Match": '"other"'}).status_code == 200

    def test_an_etag_reveals_nothing_without_permission(self, api, add):
        address = f"/api/files/{add().pk}/content"
        etag = api.get(address).headers["ETag"]
        assert api_with(name="other").get(address, headers={"If-None-Match": etag}).status_code == 403

    def test_the_type_is_never_guessed_from_the_name(self, api, add):
        row = add(name="page.html")
        MediaFile.objects.filter(pk=row.pk).update(content_type="")
        response = api.get(f"/api/files/{row.pk}/content")
        assert response.headers["Content-Type"] == "application/octet-stream"

    def test_head_returns_the_same_headers_without_the_bytes(self, api, add):
        response = api.head(f"/api/files/{add().pk}/content")
        assert response.headers["Content-Length"] == str(len(jpeg()))

    def test_head_reads_nothing(self, add):
        """Check the response itself, because the test client drops the body as a server does."""
        row = add()
        asked = RequestFactory().head("/")
        response = file_response(
            asked,
            media_storage("originals"),
            row.file.name,
            content_type="",
            size=None,
            sha256="",
            filename="",
        )
        assert b"".join(response) == b""

    def test_a_missing_file_is_422(self, api, add, folders):
        row = add()
        (folders["originals"] / row.file.name).unlink()
        response = api.get(f"/api/files/{row.pk}/content")
        assert (response.status_code, response.json()["error"]) == (422, "source_missing")

    def test_a_failing_storage_is_503(self, api, add, folders):
        row = add()
        path = folders["originals"] / row.file.name
        path.unlink()
        path.symlink_to(path)
        response = api.get(f"/api/files/{row.pk}/content")
        assert (response.status_code, response.json()["error"]) == (503, "storage")
        assert int(response.headers["Retry-After"]) > 0


def test_a_database_error_is_503(api, monkeypatch):
    def locked(*args, **kwargs):
        raise OperationalError("database is locked")

    monkeypatch.setattr(LocalStorage, "put", locked)
    response = api.upload(SMALL)
    assert (response.status_code, response.json()["error"]) == (503, "storage")
    assert response.headers["Retry-After"] == "5"
    assert "locked" not in response.json()["message"]


def test_files_are_deleted_only_after_the_commit(api, add, off, folders, django_capture_on_commit_callbacks):
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
