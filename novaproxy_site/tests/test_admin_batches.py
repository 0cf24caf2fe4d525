"""Batches in the admin: list, progress page, buttons."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils.timezone import now

from media_files.errors import CorruptImage
from media_files.models import MediaFile
from media_files.tests import pictures
from novaproxy_site.tests.admin_pages import messages_of, staff_with, text_of
from proxies.batches import lifecycle
from proxies.batches.selection import Selection
from proxies.models import Batch, BatchItem, WorkerState
from proxies.services import ImageProxyService

LIST = reverse("admin:proxies_batch_changelist")
ITEMS = reverse("admin:proxies_batchitem_changelist")
LOOK = "proxies.view_batch"
CHANGE = "proxies.change_batch"

Adds = Callable[..., MediaFile]
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("off", "silent")]


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Notify no worker, so that nothing works on the batches of these tests."""
    monkeypatch.setattr("proxies.batches.worker_slots.wake", lambda most=1: 0)


@pytest.fixture
def batch(add: Adds) -> Batch:
    """Return a running batch: two files queued, one running, one failed, one skipped."""
    rows = [add(seed=seed, name=f"IMG_{seed}.jpg") for seed in range(4)]
    add(pictures.jpeg(30, 20), name="small.jpg")
    batch = lifecycle.start("image-proxy", Selection(MediaFile.objects.all()), {"force": True})
    items = batch.items
    items.filter(file=rows[0]).update(state="running")
    items.filter(file=rows[1]).update(
        state="done",
        outcome="failed",
        error="corrupt",
        message="It ends early.",
        attempts=1,
        finished_at=now(),
    )
    Batch.objects.update(counted_at=None)
    batch.refresh_from_db()
    return batch


def page_of(batch: Batch) -> str:
    return reverse("admin:proxies_batch_change", args=[batch.pk])


def progress_of(client: Client, batch: Batch) -> Any:
    return client.get(reverse("admin:proxies_batch_progress", args=[batch.pk]))


def press(client: Client, batch: Batch, name: str, **form: str) -> Any:
    return client.post(reverse("admin:proxies_batch_act", args=[batch.pk, name]), form, follow=True)


def buttons_of(response: Any) -> list[str]:
    return [name for name, _ in response.context["changes"]]


# -- One batch -------------------------------------------------------------------------------------


def test_the_page_shows_the_progress_of_the_batch(
    admin_client: Client, batch: Batch, worker: WorkerState
) -> None:
    response = admin_client.get(page_of(batch))
    text = text_of(response)
    for reported in (
        "Image Proxies (Nova), force",
        "running",
        "40 %",
        "2 of 5 files done, 1 failed",
        "Being processed IMG_0.jpg",
        "failed 1 could not be done",
        "skipped 1 no proxy was needed",
        "IMG_1.jpg It ends early. (corrupt)",
    ):
        assert reported in text, reported
    assert "No worker is running" not in text


def test_counts_link_to_their_files(admin_client: Client, batch: Batch) -> None:
    urls = {word: url for word, _, _, url in admin_client.get(page_of(batch)).context["outcomes"]}
    response = admin_client.get(urls["failed"])
    (item,) = response.context["cl"].result_list
    assert (item.file_name, item.outcome) == ("IMG_1.jpg", "failed")
    assert "It ends early. (corrupt)" in text_of(response)


def test_the_item_list_shows_only_items_of_its_batch(admin_client: Client, batch: Batch) -> None:
    lifecycle.start("image-proxy", Selection(MediaFile.objects.all()), {})
    response = admin_client.get(ITEMS, {"batch__id__exact": batch.pk})
    assert {item.batch_id for item in response.context["cl"].result_list} == {batch.pk}
    assert response.context["cl"].result_count == 5


def test_deleted_files_are_still_listed(admin_client: Client, batch: Batch) -> None:
    gone = BatchItem.objects.get(outcome="failed").file
    gone.delete()
    assert "(deleted)" in text_of(admin_client.get(page_of(batch)))
    assert "(deleted)" in text_of(admin_client.get(ITEMS))


