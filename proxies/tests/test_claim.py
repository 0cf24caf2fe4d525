"""What a lease holder may do with its items, and which attempts are counted."""

from __future__ import annotations

import pytest
from django.core.files.base import ContentFile

from media_files.errors import CorruptImage, StorageError
from media_files.models import MediaFile
from proxies.batches import lifecycle, worker_slots
from proxies.batches.claim import MAX_ATTEMPTS, Claim
from proxies.batches.runner import perform
from proxies.batches.selection import Selection
from proxies.conf import conf
from proxies.models import Batch, BatchItem, Quarantine, WorkerSlot
from proxies.outcomes import Outcome
from proxies.tests.crashing import photo

pytestmark = pytest.mark.django_db


@pytest.fixture
def batch(settings, tmp_path) -> Batch:
    settings.NOVAPROXY_ON_SAVE = "off"
    for seed in range(6):
        MediaFile.objects.create(file=ContentFile(photo(seed), f"{seed}.jpg"))
    return lifecycle.start(
        "image-proxy", Selection(MediaFile.objects.all()), {}, executor=Batch.Executor.LOCAL
    )


def work_on(batch: Batch) -> Claim:
    return Claim(batch, lambda: False)


def attempts(batch: Batch) -> list[int]:
    return list(batch.items.order_by("id").values_list("attempts", flat=True))


def states(batch: Batch) -> list[str]:
    return list(batch.items.order_by("id").values_list("state", flat=True))


def test_only_the_attempt_of_the_current_item_is_counted(batch):
    claim = work_on(batch)
    items = iter(claim)
    first, second, third = next(items), next(items), next(items)
    claim.charge(first)
    claim.charge(second)
    claim.charge(third)
    assert attempts(batch)[:3] == [0, 0, 1], "the first two are decoded and being stored"
    claim.record(first, Outcome.CREATED, ["shorter_side"])
    claim.record(third, Outcome.CREATED, ["shorter_side"])
    assert attempts(batch)[:3] == [1, 0, 1], "a recorded item has one attempt"


def test_unprocessed_items_are_requeued_without_an_attempt(batch):
    claim = work_on(batch)
    items = iter(claim)
    first, second = next(items), next(items)
    claim.charge(first)
    claim.charge(second)
    claim.put_back_the_rest()
    assert states(batch) == ["queued"] * 6
    assert attempts(batch) == [0] * 6


def test_two_holders_never_claim_the_same_item(batch):
    one, other = iter(work_on(batch)), iter(work_on(batch))
    taken = [next(one).pk, next(other).pk, next(one).pk, next(other).pk]
    assert len(set(taken)) == 4


def test_a_holder_that_lost_its_lease_writes_nothing(batch):
    claim = work_on(batch)
    item = next(iter(claim))
    BatchItem.objects.filter(pk=item.pk).update(lease_token=None, state="queued")
    assert claim.charge(item) is False
    assert claim.record(item, Outcome.CREATED, []) is False
    claim.fail(item, CorruptImage("broken"))
    item.refresh_from_db()
    assert (item.state, item.outcome, item.attempts) == ("queued", "", 0)


def test_a_file_error_is_final_and_a_storage_error_is_retried_later(batch):
    claim = work_on(batch)
    items = iter(claim)
    corrupt, unlucky = next(items), next(items)
    claim.charge(corrupt)
    claim.fail(corrupt, CorruptImage("broken"))
    claim.charge(unlucky)
    claim.fail(unlucky, StorageError("away"))
    corrupt.refresh_from_db()
    unlucky.refresh_from_db()
    assert (corrupt.state, corrupt.outcome, corrupt.error, corrupt.attempts) == (
        "done",
        "failed",
        "corrupt",
        1,
    )
    assert (unlucky.state, unlucky.error, unlucky.attempts, unlucky.transient_failures) == (
        "queued",
        "storage",
        0,
        1,
    )
    assert unlucky not in BatchItem.objects.claimable(conf().nova.recipe)


def test_an_item_that_crashes_three_times_is_quarantined(batch):
    for attempt in range(1, MAX_ATTEMPTS + 1):
        BatchItem.objects.update(available_at=batch.created_at)
        claim = work_on(batch)
        item = next(iter(claim))
        claim.charge(item)
        claim.crashed(item, RuntimeError("no name"))
        claim.put_back_the_rest()
        item.refresh_from_db()
        assert item.attempts == attempt
    assert (item.state, item.outcome, item.error) == ("done", "quarantined", "quarantined")
    assert Quarantine.objects.get().source_id == item.file_id


@pytest.mark.parametrize(
    ("change", "state"),
    [(lifecycle.pause, Batch.State.PAUSED), (lifecycle.cancel, Batch.State.CANCELLED)],
    ids=["pause", "cancel"],
)
def test_a_pause_or_cancel_takes_effect_at_the_next_item(batch, change, state, admin_user):
    items = iter(work_on(batch))
    next(items)
    change(batch, by=admin_user, reason="enough")
    assert list(items) == []
    assert (batch.state, batch.changed_by, batch.paused_reason) == (state, admin_user, "enough")


def test_a_profile_removed_from_the_settings_pauses_the_batch(batch):
    Batch.objects.update(parameters={"profile": "moon"})
    batch.refresh_from_db()
    perform(work_on(batch))
    batch.refresh_from_db()
    assert (batch.state, batch.paused_code) == ("paused", "not_configured")
    assert "NOVAPROXY_PROFILES" in batch.paused_reason
    assert set(states(batch)) == {"queued"}


def test_a_tick_delivered_twice_runs_once(batch):
    WorkerSlot.objects.create(number=0, generation=3, state=WorkerSlot.State.NOTIFIED)
    assert [worker_slots.enter(0, 3), worker_slots.enter(0, 3)] == [True, False]
    assert worker_slots.enter(0, 2) is False, "a tick of an older generation must not run"
