"""What is done each minute, by whichever worker: take back what the dead held, and ring again."""

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

# A temporary as young may be in the hands of a writer that has not locked it yet.
_AGE: Final = timedelta(seconds=10)
# In one sweep; far more than can be held by living processes.
_MOST_LEASES: Final = 1000

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Swept:
    """How many of each the sweeper found."""

    items: int
    slots: int
    leases: int
    files: int
    notified: int
    others: int


_further: list[Callable[[], int]] = []


def also(further: Callable[[], int]) -> None:
    """Have this done with each sweep: it sets right what the dead left in records of another app, and returns
    how many there were. Twice at the same moment does no harm."""
    _further.append(further)


def sweep() -> Swept:
    """Do each step once, each by itself: one that fails is logged and keeps no other from being done.

    Two sweeps at the same moment do no harm. Waking the workers is the last step and always happens.
    """
    found: Counter[str] = Counter()
    try:
        for kind, step in _steps():
            found[kind] += _isolated(step)
    finally:
        notified = worker_slots.wake(worker_slots.slot_count()) if due_batch() is not None else 0
    return Swept(
        items=found["items"],
        slots=found["lanes"],
        leases=found["leases"],
        files=found["files"],
        notified=notified,
        others=found["others"],
    )


def _steps() -> Iterator[tuple[str, Callable[[], int | None]]]:
    """What a sweep does, by what it counts. No step calls a storage before the ledger is in order."""
    yield "items", recovery.reclaim_dead
    yield "items", recovery.reclaim_expired
    yield "leases", _end_dead_leases
    yield "lanes", worker_slots.free_lost_slots
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
    """Take back the items and lanes of the dead, which needs no storage, and have the work go on.

    Each supervisor does so three times a minute; the rest can wait for the next sweep.
    """
    found = recovery.reclaim_dead() + worker_slots.free_lost_slots()
    if found and due_batch() is not None:
        worker_slots.wake(worker_slots.slot_count())
    return found


def _end_dead_leases() -> int:
    """End the leases of the dead. What they were making is made again: it may lie half-way."""
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
    """What was written has its note. Leases without a stem are those of removals."""
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
