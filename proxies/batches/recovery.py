"""Reclaim the items of dead workers, and quarantine files that killed them."""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

from django.db import DatabaseError, connection
from django.utils.timezone import now

from proxies.batches.claim import MAX_ATTEMPTS, UNLEASED, WITHOUT_CHARGE, quarantine
from proxies.batches.requeue import requeue
from proxies.models import Batch, BatchItem, BatchItemQuerySet
from proxies.processes.control_dir import stop_is_asked
from proxies.processes.liveness import dead_among, liveness, this_holder

logger = logging.getLogger(__name__)

# Seconds; short compared with the grace period between the request to stop a worker and its kill.
_LOOK_EACH: Final = 0.2
# Items per sweep; far more than living processes hold.
_MOST: Final = 1000


def reclaim_expired() -> int:
    """Requeue the items whose lease has expired; return how many."""
    return _reclaim(BatchItem.objects.filter(state=BatchItem.State.RUNNING, lease_until__lt=now()))


def reclaim_dead(batch: Batch | None = None) -> int:
    """Requeue at once the items of processes that are known to have ended; return how many."""
    running = BatchItem.objects.filter(state=BatchItem.State.RUNNING)
    if batch is not None:
        running = running.filter(batch=batch)
    holders = running.order_by().values_list("lease_holder", flat=True).distinct()
    dead = dead_among(holders)
    return _reclaim(running.filter(lease_holder__in=dead)) if dead else 0


def _reclaim(items: BatchItemQuerySet) -> int:
    # In index order: ordered by id, SQLite would read the whole table.
    late = list(items.order_by("lease_until")[:_MOST])
    is_running = liveness(item.lease_holder for item in late)
    return sum(_take_back(item, is_alive=bool(is_running.get(item.lease_holder))) for item in late)


def _take_back(item: BatchItem, *, is_alive: bool) -> int:
    # The token ensures that this is still the lease that was checked.
    held = BatchItem.objects.filter(pk=item.pk, lease_token=item.lease_token)
    if is_alive:
        # The process lost its database connection, so the file did not kill it.
        return requeue(held, attempts=WITHOUT_CHARGE, **UNLEASED)
    if item.is_charged and item.attempts >= MAX_ATTEMPTS:
        cause = "its process was ended, by memory or by a fault in a decoder"
        return quarantine(item, held, cause, attempts=item.attempts)
    return requeue(held, **UNLEASED)


def forgive(holder: str) -> int:
    """Uncount the attempts of a process's running items, because it is being stopped on purpose."""
    charged = BatchItem.objects.filter(state=BatchItem.State.RUNNING, lease_holder=holder, is_charged=True)
    return charged.update(attempts=WITHOUT_CHARGE, is_charged=False)


def forgive_when_stopped() -> None:
    """Start a thread that uncounts this process's attempts while its worker is being stopped.

    A stop that exceeds its grace period ends in a kill, which looks like one caused by a decoder. Call this
    after the fork, in the process itself.
    """
    threading.Thread(target=_forgive_when_stopped, name="forgive", daemon=True).start()


def _forgive_when_stopped() -> None:
    while True:
        time.sleep(_LOOK_EACH)
        if not stop_is_asked():
            continue
        try:
            # Repeatedly: a thread that checked just before the request may still count an attempt.
            forgive(this_holder())
        except DatabaseError as error:
            logger.warning("Attempts of a worker that is being stopped stay counted: %s", error)
        finally:
            connection.close()
