"""One slice: a second or two of work on whatever is due, uploads first."""

from __future__ import annotations

import time
from functools import partial
from typing import Final

from django.db.models import F, OuterRef, Subquery
from django.db.models.functions import Coalesce
from django.utils.timezone import now

from proxies.batches import operations, recipes, worker_slots
from proxies.batches.claim import Claim
from proxies.batches.lifecycle import finish_if_done
from proxies.models import Batch, BatchItem
from proxies.processes import heartbeat
from proxies.processes.control_dir import stop_is_asked

# Long enough that the queue's cost of a few milliseconds a task does not show, short enough that a
# stop, a pause or a cancel is felt at once.
TICK_SECONDS: Final = 1.5
# An operation that waits for others goes on so long while nothing else is due: well below the queue's
# time-out.
WAITING_TICK_SECONDS: Final = 20.0


def run_tick(number: int, generation: int) -> int:
    """What the queue runs. Return how many items were taken up."""
    if not worker_slots.enter(number, generation):
        return 0
    try:
        return _work_until(time.monotonic() + TICK_SECONDS, time.monotonic() + WAITING_TICK_SECONDS)
    finally:
        heartbeat.surely(partial(_leave, number, generation))


def _leave(number: int, generation: int) -> None:
    worker_slots.leave(number, generation, more=due_batch() is not None)
    # Whoever saved between our last look and our lying idle saw a busy lane and rang for nobody.
    if due_batch() is not None:
        worker_slots.wake()


def due_batch() -> Batch | None:
    """The batch to serve next: a standing one, else the one that has waited longest."""
    # A value, not EXISTS: PostgreSQL would join that, and read all items that were done before the first.
    # One for each recipe: the index gives the first of one recipe at once, and of several only after a sort.
    firsts = [
        Subquery(BatchItem.objects.claimable(recipe).filter(batch=OuterRef("pk")).values("pk")[:1])
        for recipe in recipes.of_this_process()
    ]
    return (
        Batch.objects.alias(first=Coalesce(*firsts))
        .filter(
            first__isnull=False,
            state=Batch.State.RUNNING,
            executor=Batch.Executor.QUEUE,
            started_at__isnull=False,
        )
        .order_by(F("standing").asc(nulls_last=True), "served_at")
        .first()
    )


def _work_until(deadline: float, last_deadline: float) -> int:
    taken = 0
    while (batch := due_batch()) is not None:
        Batch.objects.filter(pk=batch.pk).update(served_at=now())
        is_time_up = partial(_is_time_up, batch, deadline, last_deadline)
        claim = Claim(batch, is_time_up)
        perform(claim)
        taken += claim.taken
        finish_if_done(batch)
        if is_time_up():
            break
    return taken


def _is_time_up(batch: Batch, deadline: float, last_deadline: float) -> bool:
    if stop_is_asked():
        return True
    if time.monotonic() < deadline:
        return False
    if not operations.get(batch.operation).waits or time.monotonic() > last_deadline:
        return True
    due = due_batch()
    return due is not None and due.pk != batch.pk


def perform(claim: Claim) -> None:
    """Have the batch's operation do the work, and give back what it did not come to."""
    try:
        operations.get(claim.batch.operation).perform(claim)
    finally:
        heartbeat.surely(claim.put_back_the_rest)
