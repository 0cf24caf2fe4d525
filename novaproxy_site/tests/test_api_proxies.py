"""Proxies in the REST API: list, view, download, delete."""

from __future__ import annotations

import pytest
from django.core.management import call_command

from media_files.models import MediaFile
from media_files.tests.fixtures import files_in
from media_files.tests.pictures import jpeg, mp4
from novaproxy_site.tests.api_client import EVERY_PERMISSION, Api, api_with
from proxies.services import ImageProxyService, create_proxy_file

pytestmark = pytest.mark.django_db


@pytest.fixture
def proxy(add, off):
    return ImageProxyService().create_proxy(add(name="Küste.jpg")).proxy


@pytest.fixture
def video_proxy(add, off):
    return create_proxy_file(add(mp4(), "clip.mp4"), b"a smaller video", width=640, height=360)


ACTIONS = {
    "list": ("GET", "/api/proxies", "media_files.view_mediafile", 200),
    "retrieve": ("GET", "/api/proxies/{id}", "media_files.view_mediafile", 200),
    "content": ("GET", "/api/proxies/{id}/content", "media_files.view_mediafile", 200),
    "delete": ("DELETE", "/api/proxies/{id}", "proxies.delete_proxy", 204),
}


@pytest.mark.parametrize("action", ACTIONS)
class TestPermission:
    def test_without_credentials_401(self, proxy, action):
        method, path, _, _ = ACTIONS[action]
        assert Api().generic(method, path.format(id=proxy.pk)).status_code == 401

    def test_with_every_other_permission_403(self, proxy, action):
        method, path, needed, _ = ACTIONS[action]
        client = api_with(*(permission for permission in EVERY_PERMISSION if permission != needed))
        assert client.generic(method, path.format(id=proxy.pk)).status_code == 403

    @pytest.mark.parametrize("slash", ["", "/"], ids=["no slash", "slash"])
    def test_with_the_permission(self, proxy, action, slash):
        method, path, needed, status = ACTIONS[action]
        assert api_with(needed).generic(method, path.format(id=proxy.pk) + slash).status_code == status


@pytest.mark.parametrize(("method", "path"), [("POST", "/api/proxies"), ("PUT", "/api/proxies/{id}")])
def test_proxies_cannot_be_created_directly_405(api, proxy, method, path):
    assert api.generic(method, path.format(id=proxy.pk)).status_code == 405


def test_a_proxy_shows_its_provenance(api, proxy):
    reported = api.get(f"/api/proxies/{proxy.pk}").json()
    assert reported["source_id"] == proxy.source_id
    assert reported["path"] == f"proxy_image/Küste_{proxy.source_id}_nova.jpg"
    assert (reported["width"], reported["height"], reported["format"]) == (996, 896, "JPEG")
    assert reported["sha256"] == proxy.sha256
    assert reported["provenance"]["resizer"]
    assert reported["seconds"] >= 0


FILTERS = {
    "none": ("", {"image", "video"}),
    "source": ("source={source}", {"image"}),
    "a source that is not there": ("source=999999", set()),
    "profile": ("profile=nova", {"image"}),
    "an unknown profile": ("profile=moon", set()),
    "video": ("file_type=video", {"video"}),
}


@pytest.mark.parametrize("case", FILTERS)
def test_the_list_can_be_filtered(api, proxy, video_proxy, case):
    query, kinds = FILTERS[case]
    response = api.get("/api/proxies?" + query.format(source=proxy.source_id))
    assert {row["file_type"] for row in response.json()["results"]} == kinds


@pytest.mark.parametrize(
    "query", ["source=abc", "source=99999999999999999999", "file_type=x", "sorce=1"], ids=str
)
def test_an_invalid_filter_is_400_with_its_name(api, proxy, query):
    response = api.get(f"/api/proxies?{query}")
    assert (response.status_code, list(response.json())) == (400, [query.partition("=")[0]])


