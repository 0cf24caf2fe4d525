"""Taking back what dead workers held, and setting files apart that killed them."""

from __future__ import annotations

from typing import Final

from django.db import transaction
from django.utils.timezone import now

from media_files.errors import Quarantined
from media_files.models import MediaFile
from proxies.batches.work import UNLEASED
from proxies.holders import is_dead
from proxies.models import Batch, BatchItem, BatchItemQuerySet, Quarantine
from proxies.outcomes import Outcome

MAX_ATTEMPTS: Final = 3


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
    taken = 0
    for item in items.iterator():
        # The token says that it is still the lease that we judged.
        held = BatchItem.objects.filter(
            pk=item.pk, state=BatchItem.State.RUNNING, lease_token=item.lease_token
        )
        if item.attempts >= MAX_ATTEMPTS:
            taken += _quarantine(item, held)
        else:
            taken += held.update(state=BatchItem.State.QUEUED, available_at=now(), **UNLEASED)
    return taken


def _quarantine(item: BatchItem, held: BatchItemQuerySet) -> int:
    message = (
        f"Decoding this file ended its process {item.attempts} times, by memory or by a fault in a decoder. "
        "It is left alone until somebody releases it from quarantine."
    )
    with transaction.atomic():
        set_apart = held.update(
            state=BatchItem.State.DONE,
            outcome=Outcome.QUARANTINED.value,
            error=Quarantined.code,
            message=message,
            finished_at=now(),
            **UNLEASED,
        )
        source = MediaFile.objects.filter(pk=item.file_id).first()
        if set_apart and source is not None:
            Quarantine.objects.update_or_create(
                source=source, defaults={"fingerprint": source.fingerprint, "message": message}
            )
    return int(set_apart)