def test_names_and_messages_are_escaped(admin_client: Client, batch: Batch) -> None:
    nasty = "<script>alert(1)</script>"
    MediaFile.objects.update(original_name=nasty)
    BatchItem.objects.filter(outcome="failed").update(message=nasty)
    Batch.objects.update(paused_reason=nasty, state="paused")
    for response in (admin_client.get(page_of(batch)), admin_client.get(ITEMS), admin_client.get(LIST)):
        assert nasty not in response.content.decode()
    assert nasty not in progress_of(admin_client, batch).json()["live"]


def test_the_page_warns_if_no_worker_is_running(
    admin_client: Client, batch: Batch, worker: WorkerState
) -> None:
    worker.beat_at = now() - timedelta(minutes=5)
    worker.save()
    assert "No worker is running" in text_of(admin_client.get(page_of(batch)))
    lifecycle.pause(batch)
    assert "No worker is running" not in text_of(admin_client.get(page_of(batch)))


def test_an_unknown_batch_is_not_found(admin_client: Client) -> None:
    assert "“77”" in messages_of(admin_client.get(f"{LIST}77/change/", follow=True))[0]
    assert admin_client.get(f"{LIST}77/progress/").status_code == 404
    assert admin_client.post(f"{LIST}77/pause/now/").status_code == 404


# -- Live progress ---------------------------------------------------------------------------------


def test_progress_returns_what_the_page_shows(admin_client: Client, batch: Batch) -> None:
    Batch.objects.update(counted_at=None)
    BatchItem.objects.filter(state="running").update(state="done", outcome="created", finished_at=now())
    answer = progress_of(admin_client, batch).json()
    assert {key: answer[key] for key in ("state", "is_open", "percent", "changes")} == {
        "state": "running",
        "is_open": True,
        "percent": 60.0,
        "changes": ["pause", "retry_failed", "cancel"],
    }
    assert "3 of 5 files done" in answer["live"]
    assert "csrfmiddlewaretoken" in answer["buttons"]


def test_progress_takes_few_queries_regardless_of_the_number_of_files(
    admin_client: Client, batch: Batch
) -> None:
    progress_of(admin_client, batch)
    with CaptureQueriesContext(connection) as few:
        progress_of(admin_client, batch)
    BatchItem.objects.bulk_create(
        BatchItem(batch=batch, file_id=file_id, state="done", outcome="failed") for file_id in range(100, 200)
    )
    with CaptureQueriesContext(connection) as many:
        progress_of(admin_client, batch)
    assert len(many) == len(few) <= 10


# -- Buttons ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "offered"),
    [
        ("running", ["pause", "retry_failed", "cancel"]),
        ("paused", ["resume", "retry_failed", "cancel"]),
        ("completed", ["retry_failed"]),
        ("cancelled", []),
    ],
)
def test_only_buttons_allowed_by_the_state_are_shown(
    admin_client: Client, batch: Batch, state: str, offered: list[str]
) -> None:
    Batch.objects.update(state=state)
    assert buttons_of(admin_client.get(page_of(batch))) == offered


def test_there_is_no_retry_button_without_failures(admin_client: Client, batch: Batch) -> None:
    BatchItem.objects.filter(outcome="failed").update(outcome="created")
    Batch.objects.update(counted_at=None)
    assert buttons_of(admin_client.get(page_of(batch))) == ["pause", "cancel"]


def test_a_pause_is_recorded_with_user_and_reason(
    admin_client: Client, admin_user: Any, batch: Batch
) -> None:
    response = press(admin_client, batch, "pause", reason=" The disk is full. ")
    batch.refresh_from_db()
    assert (batch.state, batch.changed_by, batch.paused_reason) == ("paused", admin_user, "The disk is full.")
    assert response.redirect_chain == [(page_of(batch), 302)]
    assert "by admin: The disk is full." in text_of(response)
    assert LogEntry.objects.get().user == admin_user


