"""What is done each minute, by whichever worker: take back what the dead held, and ring again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from django.db import transaction
from django.utils.timezone import now

from media_files.models import DiscardedFile, MediaFile, originals_storage
from proxies import removal
from proxies.batches import lanes, lifecycle, recovery
from proxies.batches.slices import due_batch
from proxies.conf import conf
from proxies.holders import is_dead
from proxies.making import reasons_of
from proxies.models import Batch, BatchItem, Proxy, ProxyLease, proxies_storage
from proxies.names import EXTENSIONS

# A temporary as young may be in the hands of a writer that has not locked it yet.
_AGE: Final = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Swept:
    """How many of each the sweeper found."""

    items: int
    lanes: int
    leases: int
    files: int
    rung: int
    others: int


_further: list[Callable[[], int]] = []


def also(further: Callable[[], int]) -> None:
    """Have this done with each sweep: it sets right what the dead left in records of another app, and returns
    how many there were. Twice at the same moment does no harm."""
    _further.append(further)


def sweep() -> Swept:
    """Do it once. Two at the same moment do no harm."""
    items = recovery.reclaim_dead() + recovery.reclaim_expired()
    leases = _end_dead_leases()
    freed = lanes.free_lost_lanes()
    files = DiscardedFile.remove_left_over() + removal.remove_left_over()
    files += originals_storage().sweep_temporaries(_AGE) + proxies_storage().sweep_temporaries(_AGE)
    lifecycle.finish_stragglers()
    rung = lanes.wake(lanes.lane_count()) if due_batch() is not None else 0
    # Last, for what breaks in them must keep nothing of the above from being done.
    others = sum(further() for further in _further)
    return Swept(items=items, lanes=freed, leases=leases, files=files, rung=rung, others=others)


def _end_dead_leases() -> int:
    """End the leases of the dead. What they were making is made again: it may lie half-way."""
    ended = 0
    for lease in ProxyLease.objects.order_by("id").iterator():
        if lease.until > now() and not is_dead(lease.holder):
            continue
        with transaction.atomic():
            gone, _ = ProxyLease.objects.filter(pk=lease.pk, token=lease.token).delete()
            if gone:
                _make_again(lease)
        ended += bool(gone)
    return ended


def _make_again(lease: ProxyLease) -> None:
    source = MediaFile.objects.filter(pk=lease.source_id).first()
    if source is None:
        for extension in EXTENSIONS.values():
            removal.discard_proxy_file(lease.source_id, lease.profile, f"{lease.stem}.{extension}")
        return
    # What stands in the storage may be older or newer than what the row says of it.
    Proxy.objects.filter(source=source, profile=lease.profile).update(recipe="")
    on_its_way = BatchItem.objects.filter(file=source, batch__state=Batch.State.RUNNING).unfinished()
    if not on_its_way.exists():
        lifecycle.add_to_uploads(source.pk, reasons_of(source, conf().nova))
