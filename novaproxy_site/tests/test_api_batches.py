"""Batches in the REST API: permissions and starting."""

from __future__ import annotations

import json
import time

import pytest
from django.db import connection

from media_files.models import MediaFile
from novaproxy_site.tests.api_client import EVERY_PERMISSION, FORM, Api, api_with
from novaproxy_site.tests.api_fixtures import START
from proxies.models import Batch, BatchItem
from proxies.outcomes import Outcome

pytestmark = pytest.mark.django_db


# -- Permissions -------------------------------------------------------------------------------

ACTIONS = {
    "list": ("GET", "/api/batch", "proxies.view_batch", 200),
    "retrieve": ("GET", "/api/batch/{id}", "proxies.view_batch", 200),
    "status": ("GET", "/api/batch/{id}/status", "proxies.view_batch", 200),
    "items": ("GET", "/api/batch/{id}/items", "proxies.view_batch", 200),
    "start": ("POST", START, "proxies.add_proxy", 202),
    "pause": ("POST", "/api/batch/{id}/pause", "proxies.change_batch", 200),
    "resume": ("POST", "/api/batch/{id}/resume", "proxies.change_batch", 409),
    "cancel": ("POST", "/api/batch/{id}/cancel", "proxies.change_batch", 200),
    "retry-failed": ("POST", "/api/batch/{id}/retry-failed", "proxies.change_batch", 200),
}


@pytest.fixture
def ask(library):
    batch = api_with("proxies.add_proxy", name="starter").send(START, {"filter": {}})

    def send(client, action, slash=""):
        method, path, _, _ = ACTIONS[action]
        address = path.format(id=batch.json()["url"].rpartition("/")[2]) + slash
        body = json.dumps({"filter": {}} if action == "start" else {}) if method == "POST" else ""
        return client.generic(method, address, body, "application/json").status_code

    return send


@pytest.mark.parametrize("action", ACTIONS)
class TestPermission:
    def test_without_credentials_401(self, ask, action):
        assert ask(Api(), action) == 401

    def test_with_every_other_permission_403(self, ask, action):
        others = [permission for permission in EVERY_PERMISSION if permission != ACTIONS[action][2]]
        assert ask(api_with(*others), action) == 403

    @pytest.mark.parametrize("slash", ["", "/"], ids=["no slash", "slash"])
    def test_with_the_permission(self, ask, action, slash):
        assert ask(api_with(ACTIONS[action][2]), action, slash) == ACTIONS[action][3]


# -- Starting ----------------------------------------------------------------------------------


def test_starting_a_batch_returns_the_documented_keys(api, library):
    response = api.send(START, {"file_ids": list(library.values())})
    assert response.status_code == 202
    reported = response.json()
    batch = Batch.objects.get(standing=None)
    assert set(reported) == {"job_id", "total_files", "message", "url", "plan"}
    assert reported["job_id"] == f"batch-image-proxy-{batch.pk}"
    assert reported["total_files"] == 5
    assert reported["url"] == f"http://testserver/api/batch/{batch.pk}"
    assert {outcome: reported["plan"][outcome] for outcome in Outcome} == dict.fromkeys(Outcome, 1) | {
        "quarantined": 0
    }
    assert str(batch.created_by) == "caller"
    settled = batch.items.filter(state="done").values_list("file_id", "outcome")
    assert dict(settled) == {library[name]: name for name in ("skipped", "failed", "reused")}


BODIES = {
    "curl -d, JSON": (FORM, '{"file_ids": [%(created)s, %(reused)s]}', 2),
    "JSON": ("application/json", '{"file_ids": [%(created)s]}', 1),
    "duplicates count once": ("application/json", '{"file_ids": [%(created)s, %(created)s]}', 1),
    "ids as texts": ("application/json", '{"file_ids": ["%(created)s"]}', 1),
    "a form": (FORM, "file_ids=%(created)s&file_ids=%(reused)s", 2),
    "all files": ("application/json", '{"filter": {}}', 5),
    "filter by type": ("application/json", '{"filter": {"type": "image"}}', 4),
    "filter by name": ("application/json", '{"filter": {"name": ".JPG"}}', 3),
    "filter by format": ("application/json", '{"filter": {"format": "png"}}', 1),
    "filter by proxy state": ("application/json", '{"filter": {"proxy_state": "stale"}}', 1),
    "filter by time": ("application/json", '{"filter": {"updated_since": "2999-01-01"}}', 0),
    "two filters": ("application/json", '{"filter": {"type": "image", "name": "large"}}', 1),
    "a filter in a form": (FORM, "filter.type=video", 1),
}


@pytest.mark.parametrize("dry", [False, True], ids=["real", "dry run"])
@pytest.mark.parametrize("case", BODIES)
def test_valid_bodies_are_accepted(api, library, case, dry):
    content_type, body, total = BODIES[case]
    body %= library
    if dry and body.startswith("{"):
        body = json.dumps(json.loads(body) | {"dry_run": True})
    elif dry:
        body += "&dry_run=true"
    response = api.send_as(content_type, START, body)
    assert response.status_code == (200 if dry else 202), response.content
    assert response.json()["total_files"] == total
    assert BatchItem.objects.count() == (0 if dry else total)