@pytest.mark.parametrize(
    ("before", "name", "after"),
    [
        ("paused", "resume", "running"),
        ("running", "cancel", "cancelled"),
        ("paused", "cancel", "cancelled"),
        ("completed", "retry_failed", "running"),
    ],
)
def test_a_button_changes_the_state(
    admin_client: Client, batch: Batch, before: str, name: str, after: str
) -> None:
    Batch.objects.update(state=before)
    press(admin_client, batch, name)
    batch.refresh_from_db()
    assert batch.state == after


def test_retry_requeues_only_failed_files(admin_client: Client, batch: Batch) -> None:
    press(admin_client, batch, "retry_failed")
    assert batch.items.filter(state="queued").count() == 3
    assert batch.items.filter(outcome="skipped").count() == 1


@pytest.mark.parametrize(
    ("state", "name"), [("completed", "pause"), ("cancelled", "resume"), ("running", "resume")]
)
def test_changes_not_allowed_by_the_state_are_rejected_with_a_message(
    admin_client: Client, batch: Batch, state: str, name: str
) -> None:
    Batch.objects.update(state=state)
    response = press(admin_client, batch, name)
    assert f"{batch.job_id} is {state}" in messages_of(response)[0]
    batch.refresh_from_db()
    assert batch.state == state
    assert not LogEntry.objects.exists()


def test_an_unknown_button_is_not_found(admin_client: Client, batch: Batch) -> None:
    assert press(admin_client, batch, "explode").status_code == 404


def test_buttons_require_post_and_a_csrf_token(admin_user: Any, admin_client: Client, batch: Batch) -> None:
    url = reverse("admin:proxies_batch_act", args=[batch.pk, "cancel"])
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(admin_user)
    assert strict.post(url).status_code == 403
    assert admin_client.get(url).status_code == 405
    batch.refresh_from_db()
    assert batch.state == "running"


def test_view_permission_alone_shows_no_buttons(batch: Batch) -> None:
    client = staff_with(LOOK)
    assert buttons_of(client.get(page_of(batch))) == []
    assert client.get(ITEMS).status_code == 200
    assert press(client, batch, "pause").status_code == 403
    batch.refresh_from_db()
    assert batch.state == "running"


def test_change_permission_shows_the_buttons(batch: Batch) -> None:
    client = staff_with(CHANGE)
    assert "pause" in buttons_of(client.get(page_of(batch)))
    assert press(client, batch, "pause").status_code == 200


@pytest.mark.parametrize("permissions", [[], ["media_files.view_mediafile"]], ids=["none", "files"])
def test_pages_are_forbidden_without_permission(batch: Batch, permissions: list[str]) -> None:
    client = staff_with(*permissions)
    for url in (LIST, ITEMS, page_of(batch), reverse("admin:proxies_batch_progress", args=[batch.pk])):
        assert client.get(url).status_code == 403, url


# -- The list --------------------------------------------------------------------------------------


def test_the_list_shows_state_and_progress(admin_client: Client, admin_user: Any, batch: Batch) -> None:
    Batch.objects.update(created_by=admin_user)
    text = text_of(admin_client.get(LIST))
    for reported in (
        f"Batch {batch.pk}",
        "running",
        "40 %, 2 of 5",
        "1 failed",
        "Image Proxies (Nova), force",
        "admin",
    ):
        assert reported in text, reported


def test_completed_batches_add_no_queries_to_the_list(admin_client: Client, add: Adds) -> None:
    add(pictures.jpeg(30, 20))
    lifecycle.start("image-proxy", Selection(MediaFile.objects.all()), {})
    admin_client.get(LIST)
    with CaptureQueriesContext(connection) as one:
        admin_client.get(LIST)
    for _ in range(5):
        lifecycle.start("image-proxy", Selection(MediaFile.objects.all()), {})
    admin_client.get(LIST)  # counts each of them once
    with CaptureQueriesContext(connection) as six:
        admin_client.get(LIST)
    assert len(six) == len(one)