@pytest.mark.parametrize("many", [2, 12])
def test_the_list_takes_the_same_queries_for_any_length(api, add, off, many, django_assert_num_queries):
    for seed in range(many):
        create_proxy_file(add(jpeg(300, 200, seed=seed)), b"a video")
    with django_assert_num_queries(4):  # the token, the permissions (two), the proxies
        assert len(api.get("/api/proxies").json()["results"]) == many


def test_paging_lists_all_proxies(api, add, off):
    made = [create_proxy_file(add(jpeg(300, 200, seed=seed)), b"a video").pk for seed in range(5)]
    seen, address = [], "/api/proxies?page_size=2"
    while address:
        page = api.get(address).json()
        seen += [row["id"] for row in page["results"]]
        address = page["next"]
    assert seen == sorted(made, reverse=True)


class TestContent:
    def test_an_image(self, api, proxy, folders):
        response = api.get(f"/api/proxies/{proxy.pk}/content")
        assert response.getvalue() == (folders["proxies"] / proxy.image.name).read_bytes()
        assert response.headers["Content-Type"] == "image/jpeg"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "sandbox" in response.headers["Content-Security-Policy"]
        name = f"K%C3%BCste_{proxy.source_id}_nova.jpg"
        assert (
            response.headers["Content-Disposition"]
            == f"inline; filename=\"K_ste_{proxy.source_id}_nova.jpg\"; filename*=UTF-8''{name}"
        )

    def test_a_video(self, api, video_proxy):
        response = api.get(f"/api/proxies/{video_proxy.pk}/content")
        assert (response.getvalue(), response.headers["Content-Type"]) == (b"a smaller video", "video/mp4")

    def test_a_matching_etag_is_304_until_the_proxy_changes(self, api, proxy):
        address = f"/api/proxies/{proxy.pk}/content"
        known = {"If-None-Match": api.get(address).headers["ETag"]}
        assert api.get(address, headers=known).status_code == 304
        ImageProxyService(jpeg_quality=40).create_proxy(proxy.source, force=True)
        assert api.get(address, headers=known).status_code == 200

    def test_a_proxy_with_a_missing_file_is_made_again(self, api, proxy, folders):
        path = folders["proxies"] / proxy.image.name
        before = path.read_bytes()
        path.unlink()
        response = api.get(f"/api/proxies/{proxy.pk}/content")
        assert (response.status_code, response.getvalue()) == (200, before)
        assert path.read_bytes() == before

    def test_a_video_proxy_with_a_missing_file_is_422(self, api, video_proxy, folders):
        (folders["proxies"] / video_proxy.image.name).unlink()
        response = api.get(f"/api/proxies/{video_proxy.pk}/content")
        assert (response.status_code, response.json()["error"]) == (422, "source_missing")


@pytest.mark.parametrize("kind", ["proxy", "video_proxy"])
def test_deleting_removes_the_file_after_the_commit_and_keeps_the_original(
    api, folders, kind, request, django_capture_on_commit_callbacks
):
    row = request.getfixturevalue(kind)
    with django_capture_on_commit_callbacks() as callbacks:
        assert api.delete(f"/api/proxies/{row.pk}").status_code == 204
    assert len(files_in(folders["proxies"])) == 1
    for callback in callbacks:
        callback()
    assert files_in(folders["proxies"]) == []
    assert len(files_in(folders["originals"])) == MediaFile.objects.count() == 1


@pytest.mark.parametrize("path", ["/api/proxies/999999", "/api/proxies/abc", "/api/proxies/999999/content"])
def test_an_unknown_address_is_404(api, path):
    assert api.get(path).status_code == 404


def test_the_schema_is_valid_and_complete(tmp_path):
    """The test client checks its contents: it validates every response against the schema."""
    call_command("spectacular", "--validate", "--fail-on-warn", file=str(tmp_path / "schema.yml"))
    assert "/api/batch/image-proxy" in (tmp_path / "schema.yml").read_text()


def test_the_schema_requires_a_login(api):
    assert Api().get("/api/schema").status_code == 401
    assert api.get("/api/schema").status_code == api.get("/api/schema/").status_code == 200
