"""Batches through the REST API: planned, started, watched, changed."""

from __future__ import annotations

import json
import socket
import time

import pytest
from django.db import connection

from media_files.models import MediaFile
from media_files.tests.pictures import corrupt_jpeg, encoded, jpeg, mp4
from novaproxy_site.tests.api_client import EVERY_PERMISSION, FORM, Api, api_with
from proxies.batches.slices import run_slice
from proxies.batches.work import Work
from proxies.holders import this_holder
from proxies.models import Batch, BatchItem, Lane, Proxy
from proxies.outcomes import Outcome
from proxies.services import ImageProxyService

pytestmark = pytest.mark.django_db
START = "/api/batch/image-proxy"


@pytest.fixture
def api(folders):
    return api_with(*EVERY_PERMISSION)


@pytest.fixture
def library(add, off):
    """The ids of one file for each outcome of a plan."""
    rows = {
        "created": add(jpeg(), "large.jpg"),
        "skipped": add(encoded("PNG", 200, 100), "small.png"),
        "failed": add(mp4(), "clip.mp4"),
        "reused": add(jpeg(seed=2), "done.jpg"),
        "replaced": add(jpeg(seed=3), "stale.jpg"),
    }
    for name in ("reused", "replaced"):
        ImageProxyService().create_proxy(rows[name])
    Proxy.objects.filter(source=rows["replaced"]).update(recipe="of an older version")
    return {name: row.pk for name, row in rows.items()}


def work_off():
    """What the queue's workers would do."""
    while rung := Lane.objects.filter(state=Lane.State.RUNG).first():
        run_slice(rung.number, rung.generation)


# -- Who may do what ---------------------------------------------------------------------------

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


