"""Creating one proxy through the REST API: created, reused, rejected."""

from __future__ import annotations

import json

import pytest

from media_files.tests.pictures import (
    corrupt_jpeg,
    jpeg,
    mp4,
)
from proxies.models import Proxy, Quarantine
from proxies.services import ImageProxyService

pytestmark = pytest.mark.django_db

SMALL = jpeg(300, 200)


KEYS = {
    "proxy_id", "source_id", "original_size_bytes", "proxy_size_bytes", "savings_percent",
    "original_dimensions", "proxy_dimensions", "outcome", "reasons", "url",
}  # fmt: skip


class TestCreateImageProxy:
    @pytest.fixture
    def row(self, add, off):
        return add(jpeg(quality=95), "coast.jpg")

    def test_a_created_proxy_is_201_with_the_documented_keys(self, api, row):
        response = api.send(f"/api/files/{row.pk}/create-image-proxy")
        proxy = Proxy.objects.get()
        assert response.status_code == 201
        reported = response.json()
        assert set(reported) == KEYS
        assert reported == {
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

    def test_a_reused_proxy_is_200_with_the_same_keys(self, api, row):
        first = api.send(f"/api/files/{row.pk}/create-image-proxy").json()
        again = api.send(f"/api/files/{row.pk}/create-image-proxy")
        assert again.status_code == 200
        assert again.json() == first | {"outcome": "reused"}

    def test_an_unneeded_proxy_is_200(self, api, add, off):
        reported = api.send(f"/api/files/{add(SMALL).pk}/create-image-proxy")
        assert reported.status_code == 200
        assert set(reported.json()) == KEYS
        assert (reported.json()["outcome"], reported.json()["reasons"]) == ("skipped", ["not_needed"])
        assert (reported.json()["proxy_id"], reported.json()["savings_percent"]) == (None, 0.0)

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
    def test_valid_bodies_are_accepted(self, api, row, case):
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
    def test_invalid_bodies_are_400_with_the_field(self, api, row, case):
        content_type, body, field = self.BAD_BODIES[case]
        response = api.send_as(content_type, f"/api/files/{row.pk}/create-image-proxy", body)
        assert response.status_code == 400
        assert list(response.json()) == [field]
        assert not Proxy.objects.exists()

    @pytest.mark.parametrize("content_type", ["text/plain", "application/xml", "image/jpeg"])
    def test_other_content_types_are_415(self, api, row, content_type):
        response = api.send_as(content_type, f"/api/files/{row.pk}/create-image-proxy", '{"force": true}')
        assert response.status_code == 415

    def test_a_huge_body_is_413(self, api, row):
        body = json.dumps({"force": True, "padding": "x" * 5_000_000})
        response = api.send_as("application/json", f"/api/files/{row.pk}/create-image-proxy", body)
        assert (response.status_code, response.json()["error"]) == (413, "file_too_large")

    def test_a_damaged_file_is_422(self, api, add, off):
        response = api.send(f"/api/files/{add(corrupt_jpeg()).pk}/create-image-proxy")
        assert (response.status_code, response.json()["error"]) == (422, "corrupt")

    def test_a_video_is_422(self, api, add):
        response = api.send(f"/api/files/{add(mp4()).pk}/create-image-proxy")
        assert (response.status_code, response.json()["error"]) == (422, "not_an_image")

    def test_a_missing_original_is_422(self, api, row, folders):
        (folders["originals"] / row.file.name).unlink()
        response = api.send(f"/api/files/{row.pk}/create-image-proxy")
        assert (response.status_code, response.json()["error"]) == (422, "source_missing")

    def test_more_pixels_than_currently_allowed_are_422(self, api, row, settings):
        settings.NOVAPROXY_MAX_PIXELS = 1000
        response = api.send(f"/api/files/{row.pk}/create-image-proxy")
        assert (response.status_code, response.json()["error"]) == (422, "too_large")

    def test_a_quarantined_file_is_422_and_not_decoded(self, api, row, folders):
        Quarantine.objects.create(source=row, fingerprint=row.fingerprint, message="It ended its process.")
        (folders["originals"] / row.file.name).unlink()
        response = api.send(f"/api/files/{row.pk}/create-image-proxy")
        assert (response.status_code, response.json()["error"]) == (422, "quarantined")

    def test_a_failing_storage_is_503_and_leaves_nothing(self, api, row, folders):
        folders["proxies"].mkdir(parents=True)
        (folders["proxies"] / "proxy_image").write_text("in the way")
        response = api.send(f"/api/files/{row.pk}/create-image-proxy")
        assert (response.status_code, response.json()["error"]) == (503, "storage")
        assert response.headers["Retry-After"] == "5"
        assert not Proxy.objects.exists()
