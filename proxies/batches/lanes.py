"""The few places in the queue. A lane is a chain of slices: each, as its last act, rings for the next.

However many batches there are, no more slices than lanes are in the queue, so that nothing waits long
behind anything. A slice serves whichever batch is due: uploads first, then the others in turn.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from django.conf import settings
from django.db import transaction
from django.db.models import F, QuerySet, Sum
from django.utils.timezone import now

from proxies.holders import dead_among, this_holder
from proxies.models import Lane, WorkerState

# Two for each process: while one slice runs, its process's next one lies ready.
LANES_PER_PROCESS: Final = 2
# A slice takes one or two seconds and never as long as the queue's time-out; a ring that nobody
# answers for a minute was lost with its queue.
_LOST_RING: Final = timedelta(minutes=1)
_LOST_SLICE: Final = timedelta(minutes=5)

logger = logging.getLogger(__name__)

Bell = Callable[[int, int], None]
_bell: list[Bell] = []


class QueueDown(Exception):
    """What a bell raises where the queue does not answer."""


def set_bell(bell: Bell) -> None:
    """Name what puts a slice of (lane, generation) into the queue, or raises `QueueDown`."""
    _bell[:] = [bell]


def wake(most: int = 1) -> int:
    """Ring for up to ``most`` idle lanes; return how many. To be called after a commit of new work."""
    rung = 0
    for number, generation in _idle_lanes(most):
        rung += _ring(Lane.objects.filter(number=number, generation=generation, state=Lane.State.IDLE))
    return rung


def enter(number: int, generation: int) -> bool:
    """Begin a slice. False for one that was delivered before, or that a newer one has replaced."""
    entered = Lane.objects.filter(number=number, generation=generation, state=Lane.State.RUNG).update(
        state=Lane.State.RUNNING, holder=this_holder(), changed_at=now()
    )
    return bool(entered)


def leave(number: int, generation: int, *, more: bool) -> None:
    """End a slice: ring for the successor where there is more to do, else lie idle."""
    ours = Lane.objects.filter(number=number, generation=generation, state=Lane.State.RUNNING)
    if more:
        _ring(ours)
    else:
        ours.update(state=Lane.State.IDLE, holder="", changed_at=now())


def free_lost_lanes() -> int:
    """Make idle again the lanes whose slice, or whose ring, was lost; return how many."""
    busy = list(Lane.objects.exclude(state=Lane.State.IDLE))
    dead = dead_among(lane.holder for lane in busy)
    lost = [
        lane
        for lane in busy
        if (lane.state == Lane.State.RUNG and lane.changed_at < now() - _LOST_RING)
        or (lane.state == Lane.State.RUNNING and lane.changed_at < now() - _LOST_SLICE)
        or (lane.state == Lane.State.RUNNING and lane.holder in dead)
    ]
    return sum(
        # The generation moves on, so that the lost slice, should it come after all, exits at once.
        Lane.objects.filter(number=lane.number, generation=lane.generation, state=lane.state).update(
            state=Lane.State.IDLE, generation=F("generation") + 1, holder="", changed_at=now()
        )
        for lane in lost
    )


def lane_count() -> int:
    """How many lanes there should be, for the worker processes that are alive on all machines."""
    processes = (
        WorkerState.objects.alive().aggregate(sum=Sum("processes"))["sum"] or settings.NOVAPROXY_WORKERS
    )
    return int(processes) * LANES_PER_PROCESS


def _idle_lanes(most: int) -> list[tuple[int, int]]:
    wanted = lane_count()
    lanes = dict(Lane.objects.filter(number__lt=wanted).values_list("number", "state"))
    if len(lanes) < wanted:
        missing = [Lane(number=number) for number in range(wanted) if number not in lanes]
        Lane.objects.bulk_create(missing, ignore_conflicts=True)
    idle = Lane.objects.filter(number__lt=wanted, state=Lane.State.IDLE).order_by("number")
    return list(idle.values_list("number", "generation")[:most])


def _ring(lanes: QuerySet[Lane]) -> int:
    """Move a lane to its next generation and put that slice into the queue.

    Where the queue is the same database, both are one transaction; elsewhere the bell rings after
    the commit, and the sweeper covers the gap.
    """
    lane = lanes.first()
    if lane is None:
        return 0
    with transaction.atomic():
        rung = lanes.update(
            state=Lane.State.RUNG, generation=F("generation") + 1, holder="", changed_at=now()
        )
        if rung and settings.NOVAPROXY_BROKER == "orm":
            _bell[0](lane.number, lane.generation + 1)
    if rung and settings.NOVAPROXY_BROKER != "orm":
        try:
            _bell[0](lane.number, lane.generation + 1)
        except QueueDown as error:
            # What was saved is saved, and whoever saved it shall not be told otherwise.
            logger.warning("The queue does not answer, so work waits for the sweeper: %s", error)
    return int(rung)