BAD_BODIES = {
    "nothing": ("application/json", "", "file_ids"),
    "nothing at all": (FORM, "", "file_ids"),
    "an empty list": ("application/json", '{"file_ids": []}', "file_ids"),
    "an empty form": (FORM, "force=true", "file_ids"),
    "a text": ("application/json", '{"file_ids": "1,2,3"}', "file_ids"),
    "texts": ("application/json", '{"file_ids": ["a"]}', "file_ids"),
    "texts in a form": (FORM, "file_ids=1,2", "file_ids"),
    "zero": ("application/json", '{"file_ids": [0]}', "file_ids"),
    "negative": ("application/json", '{"file_ids": [-1]}', "file_ids"),
    "a fraction": ("application/json", '{"file_ids": [1.5]}', "file_ids"),
    "true": ("application/json", '{"file_ids": [true]}', "file_ids"),
    "null": ("application/json", '{"file_ids": null}', "file_ids"),
    "a list within": ("application/json", '{"file_ids": [[1]]}', "file_ids"),
    "beyond 64 bits": ("application/json", '{"file_ids": [9223372036854775808]}', "file_ids"),
    "five thousand digits": ("application/json", '{"file_ids": [%s]}' % ("9" * 5000), "detail"),
    "unknown": ("application/json", '{"file_ids": [999999]}', "file_ids"),
    "both": ("application/json", '{"file_ids": [1], "filter": {}}', "file_ids"),
    "an unknown key": ("application/json", '{"files": [1], "filter": {}}', "files"),
    "an unknown filter": ("application/json", '{"filter": {"nane": "x"}}', "filter"),
    "a filter's page": ("application/json", '{"filter": {"page_size": 10}}', "filter"),
    "a bad type": ("application/json", '{"filter": {"type": "audio"}}', "filter"),
    "a bad state": ("application/json", '{"filter": {"proxy_state": "old"}}', "filter"),
    "a bad date": ("application/json", '{"filter": {"updated_since": "soon"}}', "filter"),
    "a list in a filter": ("application/json", '{"filter": {"type": ["image"]}}', "filter"),
    "a filter that is a text": ("application/json", '{"filter": "type=image"}', "filter"),
    "an unknown profile": ("application/json", '{"filter": {}, "profile": "moon"}', "profile"),
    "a bad truth": ("application/json", '{"filter": {}, "dry_run": "perhaps"}', "dry_run"),
    "a list": ("application/json", "[1, 2, 3]", "detail"),
    "no JSON": (FORM, "{file_ids: [1]}", "detail"),
    "neither": (FORM, "1,2,3", "detail"),
}


@pytest.mark.parametrize("case", BAD_BODIES)
def test_invalid_bodies_are_400_with_the_field(api, library, case):
    content_type, body, field = BAD_BODIES[case]
    response = api.send_as(content_type, START, body)
    assert response.status_code == 400, response.content
    assert list(response.json()) == [field]
    assert not Batch.objects.filter(standing=None).exists()


def test_unknown_ids_are_named(api, library):
    response = api.send(START, {"file_ids": [library["created"], 999_998, 999_999]})
    assert response.json()["file_ids"] == ["2 of 3 files are not there: 999998, 999999."]


def test_other_content_types_are_415(api, library):
    assert api.send_as("text/plain", START, '{"filter": {}}').status_code == 415


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_other_methods_are_405(api, method):
    assert api.generic(method, START).status_code == 405


@pytest.fixture
def hundred_thousand(add, off):
    add()
    columns = ", ".join(str(field.column) for field in MediaFile._meta.concrete_fields[1:])
    table = MediaFile._meta.db_table
    MediaFile.objects.update(content_key=None)
    with connection.cursor() as cursor:
        for _ in range(17):
            cursor.execute(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {table}")  # noqa: S608
    return list(MediaFile.objects.values_list("pk", flat=True)[:100_000])


def test_a_hundred_thousand_ids_are_accepted_quickly(api, hundred_thousand):
    began = time.process_time()
    response = api.send(START, {"file_ids": hundred_thousand})
    assert response.status_code == 202
    # It takes about 3 s of CPU time; anything quadratic would take minutes.
    assert time.process_time() - began < 30
    assert (response.json()["total_files"], BatchItem.objects.count()) == (100_000, 100_000)


def test_more_than_a_hundred_thousand_ids_are_rejected(api):
    response = api.send(START, {"file_ids": list(range(1, 100_002))})
    assert (response.status_code, list(response.json())) == (400, ["file_ids"])
    assert "100000" in response.json()["file_ids"][0]


def test_a_dry_run_changes_nothing(api, library, everything):
    before = everything()
    response = api.send(START, {"filter": {}, "dry_run": True})
    assert response.status_code == 200
    assert set(response.json()) == {"dry_run", "total_files", "plan"}
    assert everything() == before


@pytest.mark.parametrize(("force", "created", "replaced"), [(False, 1, 1), (True, 1, 2)])
def test_force_replaces_proxies_that_are_up_to_date(api, library, force, created, replaced):
    plan = api.send(START, {"filter": {}, "force": force}).json()["plan"]
    assert (plan["created"], plan["replaced"], plan["reused"]) == (created, replaced, 2 - replaced)
