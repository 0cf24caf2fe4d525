"""The sweep, run every minute by any worker: reclaim what dead processes held and notify idle slots."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final

from django.db import transaction
from django.utils.timezone import now

from media_files.models import DiscardedFile, MediaFile, originals_storage
from proxies import cleanup
from proxies.batches import lifecycle, recipes, recovery, worker_slots
from proxies.batches.runner import due_batch
from proxies.conf import conf
from proxies.models import Batch, BatchItem, ProxyLease, proxies_storage
from proxies.names import EXTENSIONS
from proxies.processes import heartbeat
from proxies.processes.liveness import dead_among
from proxies.render_job import reasons_of

# A younger temporary file may belong to a writer that has not locked it yet.
_AGE: Final = timedelta(seconds=10)
# Per sweep; far more than living processes can hold.
_MOST_LEASES: Final = 1000

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Swept:
    """How many of each kind a sweep found."""

    items: int
    slots: int
    leases: int
    files: int
    notified: int
    others: int


_further: list[Callable[[], int]] = []


def also(further: Callable[[], int]) -> None:
    """Add a step to each sweep: it repairs what dead processes left in another app's records and returns how
    many it repaired. Two processes may run it at the same time."""
    _further.append(further)


def sweep() -> Swept:
    """Run each step once, in isolation: a step that fails is logged and does not prevent the others.

    Two sweeps may run at the same time. Waking the workers is the last step and always happens.
    """
    found: Counter[str] = Counter()
    try:
        for kind, step in _steps():
            found[kind] += _isolated(step)
    finally:
        notified = worker_slots.wake(worker_slots.slot_count()) if due_batch() is not None else 0
    return Swept(
        items=found["items"],
        slots=found["slots"],
        leases=found["leases"],
        files=found["files"],
        notified=notified,
        others=found["others"],
    )


def _steps() -> Iterator[tuple[str, Callable[[], int | None]]]:
    """Yield each step with the kind it counts. The ledger is repaired before any step calls a storage."""
    yield "items", recovery.reclaim_dead
    yield "items", recovery.reclaim_expired
    yield "leases", _end_dead_leases
    yield "slots", worker_slots.free_lost_slots
    yield "", heartbeat.forget_old
    yield "", lifecycle.finish_stragglers
    yield "", recipes.look_after
    yield "files", DiscardedFile.remove_left_over
    yield "files", cleanup.remove_left_over
    yield "files", lambda: originals_storage().sweep_temporaries(_AGE)
    yield "files", lambda: proxies_storage().sweep_temporaries(_AGE)
    for further in _further:
        yield "others", further


def _isolated(step: Callable[[], int | None]) -> int:
    try:
        return step() or 0
    except Exception:
        name = getattr(step, "__qualname__", repr(step))
        logger.exception("The sweep's step %s failed; the next sweep tries it again", name)
        return 0


def recover_dead() -> int:
    """Reclaim the items and slots of dead processes, which needs no storage, and resume the work.

    Each supervisor does this three times a minute; the other steps can wait for the next sweep.
    """
    found = recovery.reclaim_dead() + worker_slots.free_lost_slots()
    if found and due_batch() is not None:
        worker_slots.wake(worker_slots.slot_count())
    return found


def _end_dead_leases() -> int:
    """End the leases of dead processes and make their proxies again: they may be incomplete."""
    leases = list(ProxyLease.objects.order_by("until")[:_MOST_LEASES])
    dead = dead_among(lease.holder for lease in leases)
    lost = [lease for lease in leases if lease.until <= now() or lease.holder in dead]
    return sum(_isolated(partial(_end_lease, lease)) for lease in lost)


def _end_lease(lease: ProxyLease) -> int:
    with transaction.atomic():
        gone, _ = ProxyLease.objects.filter(pk=lease.pk, token=lease.token).delete()
        if gone:
            _make_again(lease)
    return int(bool(gone))


def _make_again(lease: ProxyLease) -> None:
    """Enqueue the lease's source again, or discard its proxy files if the source was deleted.

    Written files are covered by their notes. Leases without a stem belong to removals.
    """
    source = MediaFile.objects.filter(pk=lease.source_id).first()
    if not lease.stem or (source is not None and source.file_type != MediaFile.FileType.IMAGE):
        return
    if source is None:
        for extension in EXTENSIONS.values():
            cleanup.discard_proxy_file(lease.source_id, lease.profile, f"{lease.stem}.{extension}")
        return
    on_its_way = BatchItem.objects.filter(file=source, batch__state=Batch.State.RUNNING).unfinished()
    if not on_its_way.exists():
        lifecycle.add_to_uploads(source.pk, reasons_of(source, conf().nova))
