"""Taking back what dead workers held, and setting files apart that killed them."""

from __future__ import annotations

from django.db.models import F
from django.utils.timezone import now

from proxies.batches.work import MAX_ATTEMPTS, UNLEASED, quarantine
from proxies.holders import is_alive, is_dead
from proxies.models import Batch, BatchItem, BatchItemQuerySet


def reclaim_expired() -> int:
    """Take back the items whose lease has run out; return how many."""
    return _reclaim(BatchItem.objects.filter(state=BatchItem.State.RUNNING, lease_until__lt=now()))


def reclaim_dead(batch: Batch | None = None) -> int:
    """Take back at once the items that processes of this machine held which have ended."""
    running = BatchItem.objects.filter(state=BatchItem.State.RUNNING)
    if batch is not None:
        running = running.filter(batch=batch)
    holders = running.order_by().values_list("lease_holder", flat=True).distinct()
    dead = [holder for holder in holders if holder and is_dead(holder)]
    return _reclaim(running.filter(lease_holder__in=dead)) if dead else 0


def _reclaim(items: BatchItemQuerySet) -> int:
    # In the order of their index: by id, SQLite would read the whole table.
    return sum(_take_back(item) for item in items.order_by("lease_until").iterator())


def _take_back(item: BatchItem) -> int:
    # The token says that it is still the lease that we judged.
    held = BatchItem.objects.filter(pk=item.pk, lease_token=item.lease_token)
    if is_alive(item.lease_holder):
        # It lost its database, not its life: the file did not kill it.
        charges = min(1, item.attempts)
        return held.update(state=BatchItem.State.QUEUED, attempts=F("attempts") - charges, **UNLEASED)
    if item.attempts >= MAX_ATTEMPTS:
        return quarantine(item, held, "its process was ended, by memory or by a fault in a decoder")
    return held.update(state=BatchItem.State.QUEUED, **UNLEASED)
