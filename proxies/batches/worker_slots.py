"""The few places in the queue. A lane is a chain of slices: each, as its last act, rings for the next.

However many batches there are, no more slices than lanes are in the queue, so that nothing waits long
behind anything. A slice serves whichever batch is due: uploads first, then the others in turn.
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

# Two for each process: while one slice runs, its process's next one lies ready.
SLOTS_PER_PROCESS: Final = 2
# A slice takes one or two seconds and never as long as the queue's time-out; a ring that nobody
# answers for a minute was lost with its queue.
_LOST_NOTICE: Final = timedelta(minutes=1)
_LOST_TICK: Final = timedelta(minutes=5)

logger = logging.getLogger(__name__)

Notifier = Callable[[int, int], None]
_notifier: list[Notifier] = []


class QueueDown(Exception):
    """What a bell raises where the queue does not answer."""


def set_notifier(bell: Notifier) -> None:
    """Name what puts a slice of (lane, generation) into the queue, or raises `QueueDown`."""
    _notifier[:] = [bell]


def wake(most: int = 1) -> int:
    """Ring for up to ``most`` idle lanes; return how many. To be called after a commit of new work."""
    notified = 0
    for number, generation in _idle_slots(most):
        notified += _notify(
            WorkerSlot.objects.filter(number=number, generation=generation, state=WorkerSlot.State.IDLE)
        )
    return notified


def enter(number: int, generation: int) -> bool:
    """Begin a slice. False for one that was delivered before, or that a newer one has replaced."""
    entered = WorkerSlot.objects.filter(
        number=number, generation=generation, state=WorkerSlot.State.NOTIFIED
    ).update(state=WorkerSlot.State.RUNNING, holder=this_holder(), changed_at=now())
    return bool(entered)


def leave(number: int, generation: int, *, more: bool) -> None:
    """End a slice: ring for the successor where there is more to do, else lie idle."""
    ours = WorkerSlot.objects.filter(number=number, generation=generation, state=WorkerSlot.State.RUNNING)
    if more:
        _notify(ours)
    else:
        ours.update(state=WorkerSlot.State.IDLE, holder="", changed_at=now())


def free_lost_slots() -> int:
    """Make idle again the lanes whose slice, or whose ring, was lost; return how many."""
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
        # The generation moves on, so that the lost slice, should it come after all, exits at once.
        WorkerSlot.objects.filter(number=slot.number, generation=slot.generation, state=slot.state).update(
            state=WorkerSlot.State.IDLE, generation=F("generation") + 1, holder="", changed_at=now()
        )
        for slot in lost
    )


def slot_count() -> int:
    """How many lanes there should be, for the worker processes that are alive on all machines."""
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
    """Move a lane to its next generation and put that slice into the queue.

    Where the queue is the same database, both are one transaction; elsewhere the bell rings after
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
            # What was saved is saved, and whoever saved it shall not be told otherwise.
            logger.warning("The queue does not answer, so work waits for the sweeper: %s", error)
    return int(notified)
