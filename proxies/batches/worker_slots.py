"""Worker slots: a fixed number of chains of ticks in the queue. Each tick ends by enqueuing the next one.

However many batches exist, the queue holds at most one tick per slot, so nothing waits long. A tick serves
the batch that is due: uploads first, then the others in turn.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from django.db import transaction
from django.db.models import F, QuerySet, Sum
from django.utils.timezone import now

from proxies.conf import setting
from proxies.models import WorkerSlot, WorkerState
from proxies.processes.liveness import dead_among, this_holder

# Two per process: while one tick runs, the next one for this process is already queued.
SLOTS_PER_PROCESS: Final = 2
# A tick takes one or two seconds and always less than the queue's timeout. A notification that no worker
# has picked up after a minute was lost with its queue.
_LOST_NOTICE: Final = timedelta(minutes=1)
_LOST_TICK: Final = timedelta(minutes=5)

logger = logging.getLogger(__name__)

Notifier = Callable[[int, int], None]
_notifier: list[Notifier] = []


class QueueDown(Exception):
    """The queue does not respond. Raised by the notifier."""


def set_notifier(notifier: Notifier) -> None:
    """Set the function that enqueues a tick of (slot, generation), or raises `QueueDown`."""
    _notifier[:] = [notifier]


def wake(most: int = 1) -> int:
    """Notify up to ``most`` idle slots and return how many. Call this after new work is committed."""
    notified = 0
    for number, generation in _idle_slots(most):
        notified += _notify(
            WorkerSlot.objects.filter(number=number, generation=generation, state=WorkerSlot.State.IDLE)
        )
    return notified


def enter(number: int, generation: int) -> bool:
    """Start a tick. Return False if it was delivered before or a newer one has replaced it."""
    entered = WorkerSlot.objects.filter(
        number=number, generation=generation, state=WorkerSlot.State.NOTIFIED
    ).update(state=WorkerSlot.State.RUNNING, holder=this_holder(), changed_at=now())
    return bool(entered)


def leave(number: int, generation: int, *, more: bool) -> None:
    """End a tick: notify the next one if there is more to do, else make the slot idle."""
    ours = WorkerSlot.objects.filter(number=number, generation=generation, state=WorkerSlot.State.RUNNING)
    if more:
        _notify(ours)
    else:
        ours.update(state=WorkerSlot.State.IDLE, holder="", changed_at=now())


def free_lost_slots() -> int:
    """Make slots idle whose tick or notification was lost; return how many."""
    busy = list(WorkerSlot.objects.exclude(state=WorkerSlot.State.IDLE))
    dead = dead_among(slot.holder for slot in busy)
    lost = [
        slot
        for slot in busy
        if (slot.state == WorkerSlot.State.NOTIFIED and slot.changed_at < now() - _LOST_NOTICE)
        or (slot.state == WorkerSlot.State.RUNNING and slot.changed_at < now() - _LOST_TICK)
        or (slot.state == WorkerSlot.State.RUNNING and slot.holder in dead)
    ]
    return sum(
        # With a new generation, the lost tick exits at once if it arrives after all.
        WorkerSlot.objects.filter(number=slot.number, generation=slot.generation, state=slot.state).update(
            state=WorkerSlot.State.IDLE, generation=F("generation") + 1, holder="", changed_at=now()
        )
        for slot in lost
    )


def slot_count() -> int:
    """Return the number of slots needed for the worker processes alive on all machines."""
    processes = WorkerState.objects.alive().aggregate(sum=Sum("processes"))["sum"] or setting(
        "NOVAPROXY_WORKERS"
    )
    return int(processes) * SLOTS_PER_PROCESS


def _idle_slots(most: int) -> list[tuple[int, int]]:
    wanted = slot_count()
    slots = dict(WorkerSlot.objects.filter(number__lt=wanted).values_list("number", "state"))
    if len(slots) < wanted:
        missing = [WorkerSlot(number=number) for number in range(wanted) if number not in slots]
        WorkerSlot.objects.bulk_create(missing, ignore_conflicts=True)
    idle = WorkerSlot.objects.filter(number__lt=wanted, state=WorkerSlot.State.IDLE).order_by("number")
    return list(idle.values_list("number", "generation")[:most])


def _notify(slots: QuerySet[WorkerSlot]) -> int:
    """Move a slot to its next generation and enqueue that tick.

    If the queue is the same database, both happen in one transaction. Otherwise the tick is enqueued after
    the commit, and the sweeper covers the gap.
    """
    slot = slots.first()
    if slot is None:
        return 0
    with transaction.atomic():
        notified = slots.update(
            state=WorkerSlot.State.NOTIFIED, generation=F("generation") + 1, holder="", changed_at=now()
        )
        if notified and setting("NOVAPROXY_BROKER") == "orm":
            _notifier[0](slot.number, slot.generation + 1)
    if notified and setting("NOVAPROXY_BROKER") != "orm":
        try:
            _notifier[0](slot.number, slot.generation + 1)
        except QueueDown as error:
            # The caller's data is committed, so the caller must not get an error.
            logger.warning("The queue does not answer, so work waits for the sweeper: %s", error)
    return int(notified)
