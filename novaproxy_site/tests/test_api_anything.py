"""Fuzz the API: every response matches the schema, and no request causes a server error."""

from __future__ import annotations

import json
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from media_files.models import MediaFile
from media_files.tests.pictures import jpeg
from novaproxy_site.tests.api_client import EVERY_PERMISSION, FORM, Api, api_with
from proxies.models import Batch

pytestmark = pytest.mark.django_db

MANY = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
NUMBERS = st.one_of(st.integers(), st.sampled_from([0, 1, 2**31, 2**63 - 1, 2**63, 10**30]))
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.floats(allow_nan=False, allow_infinity=False), TEXT),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=8,
)
KEYS = st.sampled_from(["file_ids", "filter", "force", "dry_run", "profile", "reason"])
FILTERS = st.sampled_from(["type", "name", "format", "proxy_state", "updated_since"])
OBJECTS = st.dictionaries(
    KEYS | TEXT, JSON | st.dictionaries(FILTERS, JSON, max_size=3) | st.lists(NUMBERS, max_size=3), max_size=4
)
QUERIES = st.dictionaries(
    st.sampled_from(
        ["type", "name", "format", "proxy_state", "updated_since", "cursor", "page_size", "source", "profile",
         "file_type", "outcome", "state"]
    )
    | TEXT,
    TEXT | NUMBERS.map(str) | st.datetimes().map(str) | st.sampled_from(["image", "current", "done", "cD0x"]),
    max_size=3,
)  # fmt: skip


@pytest.fixture
def api(folders, off) -> Api:
    return api_with(*EVERY_PERMISSION)


@pytest.fixture
def row(add):
    return add(jpeg(60, 50))


@MANY
@given(body=OBJECTS | JSON, as_form=st.booleans())
def test_json_bodies_that_start_a_batch(api, row, body, as_form):
    sent = json.dumps(body)
    response = api.send_as(FORM if as_form else "application/json", "/api/batch/image-proxy", sent)
    assert response.status_code in (200, 202, 400)


@MANY
@given(
    body=st.binary(max_size=60) | st.dictionaries(TEXT, TEXT, max_size=3).map(lambda d: urlencode(d).encode())
)
def test_bodies_of_arbitrary_bytes(api, row, body):
    for content_type in (FORM, "application/json"):
        response = api.send_as(content_type, f"/api/files/{row.pk}/create-image-proxy", body)
        assert response.status_code in (200, 400)


@MANY
@given(body=OBJECTS | JSON, change=st.sampled_from(["pause", "resume", "cancel", "retry-failed"]))
def test_json_bodies_that_change_a_batch(api, row, body, change):
    batch = Batch.objects.create(operation="image-proxy")
    response = api.send(f"/api/batch/{batch.pk}/{change}", body)
    assert response.status_code in (200, 400, 409)


@MANY
@given(query=QUERIES, place=st.sampled_from(["files", "proxies", "batch", "items"]))
def test_query_strings_of_lists(api, row, query, place):
    if place == "items":
        batch, _ = Batch.objects.get_or_create(operation="image-proxy")
        place = f"batch/{batch.pk}/items"
    response = api.get(f"/api/{place}?{urlencode(query)}")
    assert response.status_code in (200, 400, 404)


@MANY
@given(name=st.text(st.characters(codec="utf-8", exclude_characters='"\r\n\\'), min_size=1, max_size=300))
def test_file_names_of_uploads(api, name):
    head = f'--b\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode()
    MediaFile.objects.all().delete()
    response = api.send_as(
        "multipart/form-data; boundary=b", "/api/files", head + jpeg(20, 10) + b"\r\n--b--\r\n"
    )
    assert response.status_code in (201, 400)
    if response.status_code == 201:
        shown = response.json()
        content = api.get(shown["content_url"])
        assert content.status_code == 200
        assert "\n" not in content.headers["Content-Disposition"]
