"""One slice: a second or two of work on whatever is due, uploads first."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from django.db.models import Exists, F, OuterRef
from django.utils.timezone import now

from proxies.batches import lanes, operations
from proxies.batches.lifecycle import finish_if_done
from proxies.batches.work import Work
from proxies.models import Batch, BatchItem
from proxies.pulse import stop_is_asked

# Long enough that the queue's cost of a few milliseconds a task does not show, short enough that a
# stop, a pause or a cancel is felt at once.
SLICE_SECONDS: Final = 1.5


def run_slice(number: int, generation: int) -> int:
    """What the queue runs. Return how many items were taken up."""
    if not lanes.enter(number, generation):
        return 0
    deadline = time.monotonic() + SLICE_SECONDS
    try:
        return _work_until(lambda: time.monotonic() > deadline or stop_is_asked())
    finally:
        lanes.leave(number, generation, more=due_batch() is not None)
        # Whoever saved between our last look and our lying idle saw a busy lane and rang for nobody.
        if due_batch() is not None:
            lanes.wake()


def due_batch() -> Batch | None:
    """The batch to serve next: a standing one, else the one that has waited longest."""
    waiting = BatchItem.objects.claimable().filter(batch=OuterRef("pk"))
    return (
        Batch.objects.filter(
            Exists(waiting),
            state=Batch.State.RUNNING,
            executor=Batch.Executor.QUEUE,
            started_at__isnull=False,
        )
        .order_by(F("standing").asc(nulls_last=True), "served_at")
        .first()
    )


def _work_until(is_time_up: Callable[[], bool]) -> int:
    taken = 0
    while (batch := due_batch()) is not None:
        Batch.objects.filter(pk=batch.pk).update(served_at=now())
        work = Work(batch, is_time_up)
        perform(work)
        taken += work.taken
        finish_if_done(batch)
        if is_time_up():
            break
    return taken


def perform(work: Work) -> None:
    """Have the batch's operation do the work, and give back what it did not come to."""
    try:
        operations.get(work.batch.operation).perform(work)
    finally:
        work.put_back_the_rest()
