"""Batches in the REST API: status, items, lists."""

from __future__ import annotations

import pytest

from media_files.tests.pictures import encoded
from novaproxy_site.tests.api_fixtures import START, work_off
from proxies.batches.claim import Claim
from proxies.models import Batch
from proxies.outcomes import Outcome

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("tail", ["", "/status", "/items"])
@pytest.mark.parametrize("name", ["{0}", "batch-image-proxy-{0}"], ids=["number", "job_id"])
def test_a_batch_is_found_by_number_and_by_job_id(api, batch, name, tail):
    assert api.get(f"/api/batch/{name.format(batch.pk)}{tail}").status_code == 200


@pytest.mark.parametrize(
    "name", ["999999", "batch-image-proxy-999999", "batch-analyze-{0}", "image-proxy-{0}", "0", "9" * 30, "x"]
)
def test_a_batch_is_not_found_by_other_names(api, batch, name):
    assert api.get(f"/api/batch/{name.format(batch.pk)}/status").status_code == 404


def test_the_standing_batch_of_uploads_is_hidden_and_cannot_be_changed(api, add):
    add()
    uploads = Batch.objects.get(standing="uploads")
    assert api.send(f"/api/batch/{uploads.pk}/cancel").status_code == 404
    assert api.get("/api/batch").json()["results"] == []


def test_the_status_has_the_documented_keys(api, batch):
    reported = api.get(f"/api/batch/{batch.pk}/status").json()
    assert set(reported) == {
        "job_id", "status", "progress_percent", "total_files", "completed_files", "failed_files",
        "current_file", "elapsed_seconds", "errors", "results", "spent",
    }  # fmt: skip
    assert (reported["job_id"], reported["status"]) == (batch.job_id, "RUNNING")
    assert (reported["total_files"], reported["completed_files"], reported["failed_files"]) == (5, 3, 1)
    assert reported["progress_percent"] == 60.0
    assert reported["current_file"] is None
    assert [error["error"] for error in reported["errors"]] == ["not_an_image"]
    assert len(reported["results"]) == 3


def test_the_status_names_the_current_file(api, batch, library):
    assert next(iter(Claim(batch, lambda: False))).file_id == library["created"]
    assert api.get(f"/api/batch/{batch.pk}/status").json()["current_file"] == "large.jpg"


def test_the_status_shows_the_last_hundred_results(api, add, off):
    ids = [add(encoded("PNG", 8, 8, seed=seed)).pk for seed in range(105)]
    job = api.send(START, {"file_ids": ids}).json()["job_id"]
    reported = api.get(f"/api/batch/{job}/status").json()
    assert (reported["status"], reported["completed_files"], len(reported["results"])) == (
        "COMPLETED",
        105,
        100,
    )


STATUSES = {
    "running": "RUNNING", "paused": "PAUSED", "completed": "COMPLETED", "cancelled": "CANCELLED",
    "failed": "FAILED",
}  # fmt: skip


@pytest.mark.parametrize("state", Batch.State)
def test_each_state_has_its_documented_status(api, batch, state):
    Batch.objects.filter(pk=batch.pk).update(state=state)
    assert api.get(f"/api/batch/{batch.pk}/status").json()["status"] == STATUSES[state]


def test_a_batch_completes(api, batch, library, add):
    work_off()
    reported = api.get(f"/api/batch/{batch.pk}").json()
    assert (reported["state"], reported["progress_percent"]) == ("completed", 100.0)
    assert reported["finished_at"]
    assert {outcome: reported["counts"].get(outcome, 0) for outcome in Outcome} == dict.fromkeys(
        Outcome, 1
    ) | {"quarantined": 0}
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
def test_the_list_can_be_filtered(api, batch, case):
    query, count = LISTS[case]
    Batch.objects.create(operation="image-proxy", state="paused")
    assert len(api.get(f"/api/batch?{query}").json()["results"]) == count


@pytest.mark.parametrize("query", ["state=done", "stat=running"])
def test_an_invalid_list_filter_is_400_with_its_name(api, query):
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
def test_items_can_be_filtered(api, batch, case):
    query, outcomes = ITEMS[case]
    response = api.get(f"/api/batch/{batch.pk}/items?{query}")
    assert sorted(item["outcome"] for item in response.json()["results"]) == sorted(outcomes)


@pytest.mark.parametrize("query", ["outcome=broken", "state=x", "outcom=failed"], ids=str)
def test_an_invalid_item_filter_is_400_with_its_name(api, batch, query):
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
def test_the_list_takes_the_same_queries_for_any_length(
    api, library, many, state, django_assert_max_num_queries
):
    for _ in range(many):
        api.send(START, {"filter": {"type": "image"}})
    Batch.objects.update(state=state, counted_at=None)
    # The token, the permissions (two), the batches, their counts and saving them, their rates.
    with django_assert_max_num_queries(9):
        assert len(api.get("/api/batch").json()["results"]) == many
