"""The sweeper repairs what it finds, and leaves running work alone."""

from __future__ import annotations

import os
import time
from datetime import timedelta

import pytest
from django.core.files.base import ContentFile
from django.db import DataError
from django.utils.timezone import now
from django_q.models import OrmQ

from media_files.models import DiscardedFile, MediaFile
from media_files.storage.local import LocalStorage
from proxies.batches import lifecycle, worker_slots
from proxies.batches.claim import MAX_ATTEMPTS, Claim
from proxies.batches.selection import Selection
from proxies.batches.sweeper import sweep
from proxies.models import (
    Batch,
    BatchItem,
    DiscardedProxy,
    ProxyLease,
    Quarantine,
    WorkerSlot,
    proxies_storage,
)
from proxies.processes import leases
from proxies.processes.liveness import this_holder
from proxies.tests.crashing import photo
from proxies.tests.faults import failing_sql

pytestmark = pytest.mark.django_db(transaction=True)

DEAD = this_holder().rsplit(":", 2)[0] + ":999999:1.00"
ELSEWHERE = "another-machine:1:1.00"


@pytest.fixture(autouse=True)
def _library_of_its_own(settings, tmp_path):
    settings.NOVAPROXY_ON_SAVE = "off"
    folder = {
        "BACKEND": "media_files.storage.local.LocalStorage",
        "OPTIONS": {"location": str(tmp_path / "media")},
    }
    settings.STORAGES = settings.STORAGES | {"originals": folder, "proxies": folder}


@pytest.fixture
def batch() -> Batch:
    for seed in range(3):
        MediaFile.objects.create(file=ContentFile(photo(seed), f"{seed}.jpg"))
    batch = lifecycle.start("image-proxy", Selection(MediaFile.objects.all()), {})
    OrmQ.objects.all().delete()
    return batch


@pytest.mark.parametrize(
    ("holder", "lease_left", "attempts", "after"),
    [
        (DEAD, 100, 1, ("queued", 1)),
        (DEAD, 100, MAX_ATTEMPTS, ("done", MAX_ATTEMPTS)),
        (ELSEWHERE, 100, 1, ("running", 1)),
        (ELSEWHERE, -1, 1, ("queued", 1)),
        (this_holder(), 100, 1, ("running", 1)),
        (this_holder(), -1, 1, ("queued", 0)),
    ],
    ids=["dead", "dead for the third time", "elsewhere", "elsewhere, late", "alive", "alive, late"],
)
def test_items_of_dead_or_late_holders_are_requeued(batch, holder, lease_left, attempts, after):
    item = next(iter(Claim(batch, lambda: False)))
    until = now() + timedelta(seconds=lease_left)
    BatchItem.objects.filter(pk=item.pk).update(
        lease_holder=holder, lease_until=until, attempts=attempts, is_charged=True
    )
    sweep()
    item.refresh_from_db()
    assert (item.state, item.attempts) == after
    assert Quarantine.objects.filter(source=item.file_id).exists() == (item.outcome == "quarantined")


@pytest.mark.parametrize(
    ("state", "age", "holder", "freed"),
    [
        (WorkerSlot.State.NOTIFIED, timedelta(seconds=5), "", False),
        (WorkerSlot.State.NOTIFIED, timedelta(minutes=2), "", True),
        (WorkerSlot.State.RUNNING, timedelta(seconds=5), ELSEWHERE, False),
        (WorkerSlot.State.RUNNING, timedelta(seconds=5), DEAD, True),
        (WorkerSlot.State.RUNNING, timedelta(minutes=6), ELSEWHERE, True),
    ],
    ids=[
        "just notified",
        "notification lost",
        "running elsewhere",
        "running and dead",
        "running for too long",
    ],
)
def test_lost_slots_are_notified_again_with_a_new_generation(batch, state, age, holder, freed):
    WorkerSlot.objects.all().delete()
    WorkerSlot.objects.create(number=0, generation=7, state=state, changed_at=now() - age, holder=holder)
    sweep()
    slot = WorkerSlot.objects.get(number=0)
    assert (slot.generation > 7) == freed
    assert worker_slots.enter(0, 7) == (not freed and state == WorkerSlot.State.NOTIFIED)


