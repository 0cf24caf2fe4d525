"""One tick: a second or two of work on the batch that is due, uploads first."""

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

# Long enough to make the queue's overhead of a few milliseconds per task negligible, short enough for a
# stop, pause or cancel to take effect at once.
TICK_SECONDS: Final = 1.5
# How long an operation that waits for a service may continue while nothing else is due: well below the
# queue's timeout.
WAITING_TICK_SECONDS: Final = 20.0


def run_tick(number: int, generation: int) -> int:
    """Run one tick; this is the queue's task. Return how many items were started."""
    if not worker_slots.enter(number, generation):
        return 0
    try:
        return _work_until(time.monotonic() + TICK_SECONDS, time.monotonic() + WAITING_TICK_SECONDS)
    finally:
        heartbeat.surely(partial(_leave, number, generation))


def _leave(number: int, generation: int) -> None:
    worker_slots.leave(number, generation, more=due_batch() is not None)
    # A file saved between our last check and the slot becoming idle found the slot busy and notified none.
    if due_batch() is not None:
        worker_slots.wake()


def due_batch() -> Batch | None:
    """Return the batch to serve next: a standing one, else the one that has waited longest."""
    # A value, not EXISTS: PostgreSQL would turn that into a join and read all done items before the first.
    # One subquery per recipe: the index yields the first item of one recipe at once, of several only after
    # a sort.
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
    """Run the batch's operation on the claim, then put back the items it did not reach."""
    try:
        operations.get(claim.batch.operation).perform(claim)
    finally:
        heartbeat.surely(claim.put_back_the_rest)
