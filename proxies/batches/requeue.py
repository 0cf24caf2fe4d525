"""Return items to the queue: the only way from running or done back to queued."""

from __future__ import annotations

from typing import Any, Final

from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef

from proxies.models import BatchItem, BatchItemQuerySet

# A duplicate may be added between the deletion and the next update, but not this many times in a row.
_TRIES: Final = 5


def requeue(items: BatchItemQuerySet, **values: Any) -> int:
    """Set items to queued, with ``values``, and return how many there were.

    A batch holds one queued item per file. If an item's file was added again meanwhile, the item is deleted:
    the queued one does the same work, on the file's current bytes. The unique constraint decides, so a file
    that is added at the same moment is merged, too.

    Raises:
        IntegrityError: another constraint failed, or duplicates were added at every try.
    """
    merged = 0
    for tries_left in reversed(range(_TRIES)):
        try:
            with transaction.atomic():
                return merged + items.update(state=BatchItem.State.QUEUED, **values)
        except IntegrityError:
            if not tries_left:
                raise
            merged += _delete_twins(items)
    return merged


def _delete_twins(items: BatchItemQuerySet) -> int:
    queued = BatchItem.objects.filter(
        batch=OuterRef("batch"), file=OuterRef("file"), state=BatchItem.State.QUEUED
    )
    deleted, _ = items.filter(Exists(queued)).delete()
    return deleted
