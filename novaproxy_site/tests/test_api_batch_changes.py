"""Batches in the REST API: pause, resume, cancel, retry failed."""

from __future__ import annotations

import socket

import pytest

from media_files.tests.pictures import corrupt_jpeg, jpeg
from novaproxy_site.tests.api_client import FORM
from novaproxy_site.tests.api_fixtures import START, work_off
from proxies.models import Batch, BatchItem, WorkerSlot
from proxies.processes.liveness import this_holder

pytestmark = pytest.mark.django_db


# For each change, the new state by the old one; all other states answer 409.
CHANGES = {
    "pause": {"running": "paused"},
    "resume": {"paused": "running"},
    "cancel": {"running": "cancelled", "paused": "cancelled"},
    "retry-failed": dict.fromkeys(("running", "paused", "completed", "failed"), "running"),
}


@pytest.mark.parametrize("state", Batch.State)
@pytest.mark.parametrize("change", CHANGES)
def test_changes_succeed_only_where_the_state_allows_them(api, batch, change, state):
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


def test_retrying_without_failures_is_409(api, add, off):
    job = api.send(START, {"file_ids": [add().pk]}).json()["job_id"]
    response = api.send(f"/api/batch/{job}/retry-failed")
    assert response.status_code == 409
    assert "Nothing" in response.json()["detail"]


def test_a_retry_requeues_only_failed_items(api, add, off):
    ids = [add(jpeg(), "good.jpg").pk, add(corrupt_jpeg(5), "bad.jpg").pk]
    batch_id = int(api.send(START, {"file_ids": ids}).json()["url"].rpartition("/")[2])
    work_off()
    (failed,) = api.get(f"/api/batch/{batch_id}/items?outcome=failed").json()["results"]
    assert (failed["file_id"], failed["error"]) == (ids[1], "corrupt")
    api.send(f"/api/batch/{batch_id}/retry-failed")
    (waiting,) = BatchItem.objects.filter(batch=batch_id, state="queued")
    assert (waiting.file_id, waiting.attempts) == (ids[1], 0)


def test_a_pause_accepts_a_reason(api, batch):
    reported = api.send(f"/api/batch/{batch.pk}/pause", {"reason": "Low disk"}).json()
    assert reported["paused_reason"] == "Low disk"


@pytest.mark.parametrize(
    ("change", "body", "field"),
    [
        ("pause", {"reason": "x" * 256}, "reason"),
        ("pause", {"why": "x"}, "why"),
        ("cancel", {"reason": ["x"]}, "reason"),
        ("resume", {"force": True}, "force"),
        ("retry-failed", {"ids": [1]}, "ids"),
    ],
    ids=["too long", "an unknown key", "not a string", "resume takes nothing", "retry takes nothing"],
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
def test_a_resumed_command_batch_is_picked_up_by_the_queue_if_its_command_has_ended(
    api, batch, change, holder, executor
):
    Batch.objects.filter(pk=batch.pk).update(executor="local", state="paused", holder=holder())
    WorkerSlot.objects.update(state=WorkerSlot.State.IDLE)
    assert api.send(f"/api/batch/{batch.pk}/{change}").status_code == 200
    batch.refresh_from_db()
    assert (batch.state, batch.executor) == ("running", executor)
    work_off()
    batch.refresh_from_db()
    assert batch.state == ("completed" if executor == "queue" else "running")
