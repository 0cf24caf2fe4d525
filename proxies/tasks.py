"""What the queue runs, and what rings its bell: with `proxies.cluster` the only file that
imports django-q2."""

from __future__ import annotations

import logging
from typing import Any

from django.conf import settings
from django.dispatch import receiver
from django.utils.timezone import now
from django_q.models import Schedule
from django_q.signals import post_spawn
from django_q.tasks import async_task

from media_files.database import OUTAGES
from media_files.errors import MediaError
from proxies.batches import lanes, recovery, slices, sweeper
from proxies.memory import keep_freed_memory, watch_memory

logger = logging.getLogger(__name__)


def run_slice(lane: int, generation: int) -> int:
    """A second or two of work. Return how many items were taken up."""
    return slices.run_slice(lane, generation)


def sweep() -> str:
    """What is done each minute; it is the queue's heartbeat, too."""
    return str(sweeper.sweep())


def ring(lane: int, generation: int) -> None:
    """Put a slice into the queue.

    Raises:
        QueueDown: Redis does not answer. (Where the queue is the database, it is the transaction that fails.)
    """
    if settings.NOVAPROXY_BROKER == "orm":
        async_task(run_slice, lane, generation, group="slice")
        return
    from redis import RedisError  # noqa: PLC0415 - 50 ms at each start of whoever has no Redis

    try:
        async_task(run_slice, lane, generation, group="slice")
    except RedisError as error:
        raise lanes.QueueDown(str(error)) from error


def keep_schedule(**kwargs: Any) -> None:
    """The sweep's schedule is made with the tables, and made again should somebody delete it."""
    Schedule.objects.get_or_create(
        name="sweep",
        defaults={
            "func": f"{sweep.__module__}.{sweep.__name__}",
            "schedule_type": Schedule.MINUTES,
            "minutes": 1,
            "next_run": now(),
        },
    )


@receiver(post_spawn)
def begin_worker(**kwargs: Any) -> None:
    """In each worker process of a cluster, once it has been forked.

    It may stand in for one that was killed: what that one held is taken back now, not with the next minute.
    """
    keep_freed_memory()
    watch_memory()
    recovery.forgive_when_stopped()
    try:
        sweeper.sweep()
    except (*OUTAGES, MediaError) as error:
        logger.warning("Nothing swept at the start of a worker process; the schedule does it: %s", error)


lanes.set_bell(ring)