def test_a_batch_is_accepted_with_the_callers_keys(api, library):
    response = api.send(START, {"file_ids": list(library.values())})
    assert response.status_code == 202
    told = response.json()
    batch = Batch.objects.get(standing=None)
    assert set(told) == {"job_id", "total_files", "message", "url", "plan"}
    assert told["job_id"] == f"batch-image-proxy-{batch.pk}"
    assert told["total_files"] == 5
    assert told["url"] == f"http://testserver/api/batch/{batch.pk}"
    assert {outcome: told["plan"][outcome] for outcome in Outcome} == dict.fromkeys(Outcome, 1) | {
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
def test_bodies_that_are_understood(api, library, case, dry):
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
def test_bodies_that_are_refused_with_the_field(api, library, case):
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
    # It takes about 3 s of a core; what grows with the square of the number takes minutes.
    assert time.process_time() - began < 30
    assert (response.json()["total_files"], BatchItem.objects.count()) == (100_000, 100_000)


def test_one_more_is_refused(api):
    response = api.send(START, {"file_ids": list(range(1, 100_002))})
    assert (response.status_code, list(response.json())) == (400, ["file_ids"])
    assert "100000" in response.json()["file_ids"][0]


def test_a_dry_run_changes_nothing_at_all(api, library, everything):
    before = everything()
    response = api.send(START, {"filter": {}, "dry_run": True})
    assert response.status_code == 200
    assert set(response.json()) == {"dry_run", "total_files", "plan"}
    assert everything() == before


@pytest.mark.parametrize(("force", "created", "replaced"), [(False, 1, 1), (True, 1, 2)])
def test_force_replaces_what_stands(api, library, force, created, replaced):
    plan = api.send(START, {"filter": {}, "force": force}).json()["plan"]
    assert (plan["created"], plan["replaced"], plan["reused"]) == (created, replaced, 2 - replaced)


# -- Watching ----------------------------------------------------------------------------------


@pytest.fixture
def batch(api, library, add):
    """One of five files: one waits, one to be replaced, three settled, of which one has failed."""
    return Batch.objects.get(pk=int(api.send(START, {"filter": {}}).json()["job_id"].rpartition("-")[2]))


@pytest.mark.parametrize("tail", ["", "/status", "/items"])
@pytest.mark.parametrize("name", ["{0}", "batch-image-proxy-{0}"], ids=["number", "job_id"])
def test_a_batch_is_addressed_by_its_number_and_its_job_id(api, batch, name, tail):
    assert api.get(f"/api/batch/{name.format(batch.pk)}{tail}").status_code == 200


@pytest.mark.parametrize(
    "name", ["999999", "batch-image-proxy-999999", "batch-analyze-{0}", "image-proxy-{0}", "0", "9" * 30, "x"]
)
def test_no_other_name_finds_one(api, batch, name):
    assert api.get(f"/api/batch/{name.format(batch.pk)}/status").status_code == 404


def test_the_standing_batch_of_uploads_is_nobodys_to_change(api, add):
    add()
    uploads = Batch.objects.get(standing="uploads")
    assert api.send(f"/api/batch/{uploads.pk}/cancel").status_code == 404
    assert api.get("/api/batch").json()["results"] == []


def test_the_status_has_the_callers_keys(api, batch):
    told = api.get(f"/api/batch/{batch.pk}/status").json()
    assert set(told) == {
        "job_id", "status", "progress_percent", "total_files", "completed_files", "failed_files",
        "current_file", "elapsed_seconds", "errors", "results",
    }  # fmt: skip
    assert (told["job_id"], told["status"]) == (batch.job_id, "RUNNING")
    assert (told["total_files"], told["completed_files"], told["failed_files"]) == (5, 3, 1)
    assert told["progress_percent"] == 60.0
    assert told["current_file"] is None
    assert [error["error"] for error in told["errors"]] == ["not_an_image"]
    assert len(told["results"]) == 3


def test_the_status_names_the_file_in_hand(api, batch, library):
    assert next(iter(Work(batch, lambda: False))).file_id == library["created"]
    assert api.get(f"/api/batch/{batch.pk}/status").json()["current_file"] == "large.jpg"


def test_the_status_shows_the_last_hundred(api, add, off):
    ids = [add(encoded("PNG", 8, 8, seed=seed)).pk for seed in range(105)]
    job = api.send(START, {"file_ids": ids}).json()["job_id"]
    told = api.get(f"/api/batch/{job}/status").json()
    assert (told["status"], told["completed_files"], len(told["results"])) == ("COMPLETED", 105, 100)


STATUSES = {
    "running": "RUNNING", "paused": "PAUSED", "completed": "COMPLETED", "cancelled": "CANCELLED",
    "failed": "FAILED",
}  # fmt: skip


@pytest.mark.parametrize("state", Batch.State)
def test_each_state_has_the_callers_word(api, batch, state):
    Batch.objects.filter(pk=batch.pk).update(state=state)
    assert api.get(f"/api/batch/{batch.pk}/status").json()["status"] == STATUSES[state]


def test_a_batch_comes_to_its_end(api, batch, library, add):
    work_off()
    told = api.get(f"/api/batch/{batch.pk}").json()
    assert (told["state"], told["progress_percent"]) == ("completed", 100.0)
    assert told["finished_at"]
    assert {outcome: told["counts"].get(outcome, 0) for outcome in Outcome} == dict.fromkeys(Outcome, 1) | {
        "quarantined": 0
    }
    again = api.send(START, {"filter": {"type": "image"}}).json()["plan"]
    assert (again["reused"], again["skipped"], again["created"]) == (3, 1, 0)


LISTS = {
    "all": ("", 2),
    "running": ("state=running", 1),
    "of an operation": ("operation=image-proxy", 2),
    "of another": ("operation=analyze", 0),
    "both": ("state=paused&operation=image-proxy", 1),
}


@pytest.mark.parametrize("case", LISTS)
def test_the_list_is_filtered(api, batch, case):
    query, count = LISTS[case]
    Batch.objects.create(operation="image-proxy", state="paused")
    assert len(api.get(f"/api/batch?{query}").json()["results"]) == count


@pytest.mark.parametrize("query", ["state=done", "stat=running"])
def test_a_filter_of_the_list_that_means_nothing_is_400_with_its_name(api, query):
    response = api.get(f"/api/batch?{query}")
    assert (response.status_code, list(response.json())) == (400, [query.partition("=")[0]])


ITEMS = {
    "all": ("", ["skipped", "failed", "reused", "", ""]),
    "failed": ("outcome=failed", ["failed"]),
    "waiting": ("state=queued", ["", ""]),
    "both": ("state=done&outcome=skipped", ["skipped"]),
    "none": ("outcome=quarantined", []),
}


@pytest.mark.parametrize("case", ITEMS)
def test_items_are_filtered(api, batch, case):
    query, outcomes = ITEMS[case]
    response = api.get(f"/api/batch/{batch.pk}/items?{query}")
    assert sorted(item["outcome"] for item in response.json()["results"]) == sorted(outcomes)


@pytest.mark.parametrize("query", ["outcome=broken", "state=x", "outcom=failed"], ids=str)
def test_a_filter_that_means_nothing_is_400_with_its_name(api, batch, query):
    response = api.get(f"/api/batch/{batch.pk}/items?{query}")
    assert (response.status_code, list(response.json())) == (400, [query.partition("=")[0]])


def test_items_are_paged(api, batch):
    seen, address = [], f"/api/batch/{batch.pk}/items?page_size=2"
    while address:
        page = api.get(address).json()
        seen += [item["file_id"] for item in page["results"]]
        address = page["next"]
    assert sorted(seen) == sorted(batch.items.values_list("file_id", flat=True))


@pytest.mark.parametrize("many", [1, 8])
@pytest.mark.parametrize("state", ["running", "completed"])
def test_a_list_costs_the_same_queries_however_long(api, library, many, state, django_assert_max_num_queries):
    for _ in range(many):
        api.send(START, {"filter": {"type": "image"}})
    Batch.objects.update(state=state, counted_at=None)
    # The token, the permissions (two), the batches, their counts and keeping them, their rates.
    with django_assert_max_num_queries(9):
        assert len(api.get("/api/batch").json()["results"]) == many


# -- Changing ----------------------------------------------------------------------------------

# From each state, what each change leads to; None for 409.
CHANGES = {
    "pause": {"running": "paused"},
    "resume": {"paused": "running"},
    "cancel": {"running": "cancelled", "paused": "cancelled"},
    "retry-failed": dict.fromkeys(("running", "paused", "completed", "failed"), "running"),
}


@pytest.mark.parametrize("state", Batch.State)
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_made_where_the_state_allows_it(api, batch, change, state):
    Batch.objects.filter(pk=batch.pk).update(state=state)
    response = api.send(f"/api/batch/{batch.job_id}/{change}")
    batch.refresh_from_db()
    expected = CHANGES[change].get(state)
    if expected is None:
        assert response.status_code == 409
        assert batch.job_id in response.json()["detail"]
        assert batch.state == state
    else:
        assert (response.status_code, response.json()["state"], batch.state) == (200, expected, expected)
        assert batch.changed_by.username == "caller"


def test_nothing_has_failed_409(api, add, off):
    job = api.send(START, {"file_ids": [add().pk]}).json()["job_id"]
    response = api.send(f"/api/batch/{job}/retry-failed")
    assert response.status_code == 409
    assert "Nothing" in response.json()["detail"]


def test_a_retry_takes_up_what_failed_and_nothing_else(api, add, off):
    ids = [add(jpeg(), "good.jpg").pk, add(corrupt_jpeg(5), "bad.jpg").pk]
    batch_id = int(api.send(START, {"file_ids": ids}).json()["url"].rpartition("/")[2])
    work_off()
    (failed,) = api.get(f"/api/batch/{batch_id}/items?outcome=failed").json()["results"]
    assert (failed["file_id"], failed["error"]) == (ids[1], "corrupt")
    api.send(f"/api/batch/{batch_id}/retry-failed")
    (waiting,) = BatchItem.objects.filter(batch=batch_id, state="queued")
    assert (waiting.file_id, waiting.attempts) == (ids[1], 0)


def test_who_paused_it_may_say_why(api, batch):
    told = api.send(f"/api/batch/{batch.pk}/pause", {"reason": "Low disk"}).json()
    assert told["paused_reason"] == "Low disk"


@pytest.mark.parametrize(
    ("change", "body", "field"),
    [
        ("pause", {"reason": "x" * 256}, "reason"),
        ("pause", {"why": "x"}, "why"),
        ("cancel", {"reason": ["x"]}, "reason"),
        ("resume", {"force": True}, "force"),
        ("retry-failed", {"ids": [1]}, "ids"),
    ],
    ids=["too long", "an unknown key", "no text", "resume takes nothing", "retry takes nothing"],
)
def test_a_bad_body_of_a_change_is_400_with_the_field(api, batch, change, body, field):
    response = api.send(f"/api/batch/{batch.pk}/{change}", body)
    assert (response.status_code, list(response.json())) == (400, [field])


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("content_type", ["", FORM, "application/json"], ids=["none", "form", "JSON"])
def test_a_change_needs_no_body(api, batch, change, content_type):
    response = api.send_as(content_type, f"/api/batch/{batch.pk}/{change}", "")
    assert response.status_code in (200, 409)


@pytest.mark.parametrize(
    ("holder", "executor"),
    [(lambda: f"{socket.gethostname()[:60]}:1:0.00", "queue"), (this_holder, "local")],
    ids=["its command has ended", "its command runs"],
)
@pytest.mark.parametrize("change", ["resume", "retry-failed"])
def test_a_commands_batch_that_is_taken_up_again_has_somebody_to_do_it(api, batch, change, holder, executor):
    Batch.objects.filter(pk=batch.pk).update(executor="local", state="paused", holder=holder())
    Lane.objects.update(state=Lane.State.IDLE)
    assert api.send(f"/api/batch/{batch.pk}/{change}").status_code == 200
    batch.refresh_from_db()
    assert (batch.state, batch.executor) == ("running", executor)
    work_off()
    batch.refresh_from_db()
    assert batch.state == ("completed" if executor == "queue" else "running")