def test_uploads_are_listed_first_and_cannot_be_stopped(
    admin_client: Client, batch: Batch, add: Adds
) -> None:
    lifecycle.add_to_uploads(add(seed=8).pk)
    uploads = Batch.objects.get(standing=Batch.UPLOADS)
    response = admin_client.get(LIST)
    assert [row.pk for row in response.context["cl"].result_list] == [uploads.pk, batch.pk]
    assert "New uploads always on 0 done, 1 waiting" in text_of(response)
    page = admin_client.get(page_of(uploads))
    assert buttons_of(page) == []
    assert "It never completes" in text_of(page)
    assert "becom" in messages_of(press(admin_client, uploads, "pause"))[0]


def test_batches_cannot_be_added_deleted_or_edited_manually(admin_client: Client, batch: Batch) -> None:
    assert admin_client.get(f"{LIST}add/").status_code == 403
    assert admin_client.post(f"{LIST}{batch.pk}/delete/", {"post": "yes"}).status_code == 403
    assert admin_client.post(page_of(batch), {"state": "cancelled"}).status_code == 200
    batch.refresh_from_db()
    assert batch.state == "running"


def test_the_history_shows_changes(admin_client: Client, batch: Batch) -> None:
    press(admin_client, batch, "pause", reason="Backup")
    assert "Paused. Backup" in text_of(admin_client.get(f"{LIST}{batch.pk}/history/"))


def test_the_front_page_shows_running_batches_to_permitted_users(admin_client: Client, batch: Batch) -> None:
    index = reverse("admin:index")
    assert f"Batch {batch.pk} running 40 %, 2 of 5" in text_of(admin_client.get(index))
    assert f"Batch {batch.pk}" not in text_of(staff_with("media_files.view_mediafile").get(index))


def test_failed_uploads_are_retried_by_a_separate_batch(admin_client: Client, add: Adds) -> None:
    row, made, elsewhere = add(seed=1), add(seed=2), add(seed=3)
    for file in (row, made):
        lifecycle.add_to_uploads(file.pk)
    uploads = Batch.objects.get(standing=Batch.UPLOADS)
    assert admin_client.get(page_of(uploads)).context["again_url"] == ""
    uploads.items.update(state="done", outcome="created")
    uploads.items.filter(file=row).update(outcome="failed", error="corrupt", message="It ends early.")
    for file in (row, elsewhere):
        ImageProxyService().note_failure(file.pk, CorruptImage("It ends early."))
    Batch.objects.update(counted_at=None)
    url = admin_client.get(page_of(uploads)).context["again_url"]
    page = admin_client.get(url)
    assert dict(page.context["plan"].outcomes) == {"created": 1}
    assert "1 file that match this filter: failed in New uploads ." in text_of(page)
    admin_client.post(url, {"force": "on"})
    (item,) = Batch.objects.get(standing=None).items.all()
    assert item.file == row
    assert staff_with(LOOK).get(page_of(uploads)).context["again_url"] == ""


def test_the_list_of_files_filters_by_the_batch_in_which_they_failed(
    admin_client: Client, batch: Batch
) -> None:
    files = reverse("admin:media_files_mediafile_changelist")
    (failed,) = admin_client.get(files, {"failed_in": batch.pk}).context["cl"].result_list
    assert failed.original_name == "IMG_1.jpg"
    assert not admin_client.get(files, {"failed_in": 77}).context["cl"].result_list
    for unreadable in ("x", "", "9" * 5000):
        response = admin_client.get(files, {"failed_in": unreadable}, follow=True)
        assert response.redirect_chain == [(f"{files}?e=1", 302)]
    assert "failed in" not in text_of(admin_client.get(files))
