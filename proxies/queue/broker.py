"""The interface to django-q2: enqueue jobs, keep the schedule, prepare each worker process."""

from __future__ import annotations

import logging
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections
from django.dispatch import receiver
from django.utils.timezone import now
from django_q.models import Schedule
from django_q.signals import post_spawn
from django_q.tasks import async_task

from media_files.database import OUTAGES
from media_files.errors import MediaError
from proxies.batches import recovery, sweeper, worker_slots
from proxies.conf import setting
from proxies.processes.memory_guard import keep_freed_memory, watch_memory
from proxies.tasks import run_slice, sweep

logger = logging.getLogger(__name__)


def notify(slot: int, generation: int) -> None:
    """Enqueue a job for a worker slot.

    Raises:
        QueueDown: Redis does not respond. (If the queue is the database, the transaction fails instead.)
    """
    if setting("NOVAPROXY_BROKER") == "orm":
        async_task(run_slice, slot, generation, group="slice")
        return
    from redis import RedisError  # noqa: PLC0415 - 50 ms at each start of a process without Redis

    try:
        async_task(run_slice, slot, generation, group="slice")
    except RedisError as error:
        raise worker_slots.QueueDown(str(error)) from error


def keep_schedule(using: str = DEFAULT_DB_ALIAS, **kwargs: Any) -> None:
    """Create the sweep's schedule after a migration, unless it exists."""
    if Schedule._meta.db_table not in connections[using].introspection.table_names():
        return  # another app was migrated alone; django-q2's tables come later
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
    """Prepare a worker process after its fork.

    It may replace a killed process, whose items are recovered now instead of at the next sweep.
    """
    keep_freed_memory()
    watch_memory()
    recovery.forgive_when_stopped()
    try:
        sweeper.sweep()
    except (*OUTAGES, MediaError) as error:
        logger.warning("Nothing swept at the start of a worker process; the schedule does it: %s", error)


worker_slots.set_notifier(notify)
