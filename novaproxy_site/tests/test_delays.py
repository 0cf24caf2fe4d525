"""Delayed files, and batches that pause because all files fail with the same error: shown everywhere."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.urls import reverse
from django.utils.timezone import now

from media_files.errors import CorruptImage, MediaError, NoSpace, StorageRefused
from media_files.models import MediaFile
from novaproxy_site.tests.admin_pages import text_of
from proxies.batches import lifecycle
from proxies.batches.claim import Claim
from proxies.batches.runner import perform
from proxies.batches.selection import Selection
from proxies.models import Batch
from proxies.tests.crashing import scan
from proxies.tests.faults import failing_storage

pytestmark = pytest.mark.django_db(transaction=True)

FULL = NoSpace("Could not write the proxy: no space left. Free some space.")


@pytest.fixture(autouse=True)
def _long_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxies.batches.claim._FIRST_DELAY", 3600.0)


@pytest.fixture
def batch(settings: Any, folders: Any) -> Batch:
    settings.NOVAPROXY_ON_SAVE = "off"
    for seed in range(8):
        MediaFile.objects.create(file=ContentFile(scan(seed), f"number{seed}.tif"))
    return lifecycle.start("image-proxy", Selection(MediaFile.objects.all()), {})


def work_with(error: BaseException, batch: Batch, monkeypatch: Any, name: str = "number") -> Batch:
    with failing_storage(monkeypatch, "put", error, name):
        perform(Claim(batch, lambda: False))
    batch.refresh_from_db()
    return batch


def test_every_interface_shows_what_files_wait_for(batch, monkeypatch, api, admin_client):
    work_with(FULL, batch, monkeypatch)
    text = f"8 files wait for free space in the storage: {FULL}"
    page = reverse("admin:proxies_batch_change", args=[batch.pk])
    assert text in text_of(admin_client.get(page))
    assert text in text_of(admin_client.get(reverse("admin:index")))
    reported = api.get(f"/api/batch/{batch.pk}").json()
    assert reported["delays"] == [{"error": "no_space", "files": 8, "message": str(FULL)}]
    status = api.get(f"/api/batch/{batch.pk}/status").json()
    assert [(each["error"], each["message"]) for each in status["errors"]] == [("no_space", str(FULL))]


def test_no_remaining_time_is_estimated_without_progress(batch, monkeypatch, api):
    work_with(FULL, batch, monkeypatch)
    moment = now().timestamp()
    Batch.objects.update(recent=[[moment - 30, 0], [moment - 1, 100]], counted_at=None)
    assert api.get(f"/api/batch/{batch.pk}").json()["seconds_left"] is None


def test_the_front_page_shows_why_uploads_wait(settings, folders, monkeypatch, admin_client):
    settings.NOVAPROXY_ON_SAVE = "queue"
    MediaFile.objects.create(file=ContentFile(scan(1), "number1.tif"))
    assert "New uploads" not in text_of(admin_client.get(reverse("admin:index")))
    uploads = Batch.objects.get(standing="uploads")
    for _ in range(6):
        uploads.items.update(available_at=now() - timedelta(hours=1))
        work_with(StorageRefused("The credentials have expired. Renew them."), uploads, monkeypatch)
    assert uploads.state == Batch.State.RUNNING, "the batch of uploads must never pause"
    text = text_of(admin_client.get(reverse("admin:index")))
    assert "1 file waits for permission to use the storage: The credentials have expired." in text


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StorageRefused("The credentials have expired. Renew them."), "access_denied"),
        (RuntimeError("no name"), "unexpected"),
        (FULL, ""),
        (CorruptImage("It is broken."), ""),
    ],
)
def test_five_attempts_with_the_same_error_pause_the_batch(batch, monkeypatch, error, code):
    """Attempts of all workers count, but not errors that time or another file can fix."""
    with failing_storage(monkeypatch, "put", error, "number"):
        for _ in range(2):
            tasks = Claim(batch, lambda: False)
            perform(tasks)
    batch.refresh_from_db()
    assert batch.paused_code == code
    assert batch.state == ("paused" if code else "running")
    if code:
        assert batch.paused_reason.startswith("The last 5 attempts failed with the same error: ")
        assert (str(error) if isinstance(error, MediaError) else "no name") in batch.paused_reason
        lifecycle.resume(batch)
        assert (batch.alike, batch.alike_code) == (0, "")


def test_a_success_in_between_keeps_the_batch_running(batch, monkeypatch):
    refused = StorageRefused("Not yours.")

    def attempt(digits: str, failing: str) -> str:
        batch.items.filter(state="queued").update(available_at=now() + timedelta(hours=1))
        names = [f"number{digit}.tif" for digit in digits]
        chosen = batch.items.filter(file__original_name__in=names)
        chosen.update(available_at=now() - timedelta(hours=1))
        return work_with(refused, batch, monkeypatch, failing).state

    assert attempt("0123", "number") == "running"
    assert attempt("4", "nothing") == "running"
    assert attempt("0123", "number") == "running"
    assert attempt("5", "number") == "paused"