def test_workers_are_notified_of_queued_work(batch):
    WorkerSlot.objects.all().delete()
    assert sweep().notified > 0
    assert OrmQ.objects.count() == WorkerSlot.objects.filter(state=WorkerSlot.State.NOTIFIED).count() > 0


def test_nothing_is_notified_without_queued_work(batch):
    lifecycle.cancel(batch)
    WorkerSlot.objects.all().delete()
    assert sweep().notified == 0
    assert OrmQ.objects.count() == 0


def test_a_proxy_whose_maker_died_is_made_again(batch):
    source = MediaFile.objects.order_by("id")[0]
    lifecycle.cancel(batch)
    leases.acquire(source.pk, "nova", stem=f"proxy_image/x_{source.pk}_nova")
    ProxyLease.objects.update(holder=DEAD)
    assert sweep().leases == 1
    assert not ProxyLease.objects.exists()
    assert BatchItem.objects.get(batch__standing=Batch.UPLOADS).file_id == source.pk


def test_the_file_of_a_dead_maker_for_a_deleted_original_is_removed():
    proxies_storage().put("proxy_image/gone_5_nova.png", b"left")
    leases.acquire(5, "nova", stem="proxy_image/gone_5_nova")
    ProxyLease.objects.update(holder=DEAD)
    sweep()
    assert not proxies_storage().exists("proxy_image/gone_5_nova.png")
    assert not DiscardedProxy.objects.exists()


def test_interrupted_removals_are_completed():
    for name in ("original/a.jpg", "proxy_image/b_1_nova.jpg"):
        proxies_storage().put(name, b"left")
    DiscardedFile.objects.create(storage_alias="originals", name="original/a.jpg")
    DiscardedProxy.objects.create(source_id=1, profile="nova", name="proxy_image/b_1_nova.jpg")
    sweep()
    assert not proxies_storage().exists("original/a.jpg")
    assert not proxies_storage().exists("proxy_image/b_1_nova.jpg")
    assert not DiscardedFile.objects.exists()
    assert not DiscardedProxy.objects.exists()


def test_temporary_files_of_dead_writers_are_removed(tmp_path):
    incoming = tmp_path / "media" / ".incoming"
    incoming.mkdir(parents=True)
    left = incoming / "left.part"
    left.write_bytes(b"half")
    os.utime(left, (time.time() - 60, time.time() - 60))
    (incoming / "young.part").write_bytes(b"half")
    sweep()
    assert [path.name for path in incoming.iterdir()] == ["young.part"]


def test_a_batch_that_was_not_fully_written_is_cancelled(batch):
    Batch.objects.filter(pk=batch.pk).update(started_at=None, holder=DEAD)
    sweep()
    batch.refresh_from_db()
    assert batch.state == Batch.State.CANCELLED
    assert "before it was whole" in batch.paused_reason


def test_a_batch_with_no_open_items_is_completed(batch):
    batch.items.update(state=BatchItem.State.DONE, outcome="created")
    sweep()
    batch.refresh_from_db()
    assert batch.state == Batch.State.COMPLETED


def test_a_failing_step_is_logged_and_the_others_still_run(batch, caplog):
    item = next(iter(Claim(batch, lambda: False)))
    BatchItem.objects.filter(pk=item.pk).update(lease_holder=DEAD)
    WorkerSlot.objects.update(state=WorkerSlot.State.IDLE)
    with failing_sql(DataError("no such value"), 'FROM "proxies_proxylease"') as failed:
        swept = sweep()
    assert failed
    assert (swept.items, swept.leases) == (1, 0)
    assert swept.notified > 0
    assert "_end_dead_leases failed" in caplog.text


def test_workers_are_notified_even_if_a_sweep_is_aborted(batch, monkeypatch):
    """For example by the queue's time limit, while a storage does not answer."""
    WorkerSlot.objects.update(state=WorkerSlot.State.IDLE)

    def hang(self: LocalStorage, older_than: timedelta) -> int:
        raise SystemExit

    monkeypatch.setattr(LocalStorage, "sweep_temporaries", hang)
    with pytest.raises(SystemExit):
        sweep()
    assert OrmQ.objects.exists()
